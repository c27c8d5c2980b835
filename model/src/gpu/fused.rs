//! What a GPU does between two products, one pass over memory each. In bf16 on a GPU of NVIDIA it
//! is done by the kernels of `fused.cu`; elsewhere by candle's operations, which make the same
//! numbers in more passes.

#[cfg(feature = "cuda")]
use candle_core::Device as CandleDevice;
use candle_core::{D, DType, Result as CandleResult, Tensor};
use candle_nn::ops::{self, softmax_last_dim};
use candle_nn::rotary_emb::rope;

#[cfg(feature = "cuda")]
use crate::gpu::kernels;
use crate::gpu::shape::Shape;

/// Whether the kernels take `x`, in parts of `width` numbers.
#[cfg(feature = "cuda")]
fn by_kernel(x: &Tensor, width: usize) -> bool {
    by_kernels(x.device(), x.dtype(), width)
}

/// Whether the kernels make products of `dtype`, in parts of `width` numbers.
#[cfg(feature = "cuda")]
fn by_kernels(device: &CandleDevice, dtype: DType, width: usize) -> bool {
    device.is_cuda() && dtype == DType::BF16 && width.is_multiple_of(8)
}

fn biased(x: &Tensor, bias: Option<&Tensor>) -> CandleResult<Tensor> {
    let x = x.to_dtype(DType::F32)?;
    bias.map_or(Ok(x.clone()), |bias| x.broadcast_add(bias))
}

/// `gelu(x + bias)`, `x` and result `[rows, width]` in the type of products, `bias` `[width]` f32.
pub fn gelu(x: &Tensor, bias: Option<&Tensor>) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if let Some(bias) = bias.filter(|bias| by_kernel(x, bias.elem_count())) {
        return kernels::biased_gelu(x, bias);
    }
    biased(x, bias)?.gelu()?.to_dtype(x.dtype())
}

/// `gelu(gate) * up`, all in the type of products.
pub fn gated(gate: &Tensor, up: &Tensor) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if by_kernel(gate, gate.elem_count()) {
        return kernels::gated(gate, up);
    }
    let gelu = gate.to_dtype(DType::F32)?.gelu()?;
    (gelu * up.to_dtype(DType::F32)?)?.to_dtype(gate.dtype())
}

/// `x + more + bias`: `x` and result `[.., width]` f32, `more` as many in the type of products.
pub fn add(x: &Tensor, more: &Tensor, bias: Option<&Tensor>) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if by_kernel(more, x.dim(D::Minus1)?) {
        return match bias {
            Some(bias) => kernels::added_biased(x, more, bias),
            None => kernels::added(x, more),
        };
    }
    x + biased(more, bias)?.reshape(x.shape())?
}

/// Root mean square norm of `x`, `[.., width]` f32, in `dtype`.
pub fn root_norm(x: &Tensor, weight: &Tensor, eps: f32, dtype: DType) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if by_kernels(x.device(), dtype, weight.elem_count()) {
        return kernels::root_norm(x, weight, eps);
    }
    ops::rms_norm(x, weight, eps)?.to_dtype(dtype)
}

/// Layer norm of `x`, `[.., width]` f32, in `dtype`.
pub fn layer_norm(
    x: &Tensor,
    [weight, bias]: [&Tensor; 2],
    eps: f32,
    dtype: DType,
) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if by_kernels(x.device(), dtype, weight.elem_count()) {
        return kernels::layer_norm(x, weight, bias, eps);
    }
    ops::layer_norm(x, weight, bias, eps)?.to_dtype(dtype)
}

/// `x + bias`, of `shape`, as `[batch, heads, n, dim]`.
pub fn heads(x: &Tensor, bias: Option<&Tensor>, shape: Shape) -> CandleResult<Tensor> {
    let Shape { batch, n, heads, dim } = shape;
    #[cfg(feature = "cuda")]
    if by_kernel(x, dim) {
        return match bias {
            Some(bias) => kernels::swapped_biased(x, bias, shape),
            None => kernels::swapped(x, shape),
        };
    }
    let swapped = biased(x, bias)?.reshape((batch, n, heads, dim))?;
    swapped.transpose(1, 2)?.contiguous()?.to_dtype(x.dtype())
}

/// `x`, of `shape`, as `[batch, heads, n, dim]`, each position turned by its `angles`:
/// `[2, positions, dim / 2]`, cosines and sines of at least `n` positions.
pub fn turned_heads(x: &Tensor, angles: &Tensor, shape: Shape) -> CandleResult<Tensor> {
    let Shape { batch, n, heads, dim } = shape;
    let angles = angles.narrow(1, 0, n)?.contiguous()?;
    #[cfg(feature = "cuda")]
    if by_kernel(x, dim / 2) {
        return kernels::swapped_turned(x, &angles, shape);
    }
    let turned = x.to_dtype(DType::F32)?.reshape((batch, n, heads, dim))?;
    let turned = turned.transpose(1, 2)?.contiguous()?;
    rope(&turned, &angles.get(0)?, &angles.get(1)?)?.to_dtype(x.dtype())
}

/// `x`, `[batch, heads, n, dim]`, as `[batch * n, heads * dim]`.
pub fn joined(x: &Tensor, shape: Shape) -> CandleResult<Tensor> {
    let Shape { batch, n, heads, dim } = shape;
    #[cfg(feature = "cuda")]
    if by_kernel(x, dim) {
        let back = Shape { batch, n: heads, heads: n, dim };
        return kernels::swapped(x, back)?.reshape((batch * n, heads * dim));
    }
    let x = x.reshape((batch, heads, n, dim))?.transpose(1, 2)?.contiguous()?;
    x.reshape((batch * n, heads * dim))
}

/// `softmax(scale * scores + mask)` over the first `seen` of the last axis, 0 for the rest; `mask`
/// is f32 and has as many axes.
pub fn softmax(
    scores: &Tensor,
    seen: usize,
    scale: f32,
    mask: Option<&Tensor>,
) -> CandleResult<Tensor> {
    let n = scores.dim(D::Minus1)?;
    #[cfg(feature = "cuda")]
    if mask.is_none() && by_kernel(scores, 8) && kernels::takes_rows(n) {
        return kernels::softmax(scores, seen, scale);
    }
    let scaled = (scores.to_dtype(DType::F32)? * f64::from(scale))?;
    let scaled = match mask {
        Some(mask) => scaled.broadcast_add(mask)?,
        None => scaled,
    };
    let weights = softmax_last_dim(&scaled.narrow(D::Minus1, 0, seen)?.contiguous()?)?;
    weights.pad_with_zeros(D::Minus1, 0, n - seen)?.to_dtype(scores.dtype())
}
