//! The kernels of `fused.cu` as operations of candle. `fused.rs` checks what they take: bf16 where
//! products are, f32 elsewhere, widths of whole eights. Gaps are refused here.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute;
use candle_core::cuda_backend::cudarc::driver::{CudaView, LaunchConfig, PushKernelArg, result};
use candle_core::cuda_backend::{CudaDType, WrapErr};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, D, DType, Device as CandleDevice,
    Layout, Result as CandleResult, Shape as Dims, Tensor, bail,
};
use half::bf16;

use crate::gpu::shape::Shape;

// `FUSED`, the kernels as PTX.
include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// Threads of a block.
const THREADS: usize = 256;

/// Loads of scores that a thread of `softmax` holds at most; as in `fused.cu`.
const HELD: usize = 5;

/// What an operand is to candle.
type Operand<'a> = (&'a CudaStorage, &'a Layout);

/// What an operation gives to candle.
type Made = CandleResult<(CudaStorage, Dims)>;

/// An operation on so many operands.
struct Operation<F>(F);

/// `fused.rs` asks for these on a GPU of NVIDIA alone.
fn not_here() -> CandleResult<(CpuStorage, Dims)> {
    bail!("a kernel of NVIDIA's GPUs was asked for on the CPU")
}

impl<F: Fn([Operand<'_>; 1]) -> Made> CustomOp1 for Operation<F> {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> CandleResult<(CpuStorage, Dims)> {
        not_here()
    }

    fn cuda_fwd(&self, a: &CudaStorage, of_a: &Layout) -> Made {
        self.0([(a, of_a)])
    }
}

impl<F: Fn([Operand<'_>; 2]) -> Made> CustomOp2 for Operation<F> {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> CandleResult<(CpuStorage, Dims)> {
        not_here()
    }

    fn cuda_fwd(&self, a: &CudaStorage, of_a: &Layout, b: &CudaStorage, of_b: &Layout) -> Made {
        self.0([(a, of_a), (b, of_b)])
    }
}

impl<F: Fn([Operand<'_>; 3]) -> Made> CustomOp3 for Operation<F> {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> CandleResult<(CpuStorage, Dims)> {
        not_here()
    }

    fn cuda_fwd(
        &self,
        a: &CudaStorage,
        of_a: &Layout,
        b: &CudaStorage,
        of_b: &Layout,
        c: &CudaStorage,
        of_c: &Layout,
    ) -> Made {
        self.0([(a, of_a), (b, of_b), (c, of_c)])
    }
}

fn view<'a, T: CudaDType>((storage, layout): Operand<'a>) -> CandleResult<CudaView<'a, T>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(storage.as_cuda_slice::<T>()?.slice(start..end)),
        None => bail!("a fused kernel takes numbers without gaps"),
    }
}

/// Blocks and threads for so many threads in all.
fn grid(count: usize) -> [usize; 2] {
    [count.div_ceil(THREADS), THREADS]
}

/// Runs a kernel on the GPU of `$on`: its blocks and threads, its operands, how many numbers it
/// makes, its sizes.
macro_rules! launch {
    ($on:expr, $name:expr, $grid:expr, [$($operand:expr),*], $count:expr => $number:ty,
        [$($size:expr),*]) => {{
        let device = $on.0.device();
        let function = device.get_or_load_custom_func($name, "pagesight", FUSED)?;
        // SAFETY: every kernel writes all numbers of its result.
        let result = unsafe { device.alloc::<$number>($count)? };
        let [blocks, threads] = $grid;
        let config = LaunchConfig {
            grid_dim: (u32::try_from(blocks)?, 1, 1),
            block_dim: (u32::try_from(threads)?, 1, 1),
            shared_mem_bytes: 0,
        };
        let mut builder = function.builder();
        $(let operand = $operand; builder.arg(&operand);)*
        builder.arg(&result);
        $(let size = $size; builder.arg(&size);)*
        // SAFETY: these are the arguments that the kernel of this name takes, and by their sizes
        // no thread passes the end of one.
        unsafe { builder.launch(config) }.w()?;
        drop(builder);
        CudaStorage::wrap_cuda_slice(result, device.clone())
    }};
}

