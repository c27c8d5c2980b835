//! Operands: the activations that weights are multiplied with, rounded and laid out in tiles.

use std::sync::Arc;

use rayon::prelude::*;

use super::factor::Factor;
use super::tile::{Arithmetic, MOST_OF_ACTIVATIONS, MOST_OF_FEW, RUN, TILE};
use super::{activations, whole};
use crate::blocks::lanes::{LANES, Lanes, Line};
use crate::blocks::zeros::Zeros;

/// Number of tiles of a panel, 2 kB each. With many groups a panel must stay in the first-level
/// cache, which two threads may share. With few groups memory is the limit, so that a panel takes
/// longer runs of a row.
pub const fn panel_tiles(groups: usize) -> usize {
    if groups > FEW { 8 } else { 16 }
}

/// Up to this many groups, weights are used so few times that memory is the limit: a query, or a
/// few.
const FEW: usize = 4;

/// Activations in lanes, rounded to the type that is multiplied.
#[derive(Debug, Clone)]
pub struct Operand {
    pub arithmetic: Arithmetic,
    pub groups: usize,
    pub width: usize,
    /// Positions of each group.
    counts: Arc<[usize]>,
    /// By block of the inner width, then by group, then by tile of the block.
    lines: Zeros<Line>,
    /// Tiles of whole numbers that share scales: [`RUN`] where a group is written at once, 1 where
    /// its rows come one tile after the other.
    run: usize,
    /// Of whole numbers: the scales of the positions, in the order of the lines.
    scales: Vec<[f32; LANES]>,
    /// The numbers of each position, as they were rounded, when there are few; the lines are empty
    /// then.
    few: Option<Vec<Vec<f32>>>,
}

impl Operand {
    /// For the positions of `x` and `width` rows, all of which [`Filler`] has to write, a group at
    /// once.
    pub fn new(arithmetic: Arithmetic, x: &Lanes, width: usize) -> Self {
        Self::with_run(arithmetic, x.counts().into(), width, RUN)
    }

    fn with_run(arithmetic: Arithmetic, counts: Arc<[usize]>, width: usize, run: usize) -> Self {
        let groups = counts.len();
        let tiles = arithmetic.tiles(width);
        // Whole tiles are written; of the last one that is not, the rest stays zero.
        let are_whole = width.is_multiple_of(arithmetic.tile_width());
        let lines = groups * tiles * TILE;
        let lines = if are_whole { Zeros::to_be_written(lines) } else { Zeros::new(lines) };
        let scales = match arithmetic {
            Arithmetic::Int16 => vec![[0.0; LANES]; groups * tiles.div_ceil(run)],
            Arithmetic::F32 | Arithmetic::Bf16 => Vec::new(),
        };
        Self { arithmetic, groups, width, counts, lines, run, scales, few: None }
    }

    /// The same with only so many positions, up to [`MOST_OF_FEW`] of one group, which go the way of
    /// few when they are multiplied. With more it stays as it is. Whoever says so for a position says
    /// so whenever it is multiplied: sums are added in another order.
    #[must_use]
    pub fn of_few(self, positions: usize) -> Self {
        if self.groups != 1 || positions > MOST_OF_FEW {
            return self;
        }
        let few = (0..positions).map(|position| self.values(position)).collect();
        Self::of_rows(self.arithmetic, self.width, few)
    }

    /// Of a few positions, whose numbers are `rows`, `[positions][width]`.
    ///
    /// # Panics
    /// When rows are of another width.
    pub fn of_rows(arithmetic: Arithmetic, width: usize, mut rows: Vec<Vec<f32>>) -> Self {
        assert!(rows.iter().all(|row| row.len() == width), "rows of the width");
        if arithmetic == Arithmetic::Bf16 {
            rows.iter_mut().for_each(|row| activations::round_numbers(row));
        }
        Self {
            arithmetic,
            groups: 1,
            width,
            counts: [rows.len()].into(),
            lines: Zeros::new(0),
            run: RUN,
            scales: Vec::new(),
            few: Some(rows),
        }
    }

    /// The numbers of each position, as they were rounded, when there are few.
    pub fn few(&self) -> Option<&[Vec<f32>]> {
        self.few.as_deref()
    }

