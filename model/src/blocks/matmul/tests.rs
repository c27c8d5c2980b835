//! Every format, arithmetic and set of instructions against a slow obvious product.

use pagesight_simd::Instructions;

use super::kernel::available;
use super::product::product_with;
use super::*;
use crate::blocks::lanes::Lanes;

/// Repeatable numbers.
pub struct Noise(fastrand::Rng);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// `n` numbers between `-most` and `most`.
    pub fn values(&mut self, n: usize, most: f32) -> Vec<f32> {
        (0..n).map(|_| (2.0 * self.0.f32() - 1.0) * most).collect()
    }
}

fn bf16(value: f32) -> f64 {
    half::bf16::from_f32(value).to_f64()
}

/// Numbers as what they become in 16 bits, where every `of_scale` of them share a scale.
fn whole(values: &[f32], most: f32, of_scale: usize) -> Vec<f64> {
    let of_run = |values: &[f32]| -> Vec<f64> {
        let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let inverse = if largest > 0.0 { most / largest } else { 0.0 };
        let scale = f64::from(largest) / f64::from(most);
        values.iter().map(|v| f64::from((v * inverse).round_ties_even()) * scale).collect()
    };
    values.chunks(of_scale).flat_map(of_run).collect()
}

pub const ALL: [Arithmetic; 3] = [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int16];

/// Numbers of a row that share a scale.
const OF_RUN: usize = RUN * Arithmetic::Int16.tile_width();

