//! Gemma as an encoder: no cache, every position sees every other (queries may be causal), the
//! last norm applied. Source: transformers 4.57.6 `models/gemma/modeling_gemma.py` and
//! `models/paligemma/modeling_paligemma.py`.

use candle_core::{Device, Result as CandleResult, Tensor};
use candle_nn::ops::rms_norm;
use candle_nn::rotary_emb::rope;

use crate::ModelError;
use crate::attention::{Linear, attend, split_heads};
use crate::config::TextConfig;
use crate::stored::Stored;
use crate::weights::Weights;

/// The language model without its output layer.
#[derive(Debug, Clone)]
pub struct Language {
    /// `[vocabulary, hidden]`, in the file: its rows are looked up there.
    embedding: Stored,
    layers: Vec<Layer>,
    norm: Norm,
    hidden: usize,
    head_dim: usize,
    rope_theta: f64,
}

/// Root mean square norm; the stored weight is the difference from one.
#[derive(Debug, Clone)]
struct Norm {
    weight: Tensor,
    eps: f32,
}

impl Norm {
    fn take(weights: &mut Weights, key: &str, config: &TextConfig) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{key}.weight"), &[config.hidden_size])?;
        Ok(Self { weight: (weight + 1.0)?, eps: config.rms_norm_eps as f32 })
    }

    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        rms_norm(x, &self.weight, self.eps)
    }
}

#[derive(Debug, Clone)]
struct Layer {
    input_norm: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    mlp_norm: Norm,
    gate: Linear,
    up: Linear,
    down: Linear,
    heads: usize,
    kv_heads: usize,
    scale: f64,
}

impl Layer {
    fn take(weights: &mut Weights, key: &str, config: &TextConfig) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let q = config.num_attention_heads * config.head_dim;
        let kv = config.num_key_value_heads * config.head_dim;
        let mut linear = |name: &str, input, output| {
            Linear::take(weights, &format!("{key}.{name}"), input, output, false)
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
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            scale: (config.head_dim as f64).powf(-0.5),
        })
    }

    fn forward(&self, x: &Tensor, context: &Context) -> CandleResult<Tensor> {
        let y = self.input_norm.forward(x)?;
        let turned = |linear: &Linear, heads| -> CandleResult<Tensor> {
            let x = split_heads(&linear.forward(&y)?, heads)?;
            rope(&x.unsqueeze(0)?, &context.cos, &context.sin)?.squeeze(0)
        };
        let (q, k) = (turned(&self.query, self.heads)?, turned(&self.key, self.kv_heads)?);
        let v = split_heads(&self.value.forward(&y)?, self.kv_heads)?;
        let seen = attend(&q, &k, &v, context.mask.as_ref(), self.scale)?;
        let x = (x + self.out.forward(&seen)?)?;
        let y = self.mlp_norm.forward(&x)?;
        let inner = (self.gate.forward(&y)?.gelu()? * self.up.forward(&y)?)?;
        &x + self.down.forward(&inner)?
    }
}

/// What all layers of one sequence share.
#[derive(Debug, Clone)]
pub struct Context {
    /// `[n, head_dim / 2]`, f32.
    cos: Tensor,
    sin: Tensor,
    /// `[n, n]`: 0 where a position is seen, minus infinity where not.
    mask: Option<Tensor>,
}

impl Language {
    /// Takes the model's tensors below `prefix`.
    pub fn take(
        weights: &mut Weights,
        prefix: &str,
        config: &TextConfig,
    ) -> Result<Self, ModelError> {
        let layer = |weights: &mut Weights, n: usize| {
            Layer::take(weights, &format!("{prefix}.layers.{n}"), config)
        };
        Ok(Self {
            embedding: weights.take_stored(
                &format!("{prefix}.embed_tokens.weight"),
                &[config.vocab_size, config.hidden_size],
            )?,
            layers: (0..config.num_hidden_layers)
                .map(|n| layer(weights, n))
                .collect::<Result<_, _>>()?,
            norm: Norm::take(weights, &format!("{prefix}.norm"), config)?,
            hidden: config.hidden_size,
            head_dim: config.head_dim,
            rope_theta: config.rope_theta(),
        })
    }

    /// How many layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Rows for `ids`, `[n, hidden]`, f32, scaled by the root of the width.
    pub fn embed(&self, ids: &[u32]) -> CandleResult<Tensor> {
        self.embedding.rows(ids)? * (self.hidden as f64).sqrt()
    }

    /// Rotations and mask for `n` positions. Only differences of positions count, so they start
    /// at 0; the tables are f32 whatever the weights are.
    pub fn context(&self, n: usize, causal: bool) -> CandleResult<Context> {
        let half = self.head_dim / 2;
        let angle = |position: usize, i: usize| {
            // As the reference: the frequency is rounded to f32, then the product.
            let exponent = (2 * i) as f32 / self.head_dim as f32;
            let frequency = 1.0 / (self.rope_theta as f32).powf(exponent);
            position as f32 * frequency
        };
        let angles: Vec<f32> =
            (0..n).flat_map(|position| (0..half).map(move |i| angle(position, i))).collect();
        let angles = Tensor::from_vec(angles, (n, half), &Device::Cpu)?;
        let mask = match causal {
            false => None,
            true => {
                let seen = |row, column| if column <= row { 0.0 } else { f32::NEG_INFINITY };
                let mask: Vec<f32> =
                    (0..n).flat_map(|row| (0..n).map(move |column| seen(row, column))).collect();
                Some(Tensor::from_vec(mask, (n, n), &Device::Cpu)?)
            }
        };
        Ok(Context { cos: angles.cos()?, sin: angles.sin()?, mask })
    }

    /// Layer `n`, `[n_tokens, hidden]`.
    pub fn layer(&self, n: usize, x: &Tensor, context: &Context) -> CandleResult<Tensor> {
        self.layers[n].forward(x, context)
    }

    /// The last norm, `[n_tokens, hidden]`.
    pub fn finish(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.norm.forward(x)
    }

    /// All layers and the last norm: `[n_tokens, hidden]` to the same.
    pub fn forward(&self, x: &Tensor, causal: bool) -> CandleResult<Tensor> {
        let context = self.context(x.dim(0)?, causal)?;
        let x = (0..self.depth()).try_fold(x.clone(), |x, n| self.layer(n, &x, &context))?;
        self.finish(&x)
    }
}
