//! Gemma as an encoder: without a cache, with the last norm applied, and every position attends to
//! every other (queries may be causal). Source: transformers 4.57.6
//! `models/gemma/modeling_gemma.py` and `models/paligemma/modeling_paligemma.py`.

use std::sync::{Arc, Mutex};

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::attention::{Heads, Mask, attend};
use crate::blocks::elementwise::{rms_norm, rotate};
use crate::blocks::lanes::{LANES, Lanes, groups_of};
use crate::blocks::linear::{Linear, lanes, tensor};
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::checkpoint::stored::Stored;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::colpali::config::TextConfig;
use crate::precision::Precision;

/// The language model without its output layer.
#[derive(Debug)]
pub struct Language {
    arithmetic: Arithmetic,
    embedding: Embedding,
    pub layers: Vec<Layer>,
    pub norm: Norm,
    rotations: Rotations,
    /// Of the longest sequence so far.
    angles: Mutex<Arc<Angles>>,
}

/// The token table, `[vocabulary, hidden]`. It stays in its file, where rows are looked up.
#[derive(Debug, Clone)]
pub struct Embedding {
    table: Stored,
    hidden: usize,
}

impl Embedding {
    /// The rows of `ids`, `[n, hidden]` f32, multiplied by the square root of the width.
    pub fn rows(&self, ids: &[u32]) -> CandleResult<Tensor> {
        self.table.rows(ids)? * (self.hidden as f64).sqrt()
    }
}

/// The angles of rotary position embeddings (Su et al., arXiv 2104.09864).
#[derive(Debug, Clone, Copy)]
pub struct Rotations {
    head_dim: usize,
    theta: f64,
}

impl Rotations {
    /// Number of angles of a position: half the width of a head.
    pub fn half(&self) -> usize {
        self.head_dim / 2
    }

    /// Angle `i` of a position. As in the reference, the frequency is rounded to f32, then the
    /// product. Positions start at 0, since only their differences matter.
    pub fn angle(&self, position: usize, i: usize) -> f32 {
        let exponent = (2 * i) as f32 / self.head_dim as f32;
        let frequency = 1.0 / (self.theta as f32).powf(exponent);
        position as f32 * frequency
    }
}

/// Root mean square norm. Files store the difference of the weight from one.
#[derive(Debug, Clone)]
pub struct Norm {
    /// The weight itself: one was added while loading.
    pub weight: Vec<f32>,
    pub eps: f32,
}

impl Norm {
    fn take(weights: &mut Weights, key: &str, config: &TextConfig) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{key}.weight"), &[config.hidden_size])?;
        Ok(Self { weight: (weight + 1.0)?.to_vec1()?, eps: config.rms_norm_eps as f32 })
    }

    fn apply(&self, x: &[[f32; LANES]], y: &mut [[f32; LANES]]) {
        rms_norm(x, &self.weight, self.eps, y);
    }
}

#[derive(Debug, Clone)]
pub struct Layer {
    pub input_norm: Norm,
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub out: Linear,
    pub mlp_norm: Norm,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
    pub heads: Heads,
}

impl Layer {
    fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        config: &TextConfig,
    ) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let q = config.num_attention_heads * config.head_dim;
        let kv = config.num_key_value_heads * config.head_dim;
        let mut linear = |name: &str, input, output| {
            Linear::take(weights, precision, &format!("{key}.{name}"), input, output, false)
        };
        Ok(Self {
            query: linear("self_attn.q_proj", hidden, q)?,
            key: linear("self_attn.k_proj", hidden, kv)?,
            value: linear("self_attn.v_proj", hidden, kv)?,
            out: linear("self_attn.o_proj", q, hidden)?,
            gate: linear("mlp.gate_proj", hidden, inner)?,
            up: linear("mlp.up_proj", hidden, inner)?,
            down: linear("mlp.down_proj", inner, hidden)?,
            input_norm: Norm::take(weights, &format!("{key}.input_layernorm"), config)?,
            mlp_norm: Norm::take(weights, &format!("{key}.post_attention_layernorm"), config)?,
            heads: Heads {
                queries: config.num_attention_heads,
                keys: config.num_key_value_heads,
                dim: config.head_dim,
                scale: (config.head_dim as f64).powf(-0.5) as f32,
            },
        })
    }

    /// `x` through the layer. When some positions are `kept`, only those are computed, and `x`
    /// becomes them; all positions still act as keys and values.
    fn forward(
        &self,
        arithmetic: Arithmetic,
        x: &mut Lanes,
        context: &Context,
        kept: Option<&[&[usize]]>,
    ) {
        let y = Operand::made(arithmetic, x, |_, x, y| self.input_norm.apply(x, y));
        let [mut q, mut k, v] =
            [&self.query, &self.key, &self.value].map(|linear| linear.apply(&y, x.lengths()));
        q.each_group(|group, rows| context.rotate(group, rows));
        k.each_group(|group, rows| context.rotate(group, rows));
        if let Some(kept) = kept {
            (*x, q) = (x.keep(kept), q.keep(kept));
        }
        let seen = attend(arithmetic, self.heads, context.mask, &q, &k, &v);
        self.out.add_to(&Operand::round(arithmetic, &seen), x);
        let y = Operand::made(arithmetic, x, |_, x, y| self.mlp_norm.apply(x, y));
        self.down.add_to(&Linear::apply_gated(&self.gate, &self.up, &y), x);
    }
}

