//! Gemma 1 and 2 on a GPU; see [`cpu::language`](crate::families::colpali::cpu::language).

use candle_core::{DType, Result as CandleResult, Tensor};

use crate::blocks::attention::Heads;
use crate::families::colpali::cpu::language;
use crate::gpu::attention::Attended;
use crate::gpu::cache::Cache;
use crate::gpu::fused::{self, Activation};
use crate::gpu::norm::RootNorm;
use crate::gpu::product::{Place, Product};

#[derive(Debug)]
pub struct Layer {
    input_norm: RootNorm,
    /// Queries, keys and values.
    read: Product,
    out: Product,
    mlp_norm: RootNorm,
    /// Gates, and what they are for.
    gated: Product,
    down: Product,
    heads: Heads,
    /// Norms of what attention and MLP give, before it is added: Gemma 2 has them.
    post_norms: Option<[RootNorm; 2]>,
}

impl Layer {
    pub fn place(place: Place<'_>, layer: &language::Layer) -> CandleResult<Self> {
        let post_norms = match &layer.post_norms {
            Some([attention, mlp]) => {
                Some([place_norm(place, attention)?, place_norm(place, mlp)?])
            }
            None => None,
        };
        Ok(Self {
            input_norm: place_norm(place, &layer.input_norm)?,
            read: place.products(&[&layer.query, &layer.key, &layer.value])?,
            out: place.product(&layer.out)?,
            mlp_norm: place_norm(place, &layer.mlp_norm)?,
            gated: place.products(&[&layer.gate, &layer.up])?,
            down: place.product(&layer.down)?,
            heads: layer.heads,
            post_norms,
        })
    }

    /// `x`, `[n, hidden]` f32, through the layer.
    pub fn forward(
        &self,
        x: &Tensor,
        angles: &Tensor,
        attended: &Attended,
    ) -> CandleResult<Tensor> {
        let [q, k, v] = self.asked(x, angles)?;
        self.answered(x, &attended.attend(self.heads, [&q, &k, &v])?)
    }

    /// As [`forward`](Self::forward), of one sequence; gives its keys and values as well.
    pub fn prefill(
        &self,
        x: &Tensor,
        angles: &Tensor,
        attended: &Attended,
    ) -> CandleResult<(Tensor, Cache)> {
        let [q, k, v] = self.asked(x, angles)?;
        let cache = Cache::new(self.heads, &k, &v)?;
        Ok((self.answered(x, &attended.attend(self.heads, [&q, &k, &v])?)?, cache))
    }

    /// One position more of each of several sequences, a row of `x` each, over their caches of this
    /// layer, which grow by it.
    pub fn step(
        &self,
        x: &Tensor,
        angles: &Tensor,
        caches: &mut [&mut Cache],
    ) -> CandleResult<Tensor> {
        let asked = self.asked(x, angles)?;
        let seen = caches.iter_mut().enumerate().map(|(at, cache)| {
            let [q, k, v] = &asked;
            cache.push(&k.narrow(0, at, 1)?, &v.narrow(0, at, 1)?)?;
            cache.attend(&q.narrow(0, at, 1)?)
        });
        let seen = seen.collect::<CandleResult<Vec<_>>>()?;
        self.answered(x, &Tensor::cat(&seen, 0)?)
    }

    /// Queries, keys and values, the first two turned; their rows may lie apart.
    fn asked(&self, x: &Tensor, angles: &Tensor) -> CandleResult<[Tensor; 3]> {
        let Heads { queries, keys, dim, .. } = self.heads;
        let read = self.read.multiply(&self.input_norm.apply(x, self.dtype())?)?;
        let turning = read.reshape((x.dim(0)?, queries + 2 * keys, dim))?;
        let turning = turning.narrow(1, 0, queries + keys)?;
        let turned = fused::turned(&turning, None, None, Some(angles))?;
        Ok([
            turned.narrow(1, 0, queries * dim)?,
            turned.narrow(1, queries * dim, keys * dim)?,
            read.narrow(1, (queries + keys) * dim, keys * dim)?,
        ])
    }

    /// What follows attention: its output layer, and the MLP.
    fn answered(&self, x: &Tensor, seen: &Tensor) -> CandleResult<Tensor> {
        let [attention, mlp] = match &self.post_norms {
            Some([attention, mlp]) => [Some(attention), Some(mlp)],
            None => [None, None],
        };
        let x = add(&self.out, seen, attention, x)?;
        let y = self.gated.multiply(&self.mlp_norm.apply(&x, self.dtype())?)?;
        add(&self.down, &fused::gated(&y, None, Activation::Gelu)?, mlp, &x)
    }

    /// The type of products.
    fn dtype(&self) -> DType {
        self.out.weight.dtype()
    }
}

/// Adds what `product` makes of `y`, through `norm` where there is one, to `x`.
fn add(product: &Product, y: &Tensor, norm: Option<&RootNorm>, x: &Tensor) -> CandleResult<Tensor> {
    match norm {
        Some(norm) => x + norm.apply(&product.apply(y)?, DType::F32)?,
        None => product.add_to(x, y),
    }
}

/// Brings a norm to the GPU.
pub fn place_norm(place: Place<'_>, norm: &language::Norm) -> CandleResult<RootNorm> {
    RootNorm::place(place, &norm.weight, norm.eps)
}
