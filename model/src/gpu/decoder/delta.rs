//! A gated delta net on a GPU, in the place of attention.

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::decoder::delta;
use crate::blocks::decoder::sizes::DeltaSizes;
use crate::gpu::delta::{convolved, delta_rule, shares};
use crate::gpu::fused;
use crate::gpu::norm::RootNorm;
use crate::gpu::product::{Place, Product};

/// The net.
#[derive(Debug)]
pub struct DeltaNet {
    sizes: DeltaSizes,
    /// Queries, keys and values of all heads, which are convolved; then gates, strengths and
    /// decays.
    read: Product,
    /// `[channels, reach]`, the own position last.
    convolution: Tensor,
    /// `[values]`.
    decay_bias: Tensor,
    /// `[values]`.
    rate: Tensor,
    norm: RootNorm,
    out: Product,
}

impl DeltaNet {
    /// Brings its weights to a GPU.
    pub fn place(place: Place<'_>, net: &delta::DeltaNet) -> CandleResult<Self> {
        let convolution = place.numbers(&net.convolution)?;
        let read = place.products(&[&net.mixed, &net.gate, &net.strength, &net.decay])?;
        // Rows that begin at whole eights, which the kernels ask for.
        let outputs = read.weight.dim(0)?.next_multiple_of(8);
        Ok(Self {
            sizes: net.sizes,
            read: read.with_outputs(outputs)?,
            convolution: convolution.reshape(((), net.sizes.reach))?,
            decay_bias: place.numbers(&net.decay_bias)?,
            rate: place.numbers(&net.rate)?,
            norm: RootNorm::of(place, &net.norm)?,
            out: place.product(&net.out)?,
        })
    }

    /// `x`, `[n, hidden]` f32, and what positions read from the matrices, given `y`, what the layer
    /// reads of them.
    pub fn add_to(&self, x: &Tensor, y: &Tensor, lengths: &[usize]) -> CandleResult<Tensor> {
        let DeltaSizes { values, value_dim, .. } = self.sizes;
        let [all_keys, all_values] = self.sizes.widths();
        let mixed = 2 * all_keys + all_values;
        let read = self.read.multiply(y)?;
        let rows = convolved(&read.narrow(1, 0, mixed)?, &self.convolution, lengths)?;
        let of_shares = read.narrow(1, mixed + all_values, 2 * values)?;
        let [kept, strength] = shares(&of_shares, &self.decay_bias, &self.rate)?;
        let seen = delta_rule(&rows, [&kept, &strength], lengths, self.sizes)?;
        let gates = read.narrow(1, mixed, all_values)?;
        let seen = fused::norm_gated(&seen, self.norm.of_heads(), &gates, value_dim)?;
        self.out.add_to(x, &seen)
    }
}
