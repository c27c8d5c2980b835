//! The vision tower of SigLIP: patch embedding, learned positions, pre-norm layers, a last norm.
//! There is no class token and no pooling head. Source: transformers 4.57.6
//! `models/siglip/modeling_siglip.py`.

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::elementwise::{add_rows, gelu_rows};
use crate::blocks::lanes::{LANES, Lanes, groups_of};
use crate::blocks::linear::{Linear, lanes, tensor};
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::blocks::norm::LayerNorm;
use crate::blocks::self_attention::{Mlp, SelfAttention};
use crate::checkpoint::inventory::Inventory;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::precision::Precision;

/// The sizes of a tower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SiglipSizes {
    pub hidden: usize,
    pub inner: usize,
    pub layers: usize,
    pub heads: usize,
    /// Edge of a picture, px.
    pub edge: usize,
    /// Edge of a patch, px.
    pub patch: usize,
    /// What norms add to the variance.
    pub eps: f64,
}

impl SiglipSizes {
    /// Patches along one edge.
    pub fn side(&self) -> usize {
        self.edge / self.patch
    }

    /// Adds the tensors of a tower below `prefix` to `list`.
    pub fn list(&self, prefix: &str, list: &mut Inventory) {
        let (hidden, inner, patch) = (self.hidden, self.inner, self.patch);
        list.add(format!("{prefix}.embeddings.patch_embedding.weight"), &[hidden, 3, patch, patch]);
        list.add(format!("{prefix}.embeddings.patch_embedding.bias"), &[hidden]);
        let positions = self.side() * self.side();
        list.add(format!("{prefix}.embeddings.position_embedding.weight"), &[positions, hidden]);
        for n in 0..self.layers {
            let layer = format!("{prefix}.encoder.layers.{n}");
            for norm in ["layer_norm1", "layer_norm2"] {
                list.norm(&format!("{layer}.{norm}"), hidden);
            }
            for name in ATTENTION {
                list.linear(&format!("{layer}.{name}"), hidden, hidden, true);
            }
            list.linear(&format!("{layer}.{}", MLP[0]), hidden, inner, true);
            list.linear(&format!("{layer}.{}", MLP[1]), inner, hidden, true);
        }
        list.norm(&format!("{prefix}.post_layernorm"), hidden);
    }

    /// Multiplications and additions for a picture, without what is behind the tower.
    pub fn operations(&self) -> usize {
        let patches = self.side() * self.side();
        let linear = 3 * self.patch * self.patch
            + self.layers * (4 * self.hidden + 2 * self.inner + 2 * patches);
        2 * patches * self.hidden * linear
    }
}

const ATTENTION: [&str; 4] =
    ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"];
const MLP: [&str; 2] = ["mlp.fc1", "mlp.fc2"];

/// The tower.
#[derive(Debug, Clone)]
pub struct Siglip {
    arithmetic: Arithmetic,
    pub patch: usize,
    pub patch_embedding: Linear,
    /// Learned positions, the same for every picture.
    pub positions: Lanes,
    pub layers: Vec<Layer>,
    pub post_norm: LayerNorm,
}

#[derive(Debug, Clone)]
pub struct Layer {
    pub norm1: LayerNorm,
    pub attention: SelfAttention,
    pub norm2: LayerNorm,
    pub mlp: Mlp,
}

impl Layer {
    fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        sizes: &SiglipSizes,
    ) -> Result<Self, ModelError> {
        let SiglipSizes { hidden, inner, heads, eps, .. } = *sizes;
        Ok(Self {
            norm1: LayerNorm::take(weights, &format!("{key}.layer_norm1"), hidden, eps)?,
            attention: SelfAttention::take(weights, precision, key, ATTENTION, hidden, heads)?,
            norm2: LayerNorm::take(weights, &format!("{key}.layer_norm2"), hidden, eps)?,
            mlp: Mlp::take(weights, precision, key, MLP, [hidden, inner], gelu_rows)?,
        })
    }

    fn forward(&self, arithmetic: Arithmetic, x: &mut Lanes) {
        let y = Operand::made(arithmetic, x, |_, x, y| self.norm1.apply(x, y));
        self.attention.add_to(arithmetic, &y, x);
        let y = Operand::made(arithmetic, x, |_, x, y| self.norm2.apply(x, y));
        self.mlp.add_to(&y, x);
    }
}

impl Siglip {
    /// Takes the tower's tensors below `prefix`.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        prefix: &str,
        sizes: &SiglipSizes,
    ) -> Result<Self, ModelError> {
        let (hidden, patch) = (sizes.hidden, sizes.patch);
        let patches = sizes.side() * sizes.side();
        let layer = |weights: &mut Weights, n: usize| {
            Layer::take(weights, precision, &format!("{prefix}.encoder.layers.{n}"), sizes)
        };
        let positions = weights
            .take(&format!("{prefix}.embeddings.position_embedding.weight"), &[patches, hidden])?;
        let post_norm = format!("{prefix}.post_layernorm");
        Ok(Self {
            arithmetic: weights.arithmetic(precision),
            patch,
            patch_embedding: Linear::take_shaped(
                weights,
                precision.of_the_ends(),
                &format!("{prefix}.embeddings.patch_embedding"),
                &[hidden, 3, patch, patch],
                true,
            )?,
            positions: lanes(&positions)?,
            layers: (0..sizes.layers).map(|n| layer(weights, n)).collect::<Result<_, _>>()?,
            post_norm: LayerNorm::take(weights, &post_norm, hidden, sizes.eps)?,
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
        Ok(self.post_norm.over(&x))
    }

    /// The embedded patches of pictures, `[3, edge, edge]` each, with their positions.
    pub fn embed_all(&self, pictures: &[Tensor]) -> CandleResult<Lanes> {
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
        tensor(&self.post_norm.over(&lanes(x)?))
    }
}

/// Writes patches `first ..` of `pixels`, `[3, height, width]`, into the lanes of a group: patches
/// in row-major order, and inside a patch channel, row, column, which is the order of the
/// convolution's weight.
pub fn patch_lanes(
    pixels: &[f32],
    [height, width]: [usize; 2],
    patch: usize,
    first: usize,
    rows: &mut [[f32; LANES]],
) {
    let across = width / patch;
    for lane in 0..LANES.min((height / patch * across).saturating_sub(first)) {
        let (down, right) = ((first + lane) / across, (first + lane) % across);
        for (line, rows) in rows.chunks_mut(patch).enumerate() {
            let (channel, y) = (line / patch, line % patch);
            let start = (channel * height + down * patch + y) * width + right * patch;
            for (row, value) in rows.iter_mut().zip(&pixels[start..start + patch]) {
                row[lane] = *value;
            }
        }
    }
}
