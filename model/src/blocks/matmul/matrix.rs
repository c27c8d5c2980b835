//! Weights in the formats that files have.

use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};

use super::ahead::Ahead;
use super::tile::{Arithmetic, ROWS, RUN};
use crate::blocks::lanes::LANES;
use crate::blocks::zeros::Zeros;
use crate::checkpoint::stored::Stored;

/// Where the numbers of a weight are.
#[derive(Debug, Clone)]
enum Bytes {
    /// In a file, or with an adapter merged in.
    Stored(Stored),
    /// Made in memory.
    Owned(Arc<[u8]>),
    /// Converted while loading, in large pages: each token reads all of them.
    Converted(Arc<Zeros<u8>>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Stored(stored) => stored.bytes(),
            Self::Owned(bytes) => bytes,
            Self::Converted(bytes) => bytes,
        }
    }
}

/// How the numbers of a weight are stored, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    F32,
    Bf16,
    F16,
    /// A signed byte, to be multiplied by the scale of its row.
    Q8,
    /// Whole numbers of 16 bits as [`Arithmetic::Int16`] multiplies
    /// them; [`INT16_BLOCK`] numbers of a row have a scale.
    Int16,
    /// Half a byte, from which 8 is subtracted; the first of two is in the low half. 16 bytes hold
    /// the [`Q4_BLOCK`] numbers of a block, which has a scale. The last block of a row is filled up
    /// with zeros.
    Q4,
}

/// How many numbers share a scale in [`Format::Q4`].
pub const Q4_BLOCK: usize = 32;

/// How many numbers share a scale in [`Format::Int16`].
pub const INT16_BLOCK: usize = RUN * Arithmetic::Int16.tile_width();

impl Format {
    /// Bytes of a row.
    pub const fn row_bytes(self, columns: usize) -> usize {
        match self {
            Self::F32 => columns * 4,
            Self::Bf16 | Self::F16 | Self::Int16 => columns * 2,
            Self::Q8 => columns,
            Self::Q4 => columns.div_ceil(Q4_BLOCK) * (Q4_BLOCK / 2),
        }
    }

    /// Scales of a row, f32.
    pub const fn row_scales(self, columns: usize) -> usize {
        match self {
            Self::F32 | Self::Bf16 | Self::F16 => 0,
            Self::Q8 => 1,
            Self::Int16 => columns.div_ceil(INT16_BLOCK),
            Self::Q4 => columns.div_ceil(Q4_BLOCK),
        }
    }
}

/// A weight, `[rows, columns]` as stored: `[out, in]`.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// The first of its rows among those that are stored.
    first: usize,
    rows: usize,
    columns: usize,
    format: Format,
    bytes: Bytes,
    scales: Arc<[f32]>,
}

impl Matrix {
    /// A weight that lies in a file, with the scales of its format.
    ///
    /// # Panics
    /// When lengths do not fit. `Weights` has checked the shapes before.
    pub fn stored(
        format: Format,
        [rows, columns]: [usize; 2],
        stored: Stored,
        scales: Vec<f32>,
    ) -> Self {
        Self::checked(format, [rows, columns], Bytes::Stored(stored), scales)
    }

    /// A weight that was converted while loading.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn converted(
        format: Format,
        shape: [usize; 2],
        bytes: Zeros<u8>,
        scales: Vec<f32>,
    ) -> Self {
        Self::checked(format, shape, Bytes::Converted(bytes.into()), scales)
    }

    /// A weight that was made in memory.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn owned(
        format: Format,
        shape: [usize; 2],
        bytes: impl Into<Arc<[u8]>>,
        scales: Vec<f32>,
    ) -> Self {
        Self::checked(format, shape, Bytes::Owned(bytes.into()), scales)
    }

    fn checked(
        format: Format,
        [rows, columns]: [usize; 2],
        bytes: Bytes,
        scales: Vec<f32>,
    ) -> Self {
        assert_eq!(bytes.get().len(), rows * format.row_bytes(columns), "bytes of the weight");
        assert_eq!(scales.len(), rows * format.row_scales(columns), "scales of the weight");
        Self { first: 0, rows, columns, format, bytes, scales: scales.into() }
    }

    /// Some of its rows, where they lie.
    ///
    /// # Panics
    /// When they are not there.
    pub fn part(&self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows of the weight");
        Self { first: self.first + rows.start, rows: rows.len(), ..self.clone() }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes of a row.
    pub fn row(&self, row: usize) -> &[u8] {
        let length = self.format.row_bytes(self.columns);
        let row = self.first + row;
        &self.bytes.get()[row * length..(row + 1) * length]
    }

    /// Scales of a row.
    pub fn row_scales(&self, row: usize) -> &[f32] {
        let length = self.format.row_scales(self.columns);
        let row = self.first + row;
        &self.scales[row * length..(row + 1) * length]
    }

    /// The numbers of a row, as f32.
    pub fn values(&self, row: usize) -> Vec<f32> {
        let (bytes, scales) = (self.row(row), self.row_scales(row));
        let mut values: Vec<f32> = match self.format {
            Format::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Format::Bf16 => {
                bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
            }
            Format::F16 => {
                bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
            }
            Format::Int16 => {
                let numbers = bytes.as_chunks().0.iter().map(|b| f32::from(i16::from_le_bytes(*b)));
                numbers.enumerate().map(|(i, n)| n * scales[i / INT16_BLOCK]).collect()
            }
            Format::Q8 => bytes.iter().map(|b| f32::from(b.cast_signed()) * scales[0]).collect(),
            Format::Q4 => {
                let nibbles = bytes.iter().flat_map(|b| [b & 15, b >> 4]);
                nibbles
                    .enumerate()
                    .map(|(i, nibble)| (f32::from(nibble) - 8.0) * scales[i / Q4_BLOCK])
                    .collect()
            }
        };
        values.truncate(self.columns);
        values
    }

    /// The numbers of some columns of `rows`, to be fetched ahead; rows past the end are left out.
    pub fn ahead(&self, rows: Range<usize>, columns: Range<usize>) -> Ahead<'_> {
        let stride = self.format.row_bytes(self.columns);
        let end = self.format.row_bytes(columns.end.min(self.columns));
        let start = self.format.row_bytes(columns.start).min(end);
        let rows = rows.start.min(self.rows)..rows.end.min(self.rows);
        if rows.is_empty() {
            return Ahead::nothing();
        }
        let first = (self.first + rows.start) * stride + start;
        let last = (self.first + rows.end - 1) * stride + end;
        Ahead::new(&self.bytes.get()[first..last], stride, end - start)
    }

    /// Multiplies products with the scales of their rows, when rows have one. `first` is the first
    /// row.
    pub fn scale(&self, first: usize, products: &mut [[[f32; LANES]; ROWS]]) {
        if self.format == Format::Q8 {
            let scales = &self.scales[self.first..self.first + self.rows];
            let scales = &scales[first..self.rows.min(first + ROWS)];
            for products in products {
                for (row, scale) in products.iter_mut().zip(scales) {
                    row.iter_mut().for_each(|value| *value *= scale);
                }
            }
        }
    }
}
