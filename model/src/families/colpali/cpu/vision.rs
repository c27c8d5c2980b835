//! The vision tower of SigLIP: patch embedding, learned positions, pre-norm layers, a last norm.
//! There is no class token and no pooling head. Source: transformers 4.57.6
//! `models/siglip/modeling_siglip.py`.

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::attention::{Heads, Mask, attend};
use crate::blocks::elementwise::{add_rows, layer_norm};
use crate::blocks::lanes::{LANES, Lanes, groups_of};
use crate::blocks::linear::{Linear, lanes, tensor};
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::colpali::config::VisionConfig;
use crate::families::colpali::preprocess::patch_lanes;
use crate::precision::Precision;

/// The tower.
#[derive(Debug, Clone)]
pub struct Vision {
    arithmetic: Arithmetic,
    pub patch: usize,
    pub patch_embedding: Linear,
    /// Learned positions, the same for every picture.
    pub positions: Lanes,
    pub layers: Vec<Layer>,
    pub post_norm: Norm,
}

#[derive(Debug, Clone)]
pub struct Norm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub eps: f32,
}

impl Norm {
    fn take(weights: &mut Weights, key: &str, config: &VisionConfig) -> Result<Self, ModelError> {
        let shape = [config.hidden_size];
        Ok(Self {
            weight: weights.take(&format!("{key}.weight"), &shape)?.to_vec1()?,
            bias: weights.take(&format!("{key}.bias"), &shape)?.to_vec1()?,
            eps: config.layer_norm_eps as f32,
        })
    }

    fn apply(&self, x: &[[f32; LANES]], y: &mut [[f32; LANES]]) {
        layer_norm(x, &self.weight, &self.bias, self.eps, y);
    }
}

#[derive(Debug, Clone)]
pub struct Layer {
    pub norm1: Norm,
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub out: Linear,
    pub norm2: Norm,
    pub fc1: Linear,
    pub fc2: Linear,
    pub heads: Heads,
}

impl Layer {
    fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        config: &VisionConfig,
    ) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let heads = config.num_attention_heads;
        let dim = hidden / heads;
        let mut linear = |name: &str, input, output| {
            Linear::take(weights, precision, &format!("{key}.{name}"), input, output, true)
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
            heads: Heads {
                queries: heads,
                keys: heads,
                dim,
                scale: (dim as f64).powf(-0.5) as f32,
                cap: None,
            },
        })
    }

    fn forward(&self, arithmetic: Arithmetic, x: &mut Lanes) {
        let y = Operand::made(arithmetic, x, |_, x, y| self.norm1.apply(x, y));
        let [q, k, v] =
            [&self.query, &self.key, &self.value].map(|linear| linear.apply(&y, x.lengths()));
        let seen = attend(arithmetic, self.heads, Mask::All, &q, &k, &v);
        self.out.add_to(&Operand::round(arithmetic, &seen), x);
        let y = Operand::made(arithmetic, x, |_, x, y| self.norm2.apply(x, y));
        self.fc2.add_to(&self.fc1.apply_gelu(&y), x);
    }
}

impl Vision {
    /// Takes the tower's tensors below `prefix`.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        prefix: &str,
        config: &VisionConfig,
    ) -> Result<Self, ModelError> {
        let (hidden, patch) = (config.hidden_size, config.patch_size);
        let patches = config.side() * config.side();
        let layer = |weights: &mut Weights, n: usize| {
            Layer::take(weights, precision, &format!("{prefix}.encoder.layers.{n}"), config)
        };
        let positions = weights
            .take(&format!("{prefix}.embeddings.position_embedding.weight"), &[patches, hidden])?;
        Ok(Self {
            arithmetic: precision.arithmetic(),
            patch,
            patch_embedding: Linear::take_shaped(
                weights,
                precision.of_the_ends(),
                &format!("{prefix}.embeddings.patch_embedding"),
                &[hidden, 3, patch, patch],
                true,
            )?,
            positions: lanes(&positions)?,
            layers: (0..config.num_hidden_layers)
                .map(|n| layer(weights, n))
                .collect::<Result<_, _>>()?,
            post_norm: Norm::take(weights, &format!("{prefix}.post_layernorm"), config)?,
        })
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Encodes pictures, `[3, edge, edge]` each, to the features of their patches: one sequence per
    /// picture.
    pub fn encode(&self, pictures: &[Tensor]) -> CandleResult<Lanes> {
        let mut x = self.embed_all(pictures)?;
        for layer in &self.layers {
            layer.forward(self.arithmetic, &mut x);
        }
        Ok(self.finish_all(&x))
    }

    fn embed_all(&self, pictures: &[Tensor]) -> CandleResult<Lanes> {
        let length = self.positions.lengths()[0];
        let groups = groups_of(length);
        let mut values = Vec::with_capacity(pictures.len());
        for pixels in pictures {
            let (_, height, width) = pixels.dims3()?;
            if (height / self.patch) * (width / self.patch) != length {
                candle_core::bail!("{height} x {width} px are not {length} patches")
            }
            values.push((pixels.flatten_all()?.to_vec1::<f32>()?, [height, width]));
        }
        let lengths = vec![length; pictures.len()];
        let mut x = Lanes::zeros(&lengths, 3 * self.patch * self.patch);
        x.each_group(|group, rows| {
            let (pixels, size) = &values[group / groups];
            patch_lanes(pixels, *size, self.patch, group % groups * LANES, rows);
        });
        let mut x = self.patch_embedding.apply(&self.patch_embedding.operand(&x), &lengths);
        x.each_group(|group, rows| add_rows(rows, self.positions.group(group % groups), &[]));
        Ok(x)
    }

    fn finish_all(&self, x: &Lanes) -> Lanes {
        x.map_groups(x.width(), |x, y| self.post_norm.apply(x, y))
    }

    /// The embedded patches of a picture `[3, edge, edge]` with their positions, `[n_patches,
    /// hidden]`.
    pub fn embed(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        tensor(&self.embed_all(std::slice::from_ref(pixels))?)
    }

    /// Runs layer `n` over one picture, `[n_patches, hidden]`.
    pub fn layer(&self, n: usize, x: &Tensor) -> CandleResult<Tensor> {
        let mut x = lanes(x)?;
        self.layers[n].forward(self.arithmetic, &mut x);
        tensor(&x)
    }

    /// Runs the last norm over one picture, `[n_patches, hidden]`.
    pub fn finish(&self, x: &Tensor) -> CandleResult<Tensor> {
        tensor(&self.finish_all(&lanes(x)?))
    }
}
