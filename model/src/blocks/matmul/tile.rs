//! The sizes that panels, operands and kernels share, and the two types that are multiplied.

/// Rows of a weight that one call of a kernel multiplies with 32 positions.
pub const ROWS: usize = 32;

/// Lines of a tile, both of a panel and of an operand.
pub const TILE: usize = 32;

/// The type that is multiplied. Sums are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32.
    F32,
    /// bf16: activations are rounded to it before they are multiplied, as the reference's are.
    Bf16,
}

impl Arithmetic {
    /// Inner width of a tile. A word of four bytes is one f32 or two bf16.
    pub const fn tile_width(self) -> usize {
        match self {
            Self::F32 => 16,
            Self::Bf16 => 32,
        }
    }

    /// Number of tiles for an inner width. The last one is filled up with zeros.
    pub const fn tiles(self, width: usize) -> usize {
        width.div_ceil(self.tile_width())
    }
}
