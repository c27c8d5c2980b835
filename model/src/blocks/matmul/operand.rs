//! Operands: the activations that weights are multiplied with, rounded and laid out in tiles.

use rayon::prelude::*;

use super::panel;
use super::tile::{Arithmetic, TILE};
use crate::blocks::lanes::{LANES, Lanes, Line};

/// Number of tiles of a panel, 2 kB each. With many groups a panel must stay in the first-level
/// cache, which two threads may share. With few groups memory is the limit, so that a panel takes
/// long runs of a row.
pub const fn panel_tiles(groups: usize) -> usize {
    if groups > FEW { 8 } else { 64 }
}

/// Up to this many groups, weights are used so few times that memory is the limit: a query, or a
/// few.
pub const FEW: usize = 4;

/// Activations in lanes, rounded to the type that is multiplied.
#[derive(Debug, Clone)]
pub struct Operand {
    pub arithmetic: Arithmetic,
    pub groups: usize,
    pub width: usize,
    /// By block of the inner width, then by group, then by tile of the block.
    lines: Vec<Line>,
}

impl Operand {
    /// Zeros for `groups` groups of `width` rows; written by [`Filler`].
    pub fn new(arithmetic: Arithmetic, groups: usize, width: usize) -> Self {
        let lines = vec![Line([0; 16]); groups * arithmetic.tiles(width) * TILE];
        Self { arithmetic, groups, width, lines }
    }

    /// Rounds `x`.
    pub fn round(arithmetic: Arithmetic, x: &Lanes) -> Self {
        let mut operand = Self::new(arithmetic, x.groups(), x.width());
        let filler = operand.filler();
        (0..x.groups()).into_par_iter().for_each(|group| {
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
        let mut operand = Self::new(arithmetic, x.groups(), x.width());
        let filler = operand.filler();
        let rows = || vec![[0.0; LANES]; x.width()];
        (0..x.groups()).into_par_iter().for_each_init(rows, |rows, group| {
            make(group, x.group(group), rows);
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
    pub fn block(&self, block: usize, group: usize) -> &[Line] {
        let tiles = self.arithmetic.tiles(self.width);
        let most = panel_tiles(self.groups);
        let here = most.min(tiles - block * most);
        let start = (block * most * self.groups + group * here) * TILE;
        &self.lines[start..start + here * TILE]
    }

    /// Lets several threads write disjoint rows.
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
