//! `delta.cu`: the gated delta rule.

use candle_core::{Device as CandleDevice, Result as CandleResult, Tensor};
use half::bf16;

use crate::blocks::decoder::sizes::DeltaSizes;
use crate::gpu::kernels::launch::{given, grid, launch, operate};

/// Columns of a head's matrix that a block has, and threads that share one; as in `delta.cu`.
const COLUMNS: usize = 16;
const LANES: usize = 8;

/// Whether the kernels follow the rule for heads of these sizes.
pub fn follows(device: &CandleDevice, sizes: DeltaSizes) -> bool {
    let DeltaSizes { key_dim, value_dim, .. } = sizes;
    device.is_cuda() && [64, 128].contains(&key_dim) && value_dim.is_multiple_of(COLUMNS)
}

/// `x`, `[n, width]` bf16 with rows that may lie apart, mixed with what is before it, `[n, width]`
/// f32; `weight` is `[width, reach]`.
pub fn convolved(x: &Tensor, weight: &Tensor, lengths: &[usize]) -> CandleResult<Tensor> {
    let ((n, width), reach) = (x.dims2()?, weight.dim(1)?);
    let mut starts = Vec::with_capacity(n);
    for &length in lengths {
        starts.extend(std::iter::repeat_n(i32::try_from(starts.len())?, length));
    }
    let starts = Tensor::from_vec(starts, n, x.device())?;
    operate(x, [Some(weight), Some(&starts)], |of, [weight, starts]| {
        let (numbers, [row, _]) = of.apart::<bf16>()?;
        let made = launch!(of, DELTA "convolved", grid(n * width), 0, [numbers,
            given(weight)?.all::<f32>()?, given(starts)?.all::<i32>()?], [], n * width => f32,
            [n * width, width as u32, row, reach as u32]);
        Ok((made, (n, width).into()))
    })
}

/// What of a head's matrix is kept and what of an error is corrected, `[2, n, heads]` f32, of
/// `read`, `[n, 2 * heads]` bf16 with rows that may lie apart.
pub fn shares(read: &Tensor, bias: &Tensor, rate: &Tensor) -> CandleResult<Tensor> {
    let (n, heads) = (read.dim(0)?, bias.elem_count());
    operate(read, [Some(bias), Some(rate)], |of, [bias, rate]| {
        let (numbers, [row, _]) = of.apart::<bf16>()?;
        let made = launch!(of, DELTA "shares", grid(n * heads), 0, [numbers,
            given(bias)?.all::<f32>()?, given(rate)?.all::<f32>()?], [], 2 * n * heads => f32,
            [n * heads, heads as u32, row]);
        Ok((made, (2, n, heads).into()))
    })
}

/// What positions read, `[n, values * value_dim]` f32, of `rows`, `[n, width]` f32, and `kept` and
/// `strength`, `[n, values]` f32.
pub fn delta_rule(
    rows: &Tensor,
    [kept, strength]: [&Tensor; 2],
    lengths: &[usize],
    sizes: DeltaSizes,
) -> CandleResult<Tensor> {
    let DeltaSizes { keys, values, key_dim, value_dim, .. } = sizes;
    let (n, width) = rows.dims2()?;
    let (mut ends, mut end) = (Vec::with_capacity(2 * lengths.len()), 0);
    for &length in lengths {
        ends.push(i32::try_from(end)?);
        end += length;
        ends.push(i32::try_from(end)?);
    }
    let sequences = Tensor::from_vec(ends, (lengths.len(), 2), rows.device())?;
    let name = if key_dim == 64 { "delta_64" } else { "delta_128" };
    let blocks = lengths.len() * values * (value_dim / COLUMNS);
    let unit = unit_parts(rows, sizes)?;
    operate(&unit, [Some(kept), Some(strength), Some(&sequences)], |of, [kept, strength, ends]| {
        let made = launch!(of, DELTA name, [blocks, COLUMNS * LANES], 0, [of.all::<f32>()?,
            given(kept)?.all::<f32>()?, given(strength)?.all::<f32>()?,
            given(ends)?.all::<i32>()?], [], n * values * value_dim => f32,
            [keys as u32, values as u32, key_dim as u32, value_dim as u32, width as u32]);
        Ok((made, (n, values * value_dim).into()))
    })
}

/// `rows` with queries and keys of length 1, queries also over the root of their width.
fn unit_parts(rows: &Tensor, sizes: DeltaSizes) -> CandleResult<Tensor> {
    let (n, width) = rows.dims2()?;
    let parts = 2 * sizes.keys;
    operate(rows, [], |of, []| {
        let made = launch!(of, DELTA "unit_parts", grid(n * width.div_ceil(sizes.key_dim) * 32), 0,
            [of.all::<f32>()?], [], n * width => f32,
            [n as u32, width as u32, parts as u32, sizes.keys as u32, sizes.key_dim as u32]);
        Ok((made, (n, width).into()))
    })
}
