//! Weights of 8 and 4 bits as the whole numbers that they are, multiplied with a position as whole
//! numbers of 16 bits, two products at a time (AVX-512 VNNI). Sums over a block of [`BLOCK`] numbers,
//! or of 4 bits over those that share a scale, are exact.
//!
//! A number of the position is off by at most 1 in 65,534 of the largest of its block: over a block
//! that is less than what rounding each to bf16 costs, whatever the numbers are.

use std::ops::Range;

use pagesight_simd::{Extension, Instructions, compiled_for_each_cpu};

use super::side::{CHUNK, PARTS, Side, Sums};
use crate::blocks::matmul::matrix::Format;
use crate::blocks::matmul::whole::{largest_bits, scale_of};

/// Numbers of a position that share a scale.
pub const BLOCK: usize = 256;

/// The greatest whole number of a position.
pub const MOST: f32 = 32767.0;

/// Chunks of a block.
const CHUNKS: usize = BLOCK / CHUNK;

/// Chunks of 4 bits that are multiplied at once: 32 bytes.
const PAIR: usize = 2;

/// A position as whole numbers, filled up with zeros.
pub struct Whole {
    /// By block and chunk. For weights of 4 bits, by pair of chunks: those in the low halves of bytes,
    /// then those in the high ones.
    numbers: Vec<[[i16; CHUNK]; CHUNKS]>,
    /// Of each block.
    scales: Vec<f32>,
    /// For weights of 4 bits, by block and pair of chunks: what the 8 that is subtracted from each of
    /// them takes from each part of the sum.
    taken: Vec<[[i32; PARTS]; CHUNKS / PAIR]>,
}

impl Whole {
    /// Whether this CPU multiplies weights in `format` so.
    pub fn multiplies(format: Format) -> bool {
        let has_registers =
            matches!(Instructions::best(), Instructions::Avx512 | Instructions::Amx);
        matches!(format, Format::Q8 | Format::Q4)
            && has_registers
            && Extension::Avx512Vnni.is_available()
    }

    /// The position for weights in `format`.
    pub fn of(format: Format, values: &[f32]) -> Self {
        let mut numbers = vec![[[0; CHUNK]; CHUNKS]; values.len().div_ceil(BLOCK)];
        let of_block = |(values, numbers): (&[f32], &mut [[i16; CHUNK]; CHUNKS])| {
            let mut bits = 0;
            largest_bits(values, &mut bits);
            let (scale, inverse) = scale_of(bits, MOST);
            round(values, inverse, numbers.as_flattened_mut());
            scale
        };
        let scales = values.chunks(BLOCK).zip(&mut numbers).map(of_block).collect();
        let taken = if format == Format::Q4 {
            numbers.iter_mut().map(by_halves).collect()
        } else {
            Vec::new()
        };
        Self { numbers, scales, taken }
    }

    /// Adds the products with rows in `format` to `sums`. Those of 8 bits lack their row's scale.
    pub fn add(&self, format: Format, side: &Side<'_>, sums: &mut Sums) {
        let (bytes, scales) = if format == Format::Q4 { (BLOCK / 2, CHUNKS) } else { (BLOCK, 0) };
        let whole = side.rows[0].len() / bytes;
        self.add_blocks(format, side, 0..whole, sums);
        if whole < self.numbers.len() {
            let rest = side.rest(whole * bytes, whole * scales);
            self.add_blocks(format, &rest.side(), whole..whole + 1, sums);
        }
    }

