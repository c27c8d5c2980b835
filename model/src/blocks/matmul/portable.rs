//! The kernels that run on every CPU, and that for bf16 compiled for AVX2 and FMA, beside which others
//! are measured and compared: where there are no instructions for bf16, other numbers are multiplied.
//! Every aarch64 CPU multiplies and adds in one instruction, in NEON's registers.

use super::tile::{ROWS, TILE};
use crate::blocks::lanes::{LANES, Line};

/// Rows and positions that stay in registers.
const HELD: (usize, usize) = (4, 16);

/// A product added to a sum.
#[inline(always)]
fn step(sum: f32, weight: f32, x: f32) -> f32 {
    if cfg!(target_arch = "aarch64") { weight.mul_add(x, sum) } else { sum + weight * x }
}

/// The product for f32.
pub fn multiply_f32(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
) {
    multiply(a, b, c, add, step);
}

/// The product for bf16.
pub fn multiply_bf16(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
) {
    multiply_pairs(a, b, c, add, step);
}

/// # Safety
/// AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn multiply_bf16_avx2(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
) {
    multiply_pairs(a, b, c, add, |sum, weight, x| weight.mul_add(x, sum));
}

/// The first of a pair of bf16.
#[inline(always)]
fn low(pair: u32) -> f32 {
    f32::from_bits(pair << 16)
}

/// The second.
#[inline(always)]
fn high(pair: u32) -> f32 {
    f32::from_bits(pair & 0xffff_0000)
}

/// As [`multiply`] for tiles of pairs, each of which is two tiles of f32: a tile is unpacked once
/// for all that it meets.
#[inline(always)]
fn multiply_pairs(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
    step: impl Fn(f32, f32, f32) -> f32 + Copy,
) {
    if a.is_empty() && !add {
        *c = [[0.0; LANES]; ROWS];
    }
    for (tile, (a, b)) in a.iter().zip(b).enumerate() {
        let mut weights = [[Line([0; 16]); TILE]; 2];
        for (row, pairs) in a.iter().enumerate() {
            for (word, &pair) in pairs.0.iter().enumerate() {
                weights[word / 8][row].0[word % 8 * 2] = low(pair).to_bits();
                weights[word / 8][row].0[word % 8 * 2 + 1] = high(pair).to_bits();
            }
        }
        let mut values = [[Line([0; 16]); TILE]; 2];
        for (word, halves) in b.as_chunks::<2>().0.iter().enumerate() {
            for (half, pairs) in halves.iter().enumerate() {
                let line = word % 8 * 4 + half;
                values[word / 8][line] = Line(pairs.0.map(|pair| low(pair).to_bits()));
                values[word / 8][line + 2] = Line(pairs.0.map(|pair| high(pair).to_bits()));
            }
        }
        multiply(&weights, &values, c, add || tile > 0, step);
    }
}

#[inline(always)]
fn multiply(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
    step: impl Fn(f32, f32, f32) -> f32 + Copy,
) {
    let (rows, lanes) = HELD;
    for row in (0..ROWS).step_by(rows) {
        for half in 0..LANES / lanes {
            let lane = half * lanes;
            let mut sums = [[0.0f32; HELD.1]; HELD.0];
            if add {
                for r in 0..rows {
                    sums[r].copy_from_slice(&c[row + r][lane..lane + lanes]);
                }
            }
            for (a, b) in a.iter().zip(b) {
                for word in 0..16 {
                    let x = b[2 * word + half].0;
                    for r in 0..rows {
                        let weight = f32::from_bits(a[row + r].0[word]);
                        for i in 0..lanes {
                            sums[r][i] = step(sums[r][i], weight, f32::from_bits(x[i]));
                        }
                    }
                }
            }
            for r in 0..rows {
                c[row + r][lane..lane + lanes].copy_from_slice(&sums[r]);
            }
        }
    }
}