    /// The numbers of a position of the first group, as they were rounded.
    pub fn values(&self, position: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.arithmetic.tiles(self.width) * TILE);
        let blocks = self.arithmetic.tiles(self.width).div_ceil(panel_tiles(self.groups));
        for block in 0..blocks {
            let factor = self.block(block, 0);
            let run = factor.run();
            for (tile, lines) in factor.tiles().iter().enumerate() {
                let scale = factor.scales.get(tile / run).map_or(1.0, |scales| scales[position]);
                // A word of 16 positions a line, then of the other 16.
                for pair in lines.as_chunks::<2>().0 {
                    let word = pair[position / 16].0[position % 16];
                    match self.arithmetic {
                        Arithmetic::F32 => values.push(f32::from_bits(word)),
                        Arithmetic::Bf16 => {
                            let numbers = [word << 16, word & 0xffff_0000];
                            values.extend(numbers.map(f32::from_bits));
                        }
                        Arithmetic::Int16 => {
                            let numbers = [word as u16, (word >> 16) as u16];
                            values.extend(numbers.map(|n| f32::from(n.cast_signed()) * scale));
                        }
                    }
                }
            }
        }
        values.truncate(self.width);
        values
    }

    /// Rounds `x`.
    pub fn round(arithmetic: Arithmetic, x: &Lanes) -> Self {
        let mut operand = Self::new(arithmetic, x, x.width());
        let filler = operand.filler();
        (0..x.groups()).into_par_iter().with_max_len(1).for_each(|group| {
            // SAFETY: a task a group.
            unsafe { filler.fill(group, 0, x.group(group)) };
        });
        operand
    }

    /// Applies `make` to each group of `x`, given by its number, from `[width, LANES]` to the same
    /// shape, and rounds the result.
    pub fn made(
        arithmetic: Arithmetic,
        x: &Lanes,
        make: impl Fn(usize, &[[f32; LANES]], &mut [[f32; LANES]]) + Sync,
    ) -> Self {
        let mut operand = Self::new(arithmetic, x, x.width());
        let filler = operand.filler();
        let rows = || vec![[0.0; LANES]; x.width()];
        (0..x.groups()).into_par_iter().with_max_len(2).for_each_init(rows, |rows, group| {
            make(group, x.group(group), rows);
            // SAFETY: a task a group.
            unsafe { filler.fill(group, 0, rows) };
        });
        operand
    }

    /// For the same positions and another width; all rows have to be written, a tile or several at
    /// once.
    pub fn like(&self, width: usize) -> Self {
        Self::with_run(self.arithmetic, self.counts.clone(), width, 1)
    }

    /// Positions of a group.
    pub fn count(&self, group: usize) -> usize {
        self.counts[group]
    }

    /// Block `block` of a group.
    pub fn block(&self, block: usize, group: usize) -> Factor<'_, LANES> {
        let tiles = self.arithmetic.tiles(self.width);
        let most = panel_tiles(self.groups);
        let here = most.min(tiles - block * most);
        let start = (block * most * self.groups + group * here) * TILE;
        let scales = if self.scales.is_empty() {
            0..0
        } else {
            // `most` is a multiple of `RUN`.
            let of_group = here.div_ceil(self.run);
            let start = block * most / self.run * self.groups + group * of_group;
            start..start + of_group
        };
        Factor { lines: &self.lines[start..start + here * TILE], scales: &self.scales[scales] }
    }

    /// Lets several threads write disjoint rows.
    pub fn filler(&mut self) -> Filler {
        Filler {
            arithmetic: self.arithmetic,
            groups: self.groups,
            tiles: self.arithmetic.tiles(self.width),
            width: self.width,
            lines: self.lines.as_mut_ptr(),
            run: self.run,
            scales: self.scales.as_mut_ptr(),
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
    run: usize,
    scales: *mut [f32; LANES],
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
    /// When `first` is inside a tile, or for whole numbers inside tiles that share scales, or the
    /// rows are more than there are.
    pub unsafe fn fill(&self, group: usize, first: usize, rows: &[[f32; LANES]]) {
        let width = self.arithmetic.tile_width();
        assert!(first.is_multiple_of(width) && first + rows.len() <= self.width);
        assert!(group < self.groups);
        if self.arithmetic == Arithmetic::Int16 {
            // SAFETY: as the caller promises; the checks above.
            return unsafe { self.fill_whole(group, first, rows) };
        }
        for (i, rows) in rows.chunks(width).enumerate() {
            // SAFETY: ours alone, as the caller promises; inside by the checks above.
            let lines = unsafe { self.tile(group, first / width + i) };
            activations::round_rows(self.arithmetic, rows, lines);
        }
    }

    /// As [`fill`](Self::fill), for whole numbers.
    ///
    /// # Safety
    /// As there; the rows are inside the operand.
    unsafe fn fill_whole(&self, group: usize, first: usize, rows: &[[f32; LANES]]) {
        let width = self.arithmetic.tile_width();
        let of_run = self.run * width;
        let ends = rows.len().is_multiple_of(of_run) || first + rows.len() == self.width;
        assert!(first.is_multiple_of(of_run) && ends, "all rows of a scale");
        for (i, rows) in rows.chunks(of_run).enumerate() {
            let tile = first / width + i * self.run;
            let (block, here) = self.block_of(tile);
            let most = panel_tiles(self.groups);
            let index = block * most / self.run * self.groups
                + group * here.div_ceil(self.run)
                + tile % most / self.run;
            // SAFETY: inside the scales, of which there is one for each run of each group; ours
            // alone, as the caller promises.
            let scales = unsafe { &mut *self.scales.add(index) };
            let mut inverses = [0.0; LANES];
            whole::lane_scales(rows, MOST_OF_ACTIVATIONS, scales, &mut inverses);
            for (i, rows) in rows.chunks(width).enumerate() {
                // SAFETY: as above.
                let lines = unsafe { self.tile(group, tile + i) };
                whole::round_whole(rows, &inverses, lines);
            }
        }
    }

    /// The block that has a tile, and the tiles that it has of each group.
    fn block_of(&self, tile: usize) -> (usize, usize) {
        let most = panel_tiles(self.groups);
        let block = tile / most;
        (block, most.min(self.tiles - block * most))
    }

    /// A tile of a group.
    ///
    /// # Safety
    /// The operand lives and has it; nobody else has this tile.
    #[expect(clippy::mut_from_ref, reason = "disjoint parts, as promised by the callers")]
    unsafe fn tile(&self, group: usize, tile: usize) -> &mut [Line] {
        let (block, here) = self.block_of(tile);
        let most = panel_tiles(self.groups);
        let index = block * most * self.groups + group * here + tile % most;
        // SAFETY: inside the operand and ours alone, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.lines.add(index * TILE), TILE) }
    }
}