/// What all layers share: the mask and the rotations of positions, which are f32 in every
/// precision.
#[derive(Debug, Clone)]
pub struct Context {
    mask: Mask<'static>,
    /// For every group its index inside its sequence.
    groups: Vec<usize>,
    angles: Arc<Angles>,
    half: usize,
}

/// `[groups of positions, head_dim / 2, LANES]`.
#[derive(Debug, Default)]
struct Angles {
    cos: Vec<[f32; LANES]>,
    sin: Vec<[f32; LANES]>,
}

impl Context {
    fn rotate(&self, group: usize, rows: &mut [[f32; LANES]]) {
        let angles = self.groups[group] * self.half..(self.groups[group] + 1) * self.half;
        rotate(rows, &self.angles.cos[angles.clone()], &self.angles.sin[angles]);
    }
}

impl Language {
    /// Takes the model's tensors below `prefix`.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        prefix: &str,
        config: &TextConfig,
    ) -> Result<Self, ModelError> {
        let layer = |weights: &mut Weights, n: usize| {
            Layer::take(weights, precision, &format!("{prefix}.layers.{n}"), config)
        };
        Ok(Self {
            arithmetic: precision.arithmetic(),
            embedding: Embedding {
                table: weights.take_stored(
                    &format!("{prefix}.embed_tokens.weight"),
                    &[config.vocab_size, config.hidden_size],
                )?,
                hidden: config.hidden_size,
            },
            layers: (0..config.num_hidden_layers)
                .map(|n| layer(weights, n))
                .collect::<Result<_, _>>()?,
            norm: Norm::take(weights, &format!("{prefix}.norm"), config)?,
            rotations: Rotations { head_dim: config.head_dim, theta: config.rope_theta() },
            angles: Mutex::default(),
        })
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// The token table.
    pub fn embedding(&self) -> &Embedding {
        &self.embedding
    }

    /// How positions are turned.
    pub fn rotations(&self) -> Rotations {
        self.rotations
    }

    /// The rows of `ids`, see [`Embedding::rows`].
    pub fn embed(&self, ids: &[u32]) -> CandleResult<Tensor> {
        self.embedding.rows(ids)
    }

    /// Runs all layers and the last norm over every position of every sequence.
    pub fn encode(&self, x: Lanes, causal: bool) -> Lanes {
        let context = self.contexts(x.lengths(), causal);
        self.encode_with(x, &context, None)
    }

    /// As [`encode`](Self::encode) without a causal mask, for the positions in `kept` of each
    /// sequence. In the last layer all positions act as keys and values, but only these are
    /// computed.
    pub fn encode_kept(&self, x: Lanes, kept: &[&[usize]]) -> Lanes {
        let context = self.contexts(x.lengths(), false);
        self.encode_with(x, &context, Some(kept))
    }

    fn encode_with(&self, mut x: Lanes, context: &Context, kept: Option<&[&[usize]]>) -> Lanes {
        for (n, layer) in self.layers.iter().enumerate() {
            let last = n + 1 == self.layers.len();
            layer.forward(self.arithmetic, &mut x, context, kept.filter(|_| last));
        }
        self.finish_all(&x)
    }

    /// What the layers share for sequences of these lengths.
    fn contexts(&self, lengths: &[usize], causal: bool) -> Context {
        let longest = lengths.iter().map(|&n| groups_of(n)).max().unwrap_or(0);
        let groups = lengths.iter().flat_map(|&n| 0..groups_of(n)).collect();
        let mask = if causal { Mask::Causal } else { Mask::All };
        Context { mask, groups, angles: self.angles(longest), half: self.rotations.half() }
    }

    /// The angles of at least `groups` groups. They are computed once.
    fn angles(&self, groups: usize) -> Arc<Angles> {
        let half = self.rotations.half();
        let mut angles = self.angles.lock().expect("no panic holds it");
        if angles.cos.len() < groups * half {
            let rows = (0..groups).flat_map(|group| (0..half).map(move |i| (group, i)));
            let (cos, sin) = rows
                .map(|(group, i)| {
                    let of = |lane| self.rotations.angle(group * LANES + lane, i);
                    let angles: [f32; LANES] = std::array::from_fn(of);
                    (angles.map(f32::cos), angles.map(f32::sin))
                })
                .unzip();
            *angles = Arc::new(Angles { cos, sin });
        }
        Arc::clone(&angles)
    }

    fn finish_all(&self, x: &Lanes) -> Lanes {
        x.map_groups(x.width(), |x, y| self.norm.apply(x, y))
    }

    /// What the layers share for one sequence of `n` positions.
    pub fn context(&self, n: usize, causal: bool) -> CandleResult<Context> {
        Ok(self.contexts(&[n], causal))
    }

    /// Runs layer `n` over one sequence, `[n_tokens, hidden]`.
    pub fn layer(&self, n: usize, x: &Tensor, context: &Context) -> CandleResult<Tensor> {
        let mut x = lanes(x)?;
        self.layers[n].forward(self.arithmetic, &mut x, context, None);
        tensor(&x)
    }

    /// Runs the last norm over one sequence, `[n_tokens, hidden]`.
    pub fn finish(&self, x: &Tensor) -> CandleResult<Tensor> {
        tensor(&self.finish_all(&lanes(x)?))
    }
}
