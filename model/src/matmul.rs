//! The matrix product `Y = W X`, where almost all time of the encoder goes.
//!
//! Positions (patches, tokens) lie in the lanes of registers ([`Lanes`]), 32 a group, and weights
//! stay as files have them, `[out, in]` row by row, in any [`Format`]. So weights are used from a
//! memory map, without a copy in another type or order, and a position never meets another one:
//! it gets the same numbers alone and in any batch, on any number of threads.
//!
//! A task is a block of the result, small enough for the second-level cache: [`ROWS`] rows of W
//! at a time are brought to a panel of the type computed with (16-bit to f32 or bf16), which
//! stays in the first-level cache while all groups of positions of the task pass by. Sums run
//! over the inner width in one order, in f32, whatever the task's size. Panels, the operand and
//! the result are made of tiles of 32 cache lines, for all kernels alike: AMX and AVX-512 BF16
//! for bf16, AVX-512 and AVX2 for f32, and a portable version of both.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod matrix;
pub mod panel;
mod peak;
mod portable;
#[cfg(test)]
pub mod tests;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::OnceLock;

use rayon::prelude::*;

use crate::lanes::{LANES, Lanes};
pub use matrix::{Format, Matrix, Q4_BLOCK};
pub use panel::Panel;
pub use peak::peak;

/// Rows of a weight that meet 32 positions in one call of a kernel.
pub const ROWS: usize = 32;

/// A cache line: what panels and operands are made of.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Line(pub [u32; 16]);

impl Line {
    /// A word of each position. (Written one by one the compiler scatters them.)
    #[inline(always)]
    pub fn set_both(lines: &mut [Self; 2], words: &[u32; LANES]) {
        lines[0].0.copy_from_slice(&words[..16]);
        lines[1].0.copy_from_slice(&words[16..]);
    }
}

/// Lines of a tile, of a panel and of an operand alike.
pub const TILE: usize = 32;

/// The type that is multiplied; sums are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32.
    F32,
    /// bf16: activations are rounded to it before they are multiplied, as the reference's are.
    Bf16,
}

impl Arithmetic {
    /// Inner width of a tile: a word of four bytes is one f32 or two bf16.
    pub const fn tile_width(self) -> usize {
        match self {
            Self::F32 => 16,
            Self::Bf16 => 32,
        }
    }

    /// Tiles for an inner width; what is missing in the last one is zero.
    pub const fn tiles(self, width: usize) -> usize {
        width.div_ceil(self.tile_width())
    }
}

/// Instructions that the kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// What every processor has.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F.
    Avx512,
    /// AVX-512 BF16.
    Avx512Bf16,
    /// AMX with bf16 tiles.
    Amx,
}

impl Instructions {
    /// All that this processor has for `arithmetic`, the best first; never empty.
    pub fn available(arithmetic: Arithmetic) -> Vec<Self> {
        let mut available = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if arithmetic == Arithmetic::Bf16 && amx::available() {
                available.push(Self::Amx);
            }
            if is_x86_feature_detected!("avx512f") {
                match arithmetic {
                    Arithmetic::F32 => available.push(Self::Avx512),
                    Arithmetic::Bf16 if is_x86_feature_detected!("avx512bf16") => {
                        available.push(Self::Avx512Bf16);
                    }
                    Arithmetic::Bf16 => {}
                }
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                available.push(Self::Avx2);
            }
        }
        let _ = arithmetic;
        available.push(Self::Portable);
        available
    }

    /// The best that this processor has for `arithmetic`.
    pub fn best(arithmetic: Arithmetic) -> Self {
        static BEST: OnceLock<[Instructions; 2]> = OnceLock::new();
        let best =
            BEST.get_or_init(|| [Arithmetic::F32, Arithmetic::Bf16].map(|a| Self::available(a)[0]));
        best[usize::from(arithmetic == Arithmetic::Bf16)]
    }
}

/// The kernel of one task, with the state of the processor that it needs.
pub struct Kernel {
    arithmetic: Arithmetic,
    instructions: Instructions,
    #[cfg(target_arch = "x86_64")]
    tiles: Option<amx::Tiles>,
}

