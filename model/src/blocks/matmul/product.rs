//! The product: its tasks, their panels, and the order of their sums.

use std::cell::RefCell;
use std::ops::Range;

use pagesight_simd::Instructions;
use rayon::prelude::*;

use super::few::product_of_few;
use super::kernel::{Kernel, best};
use super::matrix::Matrix;
use super::operand::{FEW, Operand, panel_tiles};
use super::panel::Panel;
use super::tile::ROWS;
use crate::blocks::lanes::LANES;

/// Groups of positions of a task. Their part of the operand stays in the second-level cache.
const GROUPS: usize = 17;

/// Rows of a task. Its sums take a megabyte, and stay in a second-level cache of two.
const TASK_ROWS: usize = 512;

/// Multiplies `P` weights of the same shape with `x`. `sink` gets 32 rows of each product at a
/// time: `(group, first row, products)`; rows past the last are zero. It is called from all
/// threads, once for every group and every 32 rows.
pub fn product<const P: usize>(
    weights: [&Matrix; P],
    x: &Operand,
    sink: impl Fn(usize, usize, [&[[f32; LANES]; ROWS]; P]) + Sync,
) {
    match x.few() {
        Some(positions) => product_of_few(weights, x, positions, sink),
        None => product_with(best(x.arithmetic), weights, x, sink),
    }
}

pub fn product_with<const P: usize>(
    instructions: Instructions,
    weights: [&Matrix; P],
    x: &Operand,
    sink: impl Fn(usize, usize, [&[[f32; LANES]; ROWS]; P]) + Sync,
) {
    let rows = weights[0].rows();
    for weight in weights {
        assert_eq!((weight.rows(), weight.columns()), (rows, x.width), "shape of the weight");
    }
    // Parts of equal size, so that no thread waits long for the last.
    let parts = x.groups.div_ceil(GROUPS).max(1);
    let groups = x.groups.div_ceil(parts).max(1);
    let most = TASK_ROWS / P.next_power_of_two();
    let at_least = 4 * rayon::current_num_threads();
    let columns = rows.div_ceil(most).max(at_least.div_ceil(parts)).min(rows.div_ceil(ROWS));
    let task_rows = rows.div_ceil(columns.max(1)).next_multiple_of(ROWS);
    let columns = rows.div_ceil(task_rows.max(1));
    (0..columns * parts).into_par_iter().for_each(|task| {
        // Neighbouring tasks share rows: the second finds them in a cache.
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
            // By block of the columns, then by weight, then by tile of the rows.
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
                    kernel.multiply(panel.factor(), part_of_x, sums, block > 0);
                    // Vector instructions fill the next panel while AMX still multiplies.
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
