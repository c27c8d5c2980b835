//! The kernel of AVX2 for f32: 6 rows of 16 positions stay in registers, as many as there are.

use std::arch::x86_64::{__m256, _mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps};
use std::mem::transmute;

use super::tile::{ROWS, TILE};
use crate::blocks::lanes::{LANES, Line};

/// # Safety
/// AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn multiply_f32(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
) {
    for half in 0..2 {
        // SAFETY: the features are there; 5 * 6 + 2 = ROWS.
        unsafe {
            rows::<0, 6>(a, b, c, half, add);
            rows::<6, 6>(a, b, c, half, add);
            rows::<12, 6>(a, b, c, half, add);
            rows::<18, 6>(a, b, c, half, add);
            rows::<24, 6>(a, b, c, half, add);
            rows::<30, 2>(a, b, c, half, add);
        }
    }
}

/// Rows `FIRST ..` of the product, `R` of them, for one half of the positions. A line of `a` is 16
/// numbers of one row, a line of `b` one number of half of the positions. Values are moved by
/// `transmute`, without pointers, so that nothing is checked between the products in a build with
/// assertions.
///
/// # Safety
/// AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn rows<const FIRST: usize, const R: usize>(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    half: usize,
    add: bool,
) {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    if add {
        for r in 0..R {
            // SAFETY: 64 bytes are 64 bytes.
            sums[r] =
                unsafe { transmute::<[f32; 16], [__m256; 2]>(c[FIRST + r].as_chunks().0[half]) };
        }
    }
    for (a, b) in a.iter().zip(b) {
        for word in 0..16 {
            // SAFETY: as above.
            let numbers = unsafe { transmute::<Line, [__m256; 2]>(b[2 * word + half]) };
            for r in 0..R {
                let weight = _mm256_set1_ps(f32::from_bits(a[FIRST + r].0[word]));
                sums[r][0] = _mm256_fmadd_ps(weight, numbers[0], sums[r][0]);
                sums[r][1] = _mm256_fmadd_ps(weight, numbers[1], sums[r][1]);
            }
        }
    }
    for r in 0..R {
        // SAFETY: as above.
        c[FIRST + r].as_chunks_mut().0[half] =
            unsafe { transmute::<[__m256; 2], [f32; 16]>(sums[r]) };
    }
}
