//! One side of a product as kernels take it.

use super::tile::{RUN, TILE};
use crate::blocks::lanes::Line;

/// Tiles of a panel or of an operand. Whole numbers have scales beside them, for every row of a
/// panel or every position of an operand: an array for [`RUN`] tiles, or one for each tile. An
/// operand whose scales are applied elsewhere has none.
#[derive(Debug, Clone, Copy)]
pub struct Factor<'a, const N: usize> {
    pub lines: &'a [Line],
    pub scales: &'a [[f32; N]],
}

impl<const N: usize> Factor<'_, N> {
    /// The tiles.
    ///
    /// # Panics
    /// When the lines are no whole tiles.
    pub fn tiles(&self) -> &[[Line; TILE]] {
        let (tiles, rest) = self.lines.as_chunks();
        assert!(rest.is_empty(), "whole tiles");
        tiles
    }

    /// How many tiles share an array of scales.
    ///
    /// # Panics
    /// When there are not as many scales as that takes.
    pub fn run(&self) -> usize {
        let tiles = self.tiles().len();
        if self.scales.is_empty() {
            return RUN;
        }
        if self.scales.len() == tiles {
            return 1;
        }
        assert_eq!(self.scales.len(), tiles.div_ceil(RUN), "scales of the tiles");
        RUN
    }
}
