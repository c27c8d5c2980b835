//! From stored numbers to the tiles that kernels take.

#![expect(clippy::needless_range_loop, reason = "words of several arrays by one index")]

use std::ops::Range;

use pagesight_simd::compiled_for_each_cpu;

use super::matrix::{Format, Matrix, Q4_BLOCK};
use super::tile::{Arithmetic, ROWS, TILE};
use crate::blocks::lanes::{LANES, Line};

/// Rows of a weight as tiles, `[tiles, 32 rows, 16 words]`: a word is an f32 or two bf16 of the
/// same row. What lies past the weight's rows or columns is zero.
#[derive(Debug, Clone, Default)]
pub struct Panel {
    lines: Vec<Line>,
    tiles: usize,
}

impl Panel {
    /// The tiles.
    pub fn lines(&self) -> &[Line] {
        &self.lines[..self.tiles * TILE]
    }

    /// Makes room for `rows`, at most [`ROWS`], and `columns`, which start at a tile of the kernel;
    /// [`fill`](Self::fill) takes them.
    pub fn prepare(&mut self, arithmetic: Arithmetic, rows: usize, columns: usize) {
        self.resize(arithmetic.tiles(columns));
        if rows < ROWS || !columns.is_multiple_of(arithmetic.tile_width()) {
            self.lines[..self.tiles * TILE].fill(Line([0; 16]));
        }
    }

    /// Takes `rows` of `columns` to place `first`.
    pub fn fill(
        &mut self,
        arithmetic: Arithmetic,
        weight: &Matrix,
        (first, rows): (usize, Range<usize>),
        columns: Range<usize>,
    ) {
        let lines = &mut self.lines[..self.tiles * TILE];
        for (i, row) in rows.enumerate() {
            widen(arithmetic, weight, row, columns.clone(), &mut lines[first + i..]);
        }
    }

    fn resize(&mut self, tiles: usize) {
        self.tiles = tiles;
        let lines = self.lines.len().max(tiles * TILE);
        self.lines.resize(lines, Line([0; 16]));
    }
}

fn widen(
    arithmetic: Arithmetic,
    weight: &Matrix,
    row: usize,
    columns: Range<usize>,
    lines: &mut [Line],
) {
    let format = weight.format();
    let bytes = weight.row(row);
    let bytes = &bytes[format.row_bytes(columns.start)..];
    let bytes = &bytes[..format.row_bytes(columns.len())];
    let scales = match format {
        Format::Q4 => &weight.row_scales(row)[columns.start / Q4_BLOCK..],
        _ => &[],
    };
    match (arithmetic, format) {
        (Arithmetic::F32, Format::F32) => copy(bytes, lines),
        (Arithmetic::F32, Format::Bf16) => bf16_to_f32(bytes, lines),
        (Arithmetic::F32, Format::F16) => f16_to_f32(bytes, lines),
        (Arithmetic::F32, Format::Q8) => q8_to_f32(bytes, lines),
        (Arithmetic::F32, Format::Q4) => q4_to_f32(bytes, scales, lines),
        (Arithmetic::Bf16, Format::Bf16) => copy(bytes, lines),
        (Arithmetic::Bf16, Format::F32) => f32_to_bf16(bytes, lines),
        (Arithmetic::Bf16, Format::F16) => f16_to_bf16(bytes, lines),
        (Arithmetic::Bf16, Format::Q8) => q8_to_bf16(bytes, lines),
        (Arithmetic::Bf16, Format::Q4) => q4_to_bf16(bytes, scales, lines),
    }
}

/// The nearest bf16, ties to even, in the low half.
#[inline(always)]
fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    // Rounding up could make another number of a NaN.
    if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fc0 } else { rounded }
}

/// Two numbers as a pair of bf16.
#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    round(first) | (round(second) << 16)
}

/// Writes `$n` bytes at a time as a line of 16 words, a line in every tile. A macro: a closure
/// called from two places is a function of its own, without the CPU's instructions.
macro_rules! each_line {
    ($n:literal, $bytes:expr, $lines:expr, |$chunk:ident, $words:ident| $convert:block) => {
        let (whole, rest) = $bytes.as_chunks::<$n>();
        for ($chunk, line) in whole.iter().zip($lines.iter_mut().step_by(TILE)) {
            let $words = &mut line.0;
            $convert
        }
        if !rest.is_empty() {
            let mut last = [0; $n];
            last[..rest.len()].copy_from_slice(rest);
            let ($chunk, $words) = (&last, &mut $lines[whole.len() * TILE].0);
            $convert
        }
    };
}

#[inline(always)]
fn f32_at(bytes: &[u8], i: usize) -> f32 {
    f32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
}

#[inline(always)]
fn u16_at(bytes: &[u8], i: usize) -> u16 {
    u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]])
}

