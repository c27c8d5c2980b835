//! The product: its tasks, their panels, and the order of their sums.

use std::cell::RefCell;
use std::ops::Range;

use pagesight_simd::Instructions;
use rayon::prelude::*;

use super::ahead::Ahead;
use super::kernel::{Kernel, best};
use super::matrix::Matrix;
use super::operand::{Operand, panel_tiles};
use super::panel::Panel;
use super::tile::ROWS;
use crate::blocks::lanes::LANES;

/// Most groups of positions of a task. Their part of the operand, 16 kB each, stays in the
/// second-level cache, and a panel is made once for all of them.
const GROUPS: usize = 28;

/// Bytes of the sums of a task, which stay in a second-level cache of a megabyte with a block of the
/// operand. More rows would read the operand fewer times, fewer rows leave room for the next block.
const SUMS: usize = 400 << 10;

/// Multiplications of a task, as far as its rows can be divided: half a millisecond of a core. A
/// thread that has no more to do waits no longer than that for the others.
const PRODUCTS: usize = 64 << 20;

/// Multiplies `P` weights of the same shape with `x`. `sink` gets 32 rows of each product at a
/// time: `(group, first row, products)`; rows past the last are zero. It is called from all
/// threads, once for every group and every 32 rows.
///
/// # Panics
/// When `x` has few positions, which are for [`product_of_few`](super::product_of_few).
pub fn product<const P: usize>(
    weights: [&Matrix; P],
    x: &Operand,
    sink: impl Fn(usize, usize, [&[[f32; LANES]; ROWS]; P]) + Sync,
) {
    product_with(best(x.arithmetic), weights, x, sink);
}

pub fn product_with<const P: usize>(
    instructions: Instructions,
    weights: [&Matrix; P],
    x: &Operand,
    sink: impl Fn(usize, usize, [&[[f32; LANES]; ROWS]; P]) + Sync,
) {
    products_with(instructions, &[weights], x, |_, group, first, products| {
        sink(group, first, products);
    });
}

/// As [`product`] for several weights, or several times `P` of them, whose numbers of rows may
/// differ: `sink` gets which of them first. Threads wait for each other once, not after each.
pub fn products<const P: usize>(
    all: &[[&Matrix; P]],
    x: &Operand,
    sink: impl Fn(usize, usize, usize, [&[[f32; LANES]; ROWS]; P]) + Sync,
) {
    products_with(best(x.arithmetic), all, x, sink);
}

fn products_with<const P: usize>(
    instructions: Instructions,
    all: &[[&Matrix; P]],
    x: &Operand,
    sink: impl Fn(usize, usize, usize, [&[[f32; LANES]; ROWS]; P]) + Sync,
) {
    assert!(x.few().is_none(), "positions of groups");
    let mut tasks = Vec::new();
    for (which, weights) in all.iter().enumerate() {
        let rows = weights[0].rows();
        for weight in weights {
            assert_eq!((weight.rows(), weight.columns()), (rows, x.width), "shape of the weight");
        }
        // Parts of equal size, so that no thread waits long for the last.
        let parts = x.groups.div_ceil(GROUPS).max(1);
        let groups = x.groups.div_ceil(parts).max(1);
        let task_rows = rows_of_task::<P>(rows, groups, x.width, parts);
        // Neighbouring tasks share rows: the second finds them in a cache.
        for first_row in (0..rows).step_by(task_rows) {
            for first_group in (0..x.groups).step_by(groups) {
                tasks.push(Task {
                    instructions,
                    which,
                    first_row,
                    rows: task_rows.min(rows - first_row),
                    first_group,
                    groups: groups.min(x.groups - first_group),
                });
            }
        }
    }
    // One at a time: left to itself, a thread takes a quarter of them and gives none back.
    tasks.par_iter().enumerate().with_max_len(1).for_each(|(n, task)| {
        // Most often a thread has the next one then.
        let next = tasks.get(n + 1).map(|next| (next, all[next.which]));
        task.run(all[task.which], x, next, &sink);
    });
}

