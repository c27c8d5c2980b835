//! What every processor runs, and the same compiled for AVX2 and FMA.

use super::{LANES, Line, ROWS, TILE};

/// Rows and positions that stay in registers.
const HELD: (usize, usize) = (4, 16);

/// The product for f32.
pub fn multiply_f32(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
) {
    multiply(a, b, c, add, |sum, weight, x| sum + f32::from_bits(weight) * f32::from_bits(x));
}

/// The product for bf16.
pub fn multiply_bf16(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
) {
    multiply(a, b, c, add, |sum, weight, x| sum + low(weight) * low(x) + high(weight) * high(x));
}

/// # Safety
/// AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn multiply_f32_avx2(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
) {
    multiply(a, b, c, add, |sum, weight, x| f32::from_bits(weight).mul_add(f32::from_bits(x), sum));
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
    multiply(a, b, c, add, |sum, weight, x| {
        high(weight).mul_add(high(x), low(weight).mul_add(low(x), sum))
    });
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

#[inline(always)]
fn multiply(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
    step: impl Fn(f32, u32, u32) -> f32 + Copy,
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
                        let weight = a[row + r].0[word];
                        for i in 0..lanes {
                            sums[r][i] = step(sums[r][i], weight, x[i]);
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
