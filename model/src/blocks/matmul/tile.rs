//! The sizes that panels, operands and kernels share, and the types that are multiplied.

use pagesight_simd::{Extension, Instructions};

/// Rows of a weight that one call of a kernel multiplies with 32 positions.
pub const ROWS: usize = 32;

/// The most positions whose weights are multiplied as they are stored.
pub const MOST_OF_FEW: usize = 8;

/// Lines of a tile, both of a panel and of an operand.
pub const TILE: usize = 32;

/// Tiles of whole numbers whose products are summed up as whole numbers of 32 bits, before they
/// become f32: 256 numbers of a row. With [`MOST_OF_WEIGHTS`] and [`MOST_OF_ACTIVATIONS`] they
/// cannot overflow.
pub const RUN: usize = 8;

/// The greatest whole number that a weight becomes.
pub const MOST_OF_WEIGHTS: f32 = 2047.0;

/// The greatest whole number that an activation becomes.
pub const MOST_OF_ACTIVATIONS: f32 = 4095.0;

const _: () = {
    let of_tile = (Arithmetic::Int16.tile_width() * RUN) as f64;
    assert!(MOST_OF_WEIGHTS as f64 * MOST_OF_ACTIVATIONS as f64 * of_tile < i32::MAX as f64);
};

/// The type that is multiplied. Sums are f32, but for short ones of whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32.
    F32,
    /// bf16: activations are rounded to it before they are multiplied, as the reference's are.
    Bf16,
    /// Whole numbers in 16 bits, 12 bits of them for a weight and 13 for an activation, with their
    /// sign. The numbers of a row or a position have one scale for [`RUN`] tiles, or for one tile,
    /// which makes the greatest of them the greatest whole number. A CPU multiplies twice as many
    /// as numbers in f32, and the error is a fraction of that of bf16 unless a few numbers are many
    /// times as large as all others.
    Int16,
}

impl Arithmetic {
    /// Inner width of a tile. A word of four bytes is one f32 or two bf16.
    pub const fn tile_width(self) -> usize {
        match self {
            Self::F32 => 16,
            Self::Bf16 | Self::Int16 => 32,
        }
    }

    /// What is multiplied on this CPU for a precision of 16 bits: bf16 where there are instructions
    /// for it; else whole numbers where they are faster than f32 and were found to be
    /// `near_enough`; else f32.
    pub fn of_sixteen_bits(near_enough: bool) -> Self {
        if Extension::Avx512Bf16.is_available() || Instructions::Amx.is_available() {
            return Self::Bf16;
        }
        // AVX-512 without VNNI multiplies as many numbers of f32 as pairs of whole numbers, since
        // these take an addition more. So does NEON, four of each.
        let is_faster = match Instructions::best() {
            Instructions::Amx | Instructions::Avx512 => Extension::Avx512Vnni.is_available(),
            Instructions::Avx2 => true,
            Instructions::Neon | Instructions::Portable => false,
        };
        if near_enough && is_faster { Self::Int16 } else { Self::F32 }
    }

    /// What a few positions are rounded to, before the product of few makes of them what it multiplies:
    /// for that their numbers need not be whole.
    #[must_use]
    pub const fn of_few(self) -> Self {
        match self {
            Self::Int16 => Self::F32,
            other => other,
        }
    }

    /// Number of tiles for an inner width. The last one is filled up with zeros.
    pub const fn tiles(self, width: usize) -> usize {
        width.div_ceil(self.tile_width())
    }
}
