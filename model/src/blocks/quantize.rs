//! Weights in 8 and 4 bits.
//!
//! With 8 bits a row has one scale. Whole numbers of 8 bits are bf16 numbers, so their products are
//! exact, and the scale is applied once to the sum. With 4 bits every [`Q4_BLOCK`] numbers of a row
//! have a scale, chosen among a few candidates for the smallest squared error. A row whose width is
//! not a multiple of that (SigLIP's 4304) ends with a block that is filled up with zeros.

use std::iter;
use std::path::PathBuf;

use half::f16;
use pagesight_simd::compiled_for_each_cpu;
use rayon::prelude::*;
use safetensors::Dtype;

use crate::blocks::matmul::{Format, Matrix, Q4_BLOCK, whole};
use crate::blocks::zeros::Zeros;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::precision::Precision;

/// The scales of a quantized weight have its name with this suffix.
pub const SCALES: &str = "_scale";

/// Weights as a quantized checkpoint stores them.
pub struct Quantized;

impl Quantized {
    /// Takes the weight `key`, `[rows, columns]`, if it was quantized: `key` holds the numbers
    /// (I8 `[rows, columns]`, or U8 `[rows, blocks * 16]`) and `key` + [`SCALES`] the scales
    /// (f32 `[rows]`, or f16 `[rows, blocks]`).
    pub fn take(
        weights: &mut Weights,
        key: &str,
        [rows, columns]: [usize; 2],
    ) -> Result<Option<Matrix>, ModelError> {
        let scales = format!("{key}{SCALES}");
        let Some(format) = Self::format(weights, key) else { return Ok(None) };
        let scale_shape = match format {
            Format::Q4 => vec![rows, format.row_scales(columns)],
            _ => vec![rows],
        };
        let scales = weights.take(&scales, &scale_shape)?.flatten_all()?.to_vec1()?;
        let stored = weights.take_stored(key, &[rows, format.row_bytes(columns)])?;
        Ok(Some(Matrix::stored(format, [rows, columns], stored, scales)))
    }

    /// The format of the weight `key`; `None` when it is not quantized.
    pub fn format(weights: &Weights, key: &str) -> Option<Format> {
        if !weights.contains(&format!("{key}{SCALES}")) {
            return None;
        }
        match weights.dtype(key)? {
            Dtype::I8 => Some(Format::Q8),
            Dtype::U8 => Some(Format::Q4),
            _ => None,
        }
    }
}

/// The precision that a model runs in, and whether its weights are stored in it. It is the one
/// `asked` for, else the one in which the weight `key`, a matrix inside the language model, is
/// stored.
///
/// # Errors
/// [`ModelError::Setting`], with the `path` of the weights, when fewer or other bits are asked for
/// than quantized weights have.
pub fn choose_precision(
    asked: Option<Precision>,
    weights: &Weights,
    key: &str,
    path: PathBuf,
) -> Result<(Precision, bool), ModelError> {
    let stored = match (Quantized::format(weights, key), weights.dtype(key)) {
        (Some(Format::Q8), _) => Precision::Q8,
        (Some(_), _) => Precision::Q4,
        (None, Some(Dtype::BF16)) => Precision::Bf16,
        (None, Some(Dtype::F16)) => Precision::F16,
        (None, _) => Precision::F32,
    };
    let chosen = asked.unwrap_or(stored);
    let widened = matches!(chosen, Precision::F32 | Precision::Bf16);
    if stored.is_quantized() && chosen != stored && !widened {
        return Err(ModelError::Setting {
            path,
            key: "precision".into(),
            expected: format!("{stored}, as its weights are, f32 or bf16"),
            got: chosen.to_string(),
        });
    }
    Ok((chosen, chosen == stored))
}

