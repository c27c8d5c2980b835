//! SigLIP's vision tower: patch embedding, learned positions, pre-norm layers, a last norm. No
//! class token, no pooling head. Source: transformers 4.57.6 `models/siglip/modeling_siglip.py`.

use candle_core::{Result as CandleResult, Tensor};
use candle_nn::ops::layer_norm;

use crate::ModelError;
use crate::attention::{Linear, attend, split_heads};
use crate::config::VisionConfig;
use crate::preprocess::patches;
use crate::weights::Weights;

/// The tower.
#[derive(Debug, Clone)]
pub struct Vision {
    patch: usize,
    patch_embedding: Linear,
    /// `[n_patches, hidden]`.
    positions: Tensor,
    layers: Vec<Layer>,
    post_norm: Norm,
}

#[derive(Debug, Clone)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl Norm {
    fn take(weights: &mut Weights, key: &str, config: &VisionConfig) -> Result<Self, ModelError> {
        let shape = [config.hidden_size];
        Ok(Self {
            weight: weights.take(&format!("{key}.weight"), &shape)?,
            bias: weights.take(&format!("{key}.bias"), &shape)?,
            eps: config.layer_norm_eps as f32,
        })
    }

    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

#[derive(Debug, Clone)]
struct Layer {
    norm1: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm2: Norm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    scale: f64,
}

impl Layer {
    fn take(weights: &mut Weights, key: &str, config: &VisionConfig) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let head_dim = hidden / config.num_attention_heads;
        let mut linear = |name: &str, input, output| {
            Linear::take(weights, &format!("{key}.{name}"), input, output, true)
        };
        Ok(Self {
            query: linear("self_attn.q_proj", hidden, hidden)?,
            key: linear("self_attn.k_proj", hidden, hidden)?,
            value: linear("self_attn.v_proj", hidden, hidden)?,
            out: linear("self_attn.out_proj", hidden, hidden)?,
            fc1: linear("mlp.fc1", hidden, inner)?,
            fc2: linear("mlp.fc2", inner, hidden)?,
            norm1: Norm::take(weights, &format!("{key}.layer_norm1"), config)?,
            norm2: Norm::take(weights, &format!("{key}.layer_norm2"), config)?,
            heads: config.num_attention_heads,
            scale: (head_dim as f64).powf(-0.5),
        })
    }

    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let y = self.norm1.forward(x)?;
        let heads = |linear: &Linear| split_heads(&linear.forward(&y)?, self.heads);
        let (q, k, v) = (heads(&self.query)?, heads(&self.key)?, heads(&self.value)?);
        let x = (x + self.out.forward(&attend(&q, &k, &v, None, self.scale)?)?)?;
        let y = self.fc1.forward(&self.norm2.forward(&x)?)?.gelu()?;
        &x + self.fc2.forward(&y)?
    }
}

impl Vision {
    /// Takes the tower's tensors below `prefix`.
    pub fn take(
        weights: &mut Weights,
        prefix: &str,
        config: &VisionConfig,
    ) -> Result<Self, ModelError> {
        let (hidden, patch) = (config.hidden_size, config.patch_size);
        let key = format!("{prefix}.embeddings.patch_embedding");
        let weight = weights.take(&format!("{key}.weight"), &[hidden, 3, patch, patch])?;
        let bias = weights.take(&format!("{key}.bias"), &[hidden])?;
        let layer = |weights: &mut Weights, n: usize| {
            Layer::take(weights, &format!("{prefix}.encoder.layers.{n}"), config)
        };
        Ok(Self {
            patch,
            patch_embedding: Linear::new(&weight.reshape((hidden, 3 * patch * patch))?, bias)?,
            positions: weights.take(
                &format!("{prefix}.embeddings.position_embedding.weight"),
                &[config.side() * config.side(), hidden],
            )?,
            layers: (0..config.num_hidden_layers)
                .map(|n| layer(weights, n))
                .collect::<Result<_, _>>()?,
            post_norm: Norm::take(weights, &format!("{prefix}.post_layernorm"), config)?,
        })
    }

    /// How many layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// `[3, edge, edge]` to `[n_patches, hidden]`: patches with their positions.
    pub fn embed(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        self.patch_embedding.forward(&patches(pixels, self.patch)?)? + &self.positions
    }

    /// Layer `n`, `[n_patches, hidden]`.
    pub fn layer(&self, n: usize, x: &Tensor) -> CandleResult<Tensor> {
        self.layers[n].forward(x)
    }

    /// The last norm, `[n_patches, hidden]`.
    pub fn finish(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.post_norm.forward(x)
    }

    /// The whole tower: `[3, edge, edge]` to `[n_patches, hidden]`.
    pub fn forward(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        let x = (0..self.depth()).try_fold(self.embed(pixels)?, |x, n| self.layer(n, &x))?;
        self.finish(&x)
    }
}
