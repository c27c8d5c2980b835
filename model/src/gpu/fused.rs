//! The operations between two products, each one pass over memory. In bf16 on a GPU of NVIDIA they
//! are kernels of `fused.cu`; elsewhere they are operations of candle, which give the same numbers
//! in more passes.

use candle_core::{D, DType, Result as CandleResult, Tensor};
use candle_nn::ops::{self, sigmoid};
use candle_nn::rotary_emb::rope;

#[cfg(feature = "cuda")]
use crate::gpu::kernels;

/// Whether the kernels take products of the type of `x`, in parts of `width` numbers.
#[cfg(feature = "cuda")]
fn by_kernel(x: &Tensor, width: usize) -> bool {
    kernels::take(x.device(), x.dtype(), width)
}

/// What happens to each number between the two layers of an MLP.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// GELU by tanh.
    Gelu,
    /// GELU by the error function.
    ExactGelu,
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
    /// `x sigmoid(x)`.
    Silu,
    /// `factor * max(x, 0)^2`.
    SquaredRelu(f32),
}

impl Activation {
    /// Its number in `fused.cu`, and its factor.
    #[cfg(feature = "cuda")]
    fn code(self) -> (u32, f32) {
        match self {
            Self::Gelu => (0, 1.0),
            Self::ExactGelu => (1, 1.0),
            Self::QuickGelu => (2, 1.0),
            Self::Silu => (3, 1.0),
            Self::SquaredRelu(factor) => (4, factor),
        }
    }

    /// Of `x`, f32.
    fn apply(self, x: &Tensor) -> CandleResult<Tensor> {
        match self {
            Self::Gelu => x.gelu(),
            Self::ExactGelu => x.gelu_erf(),
            Self::QuickGelu => x * sigmoid(&(x * 1.702)?)?,
            Self::Silu => x.silu(),
            Self::SquaredRelu(factor) => x.relu()?.sqr()? * f64::from(factor),
        }
    }
}

/// The norm of each head, by the root of the mean square.
#[derive(Debug, Clone, Copy)]
pub struct HeadNorm<'a> {
    /// `[dim]` f32; without it all weights are 1.
    pub weight: Option<&'a Tensor>,
    /// What is added to the mean square.
    pub eps: f32,
}

fn biased(x: &Tensor, bias: Option<&Tensor>) -> CandleResult<Tensor> {
    let x = x.to_dtype(DType::F32)?;
    match bias {
        Some(bias) => x.broadcast_add(bias),
        None => Ok(x),
    }
}

/// The activation of `x + bias`: `x` and result `[n, width]` in the type of products, `bias`
/// `[width]` f32.
pub fn activated(
    x: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if by_kernel(x, x.dim(D::Minus1)?) {
        return kernels::activated(x, bias, activation.code());
    }
    activation.apply(&biased(x, bias)?)?.to_dtype(x.dtype())
}

/// The activation of a gate, multiplied with what it lets through, of `both + bias`: `both`, `[n, 2 *
/// width]` in the type of products, has all gates of a row before what they are for; `bias` is `[2 *
/// width]` f32.
pub fn gated(both: &Tensor, bias: Option<&Tensor>, activation: Activation) -> CandleResult<Tensor> {
    let width = both.dim(D::Minus1)? / 2;
    #[cfg(feature = "cuda")]
    if by_kernel(both, width) {
        return kernels::gated(both, bias, activation.code());
    }
    let all = biased(both, bias)?;
    let gate = all.narrow(D::Minus1, 0, width)?.contiguous()?;
    (activation.apply(&gate)? * all.narrow(D::Minus1, width, width)?)?.to_dtype(both.dtype())
}

/// `x + more + bias`: `x` and result `[n, width]` f32, `more` as many in the type of products.
pub fn add(x: &Tensor, more: &Tensor, bias: Option<&Tensor>) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if by_kernel(more, x.dim(D::Minus1)?) {
        return kernels::added(x, more, bias);
    }
    x + biased(more, bias)?
}

