//! How a kernel becomes an operation of candle.

use std::ops::Deref;

use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::CudaView;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, Layout, Result as CandleResult, Shape, Storage, Tensor,
    bail,
};

// The kernels as PTX, a constant a file: `FUSED`, `ATTENTION`, `ATTENTION_HOPPER`, `DELTA`.
include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// Threads of a block of most kernels.
pub const THREADS: usize = 256;

/// Blocks and threads for so many threads in all.
pub fn grid(count: usize) -> [usize; 2] {
    [count.div_ceil(THREADS), THREADS]
}

/// What an operand is to candle.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub storage: &'a CudaStorage,
    layout: &'a Layout,
}

impl<'a> Operand<'a> {
    /// Its numbers, which have no gaps.
    pub fn all<T: CudaDType>(self) -> CandleResult<CudaView<'a, T>> {
        match self.layout.contiguous_offsets() {
            Some((start, end)) => Ok(self.storage.as_cuda_slice::<T>()?.slice(start..end)),
            None => bail!("a fused kernel takes numbers without gaps"),
        }
    }

    /// Its numbers from the first one on, and what numbers of each axis but the last are apart.
    pub fn apart<T: CudaDType>(self) -> CandleResult<(CudaView<'a, T>, [u32; 2])> {
        let (row, head) = match *self.layout.stride() {
            [row, 1] => (row, 0),
            [row, head, 1] => (row, head),
            _ => bail!("a fused kernel takes rows whose numbers lie together"),
        };
        let start = self.layout.start_offset();
        if !(row.is_multiple_of(8) && head.is_multiple_of(8) && start.is_multiple_of(8)) {
            bail!("a fused kernel takes rows that begin at whole eights")
        }
        let numbers = self.storage.as_cuda_slice::<T>()?.slice(start..);
        Ok((numbers, [u32::try_from(row)?, u32::try_from(head)?]))
    }
}

/// What an operation gives to candle.
pub type Made = CandleResult<(CudaStorage, Shape)>;

struct Operation<F>(F);

impl<F: Fn(Operand<'_>) -> Made> CustomOp1 for Operation<F> {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        bail!("a kernel of NVIDIA's GPUs was asked for on the CPU")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Made {
        self.0(Operand { storage, layout })
    }
}

/// What `make` makes of `x` and of other tensors on the same GPU.
pub fn operate<const N: usize>(
    x: &Tensor,
    others: [Option<&Tensor>; N],
    make: impl Fn(Operand<'_>, [Option<Operand<'_>>; N]) -> Made,
) -> CandleResult<Tensor> {
    let held = others.map(|other| other.map(Tensor::storage_and_layout));
    for storage in held.iter().flatten() {
        if !matches!(storage.0.deref(), Storage::Cuda(_)) {
            bail!("a fused kernel takes numbers on a GPU")
        }
    }
    let operation = |x: Operand<'_>| {
        let others = std::array::from_fn(|n| {
            held[n].as_ref().and_then(|(storage, layout)| match storage.deref() {
                Storage::Cuda(storage) => Some(Operand { storage, layout }),
                _ => None,
            })
        });
        make(x, others)
    };
    x.apply_op1_no_bwd(&Operation(operation))
}

/// The operand that an operation is always given.
pub fn given<'a>(operand: Option<Operand<'a>>) -> CandleResult<Operand<'a>> {
    operand.ok_or_else(|| candle_core::Error::Msg("an operand is missing".into()))
}

/// Runs a kernel of `$source` on the GPU of `$on`: its blocks and threads, the bytes of shared memory
/// that it is given, its operands, those that may be missing (null then), how many numbers it makes,
/// its sizes.
macro_rules! launch {
    ($on:expr, $source:ident $name:expr, $grid:expr, $shared:expr, [$($operand:expr),*],
        [$($optional:expr),*], $count:expr => $number:ty, [$($size:expr),*]) => {{
        use candle_core::backend::BackendStorage;
        use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};
        use candle_core::cuda_backend::{WrapErr, cudarc::driver::sys::CUfunction_attribute_enum};

        let device = BackendStorage::device($on.storage);
        let function = device.get_or_load_custom_func(
            $name,
            concat!("pagesight ", stringify!($source)),
            crate::gpu::kernels::launch::$source,
        )?;
        let shared: usize = $shared;
        if shared > 48 << 10 {
            // More than this must be asked for.
            let most = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(most, i32::try_from(shared)?).w()?;
        }
        // SAFETY: every kernel writes all numbers of its result.
        let result = unsafe { device.alloc::<$number>($count)? };
        let [blocks, threads] = $grid;
        let config = LaunchConfig {
            grid_dim: (u32::try_from(blocks)?, 1, 1),
            block_dim: (u32::try_from(threads)?, 1, 1),
            shared_mem_bytes: u32::try_from(shared)?,
        };
        let mut builder = function.builder();
        $(let operand = $operand; builder.arg(&operand);)*
        $(
            let optional = $optional;
            match &optional {
                Some(operand) => builder.arg(operand),
                None => builder.arg(&0u64),
            };
        )*
        builder.arg(&result);
        $(let size = $size; builder.arg(&size);)*
        // SAFETY: these are the arguments that the kernel of this name takes, and by their sizes
        // no thread passes the end of one.
        unsafe { builder.launch(config) }.w()?;
        drop(builder);
        candle_core::CudaStorage::wrap_cuda_slice(result, device.clone())
    }};
}

pub(super) use launch;
