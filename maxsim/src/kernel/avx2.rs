//! AVX2 and FMA: 16 lanes are two registers. Tiles of 6 rows and one block take 12 of 16.

use std::arch::x86_64::{
    __m256, __m256i, _mm_cvtepu8_epi16, _mm_cvtsi32_si128, _mm_cvtsi128_si64, _mm_loadu_si128,
    _mm256_add_epi32, _mm256_add_ps, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps, _mm256_cvtph_ps,
    _mm256_fmadd_ps, _mm256_hadd_epi32, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_max_ps, _mm256_mul_ps, _mm256_permute4x64_epi64, _mm256_set1_epi64x, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_storeu_ps,
};

use half::f16;

use super::{Lanes, Near, Quads, SignLanes, tiles};

/// Rows of a tile.
const TILE: usize = 6;

/// # Safety
/// AVX2 and FMA; `query` is `[best.len(), dim]`, `rows` whole rows of `dim`.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn raise_f32(dim: usize, query: &[Lanes<f32>], rows: &[f32], best: &mut [Lanes<f32>]) {
    let n = rows.len() / dim;
    for (block, best) in query.chunks_exact(dim).zip(best) {
        // SAFETY: a block is `dim` times 16 numbers, and tiles lie inside `rows`.
        unsafe {
            let mut held = load(best);
            for (first, is_whole) in tiles(0..n, n, TILE) {
                let rows = rows.as_ptr().add(first * dim);
                if is_whole {
                    tile_f32::<TILE>(dim, block.as_ptr(), rows, &mut held);
                } else {
                    tile_f32::<1>(dim, block.as_ptr(), rows, &mut held);
                }
            }
            store(best, held);
        }
    }
}

/// # Safety
/// `R` rows of `dim` at `rows`, a block of `dim` at `query`.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn tile_f32<const R: usize>(
    dim: usize,
    query: *const Lanes<f32>,
    rows: *const f32,
    held: &mut [__m256; 2],
) {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    for d in 0..dim {
        // SAFETY: row d of the block.
        let q = unsafe { load(&*query.add(d)) };
        for r in 0..R {
            // SAFETY: number d of row r.
            let x = _mm256_set1_ps(unsafe { *rows.add(r * dim + d) });
            for half in 0..2 {
                sums[r][half] = _mm256_fmadd_ps(q[half], x, sums[r][half]);
            }
        }
    }
    for sums in sums {
        for half in 0..2 {
            // The second operand wins when the first is not a number.
            held[half] = _mm256_max_ps(sums[half], held[half]);
        }
    }
}

/// # Safety
/// AVX2; the lengths fit as in the parent.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn raise_int8(
    query: &[Quads],
    offsets: &[Lanes<i32>],
    rows: &[u8],
    scales: &[f32],
    best: &mut [Lanes<f32>],
) {
    // SAFETY: the caller promises it.
    unsafe { raise_by(query, offsets, rows, best, |row, sum, _| scaled(sum, scales[row])) }
}

/// # Safety
/// As [`raise_int8`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn raise_near(
    query: &[Quads],
    offsets: &[Lanes<i32>],
    rows: &[u8],
    scales: &[f32],
    near: Near<'_>,
    best: &mut [Lanes<f32>],
) {
    // SAFETY: the caller promises it.
    unsafe {
        raise_by(query, offsets, rows, best, |row, sum, (block, half)| {
            let products = load(&near.products[block][usize::from(near.centres[row])]);
            _mm256_add_ps(scaled(sum, scales[row]), products[half])
        });
    }
}

