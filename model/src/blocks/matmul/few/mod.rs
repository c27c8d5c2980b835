//! The product for a few positions, as when a text is written token by token: weights are used so few
//! times that reading them from memory is all that it costs.
//!
//! [`product`](super::product()) fills panels for 32 positions, and multiplies all of them. Here the
//! stored numbers of four rows at a time are multiplied with one position after the other, while they
//! are in a cache, and what follows in memory is fetched meanwhile. Sums are f32, in 16 parts that are
//! added in the end: another order than that of panels, and the same for any number of positions.
//! Where the CPU multiplies pairs of bf16, weights of bf16 are multiplied as they are.

use pagesight_simd::{Instructions, compiled_for_each_cpu};
use rayon::prelude::*;

use super::kernel::best;
use super::matrix::{Format, INT16_BLOCK, Matrix};
use super::operand::Operand;
use super::panel::half_to_f32;
use super::tile::{Arithmetic, ROWS};
use crate::blocks::lanes::LANES;

/// Rows that are multiplied side by side.
const SIDE: usize = 4;

/// Parts of a sum.
const PARTS: usize = 16;

/// Numbers that are read at once, in two halves.
const CHUNK: usize = 2 * PARTS;

/// So many bytes further on is what will soon be read: a few rows.
const AHEAD: usize = 8 << 10;

/// Halves of a chunk.
type Halves = [[f32; PARTS]; 2];

/// A format of numbers in a row.
trait Stored {
    /// Bytes of a chunk.
    const BYTES: usize;
    /// Chunks of a row that share a scale; 0 where there is none.
    const OF_SCALE: usize;
    /// The numbers of a chunk, `BYTES` long, before they are scaled.
    fn read(bytes: &[u8]) -> Halves;
}

struct OfF32;
struct OfBf16;
struct OfF16;
struct OfInt16;
struct OfQ8;
/// The first half are the numbers in the low halves of bytes.
struct OfQ4;

/// Both halves of a chunk, number by number.
#[inline(always)]
fn halves(number: impl Fn(usize) -> f32) -> Halves {
    [std::array::from_fn(&number), std::array::from_fn(|i| number(PARTS + i))]
}

#[inline(always)]
fn pair(bytes: &[u8; 64], at: usize) -> u16 {
    u16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]])
}

impl Stored for OfF32 {
    const BYTES: usize = 4 * CHUNK;
    const OF_SCALE: usize = 0;
    #[inline(always)]
    fn read(bytes: &[u8]) -> Halves {
        let bytes: &[u8; 128] = bytes.try_into().expect("a chunk");
        let word = |i: usize| [0, 1, 2, 3].map(|byte| bytes[4 * i + byte]);
        halves(|i| f32::from_le_bytes(word(i)))
    }
}

impl Stored for OfBf16 {
    const BYTES: usize = 2 * CHUNK;
    const OF_SCALE: usize = 0;
    #[inline(always)]
    fn read(bytes: &[u8]) -> Halves {
        let bytes: &[u8; 64] = bytes.try_into().expect("a chunk");
        halves(|i| f32::from_bits(u32::from(pair(bytes, i)) << 16))
    }
}

impl Stored for OfF16 {
    const BYTES: usize = 2 * CHUNK;
    const OF_SCALE: usize = 0;
    #[inline(always)]
    fn read(bytes: &[u8]) -> Halves {
        let bytes: &[u8; 64] = bytes.try_into().expect("a chunk");
        halves(|i| half_to_f32(pair(bytes, i)))
    }
}

impl Stored for OfInt16 {
    const BYTES: usize = 2 * CHUNK;
    const OF_SCALE: usize = INT16_BLOCK / CHUNK;
    #[inline(always)]
    fn read(bytes: &[u8]) -> Halves {
        let bytes: &[u8; 64] = bytes.try_into().expect("a chunk");
        halves(|i| f32::from(pair(bytes, i).cast_signed()))
    }
}

impl Stored for OfQ8 {
    const BYTES: usize = CHUNK;
    // A row has one scale, which its sum is multiplied with.
    const OF_SCALE: usize = 0;
    #[inline(always)]
    fn read(bytes: &[u8]) -> Halves {
        let bytes: &[u8; 32] = bytes.try_into().expect("a chunk");
        halves(|i| f32::from(bytes[i].cast_signed()))
    }
}

impl Stored for OfQ4 {
    const BYTES: usize = CHUNK / 2;
    const OF_SCALE: usize = 1;
    #[inline(always)]
    fn read(bytes: &[u8]) -> Halves {
        let bytes: &[u8; 16] = bytes.try_into().expect("a chunk");
        let number = |nibble: u8| (i32::from(nibble) - 8) as f32;
        [bytes.map(|byte| number(byte & 15)), bytes.map(|byte| number(byte >> 4))]
    }
}