    /// Adds the products of some blocks, with which the rows begin.
    fn add_blocks(&self, format: Format, side: &Side<'_>, blocks: Range<usize>, sums: &mut Sums) {
        let (numbers, scales) = (&self.numbers[blocks.clone()], &self.scales[blocks.clone()]);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: such positions are made only where the CPU multiplies them.
        unsafe {
            if format == Format::Q4 {
                vnni::add_q4(side, numbers, scales, &self.taken[blocks], sums);
            } else {
                vnni::add_q8(side, numbers, scales, sums);
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (format, side, numbers, scales, sums);
    }
}

/// Brings the numbers of a block into the order of the halves of bytes; gives what the 8 that is
/// subtracted from weights of 4 bits takes.
fn by_halves(block: &mut [[i16; CHUNK]; CHUNKS]) -> [[i32; PARTS]; CHUNKS / PAIR] {
    let mut taken = [[0; PARTS]; CHUNKS / PAIR];
    for (chunks, taken) in block.as_chunks_mut::<PAIR>().0.iter_mut().zip(&mut taken) {
        let numbers = chunks.as_flattened();
        let low: [i16; CHUNK] = std::array::from_fn(|byte| numbers[2 * byte]);
        let high: [i16; CHUNK] = std::array::from_fn(|byte| numbers[2 * byte + 1]);
        // A part of the sum is that of two bytes.
        *taken = std::array::from_fn(|part| {
            let four = numbers[4 * part..4 * part + 4].iter().map(|number| i32::from(*number));
            -8 * four.sum::<i32>()
        });
        *chunks = [low, high];
    }
    taken
}

compiled_for_each_cpu! {
    /// The nearest whole numbers to `values`, multiplied with `inverse`.
    fn round(values: &[f32], inverse: f32, numbers: &mut [i16]) {
        // Adding this number rounds to a whole number, which is then in the low bits.
        const ROUNDING: f32 = 12_582_912.0;
        for (value, number) in values.iter().zip(numbers) {
            *number = ((value * inverse + ROUNDING).to_bits() as u16).cast_signed();
        }
    }
}

/// Values are moved by `transmute`, without pointers, so that nothing is checked between the products
/// in a build with assertions.
#[cfg(target_arch = "x86_64")]
mod vnni {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::super::side::{CHUNK, PARTS, SIDE, Side, Sums};
    use super::{BLOCK, CHUNKS, PAIR};

    /// A block of a position, or of a row of weights of 8 bits, or of 4.
    type Numbers = [[i16; CHUNK]; CHUNKS];
    type Bytes = [[u8; CHUNK]; CHUNKS];
    type Nibbles = [[u8; CHUNK]; CHUNKS / PAIR];

    /// # Safety
    /// AVX-512 F, BW, DQ, VL and VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub unsafe fn add_q8(side: &Side<'_>, x: &[Numbers], scales: &[f32], sums: &mut Sums) {
        let rows = side.rows.map(|row| {
            let (chunks, _) = row.as_chunks::<CHUNK>();
            &chunks.as_chunks::<CHUNKS>().0[..x.len()]
        });
        let mut total = [_mm512_setzero_ps(); SIDE];
        for (block, (x, scale)) in x.iter().zip(scales).enumerate() {
            side.prefetch(block * BLOCK, BLOCK);
            let rows: [&Bytes; SIDE] = [0, 1, 2, 3].map(|r| &rows[r][block]);
            let mut whole = [_mm512_setzero_si512(); SIDE];
            for chunk in 0..CHUNKS {
                // SAFETY: 64 bytes are 64 bytes.
                let numbers = unsafe { transmute::<[i16; CHUNK], __m512i>(x[chunk]) };
                for r in 0..SIDE {
                    // SAFETY: 32 bytes are 32 bytes.
                    let bytes = unsafe { transmute::<[u8; CHUNK], __m256i>(rows[r][chunk]) };
                    let weights = _mm512_cvtepi8_epi16(bytes);
                    whole[r] = _mm512_dpwssd_epi32(whole[r], weights, numbers);
                }
            }
            for r in 0..SIDE {
                let whole = _mm512_cvtepi32_ps(whole[r]);
                total[r] = _mm512_fmadd_ps(whole, _mm512_set1_ps(*scale), total[r]);
            }
        }
        add(total, sums);
    }

    /// # Safety
    /// As [`add_q8`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub unsafe fn add_q4(
        side: &Side<'_>,
        x: &[Numbers],
        scales: &[f32],
        taken: &[[[i32; PARTS]; CHUNKS / PAIR]],
        sums: &mut Sums,
    ) {
        let rows = side.rows.map(|row| {
            let (chunks, _) = row.as_chunks::<CHUNK>();
            &chunks.as_chunks::<{ CHUNKS / PAIR }>().0[..x.len()]
        });
        let row_scales = side.scales.map(|scales| &scales.as_chunks::<CHUNKS>().0[..x.len()]);
        let mut total = [_mm512_setzero_ps(); SIDE];
        let low_halves = _mm512_set1_epi16(15);
        for (block, ((x, scale), taken)) in x.iter().zip(scales).zip(taken).enumerate() {
            side.prefetch(block * BLOCK / 2, BLOCK / 2);
            let rows: [&Nibbles; SIDE] = [0, 1, 2, 3].map(|r| &rows[r][block]);
            let row_scales: [&[f32; CHUNKS]; SIDE] = [0, 1, 2, 3].map(|r| &row_scales[r][block]);
            let mut of_block = [_mm512_setzero_ps(); SIDE];
            for pair in 0..CHUNKS / PAIR {
                // SAFETY: 64 bytes are 64 bytes.
                let [low, high] = [0, 1].map(|half| unsafe {
                    transmute::<[i16; CHUNK], __m512i>(x[PAIR * pair + half])
                });
                // SAFETY: as above.
                let taken = unsafe { transmute::<[i32; PARTS], __m512i>(taken[pair]) };
                for r in 0..SIDE {
                    // SAFETY: 32 bytes are 32 bytes.
                    let bytes = unsafe { transmute::<[u8; CHUNK], __m256i>(rows[r][pair]) };
                    let bytes = _mm512_cvtepu8_epi16(bytes);
                    let lows = _mm512_and_si512(bytes, low_halves);
                    let highs = _mm512_srli_epi16::<4>(bytes);
                    let sum = _mm512_dpwssd_epi32(taken, lows, low);
                    let sum = _mm512_cvtepi32_ps(_mm512_dpwssd_epi32(sum, highs, high));
                    // The first eight parts are of the first chunk, the others of the second.
                    let scales = _mm512_mask_blend_ps(
                        0xff00,
                        _mm512_set1_ps(row_scales[r][PAIR * pair]),
                        _mm512_set1_ps(row_scales[r][PAIR * pair + 1]),
                    );
                    of_block[r] = _mm512_fmadd_ps(sum, scales, of_block[r]);
                }
            }
            for r in 0..SIDE {
                total[r] = _mm512_fmadd_ps(of_block[r], _mm512_set1_ps(*scale), total[r]);
            }
        }
        add(total, sums);
    }

    #[target_feature(enable = "avx512f")]
    fn add(total: [__m512; SIDE], sums: &mut Sums) {
        for (sums, total) in sums.iter_mut().zip(total) {
            // SAFETY: 64 bytes are 64 bytes.
            let total = unsafe { transmute::<__m512, [f32; PARTS]>(total) };
            sums.iter_mut().zip(total).for_each(|(sum, total)| *sum += total);
        }
    }
}
