//! Conversion of stored numbers into the tiles that kernels take.

#![expect(clippy::needless_range_loop, reason = "words of several arrays by one index")]

use std::ops::Range;

use pagesight_simd::compiled_for_each_cpu;

use super::factor::Factor;
use super::matrix::{Format, INT16_BLOCK, Matrix, Q4_BLOCK};
use super::tile::{Arithmetic, MOST_OF_WEIGHTS, ROWS, RUN, TILE};
use crate::blocks::lanes::{LANES, Line};

/// Rows of a weight as tiles, `[tiles, 32 rows, 16 words]`. A word is an f32, or two bf16 or two
/// whole numbers of the same row. Words past the rows or columns of the weight are zero.
#[derive(Debug, Clone, Default)]
pub struct Panel {
    lines: Vec<Line>,
    tiles: usize,
    /// Of whole numbers: the scales of the rows, for every [`RUN`] tiles.
    scales: Vec<[f32; ROWS]>,
    /// A row in f32, before it becomes whole numbers.
    row: Vec<f32>,
}

impl Panel {
    /// The tiles and their scales.
    pub fn factor(&self) -> Factor<'_, ROWS> {
        Factor { lines: &self.lines[..self.tiles * TILE], scales: &self.scales }
    }

    /// Makes room for `rows`, at most [`ROWS`], and `columns`, which start at a tile of the kernel,
    /// so that [`fill`](Self::fill) can write them.
    pub fn prepare(&mut self, arithmetic: Arithmetic, rows: usize, columns: usize) {
        self.resize(arithmetic.tiles(columns));
        if rows < ROWS || !columns.is_multiple_of(arithmetic.tile_width()) {
            self.lines[..self.tiles * TILE].fill(Line([0; 16]));
        }
        self.scales.clear();
        if arithmetic == Arithmetic::Int16 {
            self.scales.resize(self.tiles.div_ceil(RUN), [0.0; ROWS]);
        }
    }

    /// Converts the `columns` of `rows`, and writes them from row `first` of the panel on.
    pub fn fill(
        &mut self,
        arithmetic: Arithmetic,
        weight: &Matrix,
        (first, rows): (usize, Range<usize>),
        columns: Range<usize>,
    ) {
        let lines = &mut self.lines[..self.tiles * TILE];
        for (i, row) in rows.enumerate() {
            let lines = &mut lines[first + i..];
            if arithmetic == Arithmetic::Int16 {
                let scales = self.scales.iter_mut().map(|scales| &mut scales[first + i]);
                whole_numbers(weight, row, columns.clone(), &mut self.row, scales, lines);
            } else {
                widen(arithmetic, weight, row, columns.clone(), lines);
            }
        }
    }

    fn resize(&mut self, tiles: usize) {
        self.tiles = tiles;
        let lines = self.lines.len().max(tiles * TILE);
        self.lines.resize(lines, Line([0; 16]));
    }
}

/// The bytes of some columns of a row, and the scales of their blocks.
fn stored(weight: &Matrix, row: usize, columns: Range<usize>) -> (&[u8], &[f32]) {
    let format = weight.format();
    let bytes = weight.row(row);
    let bytes = &bytes[format.row_bytes(columns.start)..];
    let scales = match format {
        Format::Q4 => &weight.row_scales(row)[columns.start / Q4_BLOCK..],
        Format::Int16 => &weight.row_scales(row)[columns.start / INT16_BLOCK..],
        _ => &[],
    };
    (&bytes[..format.row_bytes(columns.len())], scales)
}

/// Writes some columns of a row as whole numbers; `scales` has a place for every [`RUN`] tiles.
fn whole_numbers<'a>(
    weight: &Matrix,
    row: usize,
    columns: Range<usize>,
    values: &mut Vec<f32>,
    scales: impl Iterator<Item = &'a mut f32>,
    lines: &mut [Line],
) {
    let (bytes, block_scales) = stored(weight, row, columns.clone());
    match weight.format() {
        Format::Int16 => {
            scales.zip(block_scales).for_each(|(scale, of_block)| *scale = *of_block);
            return copy(bytes, lines);
        }
        Format::Q8 => {
            // The scale of the row is applied to the sums.
            scales.for_each(|scale| *scale = 1.0);
            return q8_to_int16(bytes, lines);
        }
        _ => {}
    }
    values.clear();
    values.resize(columns.len().next_multiple_of(Q4_BLOCK), 0.0);
    match weight.format() {
        Format::F32 => numbers_of_f32(bytes, values),
        Format::Bf16 => numbers_of_bf16(bytes, values),
        Format::F16 => numbers_of_f16(bytes, values),
        Format::Q4 => numbers_of_q4(bytes, block_scales, values),
        Format::Q8 | Format::Int16 => unreachable!("whole numbers already"),
    }
    let runs = values.chunks(INT16_BLOCK).zip(lines.chunks_mut(RUN * TILE)).zip(scales);
    for ((values, lines), scale) in runs {
        let inverse;
        (*scale, inverse) = scale_of_weights(values);
        pack_int16(values, inverse, lines);
    }
}