#[inline(always)]
fn add_product<const FUSED: bool>(sum: f32, a: f32, b: f32) -> f32 {
    if FUSED { a.mul_add(b, sum) } else { sum + a * b }
}

/// The products of whole chunks of [`SIDE`] rows with a position, added to `sums`.
#[inline(always)]
fn multiply<S: Stored, const FUSED: bool>(
    rows: &[&[u8]; SIDE],
    scales: &[&[f32]; SIDE],
    x: &[Halves],
    sums: &mut [[f32; PARTS]; SIDE],
) {
    let mut local = *sums;
    for (at, x) in x.iter().enumerate() {
        for ((row, scales), sums) in rows.iter().zip(scales).zip(&mut local) {
            let bytes = &row[at * S::BYTES..(at + 1) * S::BYTES];
            fetch(bytes.as_ptr().wrapping_add(AHEAD));
            let [low, high] = S::read(bytes);
            let Some(scale) = at.checked_div(S::OF_SCALE).map(|scale| scales[scale]) else {
                for part in 0..PARTS {
                    sums[part] = add_product::<FUSED>(sums[part], low[part], x[0][part]);
                }
                for part in 0..PARTS {
                    sums[part] = add_product::<FUSED>(sums[part], high[part], x[1][part]);
                }
                continue;
            };
            for part in 0..PARTS {
                let sum = low[part] * x[0][part];
                let sum = add_product::<FUSED>(sum, high[part], x[1][part]);
                sums[part] = add_product::<FUSED>(sums[part], sum, scale);
            }
        }
    }
    *sums = local;
}

/// Asks for the line of memory at `address`, whatever it is.
#[inline(always)]
fn fetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which no address makes fail.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    let _ = address;
}

type Rows<'a> = [&'a [u8]; SIDE];
type Scales<'a> = [&'a [f32]; SIDE];
type Sums = [[f32; PARTS]; SIDE];

compiled_for_each_cpu! {
    fn of_f32(rows: &Rows<'_>, scales: &Scales<'_>, x: &[Halves], sums: &mut Sums) {
        multiply::<OfF32, FUSED>(rows, scales, x, sums);
    }

    fn of_bf16(rows: &Rows<'_>, scales: &Scales<'_>, x: &[Halves], sums: &mut Sums) {
        multiply::<OfBf16, FUSED>(rows, scales, x, sums);
    }

    fn of_f16(rows: &Rows<'_>, scales: &Scales<'_>, x: &[Halves], sums: &mut Sums) {
        multiply::<OfF16, FUSED>(rows, scales, x, sums);
    }

    fn of_int16(rows: &Rows<'_>, scales: &Scales<'_>, x: &[Halves], sums: &mut Sums) {
        multiply::<OfInt16, FUSED>(rows, scales, x, sums);
    }

    fn of_q8(rows: &Rows<'_>, scales: &Scales<'_>, x: &[Halves], sums: &mut Sums) {
        multiply::<OfQ8, FUSED>(rows, scales, x, sums);
    }

    fn of_q4(rows: &Rows<'_>, scales: &Scales<'_>, x: &[Halves], sums: &mut Sums) {
        multiply::<OfQ4, FUSED>(rows, scales, x, sums);
    }
}

/// The products of whole chunks of rows of bf16 with pairs of a position, added to `sums`.
fn of_pairs(rows: &Rows<'_>, x: &[Pairs], sums: &mut Sums) {
    debug_assert!(rows.iter().all(|row| row.len() >= x.len() * OfBf16::BYTES));
    #[cfg(target_arch = "x86_64")]
    // SAFETY: pairs are made only where the CPU multiplies them, and rows are as long as `x`.
    unsafe {
        super::avx512::add_pairs(rows, x, sums, AHEAD);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, sums);
}

/// A format's function for [`SIDE`] rows, bytes of a chunk, and chunks that share a scale.
type OfFormat = (fn(&Rows<'_>, &Scales<'_>, &[Halves], &mut Sums), usize, usize);

fn of(format: Format) -> OfFormat {
    match format {
        Format::F32 => (of_f32, OfF32::BYTES, OfF32::OF_SCALE),
        Format::Bf16 => (of_bf16, OfBf16::BYTES, OfBf16::OF_SCALE),
        Format::F16 => (of_f16, OfF16::BYTES, OfF16::OF_SCALE),
        Format::Int16 => (of_int16, OfInt16::BYTES, OfInt16::OF_SCALE),
        Format::Q8 => (of_q8, OfQ8::BYTES, OfQ8::OF_SCALE),
        Format::Q4 => (of_q4, OfQ4::BYTES, OfQ4::OF_SCALE),
    }
}

