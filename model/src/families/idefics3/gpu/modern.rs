//! ModernBERT on a GPU.

use candle_core::{DType, Device as CandleDevice, Result as CandleResult, Tensor};

use crate::blocks::attention::Heads;
use crate::families::idefics3::cpu::counted;
use crate::families::idefics3::cpu::modern::{self, Words};
use crate::gpu::attention::{Attended, angles, ends};
use crate::gpu::fused::{self, Activation};
use crate::gpu::norm::LayerNorm;
use crate::gpu::product::{Place, Product};
use crate::gpu::reach::Reach;

/// The encoder.
#[derive(Debug)]
pub struct Modern {
    device: CandleDevice,
    /// The type of products.
    dtype: DType,
    words: Words,
    heads: Heads,
    norm: LayerNorm,
    layers: Vec<Layer>,
    last_norm: LayerNorm,
    /// The frequency of each pair of numbers of a head, in layers that see all, and in the others.
    frequencies: [Vec<(usize, f32)>; 2],
    reach: usize,
}

#[derive(Debug)]
struct Layer {
    /// The first layer has none: what it reads has gone through the norm of the embeddings.
    attention_norm: Option<LayerNorm>,
    /// Queries, keys and values.
    read: Product,
    out: Product,
    mlp_norm: LayerNorm,
    /// What goes through the activation, and what it is multiplied with.
    gated: Product,
    outer: Product,
    /// Whether it sees all.
    all: bool,
}

/// What layers of one kind share for some sequences.
struct Shared {
    angles: Tensor,
    attended: Attended,
}

impl Layer {
    fn place(place: Place<'_>, layer: &modern::Layer) -> CandleResult<Self> {
        let norm = layer.attention_norm.as_ref();
        Ok(Self {
            attention_norm: norm.map(|norm| LayerNorm::place(place, norm)).transpose()?,
            read: place.products(&[&layer.query, &layer.key, &layer.value])?,
            out: place.product(&layer.out)?,
            mlp_norm: LayerNorm::place(place, &layer.mlp_norm)?,
            gated: place.products(&[&layer.inner, &layer.gate])?,
            outer: place.product(&layer.outer)?,
            all: layer.all,
        })
    }

    fn forward(&self, heads: Heads, x: &Tensor, shared: &Shared) -> CandleResult<Tensor> {
        let (Heads { queries, dim, .. }, dtype) = (heads, self.out.weight.dtype());
        let y = match &self.attention_norm {
            Some(norm) => norm.apply(x, dtype)?,
            None => x.to_dtype(dtype)?,
        };
        let read = self.read.multiply(&y)?;
        let turning = read.reshape((x.dim(0)?, 3 * queries, dim))?.narrow(1, 0, 2 * queries)?;
        let turned = fused::turned(&turning, None, None, Some(&shared.angles))?;
        let q = turned.narrow(1, 0, queries * dim)?;
        let k = turned.narrow(1, queries * dim, queries * dim)?;
        let v = read.narrow(1, 2 * queries * dim, queries * dim)?;
        let x = self.out.add_to(x, &shared.attended.attend(heads, [&q, &k, &v])?)?;
        let y = self.gated.multiply(&self.mlp_norm.apply(&x, dtype)?)?;
        self.outer.add_to(&x, &fused::gated(&y, None, Activation::ExactGelu)?)
    }
}

impl Modern {
    /// Brings the weights of `model` to a GPU. Its token table stays where it lies.
    pub fn place(place: Place<'_>, model: &modern::Modern) -> CandleResult<Self> {
        let layers = model.layers.iter().map(|layer| Layer::place(place, layer));
        Ok(Self {
            device: place.device.clone(),
            dtype: place.dtype,
            words: model.words.clone(),
            heads: model.heads,
            norm: LayerNorm::place(place, &model.norm)?,
            layers: layers.collect::<CandleResult<_>>()?,
            last_norm: LayerNorm::place(place, &model.last_norm)?,
            frequencies: model.frequencies.clone(),
            reach: model.reach,
        })
    }

    /// The rows of the token table for `ids`, `[ids.len(), hidden]` f32, on the GPU.
    pub fn embed(&self, ids: &[u32]) -> CandleResult<Tensor> {
        self.words.rows(ids)?.to_device(&self.device)
    }

    /// Runs the norm of embeddings, all layers and the last norm over `x`, `[n, hidden]` f32:
    /// sequences of these lengths, one after the other. The result has the type of products.
    pub fn encode(&self, x: &Tensor, lengths: &[usize]) -> CandleResult<Tensor> {
        let (ends, axes) = (ends(lengths), [counted(lengths)]);
        let shared = |pairs: &[(usize, f32)], reach| -> CandleResult<Shared> {
            let angles = angles(&self.device, &axes, pairs)?;
            Ok(Shared { angles, attended: Attended::new(&self.device, &ends, reach)? })
        };
        let [of_all, of_others] = &self.frequencies;
        let all = shared(of_all, Reach::All)?;
        let around = shared(of_others, Reach::Window(self.reach))?;
        let mut x = self.norm.apply(x, DType::F32)?;
        for layer in &self.layers {
            x = layer.forward(self.heads, &x, if layer.all { &all } else { &around })?;
        }
        self.last_norm.apply(&x, self.dtype)
    }
}