/// Raises `best` by what `score` makes of the number of a row, the sums of 8 tokens and the number
/// of their block and half.
///
/// # Safety
/// As [`raise_int8`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn raise_by(
    query: &[Quads],
    offsets: &[Lanes<i32>],
    rows: &[u8],
    best: &mut [Lanes<f32>],
    score: impl Fn(usize, __m256i, (usize, usize)) -> __m256,
) {
    let quads = query.len() / best.len();
    let blocks = query.chunks_exact(quads).zip(offsets).zip(best);
    for (b, ((block, offset), best)) in blocks.enumerate() {
        let start: [_; 2] =
            // SAFETY: 16 numbers.
            std::array::from_fn(|h| unsafe { _mm256_loadu_si256(offset.as_ptr().add(8 * h).cast()) });
        let mut held = load(best);
        for (r, row) in rows.chunks_exact(quads * 4).enumerate() {
            let mut pairs = [_mm256_set1_epi64x(0); 4];
            for (values, x) in block.iter().zip(row.chunks_exact(4)) {
                let x = i32::from_le_bytes(x.try_into().expect("four bytes"));
                let x =
                    _mm256_set1_epi64x(_mm_cvtsi128_si64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(x))));
                for (part, pairs) in pairs.iter_mut().enumerate() {
                    // SAFETY: four tokens of four numbers are 16 bytes.
                    let q = unsafe { _mm_loadu_si128(values.as_ptr().add(4 * part).cast()) };
                    // i8 times u8, summed in pairs: at most 2 * 128 * 255, far inside i32.
                    let products = _mm256_madd_epi16(_mm256_cvtepi8_epi16(q), x);
                    *pairs = _mm256_add_epi32(*pairs, products);
                }
            }
            for half in 0..2 {
                let sum = join(pairs[2 * half], pairs[2 * half + 1]);
                let sum = _mm256_add_epi32(sum, start[half]);
                held[half] = _mm256_max_ps(score(r, sum, (b, half)), held[half]);
            }
        }
        store(best, held);
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn scaled(sum: __m256i, scale: f32) -> __m256 {
    _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(scale))
}

/// Sums of neighbours: `[x0+x1, x2+x3, x4+x5, x6+x7, y0+y1, ...]`.
#[target_feature(enable = "avx2")]
#[inline]
fn join(x: __m256i, y: __m256i) -> __m256i {
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(x, y))
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(lanes: &Lanes<f32>) -> [__m256; 2] {
    // SAFETY: 16 numbers.
    unsafe { [_mm256_loadu_ps(lanes.as_ptr()), _mm256_loadu_ps(lanes.as_ptr().add(8))] }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store(lanes: &mut Lanes<f32>, held: [__m256; 2]) {
    // SAFETY: 16 numbers.
    unsafe {
        _mm256_storeu_ps(lanes.as_mut_ptr(), held[0]);
        _mm256_storeu_ps(lanes.as_mut_ptr().add(8), held[1]);
    }
}

/// The portable version calls a function for every 8 numbers, which took two fifths of the time of a
/// page in f16.
///
/// # Safety
/// AVX2 and F16C; as many numbers in `wide` as in `values`.
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn widen(values: &[f16], wide: &mut [f32]) {
    let (values, rest) = values.as_chunks::<8>();
    let (wide, wide_rest) = wide.as_chunks_mut::<8>();
    for (values, wide) in values.iter().zip(wide) {
        // SAFETY: 8 numbers to read and to write.
        unsafe {
            let values = _mm_loadu_si128(values.as_ptr().cast());
            _mm256_storeu_ps(wide.as_mut_ptr(), _mm256_cvtph_ps(values));
        }
    }
    super::portable::widen(rest, wide_rest);
}

/// The portable loop with the CPU's own count of bits.
///
/// # Safety
/// POPCNT.
#[target_feature(enable = "popcnt")]
pub unsafe fn lower_sign(
    row_words: usize,
    query: &[SignLanes],
    rows: &[u64],
    fewest: &mut [SignLanes],
) {
    super::portable::lower_sign(row_words, query, rows, fewest);
}

/// # Safety
/// AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn unpack<const BITS: usize>(row_bytes: usize, packed: &[u8], rows: &mut [u8]) {
    super::portable::unpack::<BITS>(row_bytes, packed, rows);
}

/// # Safety
/// AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn dots_f32(blocks: &[Lanes<f32>], row: &[f32], dots: &mut [Lanes<f32>]) {
    super::portable::dots_f32(blocks, row, dots);
}