pub fn biased_gelu(x: &Tensor, bias: &Tensor) -> CandleResult<Tensor> {
    let (count, width) = (x.elem_count(), bias.elem_count() as u32);
    let run = |[x, bias]: [Operand<'_>; 2]| -> Made {
        let operands = (view::<bf16>(x)?, view::<f32>(bias)?);
        let made = launch!(x, "biased_gelu", grid(count / 8), [operands.0, operands.1],
            count => bf16, [count / 8, width]);
        Ok((made, x.1.shape().clone()))
    };
    x.apply_op2_no_bwd(bias, &Operation(run))
}

pub fn gated(gate: &Tensor, up: &Tensor) -> CandleResult<Tensor> {
    let count = gate.elem_count();
    let run = |[gate, up]: [Operand<'_>; 2]| -> Made {
        let made = launch!(gate, "gated", grid(count / 8),
            [view::<bf16>(gate)?, view::<bf16>(up)?], count => bf16, [count / 8]);
        Ok((made, gate.1.shape().clone()))
    };
    gate.apply_op2_no_bwd(up, &Operation(run))
}

pub fn added(x: &Tensor, more: &Tensor) -> CandleResult<Tensor> {
    let count = x.elem_count();
    let run = |[x, more]: [Operand<'_>; 2]| -> Made {
        let made = launch!(x, "added", grid(count / 8), [view::<f32>(x)?, view::<bf16>(more)?],
            count => f32, [count / 8]);
        Ok((made, x.1.shape().clone()))
    };
    x.apply_op2_no_bwd(more, &Operation(run))
}

pub fn added_biased(x: &Tensor, more: &Tensor, bias: &Tensor) -> CandleResult<Tensor> {
    let (count, width) = (x.elem_count(), bias.elem_count() as u32);
    let run = |[x, more, bias]: [Operand<'_>; 3]| -> Made {
        let made = launch!(x, "added_biased", grid(count / 8),
            [view::<f32>(x)?, view::<bf16>(more)?, view::<f32>(bias)?],
            count => f32, [count / 8, width]);
        Ok((made, x.1.shape().clone()))
    };
    x.apply_op3_no_bwd(more, bias, &Operation(run))
}

pub fn root_norm(x: &Tensor, weight: &Tensor, eps: f32) -> CandleResult<Tensor> {
    let (count, width) = (x.elem_count(), weight.elem_count());
    let run = |[x, weight]: [Operand<'_>; 2]| -> Made {
        let made = launch!(x, "root_norm", [count / width, THREADS],
            [view::<f32>(x)?, view::<f32>(weight)?], count => bf16, [width as u32, eps]);
        Ok((made, x.1.shape().clone()))
    };
    x.apply_op2_no_bwd(weight, &Operation(run))
}

pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> CandleResult<Tensor> {
    let (count, width) = (x.elem_count(), weight.elem_count());
    let run = |[x, weight, bias]: [Operand<'_>; 3]| -> Made {
        let made = launch!(x, "layer_norm", [count / width, THREADS],
            [view::<f32>(x)?, view::<f32>(weight)?, view::<f32>(bias)?],
            count => bf16, [width as u32, eps]);
        Ok((made, x.1.shape().clone()))
    };
    x.apply_op3_no_bwd(weight, bias, &Operation(run))
}

/// Of `[batch, n, heads, dim]`.
pub fn swapped(x: &Tensor, shape: Shape) -> CandleResult<Tensor> {
    let Shape { batch, n, heads, dim } = shape;
    let count = batch * n * heads * dim;
    let run = |[x]: [Operand<'_>; 1]| -> Made {
        let made = launch!(x, "swapped", grid(count / 8), [view::<bf16>(x)?], count => bf16,
            [count / 8, n as u32, heads as u32, dim as u32]);
        Ok((made, (batch, heads, n, dim).into()))
    };
    x.apply_op1_no_bwd(&Operation(run))
}

