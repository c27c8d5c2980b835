//! Numbers as whole ones of 16 bits, and the scales that make them so.

#![expect(clippy::needless_range_loop, reason = "words of several arrays by one index")]

use pagesight_simd::compiled_for_each_cpu;

use super::matrix::INT16_BLOCK;
use super::tile::{MOST_OF_ACTIVATIONS, MOST_OF_WEIGHTS, ROWS, TILE};
use crate::blocks::lanes::{LANES, Line};
use crate::blocks::rows::apart;

/// The scale of weights, and its inverse.
pub fn scale_of_weights(values: &[f32]) -> (f32, f32) {
    let mut most = 0;
    largest_bits(values, &mut most);
    scale_of(most, MOST_OF_WEIGHTS)
}

/// Converts a row to `Format::Int16`.
pub fn row_to_int16(values: &[f32], bytes: &mut [u8], scales: &mut [f32]) {
    let blocks = values.chunks(INT16_BLOCK).zip(bytes.chunks_mut(2 * INT16_BLOCK));
    for ((values, bytes), scale) in blocks.zip(scales) {
        let inverse;
        (*scale, inverse) = scale_of_weights(values);
        for (value, bytes) in values.iter().zip(bytes.as_chunks_mut::<2>().0) {
            *bytes = (whole_pair(*value, 0.0, [inverse; 2]) as u16).to_le_bytes();
        }
    }
}

/// The scale that makes the largest of some numbers `most`, and its inverse. `bits` are those of
/// its magnitude. All numbers become 0 where they are too small for a scale, and what has a number
/// that is none or infinite becomes none as a whole.
#[inline(always)]
pub fn scale_of(bits: u32, most: f32) -> (f32, f32) {
    const LEAST: u32 = 1e-30_f32.to_bits();
    const INFINITE: u32 = f32::INFINITY.to_bits();
    let largest = f32::from_bits(bits);
    let (scale, inverse) = (largest * (1.0 / most), most / largest);
    let scale = if bits < LEAST { 0.0 } else { scale };
    let inverse = if bits < LEAST { 0.0 } else { inverse };
    (if bits < INFINITE { scale } else { f32::NAN }, inverse)
}

/// Adding this number rounds to a whole number, which is then in the low bits.
const ROUNDING: f32 = 12_582_912.0;

/// Two numbers, multiplied with `inverse`, as a pair of whole numbers.
#[inline(always)]
fn whole_pair(first: f32, second: f32, inverse: [f32; 2]) -> u32 {
    let first = (first * inverse[0] + ROUNDING).to_bits();
    let second = (second * inverse[1] + ROUNDING).to_bits();
    (first & 0xffff) | (second << 16)
}

/// Two numbers between 0 and 1 as a pair of whole numbers up to [`MOST_OF_ACTIVATIONS`].
#[inline(always)]
pub fn whole_shares(first: f32, second: f32) -> u32 {
    whole_pair(first, second, [MOST_OF_ACTIVATIONS; 2])
}

compiled_for_each_cpu! {
    // The bits of magnitudes are in the order of the magnitudes, and those of what is no number are
    // the largest.
    pub fn largest_bits(values: &[f32], most: &mut u32) {
        let mut mosts = [0u32; 32];
        let (whole, rest) = values.as_chunks::<32>();
        for values in whole {
            // As a whole, or the compiler takes number by number.
            let (before, values) = (mosts, *values);
            mosts = std::array::from_fn(|i| before[i].max(values[i].to_bits() & 0x7fff_ffff));
            apart();
        }
        for (most, value) in mosts.iter_mut().zip(rest) {
            *most = (*most).max(value.to_bits() & 0x7fff_ffff);
        }
        *most = mosts.iter().copied().fold(0, u32::max);
    }

    pub fn pack_int16(values: &[f32], inverse: f32, lines: &mut [Line]) {
        let tiles = values.as_chunks::<32>().0.iter().zip(lines.iter_mut().step_by(TILE));
        for (values, line) in tiles {
            for i in 0..16 {
                line.0[i] = whole_pair(values[2 * i], values[2 * i + 1], [inverse; 2]);
            }
        }
    }

    /// The scale of each position for `rows`, whose largest number becomes `most`, and the inverse
    /// of the scale.
    pub fn lane_scales(
        rows: &[[f32; LANES]],
        most: f32,
        scales: &mut [f32; LANES],
        inverses: &mut [f32; LANES],
    ) {
        // In f32, whose largest is taken row by row: that of whole numbers the compiler would take
        // along the rows, and turn them all for it.
        let (mut largest, mut none) = ([0.0f32; LANES], [0.0f32; LANES]);
        for row in rows {
            for i in 0..LANES {
                let size = row[i].abs();
                largest[i] = if size > largest[i] { size } else { largest[i] };
                // What is no number or infinite makes this none.
                none[i] += row[i] * 0.0;
            }
        }
        for i in 0..LANES {
            let (scale, inverse) = scale_of(largest[i].to_bits(), most);
            (scales[i], inverses[i]) = (scale + none[i], inverse);
        }
    }

    /// `rows`, at most a tile's width, as a tile of an operand of whole numbers, given the inverses
    /// of the scales of positions.
    pub fn round_whole(rows: &[[f32; LANES]], inverses: &[f32; LANES], lines: &mut [Line]) {
        for (rows, lines) in rows.chunks(2).zip(lines.as_chunks_mut::<2>().0) {
            let second = rows.get(1).unwrap_or(&[0.0; LANES]);
            for i in 0..16 {
                let j = 16 + i;
                lines[0].0[i] = whole_pair(rows[0][i], second[i], [inverses[i]; 2]);
                lines[1].0[i] = whole_pair(rows[0][j], second[j], [inverses[j]; 2]);
            }
        }
    }

    /// As `turn_rows`, for whole numbers, given the inverses of the scales of positions.
    pub fn turn_whole(rows: &[[f32; LANES]], inverses: &[f32; LANES], lines: &mut [Line]) {
        for (word, rows) in rows.chunks(2).enumerate() {
            let second = rows.get(1).unwrap_or(&[0.0; LANES]);
            for i in 0..LANES {
                lines[i].0[word] = whole_pair(rows[0][i], second[i], [inverses[i]; 2]);
            }
        }
    }

    /// As `along_rows`, for whole numbers, given the inverses of the scales of rows.
    pub fn along_whole(rows: &[[f32; LANES]], inverses: &[f32; ROWS], lines: &mut [Line]) {
        for ((row, line), inverse) in rows.iter().zip(lines).zip(inverses) {
            for i in 0..16 {
                line.0[i] = whole_pair(row[2 * i], row[2 * i + 1], [*inverse; 2]);
            }
        }
    }

    /// Raises the bits of the largest magnitude of each row, `[rows]`, over the first `count`
    /// positions of a group.
    pub fn raise_row_bits(rows: &[[f32; LANES]], count: usize, bits: &mut [u32; ROWS]) {
        for (row, most) in rows.iter().zip(bits) {
            let mut of_row = *most;
            for i in 0..LANES {
                let bits = row[i].to_bits() & 0x7fff_ffff;
                of_row = of_row.max(if i < count { bits } else { 0 });
            }
            *most = of_row;
        }
    }

    /// The scales of rows, given the bits of their largest magnitudes, and the inverses.
    pub fn row_scales(bits: &[u32; ROWS], scales: &mut [f32; ROWS], inverses: &mut [f32; ROWS]) {
        for i in 0..ROWS {
            (scales[i], inverses[i]) = scale_of(bits[i], MOST_OF_WEIGHTS);
        }
    }
}