impl Kernel {
    /// For this thread, until dropped.
    ///
    /// # Panics
    /// When the processor lacks `instructions` for `arithmetic`.
    pub fn new(arithmetic: Arithmetic, instructions: Instructions) -> Self {
        debug_assert!(Instructions::available(arithmetic).contains(&instructions));
        Self {
            arithmetic,
            instructions,
            #[cfg(target_arch = "x86_64")]
            tiles: (instructions == Instructions::Amx && amx::available()).then(|| {
                // SAFETY: available.
                unsafe { amx::Tiles::set_up() }
            }),
        }
    }

    /// Multiplies `tiles` tiles: `a`, `[tiles, 32 rows, 16 words]`, with `b`, `[tiles, 16 words,
    /// 32 positions]`, into `c`, `[32 rows, 32 positions]`, or adds to it.
    ///
    /// # Panics
    /// When `a` and `b` are of different lengths or not whole tiles.
    pub fn multiply(&self, a: &[Line], b: &[Line], c: &mut [[f32; LANES]; ROWS], add: bool) {
        let ((a, rest), (b, _)) = (a.as_chunks(), b.as_chunks());
        assert!(rest.is_empty() && a.len() == b.len(), "whole tiles");
        match (self.arithmetic, self.instructions) {
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::Bf16, Instructions::Amx) => match &self.tiles {
                // SAFETY: `a` and `b` are as many tiles.
                Some(set_up) => unsafe { amx::multiply_bf16(set_up, a, b, c, add) },
                None => portable::multiply_bf16(a, b, c, add),
            },
            // SAFETY: the instructions are there, as `new` was told (`available`).
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::Bf16, Instructions::Avx512Bf16) => unsafe {
                avx512::multiply_bf16(a, b, c, add);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::F32, Instructions::Avx512) => unsafe {
                avx512::multiply_f32(a, b, c, add);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::Bf16, Instructions::Avx2) => unsafe {
                portable::multiply_bf16_avx2(a, b, c, add);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::F32, Instructions::Avx2) => unsafe {
                portable::multiply_f32_avx2(a, b, c, add);
            },
            (Arithmetic::F32, _) => portable::multiply_f32(a, b, c, add),
            (Arithmetic::Bf16, _) => portable::multiply_bf16(a, b, c, add),
        }
    }
}

/// Tiles of a panel, 2 kB each. Where many groups pass by, it stays in the first-level cache,
/// which two threads may share; where few do, memory is the limit, and it takes whole rows of
/// weights as they follow each other there.
const fn panel_tiles(groups: usize) -> usize {
    if groups > FEW { 8 } else { 64 }
}
/// Groups that weights are hardly used more than once for: a query, or a few.
const FEW: usize = 4;
/// Groups of positions of a task: their part of the operand stays in the second-level cache.
const GROUPS: usize = 17;
/// Rows of a task: its sums, a megabyte, stay in a second-level cache of two.
const TASK_ROWS: usize = 512;

/// What weights are multiplied with: positions in lanes, rounded to the type computed with.
#[derive(Debug, Clone)]
pub struct Operand {
    arithmetic: Arithmetic,
    groups: usize,
    width: usize,
    /// Blocks of the inner width, in each the groups, in each the block's tiles.
    lines: Vec<Line>,
}

impl Operand {
    /// Zeros for `groups` groups of `width` rows; written by [`Filler`].
    pub fn new(arithmetic: Arithmetic, groups: usize, width: usize) -> Self {
        let lines = vec![Line([0; 16]); groups * arithmetic.tiles(width) * TILE];
        Self { arithmetic, groups, width, lines }
    }

    /// `x` rounded.
    pub fn round(arithmetic: Arithmetic, x: &Lanes) -> Self {
        let mut operand = Self::new(arithmetic, x.groups(), x.width());
        let filler = operand.filler();
        (0..x.groups()).into_par_iter().for_each(|group| {
            // SAFETY: a task a group.
            unsafe { filler.fill(group, 0, x.group(group)) };
        });
        operand
    }

