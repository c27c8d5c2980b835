//! Rows of a weight that are multiplied side by side.

use crate::blocks::matmul::matrix::Matrix;

/// How many there are.
pub const SIDE: usize = 4;

/// Parts of a sum.
pub const PARTS: usize = 16;

/// Numbers of a chunk, which are multiplied at once, in two halves.
pub const CHUNK: usize = 2 * PARTS;

/// So many bytes further on in a row is what will soon be read. Of a shorter row it is what follows
/// behind all [`SIDE`] of them.
const AHEAD: usize = 2 << 10;

/// Parts of the sums of the rows.
pub type Sums = [[f32; PARTS]; SIDE];

/// Rows that lie one behind the other, all of the same length.
pub struct Side<'a> {
    pub rows: [&'a [u8]; SIDE],
    pub scales: [&'a [f32]; SIDE],
}

impl<'a> Side<'a> {
    /// The rows from `first` on. Those past the end are the last one once more.
    pub fn of(weight: &'a Matrix, first: usize) -> Self {
        let last = weight.rows() - 1;
        Self {
            rows: std::array::from_fn(|row| weight.row((first + row).min(last))),
            scales: std::array::from_fn(|row| weight.row_scales((first + row).min(last))),
        }
    }

    /// Where, from the start of a row on, that lies which is to be fetched while byte `at` is read.
    #[inline(always)]
    pub fn ahead(&self, at: usize) -> usize {
        let length = self.rows[0].len();
        let next = at + AHEAD.min(length);
        if next < length { next } else { next + (SIDE - 1) * length }
    }

    /// Has memory fetch what will be read after the `bytes` from `at` on.
    #[inline(always)]
    pub fn prefetch(&self, at: usize, bytes: usize) {
        for at in (at..at + bytes).step_by(LINE) {
            let next = self.ahead(at);
            self.rows.iter().for_each(|row| prefetch(row, next));
        }
    }

    /// What is behind the first `bytes` of the rows and their first `scales`, filled up with zeros.
    pub fn rest(&self, bytes: usize, scales: usize) -> Rest {
        let mut rest = Rest { rows: [[0; REST]; SIDE], scales: [[0.0; REST / CHUNK]; SIDE] };
        for (rest, row) in rest.rows.iter_mut().zip(self.rows) {
            let row = &row[bytes..];
            rest[..row.len()].copy_from_slice(row);
        }
        for (rest, row) in rest.scales.iter_mut().zip(self.scales) {
            let row = row.get(scales..).unwrap_or_default();
            rest.iter_mut().zip(row).for_each(|(rest, scale)| *rest = *scale);
        }
        rest
    }
}

/// Bytes of a rest, at most: a block of whole numbers of 8 bits.
const REST: usize = 8 * CHUNK;

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// What is left of rows.
pub struct Rest {
    rows: [[u8; REST]; SIDE],
    scales: [[f32; REST / CHUNK]; SIDE],
}

impl Rest {
    pub fn side(&self) -> Side<'_> {
        let (rows, scales) = (self.rows.each_ref(), self.scales.each_ref());
        Side { rows: rows.map(|row| &row[..]), scales: scales.map(|scales| &scales[..]) }
    }
}

/// Asks for the line of memory `at` bytes behind the start of `row`, whatever it is.
#[inline(always)]
pub fn prefetch(row: &[u8], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which no address makes fail.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (row, at);
}