/// Rows of each of the `P` weights of a task: enough to use the operand many times, few enough for
/// the cache and for all threads to have some.
fn rows_of_task<const P: usize>(rows: usize, groups: usize, width: usize, parts: usize) -> usize {
    let of_cache = SUMS / (P * groups * LANES * size_of::<f32>());
    let of_time = PRODUCTS / (P * groups * LANES * width).max(1);
    let of_threads = (rows * parts).div_ceil(4 * rayon::current_num_threads());
    let most = of_cache.min(of_time.max(2 * ROWS)).min(of_threads);
    // Columns of tasks of equal size.
    let columns = rows.div_ceil((most / ROWS * ROWS).max(ROWS)).max(1);
    rows.div_ceil(columns).next_multiple_of(ROWS)
}

/// A block of the result.
struct Task {
    instructions: Instructions,
    /// Which of the weights.
    which: usize,
    first_row: usize,
    rows: usize,
    first_group: usize,
    groups: usize,
}

/// Buffers that a thread keeps between tasks.
#[derive(Default)]
struct Scratch {
    /// The panel that is multiplied, and the next one, which is filled meanwhile.
    panels: [Panel; 2],
    /// `[P, row tiles, groups]` of 32 rows of 32 positions.
    sums: Vec<[[f32; LANES]; ROWS]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A panel, and what it is multiplied with.
struct Step<'a> {
    /// The block of columns.
    block: usize,
    /// The number of the sums.
    tile: usize,
    weight: &'a Matrix,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Task {
    /// Step `at`, in order: by block of the columns, then by weight, then by tile of the rows.
    fn step<'a, const P: usize>(
        &self,
        at: usize,
        weights: [&'a Matrix; P],
        x: &Operand,
    ) -> Option<Step<'a>> {
        let row_tiles = self.rows.div_ceil(ROWS);
        let (block, tile) = (at / (P * row_tiles), at % (P * row_tiles));
        let width = panel_tiles(x.groups) * x.arithmetic.tile_width();
        let columns = block * width..x.width.min((block + 1) * width);
        let weight = weights[tile / row_tiles];
        let first = self.first_row + tile % row_tiles * ROWS;
        let rows = first..weight.rows().min(first + ROWS);
        (!columns.is_empty()).then_some(Step { block, tile, weight, rows, columns })
    }

    /// Runs it; `next_task` is the one whose first panels are fetched during the last steps.
    fn run<'a, const P: usize>(
        &self,
        weights: [&'a Matrix; P],
        x: &Operand,
        next_task: Option<(&Self, [&'a Matrix; P])>,
        sink: &impl Fn(usize, usize, usize, [&[[f32; LANES]; ROWS]; P]),
    ) {
        SCRATCH.with_borrow_mut(|Scratch { panels: [panel, next], sums }| {
            let kernel = Kernel::new(x.arithmetic, self.instructions);
            let row_tiles = self.rows.div_ceil(ROWS);
            sums.resize(sums.len().max(P * row_tiles * self.groups), [[0.0; LANES]; ROWS]);
            let step = |at: usize| self.step(at, weights, x);
            let part = ROWS.div_ceil(self.groups);
            let mut of_next = 0;
            for at in 0.. {
                let Some(Step { block, tile, weight, rows, columns }) = step(at) else { break };
                if at == 0 {
                    panel.prepare(x.arithmetic, rows.len(), columns.len());
                    panel.fill(x.arithmetic, weight, (0, rows), columns);
                }
                let following = step(at + 1);
                if let Some(Step { rows, columns, .. }) = &following {
                    next.prepare(x.arithmetic, rows.len(), columns.len());
                }
                let after = step(at + 2).or_else(|| {
                    let (task, weights) = next_task?;
                    of_next += 1;
                    task.step(of_next - 1, weights, x)
                });
                let sums = &mut sums[tile * self.groups..(tile + 1) * self.groups];
                for (i, sums) in sums.iter_mut().enumerate() {
                    let some = |rows: &Range<usize>| {
                        let part = i * part..(i + 1) * part;
                        rows.end.min(rows.start + part.start)..rows.end.min(rows.start + part.end)
                    };
                    let mut ahead = match &after {
                        Some(step) => step.weight.ahead(some(&step.rows), step.columns.clone()),
                        None => Ahead::nothing(),
                    };
                    let part_of_x = x.block(block, self.first_group + i);
                    let count = x.count(self.first_group + i);
                    kernel.multiply(panel.factor(), part_of_x, sums, block > 0, count, &mut ahead);
                    // Vector instructions fill the next panel while AMX still multiplies.
                    if let Some(Step { weight, rows, columns, .. }) = &following {
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
                    sink(self.which, self.first_group + group, first, products);
                }
            }
        });
    }
}
