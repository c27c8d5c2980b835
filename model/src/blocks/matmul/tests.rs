//! Every format, arithmetic and set of instructions against a slow obvious product.

use pagesight_simd::Instructions;

use super::kernel::available;
use super::product::product_with;
use super::*;
use crate::blocks::lanes::Lanes;

/// Repeatable numbers without a dependency: splitmix64 (Steele et al., 2014).
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `n` numbers between `-most` and `most`.
    pub fn values(&mut self, n: usize, most: f32) -> Vec<f32> {
        let value = |bits: u64| (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        (0..n).map(|_| value(self.next()) * most).collect()
    }
}

fn bf16(value: f32) -> f64 {
    half::bf16::from_f32(value).to_f64()
}

/// `rows` numbers a position, `[positions, rows]`, each with what its rounding error may be.
fn obvious(
    arithmetic: Arithmetic,
    weight: &Matrix,
    positions: usize,
    x: &[f32],
) -> Vec<(f64, f64)> {
    let round = |value: f32| match arithmetic {
        Arithmetic::F32 => f64::from(value),
        Arithmetic::Bf16 => bf16(value),
    };
    // Eight-bit weights are whole numbers when they are multiplied, scaled after.
    let weights: Vec<Vec<f64>> = (0..weight.rows())
        .map(|row| {
            let scale = if weight.format() == Format::Q8 { weight.row_scales(row)[0] } else { 1.0 };
            let scale = if scale == 0.0 { 1.0 } else { scale };
            let values = weight.values(row).into_iter();
            values.map(|value| round(value / scale) * f64::from(scale)).collect()
        })
        .collect();
    let width = weight.columns();
    (0..positions)
        .flat_map(|p| {
            let x: Vec<f64> = x[p * width..(p + 1) * width].iter().map(|&x| round(x)).collect();
            weights
                .iter()
                .map(|weights| {
                    let products = weights.iter().zip(&x).map(|(w, x)| w * x);
                    let size: f64 = products.clone().map(f64::abs).sum();
                    (products.sum(), size * 1e-6 * (width as f64).sqrt().max(4.0) + 1e-30)
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

fn f32_matrix(shape: [usize; 2], values: &[f32]) -> Matrix {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Matrix::owned(Format::F32, shape, bytes, Vec::new())
}

fn in_format(format: Format, shape: [usize; 2], values: &[f32]) -> Matrix {
    match format {
        Format::F32 => f32_matrix(shape, values),
        Format::Bf16 => {
            let bytes = values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes());
            Matrix::owned(format, shape, bytes.collect::<Vec<u8>>(), Vec::new())
        }
        _ => crate::blocks::quantize::quantize(&f32_matrix(shape, values), format),
    }
}

fn multiply(
    instructions: Instructions,
    weight: &Matrix,
    operand: &Operand,
    lengths: &[usize],
) -> Vec<f32> {
    let mut y = Lanes::zeros(lengths, weight.rows());
    let writer = y.writer();
    product_with(instructions, [weight], operand, |group, first, [products]| {
        // SAFETY: each group and rows once.
        let y = unsafe { writer.rows(group, first, ROWS) };
        crate::blocks::elementwise::copy_rows(y, products, &[]);
    });
    y.to_rows()
}

const FORMATS: [Format; 5] = [Format::F32, Format::Bf16, Format::F16, Format::Q8, Format::Q4];

#[test]
fn every_kernel_equals_the_obvious_product() {
    let mut noise = Noise::new(1);
    let mut shapes = vec![(1, 1, 1), (33, 40, 4304), (2, 1152, 40), (70, 3, 588), (600, 65, 72)];
    for _ in 0..12 {
        let mut size = |most: u64| (noise.next() % most + 1) as usize;
        shapes.push((size(100), size(300), size(1200)));
    }
    for (positions, rows, columns) in shapes {
        let values = noise.values(rows * columns, 1.0);
        let x = noise.values(positions * columns, 2.0);
        for format in FORMATS {
            let weight = in_format(format, [rows, columns], &values);
            for arithmetic in [Arithmetic::F32, Arithmetic::Bf16] {
                let expected = obvious(arithmetic, &weight, positions, &x);
                let lanes = Lanes::from_rows(&[positions], columns, &x);
                let operand = Operand::round(arithmetic, &lanes);
                for instructions in available(arithmetic) {
                    let got = multiply(instructions, &weight, &operand, &[positions]);
                    for (got, (expected, tolerance)) in got.iter().zip(&expected) {
                        let difference = (f64::from(*got) - expected).abs();
                        assert!(
                            difference <= *tolerance,
                            "{instructions:?} {arithmetic:?} {format:?} {positions} x {columns} \
                             x {rows}: {got} for {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_position_gets_the_same_numbers_alone_and_in_any_batch() {
    let mut noise = Noise::new(2);
    let (rows, columns, lengths) = (100, 700, [1, 40, 900]);
    let total: usize = lengths.iter().sum();
    let values = noise.values(rows * columns, 1.0);
    let x = noise.values(total * columns, 1.0);
    for format in FORMATS {
        let weight = in_format(format, [rows, columns], &values);
        for arithmetic in [Arithmetic::F32, Arithmetic::Bf16] {
            for instructions in available(arithmetic) {
                let run = |lengths: &[usize], x: &[f32]| {
                    let lanes = Lanes::from_rows(lengths, columns, x);
                    let operand = Operand::round(arithmetic, &lanes);
                    multiply(instructions, &weight, &operand, lengths)
                };
                let joined = run(&lengths, &x);
                let mut start = 0;
                for n in lengths {
                    let alone = run(&[n], &x[start * columns..(start + n) * columns]);
                    assert_eq!(alone, joined[start * rows..(start + n) * rows]);
                    start += n;
                }
                // The last position of the long one, alone.
                let last = run(&[1], &x[(total - 1) * columns..]);
                assert_eq!(last, joined[(total - 1) * rows..], "{instructions:?} {format:?}");
            }
        }
    }
}

#[test]
fn a_number_that_is_none_stays_none() {
    let weight = f32_matrix([1, 2], &[1.0, 1.0]);
    for arithmetic in [Arithmetic::F32, Arithmetic::Bf16] {
        let x = [f32::from_bits(0x7fff_ffff), 1.0, f32::NAN, f32::INFINITY];
        let operand = Operand::round(arithmetic, &Lanes::from_rows(&[2], 2, &x));
        for instructions in available(arithmetic) {
            let got = multiply(instructions, &weight, &operand, &[2]);
            assert!(got.iter().all(|value| value.is_nan()), "{instructions:?}: {got:?}");
        }
    }
}
