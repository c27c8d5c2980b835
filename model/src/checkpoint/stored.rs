//! A tensor where it lies in its file: nothing is read, converted or paged in until it is asked
//! for.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Result as CandleResult, Tensor, bail};
use half::{bf16, f16};
use safetensors::Dtype;

use crate::checkpoint::bytes::FileBytes;
use crate::error::ModelError;

/// A tensor in its stored type. Cheap to clone; it keeps the map alive.
#[derive(Clone)]
pub struct Stored {
    key: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Bytes,
}

#[derive(Clone)]
enum Bytes {
    OfFile {
        map: FileBytes,
        range: Range<usize>,
    },
    /// Made while loading, e.g. a weight with its adapter merged in.
    Owned(Arc<[u8]>),
}

impl Stored {
    /// A tensor inside `map`; `range` was checked.
    pub fn of_file(
        key: &str,
        dtype: Dtype,
        shape: &[usize],
        map: FileBytes,
        range: Range<usize>,
    ) -> Self {
        let bytes = Bytes::OfFile { map, range };
        Self { key: key.into(), dtype, shape: shape.into(), bytes }
    }

    /// A tensor made of `values`, f32.
    pub fn owned(key: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let bytes = Bytes::Owned(bytes.into());
        Self { key: key.into(), dtype: Dtype::F32, shape: shape.into(), bytes }
    }

    /// Its name in the file.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The type of its numbers in the file (f32 where an adapter was merged in).
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Whether its numbers can be read as f32 as they are; packed ones cannot.
    pub fn is_float(&self) -> bool {
        matches!(self.dtype, Dtype::F32 | Dtype::BF16 | Dtype::F16)
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its numbers, little endian, row-major; not always aligned.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::OfFile { map, range } => &map[range.clone()],
            Bytes::Owned(bytes) => bytes,
        }
    }

    /// How many numbers it has, packed ones not told apart.
    pub fn numbers(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64
    }

    /// Whether none of its floats is infinite or no number. Reads all of it.
    pub fn is_finite(&self) -> bool {
        // All ones in the exponent, in the upper half of each number.
        let (width, mask) = match self.dtype {
            Dtype::F32 | Dtype::BF16 => (self.dtype.bitsize() / 8, 0x7f80),
            Dtype::F16 => (2, 0x7c00),
            _ => return true,
        };
        let upper = |number: &[u8]| u16::from_le_bytes([number[width - 2], number[width - 1]]);
        self.bytes().chunks_exact(width).all(|number| upper(number) & mask != mask)
    }

    /// All of its numbers as f32, row-major, copied out of the file.
    ///
    /// # Errors
    /// [`ModelError::Dtype`] for numbers that are not floats.
    pub fn values(&self) -> Result<Vec<f32>, ModelError> {
        if !self.is_float() {
            return Err(ModelError::Dtype { key: self.key.clone(), got: self.dtype.to_string() });
        }
        let mut values = Vec::with_capacity(self.shape.iter().product());
        self.widen(self.bytes(), &mut values)?;
        Ok(values)
    }

    /// As [`values`](Self::values), in its shape.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    pub fn to_f32(&self) -> Result<Tensor, ModelError> {
        Ok(Tensor::from_vec(self.values()?, self.shape.as_slice(), &Device::Cpu)?)
    }

    /// Rows `ids` of a `[rows, width]` tensor as f32, `[ids.len(), width]`: only their pages of
    /// the map are touched.
    pub fn rows(&self, ids: &[u32]) -> CandleResult<Tensor> {
        let &[rows, width] = self.shape.as_slice() else {
            bail!("{} is {:?}, not a table", self.key, self.shape)
        };
        let bytes = self.bytes();
        let row_bytes = bytes.len() / rows.max(1);
        let mut values = Vec::with_capacity(ids.len() * width);
        for &id in ids {
            if id as usize >= rows {
                bail!("{} has {rows} rows, not a row {id}", self.key)
            }
            let at = id as usize * row_bytes;
            self.widen(&bytes[at..at + row_bytes], &mut values)?;
        }
        Tensor::from_vec(values, (ids.len(), width), &Device::Cpu)
    }

    /// Appends the numbers in `bytes` to `values`.
    fn widen(&self, bytes: &[u8], values: &mut Vec<f32>) -> CandleResult<()> {
        fn each<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
            bytes.chunks_exact(N).map(|chunk| chunk.try_into().expect("chunks of N"))
        }
        match self.dtype {
            Dtype::F32 => values.extend(each(bytes).map(f32::from_le_bytes)),
            Dtype::BF16 => values.extend(each(bytes).map(|b| bf16::from_le_bytes(b).to_f32())),
            Dtype::F16 => values.extend(each(bytes).map(|b| f16::from_le_bytes(b).to_f32())),
            other => bail!("{} holds {other}, expected F32, BF16 or F16", self.key),
        }
        Ok(())
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.key, self.dtype, self.shape)
    }
}