/// `rows` numbers a position, `[positions, rows]`, each with what its rounding error may be.
fn obvious(
    arithmetic: Arithmetic,
    weight: &Matrix,
    positions: usize,
    x: &[f32],
    of_scale: usize,
) -> Vec<(f64, f64)> {
    let round = |values: &[f32], most: f32, of_scale: usize| match arithmetic {
        Arithmetic::F32 => values.iter().copied().map(f64::from).collect(),
        Arithmetic::Bf16 => values.iter().copied().map(bf16).collect(),
        Arithmetic::Int16 => whole(values, most, of_scale),
    };
    // Eight-bit weights are whole numbers when they are multiplied, scaled after.
    let weights: Vec<Vec<f64>> = (0..weight.rows())
        .map(|row| {
            let scale = if weight.format() == Format::Q8 { weight.row_scales(row)[0] } else { 1.0 };
            let scale = if scale == 0.0 { 1.0 } else { scale };
            let values: Vec<f32> = weight.values(row).iter().map(|value| value / scale).collect();
            let rounded: Vec<f64> = if weight.format() == Format::Q8 {
                values.iter().map(|value| f64::from(value.round())).collect()
            } else {
                round(&values, MOST_OF_WEIGHTS, OF_RUN)
            };
            rounded.into_iter().map(|value| value * f64::from(scale)).collect()
        })
        .collect();
    let width = weight.columns();
    (0..positions)
        .flat_map(|p| {
            let x: Vec<f64> = round(&x[p * width..][..width], MOST_OF_ACTIVATIONS, of_scale);
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

pub fn in_format(format: Format, shape: [usize; 2], values: &[f32]) -> Matrix {
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

pub const FORMATS: [Format; 6] =
    [Format::F32, Format::Bf16, Format::F16, Format::Int16, Format::Q8, Format::Q4];

/// What weights of a format are multiplied as.
fn arithmetics(format: Format) -> Vec<Arithmetic> {
    if format == Format::Int16 { vec![Arithmetic::Int16] } else { ALL.into() }
}

#[test]
fn every_kernel_equals_the_obvious_product() {
    let mut noise = Noise::new(1);
    let mut shapes = vec![(1, 1, 1), (33, 40, 4304), (2, 1152, 40), (70, 3, 588), (600, 65, 72)];
    for _ in 0..12 {
        let mut size = |most: usize| noise.0.usize(1..=most);
        shapes.push((size(100), size(300), size(1200)));
    }
    for (positions, rows, columns) in shapes {
        let values = noise.values(rows * columns, 1.0);
        let x = noise.values(positions * columns, 2.0);
        for format in FORMATS {
            let weight = in_format(format, [rows, columns], &values);
            for arithmetic in arithmetics(format) {
                let expected = obvious(arithmetic, &weight, positions, &x, OF_RUN);
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
        for arithmetic in arithmetics(format) {
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
    for arithmetic in ALL {
        let x = [f32::from_bits(0x7fff_ffff), 1.0, f32::NAN, f32::INFINITY];
        let operand = Operand::round(arithmetic, &Lanes::from_rows(&[2], 2, &x));
        for instructions in available(arithmetic) {
            let got = multiply(instructions, &weight, &operand, &[2]);
            assert!(got.iter().all(|value| value.is_nan()), "{instructions:?}: {got:?}");
        }
    }
}

#[test]
fn whole_numbers_that_come_tile_by_tile_have_a_scale_each() {
    let mut noise = Noise::new(5);
    for (positions, rows, columns) in [(1, 3, 32), (200, 40, 700), (40, 70, 2500)] {
        let values = noise.values(rows * columns, 1.0);
        // Every tile is of another size.
        let mut x = noise.values(positions * columns, 1.0);
        let sizes = noise.values(columns, 6.0);
        for row in x.chunks_mut(columns) {
            let tiles = row.chunks_mut(32).zip(&sizes);
            tiles.for_each(|(tile, size)| tile.iter_mut().for_each(|x| *x *= size.exp()));
        }
        let weight = in_format(Format::Bf16, [rows, columns], &values);
        let expected = obvious(Arithmetic::Int16, &weight, positions, &x, 32);
        let lanes = Lanes::from_rows(&[positions], columns, &x);
        let mut operand = Operand::new(Arithmetic::Int16, lanes.groups(), 1).like(columns);
        let filler = operand.filler();
        for group in 0..lanes.groups() {
            for (tile, rows) in lanes.group(group).chunks(32).enumerate() {
                // SAFETY: one thread, tile by tile.
                unsafe { filler.fill(group, 32 * tile, rows) };
            }
        }
        for instructions in available(Arithmetic::Int16) {
            let got = multiply(instructions, &weight, &operand, &[positions]);
            for (got, (expected, tolerance)) in got.iter().zip(&expected) {
                let difference = (f64::from(*got) - expected).abs();
                assert!(difference <= *tolerance, "{instructions:?}: {got} for {expected}");
            }
        }
    }
}

#[test]
fn sums_of_whole_numbers_do_not_overflow() {
    let columns = 4 * OF_RUN;
    for sign in [1.0, -1.0] {
        let weight = f32_matrix([2, columns], &vec![sign; 2 * columns]);
        let operand = Operand::round(
            Arithmetic::Int16,
            &Lanes::from_rows(&[33], columns, &vec![3.0; 33 * columns]),
        );
        for instructions in available(Arithmetic::Int16) {
            let got = multiply(instructions, &weight, &operand, &[33]);
            let expected = sign * 3.0 * columns as f32;
            assert!(got.iter().all(|got| (got / expected - 1.0).abs() < 1e-5), "{instructions:?}");
        }
    }
}

/// The kernels behind one instruction set that differ in what the CPU has beside it: their sums are
/// whole numbers, so what they give is the same but for the last bit of a product of scales.
#[cfg(target_arch = "x86_64")]
#[test]
fn all_encodings_of_whole_numbers_give_the_same() {
    use super::factor::Factor;
    use super::int16;
    use crate::blocks::lanes::Line;

    type Kernel = unsafe fn(Factor<'_, ROWS>, Factor<'_, 32>, &mut [[f32; 32]; ROWS], bool);
    let mut kernels: Vec<(&str, Kernel)> = Vec::new();
    if Instructions::Avx2.is_available() {
        kernels.push(("avx2", int16::avx2::multiply));
    }
    if is_x86_feature_detected!("avxvnni") {
        kernels.push(("avx-vnni", int16::avx_vnni::multiply));
    }
    if pagesight_simd::Extension::Avx512Vnni.is_available() {
        kernels.push(("avx512-vnni", int16::avx512_vnni::multiply));
        kernels.push(("avx512-vnni, halves", int16::avx512_vnni_halves::multiply));
    }
    let mut noise = Noise::new(6);
    for (tiles, run) in [(1usize, 8), (2, 1), (9, 8), (17, 1), (64, 8)] {
        let mut lines = |most: i32| -> Vec<Line> {
            let mut word = || {
                let mut half = || noise.0.i32(-most..=most) as u32 & 0xffff;
                half() | (half() << 16)
            };
            (0..tiles * TILE).map(|_| Line(std::array::from_fn(|_| word()))).collect()
        };
        let (a, b) = (lines(MOST_OF_WEIGHTS as i32), lines(MOST_OF_ACTIVATIONS as i32));
        let mut scales = |count: usize| -> Vec<[f32; 32]> {
            (0..count).map(|_| noise.values(32, 0.01).try_into().unwrap()).collect()
        };
        let (a_scales, b_scales) = (scales(tiles.div_ceil(RUN)), scales(tiles.div_ceil(run)));
        let a = Factor { lines: &a, scales: &a_scales };
        let b = Factor { lines: &b, scales: &b_scales };
        for add in [false, true] {
            let mut expected = [[7.0; 32]; ROWS];
            int16::multiply(a, b, &mut expected, add);
            for (name, kernel) in &kernels {
                let mut got = [[7.0; 32]; ROWS];
                // SAFETY: the CPU has the instructions.
                unsafe { kernel(a, b, &mut got, add) };
                for (got, expected) in got.iter().flatten().zip(expected.iter().flatten()) {
                    let near = (got - expected).abs() <= 1e-5 * (expected.abs() + 100.0);
                    assert!(near, "{name}, {tiles} tiles: {got} for {expected}");
                }
            }
        }
    }
}
