//! SigLIP's vision tower on a GPU.

use candle_core::{DType, Result as CandleResult, Tensor};

use crate::blocks::attention::Heads;
use crate::blocks::siglip::{self, Siglip};
use crate::gpu::attention::Attended;
use crate::gpu::fused::{self, Activation};
use crate::gpu::norm::LayerNorm;
use crate::gpu::product::{Place, Product};
use crate::gpu::reach::Reach;

/// The tower.
#[derive(Debug)]
pub struct Tower {
    /// Edge of a patch, px.
    pub patch: usize,
    dtype: DType,
    patch_embedding: Product,
    /// `[n_patches, hidden]`.
    positions: Tensor,
    layers: Vec<Layer>,
    post_norm: LayerNorm,
}

#[derive(Debug)]
struct Layer {
    norms: [LayerNorm; 2],
    /// Queries, keys and values.
    read: Product,
    out: Product,
    up: Product,
    down: Product,
    heads: Heads,
}

impl Tower {
    /// Brings the weights of `tower` to a GPU.
    pub fn place(place: Place<'_>, tower: &Siglip) -> CandleResult<Self> {
        let positions = place.numbers(&tower.positions.to_rows())?;
        let layers = tower.layers.iter().map(|layer| Layer::place(place, layer));
        Ok(Self {
            patch: tower.patch,
            dtype: place.dtype,
            patch_embedding: place.product(&tower.patch_embedding)?,
            positions: positions.reshape(((), tower.positions.width()))?,
            layers: layers.collect::<CandleResult<_>>()?,
            post_norm: LayerNorm::place(place, &tower.post_norm)?,
        })
    }

    /// Patches of a picture.
    pub fn patches(&self) -> CandleResult<usize> {
        self.positions.dim(0)
    }

    /// Patches of pictures, `[pictures * n_patches, 3 * patch * patch]`, to their features in the
    /// type of products, `[pictures * n_patches, hidden]`.
    pub fn encode(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        let x = self.patch_embedding.apply(pixels)?;
        let (n_patches, hidden) = self.positions.dims2()?;
        let pictures = x.dim(0)? / n_patches;
        let x = x.reshape((pictures, n_patches, hidden))?.broadcast_add(&self.positions)?;
        let mut x = x.reshape((pictures * n_patches, hidden))?;
        let ends: Vec<usize> = (1..=pictures).map(|picture| picture * n_patches).collect();
        let attended = Attended::new(x.device(), &ends, Reach::All)?;
        for layer in &self.layers {
            x = layer.forward(&x, &attended, self.dtype)?;
        }
        self.post_norm.apply(&x, self.dtype)
    }
}

impl Layer {
    fn place(place: Place<'_>, layer: &siglip::Layer) -> CandleResult<Self> {
        let attention = &layer.attention;
        Ok(Self {
            norms: [LayerNorm::place(place, &layer.norm1)?, LayerNorm::place(place, &layer.norm2)?],
            read: place.products(&[&attention.query, &attention.key, &attention.value])?,
            out: place.product(&attention.out)?,
            up: place.product(&layer.mlp.up)?,
            down: place.product(&layer.mlp.down)?,
            heads: attention.heads,
        })
    }

    fn forward(&self, x: &Tensor, attended: &Attended, dtype: DType) -> CandleResult<Tensor> {
        let Heads { queries, dim, .. } = self.heads;
        let read = self.read.multiply(&self.norms[0].apply(x, dtype)?)?;
        let read = read.reshape((x.dim(0)?, 3 * queries, dim))?;
        let read = fused::turned(&read, self.read.bias.as_ref(), None, None)?;
        let part = |n: usize| read.narrow(1, n * queries * dim, queries * dim);
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        let x = self.out.add_to(x, &attended.attend(self.heads, [&q, &k, &v])?)?;
        let y = self.up.multiply(&self.norms[1].apply(&x, dtype)?)?;
        self.down.add_to(&x, &fused::activated(&y, self.up.bias.as_ref(), Activation::Gelu)?)
    }
}
