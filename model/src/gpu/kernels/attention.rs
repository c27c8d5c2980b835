//! `attention.cu` and, on Hopper, `attention_hopper.cu`: attention in one pass.

use std::ops::Range;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys::CUdevice_attribute;
use candle_core::{Device as CandleDevice, Result as CandleResult, Tensor};
use half::bf16;

use crate::blocks::attention::Heads;
use crate::gpu::kernels::launch::{given, launch, operate};
use crate::gpu::reach::Reach;

/// Keys of a tile, and what rows are apart beyond their width; as in `attention.cu`.
const KEYS: usize = 64;
const APART: usize = 8;

/// Numbers of a row of a panel; as in `warpgroup.cuh`.
const PANEL: usize = 64;

/// Positions of a tile, and of one where all parts are short.
const ROWS: usize = 128;
const FEW_ROWS: usize = 64;

/// The widths of heads that there are kernels for; a narrower head takes the next one.
const WIDTHS: [usize; 5] = [32, 64, 80, 128, 256];

/// The tasks of the kernel: tiles of positions, each of one part.
#[derive(Debug)]
pub struct Tiles {
    /// `[tiles, 4]` i32: the start and the end of the part, the first position, nothing. `None` on
    /// another device than a GPU of NVIDIA.
    table: Option<Tensor>,
    rows: usize,
    /// Whether the GPU is one of Hopper's generation.
    is_hopper: bool,
    /// Bytes of shared memory that a block may have: 99 kB on some GPUs, 227 kB on Hopper's.
    shared_memory: usize,
}

/// The kernel for heads of some width.
struct Form {
    /// Numbers of a head that it has room for.
    width: usize,
    /// Whether it is the one for Hopper's generation.
    is_hopper: bool,
    /// Bytes of shared memory of a block.
    shared: usize,
}

impl Tiles {
    /// The tiles of `parts`.
    pub fn new(device: &CandleDevice, parts: &[Range<usize>]) -> CandleResult<Self> {
        let longest = parts.iter().map(Range::len).max().unwrap_or(0);
        let rows = if longest <= FEW_ROWS { FEW_ROWS } else { ROWS };
        let CandleDevice::Cuda(gpu) = device else {
            return Ok(Self { table: None, rows, is_hopper: false, shared_memory: 0 });
        };
        let stream = gpu.cuda_stream();
        let (major, _) = stream.context().compute_capability().w()?;
        let most = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let shared_memory = usize::try_from(stream.context().attribute(most).w()?)?;
        let mut table = Vec::new();
        for part in parts {
            for first in part.clone().step_by(rows) {
                for number in [part.start, part.end, first, 0] {
                    table.push(i32::try_from(number)?);
                }
            }
        }
        let tiles = table.len() / 4;
        let table = Some(Tensor::from_vec(table, (tiles, 4), device)?);
        Ok(Self { table, rows, is_hopper: major == 9, shared_memory })
    }

    /// The kernel for such heads; `None` where there is none, or where it asks for more shared memory
    /// than the GPU has.
    fn form(&self, heads: Heads) -> Option<Form> {
        if heads.cap.is_some() || !heads.dim.is_multiple_of(8) {
            return None;
        }
        let width = WIDTHS.into_iter().find(|&width| width >= heads.dim)?;
        // There is none of Hopper's for the narrowest heads.
        let is_hopper = self.is_hopper && width > WIDTHS[0];
        let of_row = if is_hopper { width.next_multiple_of(PANEL) } else { width + APART };
        let shared = (self.rows + 4 * KEYS) * of_row * size_of::<bf16>();
        (shared <= self.shared_memory).then_some(Form { width, is_hopper, shared })
    }

    /// Whether a kernel takes such heads on this GPU.
    pub fn take(&self, heads: Heads) -> bool {
        self.form(heads).is_some()
    }
}

/// What positions see, `[n, queries * dim]`.
pub fn attention(
    heads: Heads,
    reach: Reach,
    tiles: &Tiles,
    [q, k, v]: [&Tensor; 3],
) -> CandleResult<Tensor> {
    let (Some(table), Some(form)) = (&tiles.table, tiles.form(heads)) else {
        candle_core::bail!("no kernel takes {heads:?} on this GPU")
    };
    let Form { width, is_hopper, shared } = form;
    let (count, out) = (table.dim(0)?, q.dim(0)? * heads.queries * heads.dim);
    let (length, threads) = if tiles.rows == ROWS { ("", 256) } else { ("short_", 128) };
    let (kind, reach) = match reach {
        Reach::All => (0, 0),
        Reach::Causal => (1, 0),
        // No part is longer than this.
        Reach::Window(reach) => (2, i32::try_from(reach).unwrap_or(i32::MAX / 4)),
    };
    operate(q, [Some(k), Some(v), Some(table)], |of, [k, v, table]| {
        let (q, [q_row, _]) = of.apart::<bf16>()?;
        let (k, [k_row, _]) = given(k)?.apart::<bf16>()?;
        let (v, [v_row, _]) = given(v)?.apart::<bf16>()?;
        let table = given(table)?.all::<i32>()?;
        let grid = [count * heads.queries, threads];
        let (queries, shared_by) = (heads.queries as u32, (heads.queries / heads.keys) as u32);
        let (dim, scale) = (heads.dim as u32, heads.scale * std::f32::consts::LOG2_E);
        let made = if is_hopper {
            launch!(of, ATTENTION_HOPPER &format!("attention_hopper_{length}{width}"), grid, shared,
                [q, k, v, table], [], out => bf16,
                [q_row, k_row, v_row, queries, shared_by, dim, scale, kind, reach])
        } else {
            launch!(of, ATTENTION &format!("attention_{length}{width}"), grid, shared,
                [q, k, v, table], [], out => bf16,
                [q_row, k_row, v_row, queries, shared_by, dim, scale, kind, reach])
        };
        Ok((made, (out / (heads.queries * heads.dim), heads.queries * heads.dim).into()))
    })
}
