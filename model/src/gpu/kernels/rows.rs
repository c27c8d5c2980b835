//! `fused.cu`: what lies between two products, row by row.

use candle_core::cuda_backend::cudarc::driver::CudaView;
use candle_core::{D, DType, Result as CandleResult, Tensor};
use half::bf16;

use crate::gpu::kernels::launch::{Operand, THREADS, given, grid, launch, operate};

/// The numbers of an operand that may be missing.
fn numbers(operand: Option<Operand<'_>>) -> CandleResult<Option<CudaView<'_, f32>>> {
    operand.map(|operand| operand.all::<f32>()).transpose()
}

/// `activation` is the number of what `fused.cu` calls so, and its factor.
pub fn activated(
    x: &Tensor,
    bias: Option<&Tensor>,
    activation: (u32, f32),
) -> CandleResult<Tensor> {
    let (count, width) = (x.elem_count(), x.dim(D::Minus1)?);
    operate(x, [bias], |of, [bias]| {
        let made = launch!(of, FUSED "activated", grid(count / 8), 0, [of.all::<bf16>()?],
            [numbers(bias)?], count => bf16,
            [(count / 8) as u32, width as u32, activation.0, activation.1]);
        Ok((made, x.shape().clone()))
    })
}

/// As [`activated`].
pub fn gated(both: &Tensor, bias: Option<&Tensor>, activation: (u32, f32)) -> CandleResult<Tensor> {
    let (n, width) = both.dims2()?;
    let (count, width) = (n * width / 2, width / 2);
    operate(both, [bias], |of, [bias]| {
        let made = launch!(of, FUSED "gated", grid(count / 8), 0, [of.all::<bf16>()?],
            [numbers(bias)?], count => bf16,
            [(count / 8) as u32, width as u32, activation.0, activation.1]);
        Ok((made, (n, width).into()))
    })
}

pub fn added(x: &Tensor, more: &Tensor, bias: Option<&Tensor>) -> CandleResult<Tensor> {
    let (count, width) = (x.elem_count(), x.dim(D::Minus1)?);
    operate(x, [Some(more), bias], |of, [more, bias]| {
        let made = launch!(of, FUSED "added", grid(count / 8), 0,
            [of.all::<f32>()?, given(more)?.all::<bf16>()?], [numbers(bias)?], count => f32,
            [(count / 8) as u32, width as u32]);
        Ok((made, x.shape().clone()))
    })
}

pub fn root_norm(x: &Tensor, weight: Option<&Tensor>, eps: f32) -> CandleResult<Tensor> {
    let (n, width) = x.dims2()?;
    operate(x, [weight], |of, [weight]| {
        let made = launch!(of, FUSED "root_norm", [n, THREADS], 0, [of.all::<f32>()?],
            [numbers(weight)?], n * width => bf16, [width as u32, eps]);
        Ok((made, x.shape().clone()))
    })
}

pub fn mixed_norm([x, z]: [&Tensor; 2], [a, b]: [f32; 2], eps: f32) -> CandleResult<Tensor> {
    let (n, width) = x.dims2()?;
    operate(x, [Some(z)], |of, [z]| {
        let made = launch!(of, FUSED "mixed_norm", [n, THREADS], 0,
            [of.all::<f32>()?, given(z)?.all::<f32>()?], [], n * width => bf16,
            [width as u32, a, b, eps]);
        Ok((made, x.shape().clone()))
    })
}

pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> CandleResult<Tensor> {
    let (n, width) = x.dims2()?;
    operate(x, [Some(weight), Some(bias)], |of, [weight, bias]| {
        let made = launch!(of, FUSED "layer_norm", [n, THREADS], 0, [of.all::<f32>()?,
            given(weight)?.all::<f32>()?, given(bias)?.all::<f32>()?], [], n * width => bf16,
            [width as u32, eps]);
        Ok((made, x.shape().clone()))
    })
}

/// Whether the threads of a head of `dim` numbers can add up what they have.
pub fn adds_up(dim: usize) -> bool {
    let threads = dim / 8;
    dim.is_multiple_of(8) && threads.is_power_of_two() && threads <= 32
}

/// `norm` is its weight and what is added to the mean square.
pub fn turned(
    x: &Tensor,
    bias: Option<&Tensor>,
    norm: Option<(Option<&Tensor>, f32)>,
    angles: Option<&Tensor>,
) -> CandleResult<Tensor> {
    let (n, heads, dim) = x.dims3()?;
    let count = n * heads * dim;
    let pairs = angles.map_or(Ok(0), |angles| angles.dim(D::Minus1))?;
    let (weight, eps) = norm.unwrap_or_default();
    operate(x, [bias, weight, angles], |of, [bias, weight, angles]| {
        let (numbers_of_x, [row, head]) = of.apart::<bf16>()?;
        let made = launch!(of, FUSED "turned", grid(count / 8), 0, [numbers_of_x],
            [numbers(bias)?, numbers(weight)?, numbers(angles)?], count => bf16,
            [(count / 8) as u32, n as u32, heads as u32, dim as u32, row, head, pairs as u32,
             u32::from(norm.is_some()), eps]);
        Ok((made, (n, heads * dim).into()))
    })
}

pub fn sigmoid_gated(x: &Tensor, gate: &Tensor, factor: f32) -> CandleResult<Tensor> {
    let (_, heads, dim) = gate.dims3()?;
    let count = x.elem_count();
    operate(x, [Some(gate)], |of, [gate]| {
        let (gates, [row, head]) = given(gate)?.apart::<bf16>()?;
        let made = launch!(of, FUSED "sigmoid_gated", grid(count / 8), 0,
            [of.all::<bf16>()?, gates], [], count => bf16,
            [(count / 8) as u32, heads as u32, dim as u32, row, head, factor]);
        Ok((made, x.shape().clone()))
    })
}

pub fn excluded_gated(
    x: &Tensor,
    values: &Tensor,
    shares: &Tensor,
    gate: &Tensor,
    dim: usize,
    factor: f32,
) -> CandleResult<Tensor> {
    let (count, heads) = (x.elem_count(), shares.elem_count());
    let shared = heads / (values.dim(D::Minus1)? / dim);
    operate(x, [Some(values), Some(shares), Some(gate)], |of, [values, shares, gate]| {
        let (values, [value_row, _]) = given(values)?.apart::<bf16>()?;
        let (gates, [gate_row, _]) = given(gate)?.apart::<bf16>()?;
        let made = launch!(of, FUSED "excluded_gated", grid(count / 8), 0,
            [of.all::<bf16>()?, values, given(shares)?.all::<f32>()?, gates], [], count => bf16,
            [(count / 8) as u32, heads as u32, dim as u32, shared as u32, value_row, gate_row,
             factor]);
        Ok((made, x.shape().clone()))
    })
}

/// `norm` is its weight and what is added to the mean square.
pub fn norm_gated(
    x: &Tensor,
    norm: (Option<&Tensor>, f32),
    gate: &Tensor,
    dim: usize,
) -> CandleResult<Tensor> {
    let (n, width) = x.dims2()?;
    operate(x, [Some(gate), norm.0], |of, [gate, weight]| {
        let (gates, [row, _]) = given(gate)?.apart::<bf16>()?;
        let made = launch!(of, FUSED "norm_gated", grid(n * width / 8), 0,
            [of.all::<f32>()?, gates], [numbers(weight)?], n * width => bf16,
            [(n * width / 8) as u32, (width / dim) as u32, dim as u32, row, norm.1]);
        Ok((made, (n, width).into()))
    })
}

/// Patches of pictures, `[places, 3 * patch * patch]` of `dtype`: `bytes` are those of the pictures,
/// `worth`, `[3, 256]` f32, is what they become, and `places`, `[places, 4]` u32, has the first byte
/// of each patch, the bytes of a line, and how many pixels are on the picture across and down.
pub fn patches(
    bytes: &Tensor,
    worth: &Tensor,
    places: &Tensor,
    [patch, by_pixel]: [usize; 2],
    dtype: DType,
) -> CandleResult<Tensor> {
    let (n, width) = (places.dim(0)?, 3 * patch * patch);
    let (count, sizes) = (n * width, (patch as u32, by_pixel as u32));
    operate(bytes, [Some(worth), Some(places)], |of, [worth, places]| {
        let (bytes, worth) = (of.all::<u8>()?, given(worth)?.all::<f32>()?);
        let places = given(places)?.all::<u32>()?;
        let made = match dtype {
            DType::BF16 => {
                launch!(of, FUSED "patches_bf16", grid(count), 0, [bytes, worth, places],
                [], count => bf16, [count as u32, sizes.0, sizes.1])
            }
            _ => launch!(of, FUSED "patches_f32", grid(count), 0, [bytes, worth, places], [],
                count => f32, [count as u32, sizes.0, sizes.1]),
        };
        Ok((made, (n, width).into()))
    })
}
