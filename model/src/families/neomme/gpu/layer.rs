//! A layer on a GPU.

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::attention::Heads;
use crate::families::neomme::config::LayerConfig;
use crate::families::neomme::cpu::layer;
use crate::gpu::attention::Attended;
use crate::gpu::fused::{self, Activation, HeadNorm};
use crate::gpu::product::{Place, Product};
use crate::gpu::reach::Reach;

#[derive(Debug)]
pub struct Layer {
    heads: Heads,
    kind: LayerConfig,
    eps: f32,
    /// What both branches are multiplied with.
    residual: f32,
    /// Shares of the layer's input and of the first layer's in what attention reads.
    shares: [f32; 2],
    /// How much of what lies along a position's own value is taken away, `[heads]`.
    excluded: Tensor,
    /// Queries, keys, values and gates.
    read: Product,
    out: Product,
    up: Product,
    down: Product,
}

/// What all layers share.
#[derive(Debug)]
pub struct Shared {
    /// The input of the first layer, `[n, hidden]` f32.
    pub input: Tensor,
    /// What tokens add to values, `[n, keys * dim]` f32.
    pub values: Tensor,
    /// Angles of layers of full attention.
    pub full: Tensor,
    /// Angles of layers of sliding attention.
    pub sliding: Tensor,
    /// Which positions see each other, for each distance that layers see.
    pub attended: Vec<(Reach, Attended)>,
}

impl Layer {
    pub fn place(place: Place<'_>, layer: &layer::Layer) -> CandleResult<Self> {
        Ok(Self {
            heads: layer.heads,
            kind: layer.kind,
            eps: layer.eps,
            residual: layer.residual,
            shares: layer.shares,
            excluded: place.numbers(&layer.excluded)?,
            read: place.products(&[&layer.query, &layer.key, &layer.value, &layer.gate])?,
            out: place.product(&layer.out)?,
            up: place.product(&layer.up)?,
            down: place.product(&layer.down)?,
        })
    }

    /// How far it sees.
    pub fn reach(&self) -> Reach {
        self.kind.window.map_or(Reach::All, Reach::Window)
    }

    /// `x`, `[n, hidden]` f32, through the layer.
    pub fn forward(&self, x: &Tensor, shared: &Shared) -> CandleResult<Tensor> {
        let (Heads { queries, keys, dim, .. }, dtype) = (self.heads, self.out.weight.dtype());
        let y = fused::mixed_norm([x, &shared.input], self.shares, self.eps, dtype)?;
        let read = self.read.multiply(&y)?;
        let heads = read.reshape((x.dim(0)?, 2 * (queries + keys), dim))?;
        let turning = heads.narrow(1, 0, queries + keys)?;
        let norm = HeadNorm { weight: None, eps: self.eps };
        let angles = if self.kind.full { &shared.full } else { &shared.sliding };
        let turned = fused::turned(&turning, None, Some(norm), Some(angles))?;
        let q = turned.narrow(1, 0, queries * dim)?;
        let k = turned.narrow(1, queries * dim, keys * dim)?;
        let mut v = read.narrow(1, (queries + keys) * dim, keys * dim)?;
        if self.kind.value_embedding {
            v = fused::add(&shared.values, &v.contiguous()?, None)?.to_dtype(dtype)?;
        }
        let gate = read.narrow(1, (queries + 2 * keys) * dim, queries * dim)?;
        let reach = self.reach();
        let Some((_, attended)) = shared.attended.iter().find(|(other, _)| *other == reach) else {
            candle_core::bail!("nothing is known of what a layer sees")
        };
        let seen = attended.attend(self.heads, [&q, &k, &v])?;
        let seen = fused::excluded_gated(&seen, &v, &self.excluded, &gate, dim, self.residual)?;
        let x = self.out.add_to(x, &seen)?;
        let y = self.up.multiply(&fused::root_norm(&x, None, self.eps, dtype)?)?;
        let y = fused::activated(&y, None, Activation::SquaredRelu(self.residual))?;
        self.down.add_to(&x, &y)
    }
}