/// Converts `matrix` to another format.
///
/// # Panics
/// For f32 and bf16: nothing is converted to them.
pub fn quantize(matrix: &Matrix, to: Format) -> Matrix {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    let (bytes, scales) = (to.row_bytes(columns), to.row_scales(columns));
    let mut all_bytes = Zeros::to_be_kept(rows * bytes);
    let mut all_scales = vec![0.0; rows * scales];
    // For formats without scales, so that rows and scales can be walked together.
    let mut none = vec![[0.0f32; 0]; rows];
    let scale_rows: Vec<&mut [f32]> = match scales {
        0 => none.iter_mut().map(|row| row.as_mut_slice()).collect(),
        scales => all_scales.chunks_mut(scales).collect(),
    };
    all_bytes.par_chunks_mut(bytes).zip(scale_rows).enumerate().for_each(
        |(row, (bytes, scales))| {
            let values = matrix.values(row);
            match to {
                Format::F16 => {
                    for (value, bytes) in values.iter().zip(bytes.as_chunks_mut().0) {
                        *bytes = f16::from_f32(*value).to_le_bytes();
                    }
                }
                Format::Q8 => scales[0] = row_to_q8(&values, bytes),
                Format::Int16 => whole::row_to_int16(&values, bytes, scales),
                Format::Q4 => {
                    let blocks = values.chunks(Q4_BLOCK).zip(bytes.as_chunks_mut().0);
                    for ((values, bytes), scale) in blocks.zip(scales) {
                        *scale = block_to_q4(values, bytes);
                    }
                }
                Format::F32 | Format::Bf16 => panic!("nothing is converted to {to:?}"),
            }
        },
    );
    Matrix::converted(to, [rows, columns], all_bytes, all_scales)
}

/// Rounds a row to whole numbers from -127 to 127 and returns their scale.
fn row_to_q8(values: &[f32], bytes: &mut [u8]) -> f32 {
    let highest = values.iter().fold(0.0f32, |highest, value| highest.max(value.abs()));
    let scale = highest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for (value, byte) in values.iter().zip(bytes) {
        *byte = ((value * inverse).round_ties_even() as i8).cast_unsigned();
    }
    scale
}

/// Scales that are tried for a block of 4 bits.
const Q4_CANDIDATES: usize = 13;

/// Rounds at most [`Q4_BLOCK`] numbers to whole ones from -8 to 7 and returns their scale, an f16
/// number.
fn block_to_q4(values: &[f32], bytes: &mut [u8; Q4_BLOCK / 2]) -> f32 {
    // Zeros behind a short block are kept exactly by every scale.
    let mut block = [0.0; Q4_BLOCK];
    block[..values.len()].copy_from_slice(values);
    // The number farthest from zero becomes -8, so that the range is used to its end.
    let farthest = block.iter().fold(0.0f32, |a, &b| if b.abs() > a.abs() { b } else { a });
    // Cutting the farthest number off often makes the error of the others smaller.
    let scales: [f32; Q4_CANDIDATES] =
        std::array::from_fn(|step| f16::from_f32(farthest / -(7.0 + 0.25 * step as f32)).to_f32());
    let mut errors = [0.0; Q4_CANDIDATES];
    q4_errors(&block, &scales, &mut errors);
    let best = iter::zip(scales, errors).min_by(|a, b| a.1.total_cmp(&b.1));
    let best = best.map_or(0.0, |(scale, _)| scale);
    let codes = block.map(|value| (nearest_q4(value, inverse_of(best)) + 8.0) as u8);
    for (byte, codes) in bytes.iter_mut().zip(codes.as_chunks().0) {
        let [low, high] = codes;
        *byte = low | (high << 4);
    }
    best
}

