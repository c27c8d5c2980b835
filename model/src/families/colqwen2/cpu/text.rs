//! Qwen2 as an encoder: without a cache, with the last norm applied, and every position attends to
//! itself and to those before it. Source: transformers 4.57.6 `models/qwen2_vl/modeling_qwen2_vl.py`.

use candle_core::Result as CandleResult;

use crate::blocks::attention::{Heads, Mask, attend};
use crate::blocks::elementwise::{rms_norm, silu_gated_rows};
use crate::blocks::lanes::{LANES, Lanes};
use crate::blocks::linear::Linear;
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::blocks::rotation::{Angles, frequency};
use crate::checkpoint::stored::Stored;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::colqwen2::config::TextConfig;
use crate::families::colqwen2::sequence::Sequence;
use crate::precision::Precision;

/// The language model without its output layer.
#[derive(Debug)]
pub struct Text {
    arithmetic: Arithmetic,
    hidden: usize,
    /// Token table, `[vocabulary, hidden]`. It stays in its file, where rows are looked up.
    table: Stored,
    layers: Vec<Layer>,
    norm: Norm,
    /// The axis and the frequency of each pair of rows of a head.
    pairs: Vec<(usize, f32)>,
}

#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    eps: f32,
}

impl Norm {
    fn take(weights: &mut Weights, key: &str, config: &TextConfig) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{key}.weight"), &[config.hidden])?;
        Ok(Self { weight: weight.to_vec1()?, eps: config.eps })
    }

    fn apply(&self, x: &[[f32; LANES]], y: &mut [[f32; LANES]]) {
        rms_norm(x, &self.weight, self.eps, y);
    }
}

#[derive(Debug)]
struct Layer {
    heads: Heads,
    input_norm: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    mlp_norm: Norm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Layer {
    fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        config: &TextConfig,
    ) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden, config.inner);
        let (q, kv) = (config.heads * config.head_dim, config.keys * config.head_dim);
        let mut linear = |name: &str, input, output, bias| {
            Linear::take(weights, precision, &format!("{key}.{name}"), input, output, bias)
        };
        Ok(Self {
            query: linear("self_attn.q_proj", hidden, q, true)?,
            key: linear("self_attn.k_proj", hidden, kv, true)?,
            value: linear("self_attn.v_proj", hidden, kv, true)?,
            out: linear("self_attn.o_proj", q, hidden, false)?,
            gate: linear("mlp.gate_proj", hidden, inner, false)?,
            up: linear("mlp.up_proj", hidden, inner, false)?,
            down: linear("mlp.down_proj", inner, hidden, false)?,
            input_norm: Norm::take(weights, &format!("{key}.input_layernorm"), config)?,
            mlp_norm: Norm::take(weights, &format!("{key}.post_attention_layernorm"), config)?,
            heads: Heads {
                queries: config.heads,
                keys: config.keys,
                dim: config.head_dim,
                scale: (config.head_dim as f64).powf(-0.5) as f32,
                cap: None,
            },
        })
    }

    fn forward(&self, arithmetic: Arithmetic, x: &mut Lanes, angles: &Angles) {
        let y = Operand::made(arithmetic, x, |_, x, y| self.input_norm.apply(x, y));
        let [mut q, mut k, v] =
            [&self.query, &self.key, &self.value].map(|linear| linear.apply(&y, x.lengths()));
        for x in [&mut q, &mut k] {
            x.each_group(|group, rows| {
                for head in rows.chunks_exact_mut(self.heads.dim) {
                    angles.turn(group, head);
                }
            });
        }
        let seen = attend(arithmetic, self.heads, Mask::Causal, &q, &k, &v);
        self.out.add_to(&Operand::round(arithmetic, &seen), x);
        let y = Operand::made(arithmetic, x, |_, x, y| self.mlp_norm.apply(x, y));
        let y = Linear::apply_gated_with(&self.gate, &self.up, &y, silu_gated_rows);
        self.down.add_to(&y, x);
    }
}

impl Text {
    /// Takes the model's tensors.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        config: &TextConfig,
    ) -> Result<Self, ModelError> {
        const MODEL: &str = "language_model";
        let shape = [config.vocabulary, config.hidden];
        let table = weights.take_stored(&format!("{MODEL}.embed_tokens.weight"), &shape)?;
        if !table.is_float() {
            let (key, got) = (table.key().into(), table.dtype().to_string());
            return Err(ModelError::Dtype { key, got });
        }
        let layers = (0..config.layers)
            .map(|n| Layer::take(weights, precision, &format!("{MODEL}.layers.{n}"), config));
        let layers = layers.collect::<Result<_, _>>()?;
        let axes = config.sections.iter().enumerate();
        let axes = axes.flat_map(|(axis, &count)| std::iter::repeat_n(axis, count));
        let pairs = axes
            .enumerate()
            .map(|(j, axis)| (axis, frequency(config.theta, j, config.head_dim)))
            .collect();
        Ok(Self {
            arithmetic: precision.arithmetic(),
            hidden: config.hidden,
            table,
            layers,
            norm: Norm::take(weights, &format!("{MODEL}.norm"), config)?,
            pairs,
        })
    }

    /// The input of the first layer for a page: `features`, `[features, hidden]`, in their places.
    pub fn input(&self, sequence: &Sequence, features: &[f32]) -> CandleResult<Lanes> {
        let first = sequence.first_feature;
        let expected = sequence.features * self.hidden;
        if features.len() != expected {
            candle_core::bail!("{} numbers of features, expected {expected}", features.len())
        }
        let text = |ids: &[u32]| self.table.rows(ids)?.flatten_all()?.to_vec1::<f32>();
        let mut rows = text(&sequence.ids[..first])?;
        rows.extend(features);
        rows.extend(text(&sequence.ids[first + sequence.features..])?);
        Ok(Lanes::from_rows(&[sequence.ids.len()], self.hidden, &rows))
    }

    /// The input of the first layer for texts.
    pub fn inputs(&self, texts: &[Sequence]) -> CandleResult<Lanes> {
        let ids: Vec<u32> = texts.iter().flat_map(|text| text.ids.iter().copied()).collect();
        let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        let rows = self.table.rows(&ids)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(Lanes::from_rows(&lengths, self.hidden, &rows))
    }

    /// Runs all layers and the last norm.
    pub fn encode(&self, mut x: Lanes, sequences: &[Sequence]) -> Lanes {
        let angles = self.angles(sequences);
        for layer in &self.layers {
            layer.forward(self.arithmetic, &mut x, &angles);
        }
        self.finish(&x)
    }

    fn angles(&self, sequences: &[Sequence]) -> Angles {
        let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.ids.len()).collect();
        let axes: [Vec<u32>; 3] = std::array::from_fn(|axis| {
            sequences.iter().flat_map(|sequence| sequence.positions[axis].iter().copied()).collect()
        });
        Angles::new(&lengths, &axes, &self.pairs)
    }

    /// Runs the last norm.
    pub fn finish(&self, x: &Lanes) -> Lanes {
        x.map_groups(x.width(), |x, y| self.norm.apply(x, y))
    }
}

/// For the comparison with the reference, stage by stage.
#[cfg(feature = "parity")]
impl Text {
    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// What layer `n` makes of one sequence.
    pub fn layer(&self, n: usize, x: &Lanes, sequence: &Sequence) -> Lanes {
        let mut x = x.clone();
        let angles = self.angles(std::slice::from_ref(sequence));
        self.layers[n].forward(self.arithmetic, &mut x, &angles);
        x
    }
}