/// Root mean square norm of `x`, `[n, width]` f32, in `dtype`. Without `weight`, `[width]` f32, all
/// weights are 1.
pub fn root_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    eps: f32,
    dtype: DType,
) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if kernels::take(x.device(), dtype, x.dim(D::Minus1)?) {
        return kernels::root_norm(x, weight, eps);
    }
    over_root(x, weight, eps)?.to_dtype(dtype)
}

/// `x` over the root of its mean square in the last axis, f32.
fn over_root(x: &Tensor, weight: Option<&Tensor>, eps: f32) -> CandleResult<Tensor> {
    let width = x.dim(D::Minus1)? as f64;
    let mean = (x.sqr()?.sum_keepdim(D::Minus1)? / width)?;
    let x = x.broadcast_div(&(mean + f64::from(eps))?.sqrt()?)?;
    match weight {
        Some(weight) => x.broadcast_mul(weight),
        None => Ok(x),
    }
}

/// Root mean square norm without weights of `a x + b z`, `[n, width]` f32, in `dtype`.
pub fn mixed_norm(
    [x, z]: [&Tensor; 2],
    [a, b]: [f32; 2],
    eps: f32,
    dtype: DType,
) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if kernels::take(x.device(), dtype, x.dim(D::Minus1)?) {
        return kernels::mixed_norm([x, z], [a, b], eps);
    }
    let mixed = ((x * f64::from(a))? + (z * f64::from(b))?)?;
    over_root(&mixed, None, eps)?.to_dtype(dtype)
}

/// Layer norm of `x`, `[n, width]` f32, in `dtype`; `weight` and `bias` are `[width]` f32.
pub fn layer_norm(
    x: &Tensor,
    [weight, bias]: [&Tensor; 2],
    eps: f32,
    dtype: DType,
) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if kernels::take(x.device(), dtype, weight.elem_count()) {
        return kernels::layer_norm(x, weight, bias, eps);
    }
    // That of candle takes the square of the mean from the mean of squares, which leaves nothing of
    // the variance of numbers that are nearly alike (a patch of white paper), so they are brought
    // near zero first.
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    ops::layer_norm(&centred, weight, bias, eps)?.to_dtype(dtype)
}

/// Heads as attention reads them: `x + bias`, normed and rotated where it is asked for.
///
/// `x` is `[n, heads, dim]` in the type of products; rows and heads may lie apart, as parts of a
/// product do. `bias` is `[heads * dim]` f32. `angles`, `[2, n, pairs]` f32, has the cosines and
/// sines by which number `i` of a head turns with number `i + pairs`; numbers from `2 * pairs` on
/// stay. The result is `[n, heads * dim]`.
pub fn turned(
    x: &Tensor,
    bias: Option<&Tensor>,
    norm: Option<HeadNorm<'_>>,
    angles: Option<&Tensor>,
) -> CandleResult<Tensor> {
    let (n, heads, dim) = x.dims3()?;
    let pairs = angles.map_or(0, |angles| angles.dims()[2]);
    #[cfg(feature = "cuda")]
    if by_kernel(x, dim) && (norm.is_none() || kernels::adds_up(dim)) {
        let norm = norm.map(|norm| (norm.weight, norm.eps));
        return kernels::turned(x, bias, norm, angles);
    }
    let bias = bias.map(|bias| bias.reshape((heads, dim))).transpose()?;
    let mut y = biased(x, bias.as_ref())?;
    if let Some(norm) = norm {
        y = over_root(&y, norm.weight, norm.eps)?;
    }
    if let Some(angles) = angles {
        // `[heads, n, ..]`, as `rope` has it.
        let turning = y.narrow(D::Minus1, 0, 2 * pairs)?.transpose(0, 1)?.contiguous()?;
        let turning = rope(&turning.unsqueeze(0)?, &angles.get(0)?, &angles.get(1)?)?;
        let turning = turning.squeeze(0)?.transpose(0, 1)?;
        let staying = y.narrow(D::Minus1, 2 * pairs, dim - 2 * pairs)?;
        y = Tensor::cat(&[&turning, &staying], D::Minus1)?;
    }
    y.contiguous()?.reshape((n, heads * dim))?.to_dtype(x.dtype())
}