/// The scale of weights, and its inverse.
fn scale_of_weights(values: &[f32]) -> (f32, f32) {
    let mut most = 0;
    largest_bits(values, &mut most);
    scale_of(most, MOST_OF_WEIGHTS)
}

/// Converts a row to [`Format::Int16`].
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
fn scale_of(bits: u32, most: f32) -> (f32, f32) {
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
///
/// [`MOST_OF_ACTIVATIONS`]: super::tile::MOST_OF_ACTIVATIONS
#[inline(always)]
pub fn whole_shares(first: f32, second: f32) -> u32 {
    whole_pair(first, second, [super::tile::MOST_OF_ACTIVATIONS; 2])
}

fn widen(
    arithmetic: Arithmetic,
    weight: &Matrix,
    row: usize,
    columns: Range<usize>,
    lines: &mut [Line],
) {
    let (bytes, scales) = stored(weight, row, columns);
    match (arithmetic, weight.format()) {
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
        (Arithmetic::Int16, _) | (_, Format::Int16) => unreachable!("whole numbers have scales"),
    }
}

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
fn pair(first: f32, second: f32) -> u32 {
    round(first) | (round(second) << 16)
}

/// Writes `$n` bytes at a time as a line of 16 words, one line into every tile. It is a macro
/// because a closure that is called from two places becomes a function of its own, which is not
/// compiled for the instruction set of its caller.
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

    fn numbers_of_f32(bytes: &[u8], values: &mut [f32]) {
        for (bytes, value) in bytes.as_chunks::<4>().0.iter().zip(values) {
            *value = f32::from_le_bytes(*bytes);
        }
    }

    fn numbers_of_bf16(bytes: &[u8], values: &mut [f32]) {
        for (bytes, value) in bytes.as_chunks::<2>().0.iter().zip(values) {
            *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }

    fn numbers_of_f16(bytes: &[u8], values: &mut [f32]) {
        for (bytes, value) in bytes.as_chunks::<2>().0.iter().zip(values) {
            *value = half_to_f32(u16::from_le_bytes(*bytes));
        }
    }

    fn numbers_of_q4(bytes: &[u8], scales: &[f32], values: &mut [f32]) {
        let blocks = bytes.as_chunks::<16>().0.iter().zip(scales);
        for ((bytes, scale), values) in blocks.zip(values.as_chunks_mut::<Q4_BLOCK>().0) {
            let [low, high] = nibbles(bytes, *scale);
            values[..16].copy_from_slice(&low);
            values[16..].copy_from_slice(&high);
        }
    }

    // The bits of magnitudes are in the order of the magnitudes, and those of what is no number are
    // the largest.
    fn largest_bits(values: &[f32], most: &mut u32) {
        let mut mosts = [0u32; 32];
        let (whole, rest) = values.as_chunks::<32>();
        for values in whole {
            for i in 0..32 {
                mosts[i] = mosts[i].max(values[i].to_bits() & 0x7fff_ffff);
            }
        }
        for (most, value) in mosts.iter_mut().zip(rest) {
            *most = (*most).max(value.to_bits() & 0x7fff_ffff);
        }
        *most = mosts.iter().copied().fold(0, u32::max);
    }

    fn pack_int16(values: &[f32], inverse: f32, lines: &mut [Line]) {
        let tiles = values.as_chunks::<32>().0.iter().zip(lines.iter_mut().step_by(TILE));
        for (values, line) in tiles {
            for i in 0..16 {
                line.0[i] = whole_pair(values[2 * i], values[2 * i + 1], [inverse; 2]);
            }
        }
    }

    fn q8_to_int16(bytes: &[u8], lines: &mut [Line]) {
        each_line!(32, bytes, lines, |bytes, words| {
            for i in 0..16 {
                let both = u32::from(u16_at(bytes, i));
                let first = ((both << 24).cast_signed() >> 24).cast_unsigned();
                let second = ((both << 16).cast_signed() >> 24).cast_unsigned();
                words[i] = (first & 0xffff) | (second << 16);
            }
        });
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
pub fn half_to_f32(bits: u16) -> f32 {
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