    /// What `make` makes of each group of `x`, rounded: from `[width, LANES]` to the same.
    pub fn made(
        arithmetic: Arithmetic,
        x: &Lanes,
        make: impl Fn(&[[f32; LANES]], &mut [[f32; LANES]]) + Sync,
    ) -> Self {
        let mut operand = Self::new(arithmetic, x.groups(), x.width());
        let filler = operand.filler();
        let rows = || vec![[0.0; LANES]; x.width()];
        (0..x.groups()).into_par_iter().for_each_init(rows, |rows, group| {
            make(x.group(group), rows);
            // SAFETY: a task a group.
            unsafe { filler.fill(group, 0, rows) };
        });
        operand
    }

    /// Zeros for the same positions and another width.
    pub fn like(&self, width: usize) -> Self {
        Self::new(self.arithmetic, self.groups, width)
    }

    /// Block `block` of a group.
    fn block(&self, block: usize, group: usize) -> &[Line] {
        let tiles = self.arithmetic.tiles(self.width);
        let most = panel_tiles(self.groups);
        let here = most.min(tiles - block * most);
        let start = (block * most * self.groups + group * here) * TILE;
        &self.lines[start..start + here * TILE]
    }

    /// Writes into it from several threads.
    pub fn filler(&mut self) -> Filler {
        Filler {
            arithmetic: self.arithmetic,
            groups: self.groups,
            tiles: self.arithmetic.tiles(self.width),
            width: self.width,
            lines: self.lines.as_mut_ptr(),
        }
    }
}

/// Writes rows of an [`Operand`].
pub struct Filler {
    arithmetic: Arithmetic,
    groups: usize,
    tiles: usize,
    width: usize,
    lines: *mut Line,
}

// SAFETY: it writes only through `fill`, whose callers promise disjoint places.
unsafe impl Send for Filler {}
// SAFETY: as above.
unsafe impl Sync for Filler {}

impl Filler {
    /// Rounds rows `first ..` of a group into place.
    ///
    /// # Safety
    /// The operand lives and nobody reads it; no two threads write the same tile.
    ///
    /// # Panics
    /// When `first` is inside a tile or the rows are more than there are.
    pub unsafe fn fill(&self, group: usize, first: usize, rows: &[[f32; LANES]]) {
        let width = self.arithmetic.tile_width();
        assert!(first.is_multiple_of(width) && first + rows.len() <= self.width);
        assert!(group < self.groups);
        for (i, rows) in rows.chunks(width).enumerate() {
            let tile = first / width + i;
            let most = panel_tiles(self.groups);
            let block = tile / most;
            let here = most.min(self.tiles - block * most);
            let index = block * most * self.groups + group * here + tile % most;
            // SAFETY: inside the operand by the checks above; ours alone, as the caller promises.
            let lines =
                unsafe { std::slice::from_raw_parts_mut(self.lines.add(index * TILE), TILE) };
            panel::round_rows(self.arithmetic, rows, lines);
        }
    }
}

/// `weights` times `x`. Each of the `P` weights has the same shape, and `sink` gets 32 rows of
/// each product at a time: `(group, first row, products)`; rows past the last are zero. It is
/// called once for every group and rows, from all threads.
pub fn product<const P: usize>(
    weights: [&Matrix; P],
    x: &Operand,
    sink: impl Fn(usize, usize, [&[[f32; LANES]; ROWS]; P]) + Sync,
) {
    product_with(Instructions::best(x.arithmetic), weights, x, sink);
}

fn product_with<const P: usize>(
    instructions: Instructions,
    weights: [&Matrix; P],
    x: &Operand,
    sink: impl Fn(usize, usize, [&[[f32; LANES]; ROWS]; P]) + Sync,
) {
    let rows = weights[0].rows();
    for weight in weights {
        assert_eq!((weight.rows(), weight.columns()), (rows, x.width), "shape of the weight");
    }
    // Even parts, so that no thread waits long for the last.
    let parts = x.groups.div_ceil(GROUPS).max(1);
    let groups = x.groups.div_ceil(parts).max(1);
    let most = TASK_ROWS / P.next_power_of_two();
    let at_least = 4 * rayon::current_num_threads();
    let columns = rows.div_ceil(most).max(at_least.div_ceil(parts)).min(rows.div_ceil(ROWS));
    let task_rows = rows.div_ceil(columns.max(1)).next_multiple_of(ROWS);
    let columns = rows.div_ceil(task_rows.max(1));
    (0..columns * parts).into_par_iter().for_each(|task| {
        // Neighbouring tasks share rows: what one fetches from memory the next finds in a cache.
        let (column, part) = (task / parts, task % parts);
        let first_row = column * task_rows;
        let first_group = part * groups;
        let task = Task {
            instructions,
            first_row,
            rows: task_rows.min(rows - first_row),
            first_group,
            groups: groups.min(x.groups.saturating_sub(first_group)),
        };
        if task.groups > 0 {
            task.run(weights, x, &sink);
        }
    });
}