compiled_for_each_cpu! {
    fn copy(bytes: &[u8], lines: &mut [Line]) {
        each_line!(64, bytes, lines, |bytes, words| {
            for i in 0..16 {
                let at = 4 * i;
                words[i] = u32::from_le_bytes([
                    bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3],
                ]);
            }
        });
    }

    fn bf16_to_f32(bytes: &[u8], lines: &mut [Line]) {
        each_line!(32, bytes, lines, |bytes, words| {
            for i in 0..16 {
                words[i] = u32::from(u16_at(bytes, i)) << 16;
            }
        });
    }

    fn f32_to_bf16(bytes: &[u8], lines: &mut [Line]) {
        each_line!(128, bytes, lines, |bytes, words| {
            for i in 0..16 {
                words[i] = pair(f32_at(bytes, 2 * i), f32_at(bytes, 2 * i + 1));
            }
        });
    }

    fn f16_to_f32(bytes: &[u8], lines: &mut [Line]) {
        each_line!(32, bytes, lines, |bytes, words| {
            for i in 0..16 {
                words[i] = half_to_f32(u16_at(bytes, i)).to_bits();
            }
        });
    }

    fn f16_to_bf16(bytes: &[u8], lines: &mut [Line]) {
        each_line!(64, bytes, lines, |bytes, words| {
            for i in 0..16 {
                let value = |i| half_to_f32(u16_at(bytes, i));
                words[i] = pair(value(2 * i), value(2 * i + 1));
            }
        });
    }

    fn q8_to_f32(bytes: &[u8], lines: &mut [Line]) {
        each_line!(16, bytes, lines, |bytes, words| {
            for i in 0..16 {
                words[i] = f32::from(bytes[i].cast_signed()).to_bits();
            }
        });
    }

    // All integers of a byte are bf16 numbers: nothing is rounded here. Two bytes become a word
    // together, so that no lane needs another's.
    fn q8_to_bf16(bytes: &[u8], lines: &mut [Line]) {
        each_line!(32, bytes, lines, |bytes, words| {
            for i in 0..16 {
                let both = u32::from(u16_at(bytes, i));
                let first = ((both << 24).cast_signed() >> 24) as f32;
                let second = ((both << 16).cast_signed() >> 24) as f32;
                words[i] = (first.to_bits() >> 16) | (second.to_bits() & 0xffff_0000);
            }
        });
    }

    fn q4_to_f32(bytes: &[u8], scales: &[f32], lines: &mut [Line]) {
        let blocks = bytes.as_chunks::<16>().0.iter().zip(scales);
        for (block, (bytes, scale)) in blocks.enumerate() {
            let [low, high] = nibbles(bytes, *scale);
            // The last block may end before its second half.
            let mut lines = lines.iter_mut().step_by(TILE).skip(2 * block);
            for half in [low, high] {
                if let Some(line) = lines.next() {
                    line.0 = half.map(f32::to_bits);
                }
            }
        }
    }

    fn q4_to_bf16(bytes: &[u8], scales: &[f32], lines: &mut [Line]) {
        let blocks = bytes.as_chunks::<16>().0.iter().zip(scales);
        for ((bytes, scale), line) in blocks.zip(lines.iter_mut().step_by(TILE)) {
            for i in 0..16 {
                let both = u32::from(bytes[i]).cast_signed();
                let [first, second] = [both & 15, both >> 4].map(|n| (n - 8) as f32 * *scale);
                line.0[i] = pair(first, second);
            }
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

/// The 32 numbers of a block.
#[inline(always)]
fn nibbles(bytes: &[u8; 16], scale: f32) -> [[f32; 16]; 2] {
    let value = |nibble: u8| (f32::from(nibble) - 8.0) * scale;
    let mut values = [[0.0; 16]; 2];
    for i in 0..8 {
        values[0][2 * i] = value(bytes[i] & 15);
        values[0][2 * i + 1] = value(bytes[i] >> 4);
        values[1][2 * i] = value(bytes[8 + i] & 15);
        values[1][2 * i + 1] = value(bytes[8 + i] >> 4);
    }
    values
}

/// IEEE half to single, all values, without a branch: the exponent is corrected by a product,
/// which also makes subnormal numbers right.
#[inline(always)]
fn half_to_f32(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = (bits & 0x7fff) << 13;
    let value = f32::from_bits(magnitude) * f32::from_bits((254 - 15) << 23);
    let special = if magnitude >= 0x0f80_0000 { 0x7f80_0000 } else { 0 };
    f32::from_bits(value.to_bits() | special | ((bits & 0x8000) << 16))
}

/// `rows`, at most a tile's width, as a tile of an operand: what is missing is left as it is.
pub fn round_rows(arithmetic: Arithmetic, rows: &[[f32; LANES]], lines: &mut [Line]) {
    match arithmetic {
        Arithmetic::F32 => round_f32(rows, lines),
        Arithmetic::Bf16 => round_bf16(rows, lines),
    }
}

/// A tile of a panel whose rows are the 32 positions of a group, from `rows`, at most a tile's
/// width.
pub fn turn_rows(arithmetic: Arithmetic, rows: &[[f32; LANES]], lines: &mut [Line]) {
    match arithmetic {
        Arithmetic::F32 => turn_f32(rows, lines),
        Arithmetic::Bf16 => turn_bf16(rows, lines),
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
    }
}
