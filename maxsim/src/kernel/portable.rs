//! Plain loops over lanes, which compilers turn into vector instructions.

use super::{LANES, Lanes, Quads, SIGN_LANES, SignLanes};

/// `a * b + c`, fused where the processor has that at no cost; elsewhere it is a library call.
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
    let quads = query.len() / best.len();
    for ((block, offset), best) in query.chunks_exact(quads).zip(offsets).zip(best) {
        for (row, &scale) in rows.chunks_exact(quads * 4).zip(scales) {
            let mut sums = *offset;
            for (values, x) in block.iter().zip(row.chunks_exact(4)) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    let products = value.iter().zip(x).map(|(&q, &c)| i32::from(q) * i32::from(c));
                    *sum += products.sum::<i32>();
                }
            }
            raise(best, &sums.map(|sum| sum as f32 * scale));
        }
    }
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
