//! Activations as words of tiles, rounded to the type that is multiplied.

use pagesight_simd::compiled_for_each_cpu;

use super::tile::{Arithmetic, TILE};
use crate::blocks::lanes::{LANES, Line};

/// The nearest bf16, ties to even, in the low half.
#[inline(always)]
fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    // Rounding up could turn a NaN into a number.
    if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fc0 } else { rounded }
}

/// Two numbers as a pair of bf16.
#[inline(always)]
pub fn pair(first: f32, second: f32) -> u32 {
    round(first) | (round(second) << 16)
}

compiled_for_each_cpu! {
    /// The nearest numbers that bf16 has, in place.
    pub fn round_numbers(values: &mut [f32]) {
        for value in values {
            *value = f32::from_bits(round(*value) << 16);
        }
    }

    fn round_f32(rows: &[[f32; LANES]], lines: &mut [Line]) {
        for (row, lines) in rows.iter().zip(lines.as_chunks_mut::<2>().0) {
            for i in 0..16 {
                lines[0].0[i] = row[i].to_bits();
                lines[1].0[i] = row[16 + i].to_bits();
            }
        }
    }

    fn round_bf16(rows: &[[f32; LANES]], lines: &mut [Line]) {
        for (rows, lines) in rows.chunks(2).zip(lines.as_chunks_mut::<2>().0) {
            let second = rows.get(1).unwrap_or(&[0.0; LANES]);
            for i in 0..16 {
                lines[0].0[i] = pair(rows[0][i], second[i]);
                lines[1].0[i] = pair(rows[0][16 + i], second[16 + i]);
            }
        }
    }

    // A group's rows, at most a tile wide, across: position by position.
    fn turn_f32(rows: &[[f32; LANES]], lines: &mut [Line]) {
        for (word, row) in rows.iter().enumerate() {
            for i in 0..LANES {
                lines[i].0[word] = row[i].to_bits();
            }
        }
    }

    fn turn_bf16(rows: &[[f32; LANES]], lines: &mut [Line]) {
        for (word, rows) in rows.chunks(2).enumerate() {
            let second = rows.get(1).unwrap_or(&[0.0; LANES]);
            for i in 0..LANES {
                lines[i].0[word] = pair(rows[0][i], second[i]);
            }
        }
    }

    // 16 positions of 32 rows, position by position as words of f32.
    fn along_f32(rows: &[[f32; LANES]], first: usize, lines: &mut [Line]) {
        for (row, line) in rows.iter().zip(lines) {
            for i in 0..16 {
                line.0[i] = row[first + i].to_bits();
            }
        }
    }

    fn along_bf16(rows: &[[f32; LANES]], lines: &mut [Line]) {
        for (row, line) in rows.iter().zip(lines) {
            for i in 0..16 {
                line.0[i] = pair(row[2 * i], row[2 * i + 1]);
            }
        }
    }
}

/// `rows`, at most a tile's width, as a tile of an operand: what is missing is left as it is.
pub fn round_rows(arithmetic: Arithmetic, rows: &[[f32; LANES]], lines: &mut [Line]) {
    match arithmetic {
        Arithmetic::F32 => round_f32(rows, lines),
        Arithmetic::Bf16 => round_bf16(rows, lines),
        Arithmetic::Int16 => unreachable!("whole numbers have scales"),
    }
}

/// A tile of a panel whose rows are the 32 positions of a group, from `rows`, at most a tile's
/// width.
pub fn turn_rows(arithmetic: Arithmetic, rows: &[[f32; LANES]], lines: &mut [Line]) {
    match arithmetic {
        Arithmetic::F32 => turn_f32(rows, lines),
        Arithmetic::Bf16 => turn_bf16(rows, lines),
        Arithmetic::Int16 => unreachable!("whole numbers have scales"),
    }
}

/// The tiles of a panel whose inner width is the positions of a group: two for f32, one for bf16.
pub fn along_rows(arithmetic: Arithmetic, rows: &[[f32; LANES]], lines: &mut [Line]) {
    match arithmetic {
        Arithmetic::F32 => {
            let (low, high) = lines.split_at_mut(TILE);
            along_f32(rows, 0, low);
            along_f32(rows, 16, high);
        }
        Arithmetic::Bf16 => along_bf16(rows, lines),
        Arithmetic::Int16 => unreachable!("whole numbers have scales"),
    }
}
