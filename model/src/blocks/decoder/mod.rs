//! The language model of Qwen2, Qwen3.5 and Llama as an encoder: without a cache and an output
//! layer, with the last norm applied. A layer mixes positions, by attention or by a gated delta
//! net, and then each position goes through a gated MLP. Source: transformers 5.24.0
//! `models/{qwen2_vl,qwen3_5,llama}`.

pub mod attention;
pub mod delta;
pub mod sizes;

use candle_core::Result as CandleResult;

use crate::blocks::attention::Mask;
use crate::blocks::decoder::attention::Attention;
use crate::blocks::decoder::delta::DeltaNet;
use crate::blocks::decoder::sizes::{DecoderSizes, Mix};
use crate::blocks::elementwise::silu_gated_rows;
use crate::blocks::lanes::Lanes;
use crate::blocks::linear::Linear;
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::blocks::norm::RootNorm;
use crate::blocks::rotation::{Angles, frequency};
use crate::checkpoint::stored::Stored;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::precision::Precision;

/// The model.
#[derive(Debug)]
pub struct Decoder {
    arithmetic: Arithmetic,
    hidden: usize,
    /// Whether attention sees what is before a position alone.
    pub causal: bool,
    /// Token table, `[vocabulary, hidden]`. It stays in its file, where rows are looked up.
    pub table: Stored,
    pub layers: Vec<Layer>,
    pub norm: RootNorm,
    /// The axis and the frequency of each pair of rows of a head.
    pub pairs: Vec<(usize, f32)>,
}

#[derive(Debug)]
pub struct Layer {
    pub input_norm: RootNorm,
    pub mixer: Mixer,
    pub mlp_norm: RootNorm,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

// One a layer, which stays where it is.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Mixer {
    Attention(Attention),
    Delta(DeltaNet),
}

/// What all layers share for some sequences.
struct Shared {
    arithmetic: Arithmetic,
    angles: Angles,
    causal: bool,
}

impl Shared {
    fn mask(&self) -> Mask<'static> {
        if self.causal { Mask::Causal } else { Mask::All }
    }
}

impl Layer {
    fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        sizes: &DecoderSizes,
        mix: Mix,
    ) -> Result<Self, ModelError> {
        let (hidden, inner) = (sizes.hidden, sizes.inner);
        let mixer = match mix {
            Mix::Attention => Mixer::Attention(Attention::take(weights, precision, key, sizes)?),
            Mix::Delta(delta) => {
                Mixer::Delta(DeltaNet::take(weights, precision, key, sizes, delta)?)
            }
        };
        let mut linear = |name: &str, input, output| {
            Linear::take(weights, precision, &format!("{key}.mlp.{name}"), input, output, false)
        };
        Ok(Self {
            mixer,
            gate: linear("gate_proj", hidden, inner)?,
            up: linear("up_proj", hidden, inner)?,
            down: linear("down_proj", inner, hidden)?,
            input_norm: sizes.norm(weights, &format!("{key}.input_layernorm"), hidden)?,
            mlp_norm: sizes.norm(weights, &format!("{key}.post_attention_layernorm"), hidden)?,
        })
    }

    fn forward(&self, x: &mut Lanes, shared: &Shared) {
        let y = Operand::made(shared.arithmetic, x, |_, x, y| self.input_norm.apply(x, y));
        match &self.mixer {
            Mixer::Attention(attention) => {
                attention.add_to(shared.arithmetic, shared.mask(), &shared.angles, &y, x);
            }
            Mixer::Delta(net) => net.add_to(shared.arithmetic, &y, x),
        }
        let y = Operand::made(shared.arithmetic, x, |_, x, y| self.mlp_norm.apply(x, y));
        let y = Linear::apply_gated_with(&self.gate, &self.up, &y, silu_gated_rows);
        self.down.add_to(&y, x);
    }
}

impl Decoder {
    /// Takes the tensors below `prefix`. With `causal` attention sees what is before a position
    /// alone; delta nets always do.
    ///
    /// # Errors
    /// [`ModelError`] with the name of a tensor that is missing or misshapen.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        prefix: &str,
        sizes: &DecoderSizes,
        causal: bool,
    ) -> Result<Self, ModelError> {
        let shape = [sizes.vocabulary, sizes.hidden];
        let table = weights.take_table(&format!("{prefix}.embed_tokens.weight"), shape)?;
        let layers = sizes.layers.iter().enumerate().map(|(n, mix)| {
            Layer::take(weights, precision, &format!("{prefix}.layers.{n}"), sizes, *mix)
        });
        let layers = layers.collect::<Result<_, _>>()?;
        let turned = 2 * sizes.axes.len();
        let pairs = sizes.axes.iter().enumerate();
        let pairs = pairs.map(|(j, &axis)| (axis, frequency(sizes.theta, j, turned))).collect();
        Ok(Self {
            arithmetic: weights.arithmetic(precision),
            hidden: sizes.hidden,
            causal,
            table,
            layers,
            norm: sizes.norm(weights, &format!("{prefix}.norm"), sizes.hidden)?,
            pairs,
        })
    }

    /// Width of a position.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// The rows of the token table for `ids`, one after the other.
    pub fn embed(&self, ids: &[u32]) -> CandleResult<Vec<f32>> {
        self.table.rows(ids)?.flatten_all()?.to_vec1::<f32>()
    }

    /// Runs all layers and the last norm over sequences whose positions are `axes`, one after the
    /// other on each axis.
    pub fn encode(&self, mut x: Lanes, axes: &[Vec<u32>]) -> Lanes {
        let shared = self.shared(x.lengths(), axes);
        for layer in &self.layers {
            layer.forward(&mut x, &shared);
        }
        self.finish(&x)
    }

    fn shared(&self, lengths: &[usize], axes: &[Vec<u32>]) -> Shared {
        let angles = Angles::new(lengths, axes, &self.pairs);
        Shared { arithmetic: self.arithmetic, angles, causal: self.causal }
    }

    /// Runs the last norm.
    pub fn finish(&self, x: &Lanes) -> Lanes {
        self.norm.over(x)
    }
}

/// For the comparison with the reference, stage by stage.
#[cfg(feature = "parity")]
impl Decoder {
    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// What layer `n` makes of one sequence.
    pub fn layer(&self, n: usize, x: &Lanes, axes: &[Vec<u32>]) -> Lanes {
        let shared = self.shared(x.lengths(), axes);
        let mut x = x.clone();
        self.layers[n].forward(&mut x, &shared);
        x
    }
}
