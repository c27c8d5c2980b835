//! Conversion of stored numbers into the tiles that kernels take.

use std::ops::Range;

use super::factor::Factor;
use super::matrix::{Format, INT16_BLOCK, Matrix, Q4_BLOCK};
use super::tile::{Arithmetic, ROWS, RUN, TILE};
use super::{numbers, whole};
use crate::blocks::lanes::Line;

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
            return numbers::copy(bytes, lines);
        }
        Format::Q8 => {
            // The scale of the row is applied to the sums.
            scales.for_each(|scale| *scale = 1.0);
            return numbers::q8_to_int16(bytes, lines);
        }
        _ => {}
    }
    values.clear();
    values.resize(columns.len().next_multiple_of(Q4_BLOCK), 0.0);
    match weight.format() {
        Format::F32 => numbers::numbers_of_f32(bytes, values),
        Format::Bf16 => numbers::numbers_of_bf16(bytes, values),
        Format::F16 => numbers::numbers_of_f16(bytes, values),
        Format::Q4 => numbers::numbers_of_q4(bytes, block_scales, values),
        Format::Q8 | Format::Int16 => unreachable!("whole numbers already"),
    }
    let runs = values.chunks(INT16_BLOCK).zip(lines.chunks_mut(RUN * TILE)).zip(scales);
    for ((values, lines), scale) in runs {
        let inverse;
        (*scale, inverse) = whole::scale_of_weights(values);
        whole::pack_int16(values, inverse, lines);
    }
}

/// Writes some columns of a row in f32 or bf16.
fn widen(
    arithmetic: Arithmetic,
    weight: &Matrix,
    row: usize,
    columns: Range<usize>,
    lines: &mut [Line],
) {
    let (bytes, scales) = stored(weight, row, columns);
    match (arithmetic, weight.format()) {
        (Arithmetic::F32, Format::F32) => numbers::copy(bytes, lines),
        (Arithmetic::F32, Format::Bf16) => numbers::bf16_to_f32(bytes, lines),
        (Arithmetic::F32, Format::F16) => numbers::f16_to_f32(bytes, lines),
        (Arithmetic::F32, Format::Q8) => numbers::q8_to_f32(bytes, lines),
        (Arithmetic::F32, Format::Q4) => numbers::q4_to_f32(bytes, scales, lines),
        (Arithmetic::Bf16, Format::Bf16) => numbers::copy(bytes, lines),
        (Arithmetic::Bf16, Format::F32) => numbers::f32_to_bf16(bytes, lines),
        (Arithmetic::Bf16, Format::F16) => numbers::f16_to_bf16(bytes, lines),
        (Arithmetic::Bf16, Format::Q8) => numbers::q8_to_bf16(bytes, lines),
        (Arithmetic::Bf16, Format::Q4) => numbers::q4_to_bf16(bytes, scales, lines),
        (Arithmetic::Int16, _) | (_, Format::Int16) => unreachable!("whole numbers have scales"),
    }
}
