//! The kernels for whole numbers of 16 bits. Their sums over the tiles that share scales are exact,
//! and the same on every CPU.

use super::factor::Factor;
use super::tile::{ROWS, RUN, TILE};
use crate::blocks::lanes::{LANES, Line};

/// The product in plain loops.
pub fn multiply(
    a: Factor<'_, ROWS>,
    b: Factor<'_, LANES>,
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
) {
    if !add {
        *c = [[0.0; LANES]; ROWS];
    }
    let run = b.run();
    let tiles = a.tiles().chunks(run).zip(b.tiles().chunks(run)).enumerate();
    for (n, (a_tiles, b_tiles)) in tiles {
        let a_scales = &a.scales[n * run / RUN];
        let b_scales = b.scales.get(n).unwrap_or(&[1.0; LANES]);
        for (row, c) in c.iter_mut().enumerate() {
            let mut sums = [0i32; LANES];
            for (a, b) in a_tiles.iter().zip(b_tiles) {
                for (word, &weights) in a[row].0.iter().enumerate() {
                    let positions = b[2 * word].0.iter().chain(&b[2 * word + 1].0);
                    for (sum, &numbers) in sums.iter_mut().zip(positions) {
                        *sum += low(weights) * low(numbers) + high(weights) * high(numbers);
                    }
                }
            }
            for ((c, sum), scale) in c.iter_mut().zip(sums).zip(b_scales) {
                *c += sum as f32 * (a_scales[row] * scale);
            }
        }
    }
}

/// The first of a pair.
#[inline(always)]
fn low(pair: u32) -> i32 {
    (pair << 16).cast_signed() >> 16
}

/// The second.
#[inline(always)]
fn high(pair: u32) -> i32 {
    pair.cast_signed() >> 16
}