/// A position as chunks in the order in which a format has its numbers, the last filled up with zeros.
enum Chunks {
    /// For weights that become f32.
    Numbers(Vec<Halves>),
    /// Pairs of bf16, for weights that stay such.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    Pairs(Vec<Pairs>),
}

/// The pairs of a chunk, the first number of each in the low half.
type Pairs = [u32; PARTS];

impl Chunks {
    fn of(format: Format, arithmetic: Arithmetic, values: &[f32]) -> Self {
        let chunks = values.chunks(CHUNK);
        if format == Format::Bf16 && arithmetic == Arithmetic::Bf16 && multiplies_pairs() {
            return Self::Pairs(chunks.map(pairs).collect());
        }
        let chunk = |values: &[f32]| {
            let number = |at: usize| values.get(at).copied().unwrap_or(0.0);
            match format {
                Format::Q4 => {
                    [0, 1].map(|half| std::array::from_fn(|byte| number(2 * byte + half)))
                }
                _ => halves(number),
            }
        };
        Self::Numbers(chunks.map(chunk).collect())
    }

    fn count(&self) -> usize {
        match self {
            Self::Numbers(chunks) => chunks.len(),
            Self::Pairs(chunks) => chunks.len(),
        }
    }
}

/// Numbers that bf16 has, two by two.
fn pairs(values: &[f32]) -> Pairs {
    let half = |at: usize| values.get(at).map_or(0, |value| value.to_bits() >> 16);
    std::array::from_fn(|pair| half(2 * pair) | half(2 * pair + 1) << 16)
}

/// Whether the CPU multiplies pairs of bf16 without AMX, which is made for many positions.
fn multiplies_pairs() -> bool {
    cfg!(target_arch = "x86_64")
        && matches!(best(Arithmetic::Bf16), Instructions::Avx512 | Instructions::Amx)
}

/// As [`product`](super::product()), for the first `positions` of the one group of `x`, at most
/// [`MOST_OF_FEW`](super::tile::MOST_OF_FEW). The other positions of what `sink` gets are 0.
pub fn product_of_few<const P: usize>(
    weights: [&Matrix; P],
    x: &Operand,
    positions: usize,
    sink: impl Fn(usize, usize, [&[[f32; LANES]; ROWS]; P]) + Sync,
) {
    let values: Vec<Vec<f32>> = (0..positions).map(|position| x.values(position)).collect();
    let chunks = |format, values: &Vec<f32>| Chunks::of(format, x.arithmetic, values);
    let xs: [Vec<Chunks>; P] =
        weights.map(|weight| values.iter().map(|x| chunks(weight.format(), x)).collect());
    let rows = weights[0].rows();
    (0..rows.div_ceil(ROWS)).into_par_iter().for_each(|tile| {
        let first = tile * ROWS;
        let mut products = [[[0.0; LANES]; ROWS]; P];
        for ((weight, xs), products) in weights.iter().zip(&xs).zip(&mut products) {
            for (side, products) in products.chunks_exact_mut(SIDE).enumerate() {
                let from = first + side * SIDE;
                if from < rows {
                    multiply_side(weight, from, xs, products);
                }
            }
            weight.scale(first, std::slice::from_mut(products));
        }
        sink(0, first, products.each_ref());
    });
}

/// The products of up to [`SIDE`] rows from `first` on with all positions; there is one at least.
fn multiply_side(weight: &Matrix, first: usize, xs: &[Chunks], products: &mut [[f32; LANES]]) {
    let (function, of_chunk, of_scale) = of(weight.format());
    let last = weight.rows() - 1;
    // Rows past the end are the last one once more, and left out below.
    let rows = std::array::from_fn(|row| weight.row((first + row).min(last)));
    let scales = std::array::from_fn(|row| weight.row_scales((first + row).min(last)));
    let whole = rows[0].len() / of_chunk;
    // What is left of the rows, filled up with zeros.
    let mut rest = [[0u8; 4 * CHUNK]; SIDE];
    for (rest, row) in rest.iter_mut().zip(rows) {
        let row = &row[whole * of_chunk..];
        rest[..row.len()].copy_from_slice(row);
    }
    let rest_scales = scales.map(|scales| scales.get(whole / of_scale.max(1)..).unwrap_or(&[]));
    for (position, x) in xs.iter().enumerate() {
        let mut sums = [[0.0; PARTS]; SIDE];
        let rest = rest.each_ref().map(|rest| &rest[..]);
        let is_left = whole < x.count();
        match x {
            Chunks::Numbers(x) => {
                function(&rows, &scales, &x[..whole], &mut sums);
                if is_left {
                    function(&rest, &rest_scales, &x[whole..], &mut sums);
                }
            }
            Chunks::Pairs(x) => {
                of_pairs(&rows, &x[..whole], &mut sums);
                if is_left {
                    of_pairs(&rest, &x[whole..], &mut sums);
                }
            }
        }
        for (sums, products) in sums.iter().zip(products.iter_mut()).take(last + 1 - first) {
            products[position] = total(sums);
        }
    }
}

