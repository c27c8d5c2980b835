//! Gemma on a GPU.

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::attention::Heads;
use crate::families::colpali::cpu::language;
use crate::gpu::shape::Shape;
use crate::gpu::{Place, Product, RootNorm, attend, fused};

#[derive(Debug)]
pub struct Layer {
    input_norm: RootNorm,
    query: Product,
    key: Product,
    value: Product,
    out: Product,
    mlp_norm: RootNorm,
    gate: Product,
    up: Product,
    down: Product,
    heads: Heads,
}

impl Layer {
    pub fn place(place: Place<'_>, layer: &language::Layer) -> CandleResult<Self> {
        if layer.post_norms.is_some() || layer.heads.cap.is_some() {
            candle_core::bail!("Gemma 2 runs on the CPU")
        }
        Ok(Self {
            input_norm: place_norm(place, &layer.input_norm)?,
            query: place.product(&layer.query)?,
            key: place.product(&layer.key)?,
            value: place.product(&layer.value)?,
            out: place.product(&layer.out)?,
            mlp_norm: place_norm(place, &layer.mlp_norm)?,
            gate: place.product(&layer.gate)?,
            up: place.product(&layer.up)?,
            down: place.product(&layer.down)?,
            heads: layer.heads,
        })
    }

    pub fn forward(
        &self,
        x: &Tensor,
        angles: &Tensor,
        seen: usize,
        mask: Option<&Tensor>,
    ) -> CandleResult<Tensor> {
        let (batch, n, _) = x.dims3()?;
        let Heads { queries, keys, dim, .. } = self.heads;
        let shape = |heads| Shape { batch, n, heads, dim };
        let dtype = self.out.weight.dtype();
        let y = self.input_norm.apply(x, dtype)?;
        let q = self.query.turned_heads(&y, angles, shape(queries))?;
        let k = self.key.turned_heads(&y, angles, shape(keys))?;
        let v = self.value.heads(&y, shape(keys))?;
        let x = self.out.add_to(x, &attend(self.heads, seen, mask, [&q, &k, &v])?)?;
        let y = self.mlp_norm.apply(&x, dtype)?;
        let y = fused::gated(&self.gate.multiply(&y)?, &self.up.multiply(&y)?)?;
        self.down.add_to(&x, &y)
    }
}

/// Brings a norm to the GPU.
pub fn place_norm(place: Place<'_>, norm: &language::Norm) -> CandleResult<RootNorm> {
    RootNorm::place(place, &norm.weight, norm.eps)
}