#[inline(always)]
fn inverse_of(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The nearest whole number from -8 to 7.
#[inline(always)]
fn nearest_q4(value: f32, inverse: f32) -> f32 {
    // Adding this number rounds to a whole one, half to even.
    const ROUNDING: f32 = 12_582_912.0;
    ((value * inverse).clamp(-8.0, 7.0) + ROUNDING) - ROUNDING
}

compiled_for_each_cpu! {
    /// The sum of the squares of what each scale loses.
    fn q4_errors(
        block: &[f32; Q4_BLOCK],
        scales: &[f32; Q4_CANDIDATES],
        errors: &mut [f32; Q4_CANDIDATES],
    ) {
        for (scale, error) in scales.iter().zip(errors) {
            let inverse = inverse_of(*scale);
            let mut squares: [f32; Q4_BLOCK] = std::array::from_fn(|i| {
                let lost = block[i] - nearest_q4(block[i], inverse) * scale;
                lost * lost
            });
            // Half by half, in the same order on every CPU.
            let mut left = Q4_BLOCK;
            while left > 1 {
                left /= 2;
                for i in 0..left {
                    squares[i] += squares[i + left];
                }
            }
            *error = squares[0];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::matmul::tests::Noise;

    fn matrix(rows: usize, columns: usize, values: &[f32]) -> Matrix {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Matrix::owned(Format::F32, [rows, columns], bytes, Vec::new())
    }

    #[test]
    fn each_format_keeps_values_within_its_step() {
        let mut noise = Noise::new(3);
        for columns in [1, 31, 32, 33, 72, 1152, 4304] {
            let values = noise.values(3 * columns, 1.0);
            let matrix = matrix(3, columns, &values);
            for (format, tolerance) in [
                (Format::F16, 5e-4),
                (Format::Int16, 0.5 / 2047.0 + 1e-6),
                (Format::Q8, 0.5 / 127.0 + 1e-6),
                (Format::Q4, 0.16),
            ] {
                let small = quantize(&matrix, format);
                assert_eq!((small.rows(), small.columns()), (3, columns));
                for row in 0..3 {
                    let exact = &values[row * columns..][..columns];
                    for (a, b) in small.values(row).iter().zip(exact) {
                        assert!((a - b).abs() <= tolerance, "{format:?} {columns}: {a} for {b}");
                    }
                }
            }
        }
    }

    /// The candidates one by one, in f64.
    #[test]
    fn no_other_scale_of_4_bits_loses_less_than_the_one_that_is_chosen() {
        let mut noise = Noise::new(5);
        for n in 0..300 {
            let length = 1 + n % Q4_BLOCK;
            let mut values = noise.values(length, 1.0);
            values[n % length] *= (n % 5) as f32;
            let mut bytes = [0; Q4_BLOCK / 2];
            let chosen = block_to_q4(&values, &mut bytes);
            let lost = |scale: f32| -> f64 {
                let step = f64::from(scale);
                let of = |&value: &f32| {
                    let value = f64::from(value);
                    let code = if step == 0.0 { 0.0 } else { (value / step).round_ties_even() };
                    (value - code.clamp(-8.0, 7.0) * step).powi(2)
                };
                values.iter().map(of).sum()
            };
            let farthest =
                values.iter().fold(0.0f32, |a, &b| if b.abs() > a.abs() { b } else { a });
            let each =
                (0..=12).map(|step| f16::from_f32(-farthest / (7.0 + 0.25 * step as f32)).to_f32());
            let least = each.map(lost).fold(f64::INFINITY, f64::min);
            assert!(lost(chosen) <= least * (1.0 + 1e-5) + 1e-12, "{values:?}: {chosen}");
            for (at, value) in values.iter().enumerate() {
                let code = bytes[at / 2] >> (4 * (at % 2)) & 15;
                let kept = (f32::from(code) - 8.0) * chosen;
                let out_of_range = (value - kept).abs() > chosen.abs() * 0.501;
                assert!(!out_of_range || [0, 15].contains(&code), "{value} as {code} of {chosen}");
            }
        }
    }

    #[test]
    fn what_a_format_can_hold_it_holds_exactly() {
        let q8: Vec<f32> = (-127..=127).map(|n| n as f32 * 0.5).collect();
        assert_eq!(quantize(&matrix(1, 255, &q8), Format::Q8).values(0), q8);
        let q4: Vec<f32> = (0..64).map(|n| ((n % 16) - 8) as f32 * 0.25).collect();
        assert_eq!(quantize(&matrix(1, 64, &q4), Format::Q4).values(0), q4);
        let int16: Vec<f32> = (-2047..=2047).step_by(2).map(|n| n as f32 * 0.5).collect();
        let int16 = [&int16[..256], &int16[1792..]].concat();
        assert_eq!(quantize(&matrix(1, int16.len(), &int16), Format::Int16).values(0), int16);
        for format in [Format::F16, Format::Int16, Format::Q8, Format::Q4] {
            assert_eq!(quantize(&matrix(2, 40, &[0.0; 80]), format).values(1), [0.0; 40]);
        }
    }
}