/// The sum of all parts, half by half.
fn total(parts: &[f32; PARTS]) -> f32 {
    let mut parts = *parts;
    let mut left = PARTS;
    while left > 1 {
        left /= 2;
        for part in 0..left {
            parts[part] += parts[part + left];
        }
    }
    parts[0]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ALL, FORMATS, Noise, in_format};
    use super::super::tile::MOST_OF_FEW;
    use super::*;
    use crate::blocks::lanes::Lanes;

    fn products(weight: &Matrix, operand: &Operand, positions: usize) -> Vec<Vec<f32>> {
        let all = std::sync::Mutex::new(vec![vec![f32::NAN; weight.rows()]; positions]);
        product_of_few([weight], operand, positions, |group, first, [products]| {
            assert_eq!(group, 0);
            let mut all = all.lock().unwrap();
            for (row, products) in products.iter().enumerate() {
                for (position, product) in products.iter().enumerate() {
                    match all.get_mut(position).and_then(|all| all.get_mut(first + row)) {
                        Some(place) => *place = *product,
                        None => assert_eq!(*product, 0.0, "past the end"),
                    }
                }
            }
        });
        all.into_inner().unwrap()
    }

    /// With the numbers as they are stored and rounded, in f64, one after the other.
    #[test]
    fn each_format_is_multiplied_as_by_the_slow_obvious_product() {
        let mut noise = Noise::new(7);
        // Widths that are no whole chunks, tiles or blocks, and rows that are no whole sides.
        for (rows, width) in [(1, 5), (3, 32), (37, 257), (64, 2 * 2048 + 48)] {
            let values = noise.values(rows * width, 0.5);
            let x = noise.values(3 * width, 2.0);
            let lanes = Lanes::from_rows(&[3], width, &x);
            for (format, arithmetic) in FORMATS.into_iter().flat_map(|f| ALL.map(|a| (f, a))) {
                let weight = in_format(format, [rows, width], &values);
                let operand = Operand::round(arithmetic, &lanes);
                for (position, products) in products(&weight, &operand, 3).iter().enumerate() {
                    let x = operand.values(position);
                    for (row, product) in products.iter().enumerate() {
                        let each = weight.values(row).into_iter().zip(&x);
                        let each = each.map(|(w, x)| f64::from(w) * f64::from(*x));
                        let size: f64 = each.clone().map(f64::abs).sum();
                        let expected: f64 = each.sum();
                        assert!(
                            (f64::from(*product) - expected).abs() <= 2e-6 * size + 1e-30,
                            "{format:?} {arithmetic:?} {rows} x {width}: {product} {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_position_has_the_same_products_alone_and_beside_others() {
        let mut noise = Noise::new(8);
        let (rows, width) = (70, 300);
        let values = noise.values(rows * width, 0.5);
        let x = noise.values(MOST_OF_FEW * width, 2.0);
        for format in FORMATS {
            let weight = in_format(format, [rows, width], &values);
            let of = |x: &[f32]| {
                let count = x.len() / width;
                let lanes = Lanes::from_rows(&[count], width, x);
                products(&weight, &Operand::round(Arithmetic::Bf16, &lanes), count)
            };
            let together = of(&x);
            for (x, products) in x.chunks(width).zip(&together) {
                assert_eq!(&of(x)[0], products, "{format:?}");
            }
        }
    }

    /// Numbers are unpacked as they were rounded, also behind the first block of tiles.
    #[test]
    fn an_operand_says_its_numbers() {
        let mut noise = Noise::new(9);
        let width = 64 * 32 * 2 + 7;
        let x = noise.values(2 * width, 3.0);
        let lanes = Lanes::from_rows(&[2], width, &x);
        for (arithmetic, error) in
            [(Arithmetic::F32, 0.0), (Arithmetic::Bf16, 3.0 / 256.0), (Arithmetic::Int16, 1e-3)]
        {
            let operand = Operand::round(arithmetic, &lanes);
            for (position, x) in x.chunks(width).enumerate() {
                let values = operand.values(position);
                assert_eq!(values.len(), width);
                assert!(
                    values.iter().zip(x).all(|(a, b)| (a - b).abs() <= error),
                    "{arithmetic:?}"
                );
            }
        }
    }
}
