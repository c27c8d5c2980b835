//! Norms on a GPU.

use candle_core::{DType, Result as CandleResult, Tensor};

use crate::blocks::norm;
use crate::gpu::fused;
use crate::gpu::product::Place;

/// By mean and variance.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    /// Brings a norm to the GPU.
    pub fn place(place: Place<'_>, norm: &norm::LayerNorm) -> CandleResult<Self> {
        Ok(Self {
            weight: place.numbers(&norm.weight)?,
            bias: place.numbers(&norm.bias)?,
            eps: norm.eps,
        })
    }

    /// The norm of `x`, `[n, width]` f32, in `dtype`.
    pub fn apply(&self, x: &Tensor, dtype: DType) -> CandleResult<Tensor> {
        fused::layer_norm(x, [&self.weight, &self.bias], self.eps, dtype)
    }
}

/// By the root of the mean square.
#[derive(Debug)]
pub struct RootNorm {
    weight: Tensor,
    eps: f32,
}

impl RootNorm {
    /// Brings a norm with this weight, `[width]`, to the GPU.
    pub fn place(place: Place<'_>, weight: &[f32], eps: f32) -> CandleResult<Self> {
        Ok(Self { weight: place.numbers(weight)?, eps })
    }

    /// Brings a norm to the GPU.
    pub fn of(place: Place<'_>, norm: &norm::RootNorm) -> CandleResult<Self> {
        Self::place(place, &norm.weight, norm.eps)
    }

    /// The norm of `x`, `[n, width]` f32, in `dtype`.
    pub fn apply(&self, x: &Tensor, dtype: DType) -> CandleResult<Tensor> {
        fused::root_norm(x, Some(&self.weight), self.eps, dtype)
    }

    /// As the norm of heads in [`fused::turned`].
    pub fn of_heads(&self) -> fused::HeadNorm<'_> {
        fused::HeadNorm { weight: Some(&self.weight), eps: self.eps }
    }
}