/// A block of the result.
struct Task {
    instructions: Instructions,
    first_row: usize,
    rows: usize,
    first_group: usize,
    groups: usize,
}

/// What a thread keeps between tasks.
#[derive(Default)]
struct Scratch {
    /// The one that is multiplied, and the one that is made meanwhile.
    panels: [Panel; 2],
    /// `[P, row tiles, groups]` of 32 rows of 32 positions.
    sums: Vec<[[f32; LANES]; ROWS]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Task {
    fn run<const P: usize>(
        &self,
        weights: [&Matrix; P],
        x: &Operand,
        sink: &impl Fn(usize, usize, [&[[f32; LANES]; ROWS]; P]),
    ) {
        SCRATCH.with_borrow_mut(|Scratch { panels: [panel, next], sums }| {
            let kernel = Kernel::new(x.arithmetic, self.instructions);
            let row_tiles = self.rows.div_ceil(ROWS);
            sums.resize(sums.len().max(P * row_tiles * self.groups), [[0.0; LANES]; ROWS]);
            let tiles = x.arithmetic.tiles(x.width);
            let most = panel_tiles(x.groups);
            let width = most * x.arithmetic.tile_width();
            let steps = tiles.div_ceil(most) * P * row_tiles;
            // Block by block of the columns, in each weight by weight, tile by tile of the rows.
            let step = |step: usize| {
                let (block, tile) = (step / (P * row_tiles), step % (P * row_tiles));
                let first = self.first_row + tile % row_tiles * ROWS;
                let rows = first..weights[0].rows().min(first + ROWS);
                let columns = block * width..x.width.min((block + 1) * width);
                (block, tile, weights[tile / row_tiles], rows, columns)
            };
            let part = ROWS.div_ceil(self.groups);
            for at in 0..steps {
                let (block, tile, weight, rows, columns) = step(at);
                if at == 0 {
                    panel.prepare(x.arithmetic, rows.len(), columns.len());
                    panel.fill(x.arithmetic, weight, (0, rows), columns);
                }
                let following = (at + 1 < steps).then(|| step(at + 1));
                if let Some((.., rows, columns)) = &following {
                    next.prepare(x.arithmetic, rows.len(), columns.len());
                }
                let after = (x.groups > FEW && at + 2 < steps).then(|| step(at + 2));
                let sums = &mut sums[tile * self.groups..(tile + 1) * self.groups];
                for (i, sums) in sums.iter_mut().enumerate() {
                    let some = |rows: &Range<usize>| {
                        let part = i * part..(i + 1) * part;
                        rows.end.min(rows.start + part.start)..rows.end.min(rows.start + part.end)
                    };
                    if let Some((_, _, weight, rows, columns)) = &after {
                        weight.prefetch(some(rows), columns.clone());
                    }
                    let part_of_x = x.block(block, self.first_group + i);
                    kernel.multiply(panel.lines(), part_of_x, sums, block > 0);
                    // Vector instructions make the next panel while the tiles still multiply.
                    if let Some((_, _, weight, rows, columns)) = &following {
                        let place = (i * part, some(rows));
                        next.fill(x.arithmetic, weight, place, columns.clone());
                    }
                }
                std::mem::swap(panel, next);
            }
            for row_tile in 0..row_tiles {
                let first = self.first_row + row_tile * ROWS;
                for weight in weights.iter().enumerate() {
                    let (p, weight) = weight;
                    let start = (p * row_tiles + row_tile) * self.groups;
                    weight.scale(first, &mut sums[start..start + self.groups]);
                }
                for group in 0..self.groups {
                    let products = std::array::from_fn(|p| {
                        &sums[(p * row_tiles + row_tile) * self.groups + group]
                    });
                    sink(self.first_group + group, first, products);
                }
            }
        });
    }
}