pub fn swapped_biased(x: &Tensor, bias: &Tensor, shape: Shape) -> CandleResult<Tensor> {
    let Shape { batch, n, heads, dim } = shape;
    let count = batch * n * heads * dim;
    let run = |[x, bias]: [Operand<'_>; 2]| -> Made {
        let made = launch!(x, "swapped_biased", grid(count / 8),
            [view::<bf16>(x)?, view::<f32>(bias)?], count => bf16,
            [count / 8, n as u32, heads as u32, dim as u32]);
        Ok((made, (batch, heads, n, dim).into()))
    };
    x.apply_op2_no_bwd(bias, &Operation(run))
}

/// `angles` are `[2, n, dim / 2]`.
pub fn swapped_turned(x: &Tensor, angles: &Tensor, shape: Shape) -> CandleResult<Tensor> {
    let Shape { batch, n, heads, dim } = shape;
    let count = batch * n * heads * dim;
    let run = |[x, angles]: [Operand<'_>; 2]| -> Made {
        let made = launch!(x, "swapped_turned", grid(count / 16),
            [view::<bf16>(x)?, view::<f32>(angles)?], count => bf16,
            [count / 16, n as u32, heads as u32, dim as u32]);
        Ok((made, (batch, heads, n, dim).into()))
    };
    x.apply_op2_no_bwd(angles, &Operation(run))
}

/// Whether [`softmax`] takes rows of `n` scores.
pub fn takes_rows(n: usize) -> bool {
    n.is_multiple_of(8) && n <= THREADS * 8 * HELD
}

/// Over the first `seen` of rows that [`takes_rows`].
pub fn softmax(scores: &Tensor, seen: usize, scale: f32) -> CandleResult<Tensor> {
    let n = scores.dim(D::Minus1)?;
    let (count, rows) = (scores.elem_count(), scores.elem_count() / n);
    let (name, grid) = if n <= 32 * 8 * HELD {
        ("softmax_short", grid(rows * 32))
    } else {
        ("softmax_long", [rows, THREADS])
    };
    let run = |[scores]: [Operand<'_>; 1]| -> Made {
        let made = launch!(scores, name, grid, [view::<bf16>(scores)?], count => bf16,
            [rows, n as u32, seen as u32, scale]);
        Ok((made, scores.1.shape().clone()))
    };
    scores.apply_op1_no_bwd(&Operation(run))
}

/// Patches of `pixels`, `[batch, edge, edge, 3]` bytes, by what each byte is `worth`, `[3, 256]`
/// f32, to `[batch, n_patches, 3 * patch * patch]` of `dtype`.
pub fn patches(
    pixels: &Tensor,
    worth: &Tensor,
    patch: usize,
    dtype: DType,
) -> CandleResult<Tensor> {
    let (batch, edge, _, _) = pixels.dims4()?;
    let (count, side) = (pixels.elem_count(), edge / patch);
    let run = |[pixels, worth]: [Operand<'_>; 2]| -> Made {
        let sizes = (edge as u32, patch as u32);
        let made = match dtype {
            DType::BF16 => launch!(pixels, "patches_bf16", grid(count),
                [view::<u8>(pixels)?, view::<f32>(worth)?], count => bf16,
                [count, sizes.0, sizes.1]),
            _ => launch!(pixels, "patches_f32", grid(count),
                [view::<u8>(pixels)?, view::<f32>(worth)?], count => f32,
                [count, sizes.0, sizes.1]),
        };
        Ok((made, (batch, side * side, 3 * patch * patch).into()))
    };
    pixels.apply_op2_no_bwd(worth, &Operation(run))
}

/// Keeps what the GPU's allocator has between one batch and the next: at each wait for the GPU it
/// would give all of it back to the driver, and take gigabytes anew.
pub fn keep_memory(device: &CandleDevice) -> CandleResult<()> {
    let CandleDevice::Cuda(device) = device else { return Ok(()) };
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut most = u64::MAX;
    let threshold = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the context is alive, so is its device's pool; the attribute is of this type and is
    // read during the call.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device()).w()?;
        result::mem_pool::set_attribute(pool, threshold, (&raw mut most).cast()).w()
    }
}
