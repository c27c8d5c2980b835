//! Plain loops over lanes, which compilers turn into vector instructions.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::{LANES, Lanes, Near, Quads, SIGN_LANES, SignLanes, place};

/// `a * b + c`, fused where the CPU has that at no cost; elsewhere it is a library call.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

pub fn raise_f32(dim: usize, query: &[Lanes<f32>], rows: &[f32], best: &mut [Lanes<f32>]) {
    for (block, best) in query.chunks_exact(dim).zip(best) {
        for row in rows.chunks_exact(dim) {
            let mut sums = [0.0; LANES];
            for (values, &x) in block.iter().zip(row) {
                for (sum, &value) in sums.iter_mut().zip(values) {
                    *sum = multiply_add(value, x, *sum);
                }
            }
            raise(best, &sums);
        }
    }
}

pub fn raise_int8(
    query: &[Quads],
    offsets: &[Lanes<i32>],
    rows: &[u8],
    scales: &[f32],
    best: &mut [Lanes<f32>],
) {
    each_int8(query, offsets, rows, |block, row, sums| {
        raise(&mut best[block], &sums.map(|sum| sum as f32 * scales[row]));
    });
}

pub fn raise_near(
    query: &[Quads],
    offsets: &[Lanes<i32>],
    rows: &[u8],
    scales: &[f32],
    near: Near<'_>,
    best: &mut [Lanes<f32>],
) {
    each_int8(query, offsets, rows, |block, row, sums| {
        let products = &near.products[block][usize::from(near.centres[row])];
        let scores = std::array::from_fn(|n| sums[n] as f32 * scales[row] + products[n]);
        raise(&mut best[block], &scores);
    });
}

/// The sums of each block with each row.
#[inline(always)]
fn each_int8(
    query: &[Quads],
    offsets: &[Lanes<i32>],
    rows: &[u8],
    mut each: impl FnMut(usize, usize, Lanes<i32>),
) {
    let quads = query.len() / offsets.len();
    for (b, (block, offset)) in query.chunks_exact(quads).zip(offsets).enumerate() {
        for (r, row) in rows.chunks_exact(quads * 4).enumerate() {
            let mut sums = *offset;
            for (values, x) in block.iter().zip(row.chunks_exact(4)) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    let products = value.iter().zip(x).map(|(&q, &c)| i32::from(q) * i32::from(c));
                    *sum += products.sum::<i32>();
                }
            }
            each(b, r, sums);
        }
    }
}

/// With F16C or NEON where the CPU has them.
pub fn widen(values: &[f16], wide: &mut [f32]) {
    values.convert_to_f32_slice(wide);
}

/// Not a number never wins.
fn raise(best: &mut Lanes<f32>, sums: &Lanes<f32>) {
    for (best, &sum) in best.iter_mut().zip(sums) {
        *best = if sum > *best { sum } else { *best };
    }
}

#[inline(always)]
pub fn lower_sign(row_words: usize, query: &[SignLanes], rows: &[u64], fewest: &mut [SignLanes]) {
    for (block, fewest) in query.chunks_exact(row_words).zip(fewest) {
        for row in rows.chunks_exact(row_words) {
            let mut differ = [0; SIGN_LANES];
            for (words, x) in block.iter().zip(row) {
                for (differ, word) in differ.iter_mut().zip(words) {
                    *differ += u64::from((word ^ x).count_ones());
                }
            }
            for (fewest, differ) in fewest.iter_mut().zip(differ) {
                *fewest = differ.min(*fewest);
            }
        }
    }
}

/// `inline(always)`, so that each caller gets it in its own instructions.
#[inline(always)]
pub fn unpack<const BITS: usize>(row_bytes: usize, packed: &[u8], rows: &mut [u8]) {
    // The widths of dim 128 as constants make loops of whole registers.
    match row_bytes {
        32 => unpack_rows::<BITS, 32>(packed, rows),
        64 => unpack_rows::<BITS, 64>(packed, rows),
        _ => {
            let rows = rows.chunks_exact_mut(row_bytes * 8 / BITS);
            for (packed, row) in packed.chunks_exact(row_bytes).zip(rows) {
                if BITS == 1 {
                    for (d, code) in row.iter_mut().enumerate() {
                        let (byte, shift) = place::<BITS>(d, row_bytes);
                        *code = odd::<BITS>(packed[byte] >> shift);
                    }
                    continue;
                }
                // Part by part, so that bytes side by side become numbers side by side.
                for (part, row) in row.chunks_exact_mut(row_bytes).enumerate() {
                    for (code, byte) in row.iter_mut().zip(packed) {
                        *code = odd::<BITS>(byte >> (part * BITS));
                    }
                }
            }
        }
    }
}

/// Loops over indices: closures would not get the caller's instructions.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "see above")]
fn unpack_rows<const BITS: usize, const BYTES: usize>(packed: &[u8], rows: &mut [u8]) {
    let rows = rows.as_chunks_mut::<BYTES>().0.chunks_exact_mut(8 / BITS);
    for (packed, row) in packed.as_chunks::<BYTES>().0.iter().zip(rows) {
        if BITS == 1 {
            for part in 0..8 {
                for j in 0..BYTES {
                    let (byte, shift) = place::<1>(part * BYTES + j, BYTES);
                    row[part][j] = odd::<1>(packed[byte] >> shift);
                }
            }
            continue;
        }
        for part in 0..8 / BITS {
            for j in 0..BYTES {
                row[part][j] = odd::<BITS>(packed[j] >> (part * BITS));
            }
        }
    }
}

/// The biased odd number of a code in the lowest bits: 128 stands for 0.
#[inline(always)]
fn odd<const BITS: usize>(code: u8) -> u8 {
    let mask = ((1u16 << BITS) - 1) as u8;
    let base = (129 - (1u16 << BITS)) as u8;
    base + ((code & mask) << 1)
}

/// `inline(always)`, so that each caller gets it in its own instructions.
#[inline(always)]
pub fn dots_f32(blocks: &[Lanes<f32>], row: &[f32], dots: &mut [Lanes<f32>]) {
    // Four sums hide the latency of one.
    for (block, dots) in blocks.chunks_exact(row.len()).zip(dots) {
        let mut sums = [[0.0; LANES]; 4];
        let (fours, rest) = block.as_chunks::<4>();
        let (row_fours, row_rest) = row.as_chunks::<4>();
        for (values, row) in fours.iter().zip(row_fours) {
            for ((sums, values), &x) in sums.iter_mut().zip(values).zip(row) {
                for (sum, &value) in sums.iter_mut().zip(values) {
                    *sum += value * x;
                }
            }
        }
        for (values, &x) in rest.iter().zip(row_rest) {
            for (sum, &value) in sums[0].iter_mut().zip(values) {
                *sum += value * x;
            }
        }
        for (lane, dot) in dots.iter_mut().enumerate() {
            *dot = (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
        }
    }
}
