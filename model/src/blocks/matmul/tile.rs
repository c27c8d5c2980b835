//! The measures that panels, operands and kernels share, and the two types that are multiplied.

/// Rows of a weight that meet 32 positions in one call of a kernel.
pub const ROWS: usize = 32;

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