/// `factor * x * sigmoid(gate)`: `x` and result `[n, heads * dim]`, `gate` `[n, heads, dim]` whose
/// rows and heads may lie apart, all in the type of products.
pub fn sigmoid_gated(x: &Tensor, gate: &Tensor, factor: f32) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if by_kernel(x, gate.dim(D::Minus1)?) {
        return kernels::sigmoid_gated(x, gate, factor);
    }
    let gate = gate.to_dtype(DType::F32)?.contiguous()?.reshape(x.shape())?;
    ((x.to_dtype(DType::F32)? * sigmoid(&gate)?)? * f64::from(factor))?.to_dtype(x.dtype())
}

/// The norm of heads of `dim` numbers, multiplied with what a gate lets through: `x` is `[n, heads *
/// dim]` f32, `gate` as many in the type of products, whose rows may lie apart. The result, `norm(x)
/// * gate * sigmoid(gate)`, is `[n, heads * dim]` in that type.
pub fn norm_gated(
    x: &Tensor,
    norm: HeadNorm<'_>,
    gate: &Tensor,
    dim: usize,
) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if by_kernel(gate, dim) && kernels::adds_up(dim) {
        return kernels::norm_gated(x, (norm.weight, norm.eps), gate, dim);
    }
    let (n, width) = x.dims2()?;
    let normed = over_root(&x.reshape((n, width / dim, dim))?, norm.weight, norm.eps)?;
    let open = gate.to_dtype(DType::F32)?.contiguous()?.silu()?;
    (normed.reshape((n, width))? * open)?.to_dtype(gate.dtype())
}

/// What lies along the value of its own position is taken away from what each head sees, and the
/// rest is gated: `factor * sigmoid(gate) * (x - share * along)`, where `along` is the part of a
/// head of `x` in the direction of its value. `x` and result are `[n, heads * dim]`, `values`
/// `[n, keys * dim]` with `heads / keys` heads a value, `gate` `[n, heads * dim]`, all in the type
/// of products and the last two with rows that may lie apart; `shares` is `[heads]` f32.
pub fn excluded_gated(
    x: &Tensor,
    values: &Tensor,
    shares: &Tensor,
    gate: &Tensor,
    dim: usize,
    factor: f32,
) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if by_kernel(x, dim) && kernels::adds_up(dim) {
        return kernels::excluded_gated(x, values, shares, gate, dim, factor);
    }
    let (n, heads) = (x.dim(0)?, shares.elem_count());
    let keys = values.dim(1)? / dim;
    let seen = x.to_dtype(DType::F32)?.reshape((n, heads, dim))?;
    let values = values.to_dtype(DType::F32)?.contiguous()?.reshape((n, keys, 1, dim))?;
    let values = values.broadcast_as((n, keys, heads / keys, dim))?.contiguous()?;
    let values = values.reshape((n, heads, dim))?;
    // The least length is that of `torch.nn.functional.normalize`.
    let lengths = values.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-12)?;
    let directions = values.broadcast_div(&lengths)?;
    let along = (&seen * &directions)?.sum_keepdim(D::Minus1)?;
    let shares = shares.reshape((1, heads, 1))?;
    let rest = (&seen - directions.broadcast_mul(&along.broadcast_mul(&shares)?)?)?;
    let rest = rest.reshape((n, heads * dim))?;
    let gate = gate.to_dtype(DType::F32)?.contiguous()?;
    ((rest * sigmoid(&gate)?)? * f64::from(factor))?.to_dtype(x.dtype())
}
