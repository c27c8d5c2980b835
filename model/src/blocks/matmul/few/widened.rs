//! Stored numbers that become f32 while they are multiplied, in any format.

use pagesight_simd::compiled_for_each_cpu;

use super::side::{CHUNK, PARTS, Side, Sums, prefetch};
use crate::blocks::matmul::matrix::{Format, INT16_BLOCK};
use crate::blocks::matmul::numbers::half_to_f32;

/// Halves of a chunk.
pub type Halves = [[f32; PARTS]; 2];

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

/// The products of whole chunks of [`SIDE`](super::side::SIDE) rows with a position, added to `sums`.
#[inline(always)]
fn multiply<S: Stored, const FUSED: bool>(side: &Side<'_>, x: &[Halves], sums: &mut Sums) {
    let mut local = *sums;
    for (at, x) in x.iter().enumerate() {
        let next = side.ahead(at * S::BYTES);
        for ((row, scales), sums) in side.rows.iter().zip(&side.scales).zip(&mut local) {
            let bytes = &row[at * S::BYTES..(at + 1) * S::BYTES];
            prefetch(row, next);
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

compiled_for_each_cpu! {
    fn of_f32(side: &Side<'_>, x: &[Halves], sums: &mut Sums) {
        multiply::<OfF32, FUSED>(side, x, sums);
    }

    fn of_bf16(side: &Side<'_>, x: &[Halves], sums: &mut Sums) {
        multiply::<OfBf16, FUSED>(side, x, sums);
    }

    fn of_f16(side: &Side<'_>, x: &[Halves], sums: &mut Sums) {
        multiply::<OfF16, FUSED>(side, x, sums);
    }

    fn of_int16(side: &Side<'_>, x: &[Halves], sums: &mut Sums) {
        multiply::<OfInt16, FUSED>(side, x, sums);
    }

    fn of_q8(side: &Side<'_>, x: &[Halves], sums: &mut Sums) {
        multiply::<OfQ8, FUSED>(side, x, sums);
    }

    fn of_q4(side: &Side<'_>, x: &[Halves], sums: &mut Sums) {
        multiply::<OfQ4, FUSED>(side, x, sums);
    }
}

/// Adds the products of whole chunks of rows in `format`.
fn add(format: Format, side: &Side<'_>, x: &[Halves], sums: &mut Sums) {
    match format {
        Format::F32 => of_f32(side, x, sums),
        Format::Bf16 => of_bf16(side, x, sums),
        Format::F16 => of_f16(side, x, sums),
        Format::Int16 => of_int16(side, x, sums),
        Format::Q8 => of_q8(side, x, sums),
        Format::Q4 => of_q4(side, x, sums),
    }
}

/// A position as chunks in the order in which a format has its numbers, the last filled up with zeros.
pub fn chunks(format: Format, values: &[f32]) -> Vec<Halves> {
    let chunk = |values: &[f32]| {
        let number = |at: usize| values.get(at).copied().unwrap_or(0.0);
        match format {
            Format::Q4 => [0, 1].map(|half| std::array::from_fn(|byte| number(2 * byte + half))),
            _ => halves(number),
        }
    };
    values.chunks(CHUNK).map(chunk).collect()
}

/// Adds the products of rows in `format`.
pub fn add_all(format: Format, side: &Side<'_>, x: &[Halves], sums: &mut Sums) {
    let (of_chunk, of_scale) = match format {
        Format::F32 => (OfF32::BYTES, OfF32::OF_SCALE),
        Format::Bf16 => (OfBf16::BYTES, OfBf16::OF_SCALE),
        Format::F16 => (OfF16::BYTES, OfF16::OF_SCALE),
        Format::Int16 => (OfInt16::BYTES, OfInt16::OF_SCALE),
        Format::Q8 => (OfQ8::BYTES, OfQ8::OF_SCALE),
        Format::Q4 => (OfQ4::BYTES, OfQ4::OF_SCALE),
    };
    let whole = side.rows[0].len() / of_chunk;
    add(format, side, &x[..whole], sums);
    if whole < x.len() {
        let rest = side.rest(whole * of_chunk, whole / of_scale.max(1));
        add(format, &rest.side(), &x[whole..], sums);
    }
}
