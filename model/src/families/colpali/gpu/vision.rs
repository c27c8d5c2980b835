//! SigLIP's vision tower and its projector on a GPU.

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::attention::Heads;
use crate::blocks::linear::Linear;
use crate::blocks::norm;
use crate::blocks::siglip::{self, Siglip};
use crate::gpu::shape::Shape;
use crate::gpu::{LayerNorm, Place, Product, attend, fused};

/// The vision tower and its projector.
#[derive(Debug)]
pub struct Vision {
    pub patch: usize,
    patch_embedding: Product,
    /// `[n_patches, hidden]`.
    positions: Tensor,
    layers: Vec<Layer>,
    post_norm: LayerNorm,
    projector: Product,
}

impl Vision {
    pub fn place(place: Place<'_>, tower: &Siglip, projector: &Linear) -> CandleResult<Self> {
        let positions = place.numbers(&tower.positions.to_rows())?;
        let layers = tower.layers.iter().map(|layer| Layer::place(place, layer));
        Ok(Self {
            patch: tower.patch,
            patch_embedding: place.product(&tower.patch_embedding)?,
            positions: positions.reshape(((), tower.positions.width()))?,
            layers: layers.collect::<CandleResult<_>>()?,
            post_norm: place_norm(place, &tower.post_norm)?,
            projector: place.product(projector)?,
        })
    }

    /// `[batch, n_patches, 3 * patch * patch]` to `[batch, n_patches, the language model's width]`,
    /// f32.
    pub fn encode(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        let x = self.patch_embedding.apply(pixels)?;
        let mut x = x.broadcast_add(&self.positions)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        self.projector.apply(&self.post_norm.apply(&x, self.projector.weight.dtype())?)
    }
}

#[derive(Debug)]
struct Layer {
    norm1: LayerNorm,
    query: Product,
    key: Product,
    value: Product,
    out: Product,
    norm2: LayerNorm,
    fc1: Product,
    fc2: Product,
    heads: Heads,
}

impl Layer {
    fn place(place: Place<'_>, layer: &siglip::Layer) -> CandleResult<Self> {
        Ok(Self {
            norm1: place_norm(place, &layer.norm1)?,
            query: place.product(&layer.attention.query)?,
            key: place.product(&layer.attention.key)?,
            value: place.product(&layer.attention.value)?,
            out: place.product(&layer.attention.out)?,
            norm2: place_norm(place, &layer.norm2)?,
            fc1: place.product(&layer.mlp.up)?,
            fc2: place.product(&layer.mlp.down)?,
            heads: layer.attention.heads,
        })
    }

    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let (batch, n, _) = x.dims3()?;
        let Heads { queries, keys, dim, .. } = self.heads;
        let shape = |heads| Shape { batch, n, heads, dim };
        let dtype = self.out.weight.dtype();
        let y = self.norm1.apply(x, dtype)?;
        let q = self.query.heads(&y, shape(queries))?;
        let (k, v) = (self.key.heads(&y, shape(keys))?, self.value.heads(&y, shape(keys))?);
        let x = self.out.add_to(x, &attend(self.heads, n, None, [&q, &k, &v])?)?;
        let y = self.fc1.multiply(&self.norm2.apply(&x, dtype)?)?;
        self.fc2.add_to(&x, &fused::gelu(&y, self.fc1.bias.as_ref())?)
    }
}

fn place_norm(place: Place<'_>, norm: &norm::LayerNorm) -> CandleResult<LayerNorm> {
    LayerNorm::place(place, &norm.weight, &norm.bias, norm.eps)
}