/// One body for all instructions. `$lanes` numbers of f32 fill a register, of which `$parts` hold
/// the positions that are multiplied at once; rows are taken `$rows` at a time, as many as leave
/// the sums in registers, and `$rest` at last. Values are moved by `transmute`, without pointers, so
/// that nothing is checked between the products in a build with assertions.
#[cfg(target_arch = "x86_64")]
macro_rules! kernel {
    (
        $name:ident, $features:literal, $whole:ident, $single:ident,
        $lanes:literal, $parts:literal, $rows:literal, $rest:literal,
        $zero:ident, $spread:ident, $dot:expr, $to_single:ident, $spread_single:ident, $times:ident,
        $fused:ident
    ) => {
        pub mod $name {
            use std::arch::x86_64::*;
            use std::mem::transmute;

            use super::*;

            /// Positions that are multiplied at once, in registers.
            type Across = [[f32; $lanes]; $parts];

            /// A row of results.
            type Row = [Across; LANES / ($lanes * $parts)];

            /// # Safety
            /// The CPU has the features that this module is named after.
            #[target_feature(enable = $features)]
            pub unsafe fn multiply(
                a: Factor<'_, ROWS>,
                b: Factor<'_, LANES>,
                c: &mut [[f32; LANES]; ROWS],
                add: bool,
            ) {
                let run = b.run();
                if a.tiles().is_empty() && !add {
                    *c = [[0.0; LANES]; ROWS];
                }
                // SAFETY: as many numbers in the same order.
                let c = unsafe { transmute::<&mut [[f32; LANES]; ROWS], &mut [Row; ROWS]>(c) };
                let tiles = a.tiles().chunks(run).zip(b.tiles().chunks(run)).enumerate();
                for (n, (a_tiles, b_tiles)) in tiles {
                    let b_scales = b.scales.get(n);
                    let scales = (&a.scales[n * run / RUN], b_scales.unwrap_or(&[1.0; LANES]));
                    let of_tiles = match (b_scales.is_some(), add || n > 0) {
                        (true, true) => run_of::<true, true>,
                        (true, false) => run_of::<true, false>,
                        (false, true) => run_of::<false, true>,
                        (false, false) => run_of::<false, false>,
                    };
                    // SAFETY: the features are there.
                    unsafe { of_tiles(a_tiles, b_tiles, scales, c) };
                }
            }

            /// The product of tiles that share scales. With `SCALED` positions have some, with `ADD`
            /// it is added to `c`.
            ///
            /// # Safety
            /// As above.
            #[target_feature(enable = $features)]
            unsafe fn run_of<const SCALED: bool, const ADD: bool>(
                a: &[[Line; TILE]],
                b: &[[Line; TILE]],
                scales: (&[f32; ROWS], &[f32; LANES]),
                c: &mut [Row; ROWS],
            ) {
                for half in 0..size_of::<Row>() / size_of::<Across>() {
                    let mut row = 0;
                    while row + $rows <= ROWS {
                        // SAFETY: the features are there.
                        unsafe { rows::<$rows, SCALED, ADD>(a, b, scales, (row, half), c) };
                        row += $rows;
                    }
                    // SAFETY: as above.
                    unsafe { rows::<$rest, SCALED, ADD>(a, b, scales, (row, half), c) };
                }
            }

            /// Some rows from `row` on, for one of the parts that positions are multiplied in.
            ///
            /// # Safety
            /// As above.
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn rows<const R: usize, const SCALED: bool, const ADD: bool>(
                a: &[[Line; TILE]],
                b: &[[Line; TILE]],
                (a_scales, b_scales): (&[f32; ROWS], &[f32; LANES]),
                (row, half): (usize, usize),
                c: &mut [Row; ROWS],
            ) {
                let mut sums = [[$zero(); $parts]; R];
                for (a, b) in a.iter().zip(b) {
                    let a: &[Line; R] = a[row..].first_chunk().expect("rows of a tile");
                    for word in 0..16 {
                        // SAFETY: as many bytes.
                        let numbers = unsafe {
                            transmute::<[[u32; $lanes]; $parts], [$whole; $parts]>(positions(
                                b, word, half,
                            ))
                        };
                        for r in 0..R {
                            let weights = $spread(a[r].0[word].cast_signed());
                            for part in 0..$parts {
                                sums[r][part] = $dot(sums[r][part], weights, numbers[part]);
                            }
                        }
                    }
                }
                // SAFETY: as many numbers in the same order.
                let b_scales = unsafe { transmute::<&[f32; LANES], &Row>(b_scales) };
                // SAFETY: as many bytes.
                let b_scales = unsafe { transmute::<Across, [$single; $parts]>(b_scales[half]) };
                let a_scales: &[f32; R] = a_scales[row..].first_chunk().expect("rows of a tile");
                let c: &mut [Row; R] = c[row..].first_chunk_mut().expect("rows of a tile");
                for r in 0..R {
                    let of_row = $spread_single(a_scales[r]);
                    let place = &mut c[r][half];
                    // SAFETY: as many bytes.
                    let before = unsafe { transmute::<Across, [$single; $parts]>(*place) };
                    let mut after = before;
                    for part in 0..$parts {
                        let sum = $to_single(sums[r][part]);
                        let scale = if SCALED { $times(of_row, b_scales[part]) } else { of_row };
                        after[part] =
                            if ADD { $fused(sum, scale, before[part]) } else { $times(sum, scale) };
                    }
                    // SAFETY: as many bytes.
                    *place = unsafe { transmute::<[$single; $parts], Across>(after) };
                }
            }

            /// The pairs `word` of a tile of an operand, for one of the parts of the positions.
            #[inline(always)]
            fn positions(b: &[Line; TILE], word: usize, half: usize) -> [[u32; $lanes]; $parts] {
                std::array::from_fn(|part| {
                    let at = (half * $parts + part) * $lanes;
                    let line = &b[2 * word + at / 16].0;
                    *line[at % 16..].first_chunk().expect("lanes of a register")
                })
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
kernel!(
    avx512_vnni,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    __m512i,
    __m512,
    16,
    2,
    12,
    8,
    _mm512_setzero_si512,
    _mm512_set1_epi32,
    _mm512_dpwssd_epi32,
    _mm512_cvtepi32_ps,
    _mm512_set1_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps
);

// The instructions of AVX-VNNI, in the encoding that CPUs with AVX-512 have for them.
#[cfg(target_arch = "x86_64")]
kernel!(
    avx512_vnni_halves,
    "avx2,fma,avx512f,avx512vl,avx512vnni",
    __m256i,
    __m256,
    8,
    2,
    6,
    2,
    _mm256_setzero_si256,
    _mm256_set1_epi32,
    _mm256_dpwssd_epi32,
    _mm256_cvtepi32_ps,
    _mm256_set1_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps
);

#[cfg(target_arch = "x86_64")]
kernel!(
    avx_vnni,
    "avx2,fma,avxvnni",
    __m256i,
    __m256,
    8,
    2,
    6,
    2,
    _mm256_setzero_si256,
    _mm256_set1_epi32,
    _mm256_dpwssd_avx_epi32,
    _mm256_cvtepi32_ps,
    _mm256_set1_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps
);

#[cfg(target_arch = "x86_64")]
kernel!(
    avx2,
    "avx2,fma",
    __m256i,
    __m256,
    8,
    2,
    6,
    2,
    _mm256_setzero_si256,
    _mm256_set1_epi32,
    |sum, weights, numbers| _mm256_add_epi32(sum, _mm256_madd_epi16(weights, numbers)),
    _mm256_cvtepi32_ps,
    _mm256_set1_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps
);
