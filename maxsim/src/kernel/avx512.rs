//! AVX-512: 16 lanes are one register. Tiles of 12 rows and two blocks take 24 registers of 32.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_add_epi64,
    _mm512_and_si512, _mm512_broadcast_i64x4, _mm512_cvtepi32_ps, _mm512_dpbf16_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_blend_epi8, _mm512_mask_blend_epi16, _mm512_max_ps, _mm512_min_epu32,
    _mm512_mul_ps, _mm512_permutexvar_epi8, _mm512_popcnt_epi64, _mm512_set1_epi8,
    _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_shuffle_epi8, _mm512_srlv_epi16, _mm512_storeu_ps, _mm512_storeu_si512,
    _mm512_xor_si512,
};

use half::bf16;

use super::{Lanes, Pairs, Quads, SignLanes, tiles};

/// Rows of a tile.
const TILE: usize = 12;

/// # Safety
/// AVX-512 F; `query` is `[best.len(), dim]`, `rows` whole rows of `dim`.
#[target_feature(enable = "avx512f")]
pub unsafe fn raise_f32(dim: usize, query: &[Lanes<f32>], rows: &[f32], best: &mut [Lanes<f32>]) {
    let mut blocks = query.chunks(2 * dim);
    for best in best.chunks_mut(2) {
        let block = blocks.next().expect("as many blocks as maxima").as_ptr();
        // SAFETY: `block` holds `best.len()` blocks; the caller promises the rest.
        unsafe {
            match best {
                [_, _] => cover_f32::<2>(dim, block, rows, best),
                _ => cover_f32::<1>(dim, block, rows, best),
            }
        }
    }
}

/// # Safety
/// As [`raise_f32`], with `B` blocks at `query` and in `best`.
#[target_feature(enable = "avx512f")]
unsafe fn cover_f32<const B: usize>(
    dim: usize,
    query: *const Lanes<f32>,
    rows: &[f32],
    best: &mut [Lanes<f32>],
) {
    let mut held = [_mm512_setzero_ps(); B];
    // SAFETY: `best` has B blocks, `query` B blocks of `dim`, and tiles lie inside `rows`.
    unsafe {
        for b in 0..B {
            held[b] = _mm512_loadu_ps(best[b].as_ptr());
        }
        let n = rows.len() / dim;
        match tiles(n, TILE) {
            Some(tiles) => {
                for first in tiles {
                    tile_f32::<TILE, B>(dim, query, rows.as_ptr().add(first * dim), &mut held);
                }
            }
            None => {
                for row in 0..n {
                    tile_f32::<1, B>(dim, query, rows.as_ptr().add(row * dim), &mut held);
                }
            }
        }
        for b in 0..B {
            _mm512_storeu_ps(best[b].as_mut_ptr(), held[b]);
        }
    }
}

/// # Safety
/// `R` rows of `dim` at `rows`, `B` blocks of `dim` at `query`.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn tile_f32<const R: usize, const B: usize>(
    dim: usize,
    query: *const Lanes<f32>,
    rows: *const f32,
    held: &mut [__m512; B],
) {
    let mut sums = [[_mm512_setzero_ps(); B]; R];
    for d in 0..dim {
        let mut q = [_mm512_setzero_ps(); B];
        for b in 0..B {
            // SAFETY: row d of block b.
            q[b] = unsafe { _mm512_loadu_ps(query.add(b * dim + d).cast()) };
        }
        for r in 0..R {
            // SAFETY: number d of row r.
            let x = _mm512_set1_ps(unsafe { *rows.add(r * dim + d) });
            for b in 0..B {
                sums[r][b] = _mm512_fmadd_ps(q[b], x, sums[r][b]);
            }
        }
    }
    for sums in sums {
        for b in 0..B {
            // The second operand wins when the first is not a number.
            held[b] = _mm512_max_ps(sums[b], held[b]);
        }
    }
}

/// # Safety
/// AVX-512 F, BW and VNNI; the lengths fit as in the parent.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub unsafe fn raise_int8(
    query: &[Quads],
    offsets: &[Lanes<i32>],
    rows: &[u8],
    scales: &[f32],
    best: &mut [Lanes<f32>],
) {
    let quads = query.len() / best.len();
    let mut blocks = query.chunks(2 * quads);
    for (best, offsets) in best.chunks_mut(2).zip(offsets.chunks(2)) {
        let block = blocks.next().expect("as many blocks as maxima").as_ptr();
        // SAFETY: `block` holds `best.len()` blocks; the caller promises the rest.
        unsafe {
            match best {
                [_, _] => cover_int8::<2>(quads, block, offsets, rows, scales, best),
                _ => cover_int8::<1>(quads, block, offsets, rows, scales, best),
            }
        }
    }
}

/// # Safety
/// As [`raise_int8`], with `B` blocks at `query`, in `offsets` and in `best`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn cover_int8<const B: usize>(
    quads: usize,
    query: *const Quads,
    offsets: &[Lanes<i32>],
    rows: &[u8],
    scales: &[f32],
    best: &mut [Lanes<f32>],
) {
    let mut held = [_mm512_setzero_ps(); B];
    let mut start = [_mm512_set1_epi32(0); B];
    // SAFETY: `best` and `offsets` have B blocks, `query` B blocks of `quads`, and tiles lie
    // inside `rows` and `scales`.
    unsafe {
        for b in 0..B {
            held[b] = _mm512_loadu_ps(best[b].as_ptr());
            start[b] = _mm512_loadu_si512(offsets[b].as_ptr().cast());
        }
        let tile = |first: usize| (rows.as_ptr().add(first * quads * 4), &raw const scales[first]);
        match tiles(scales.len(), TILE) {
            Some(tiles) => {
                for first in tiles {
                    let (rows, scales) = tile(first);
                    tile_int8::<TILE, B>(quads, query, &start, rows, scales, &mut held);
                }
            }
            None => {
                for row in 0..scales.len() {
                    let (rows, scales) = tile(row);
                    tile_int8::<1, B>(quads, query, &start, rows, scales, &mut held);
                }
            }
        }
        for b in 0..B {
            _mm512_storeu_ps(best[b].as_mut_ptr(), held[b]);
        }
    }
}

/// Rows ahead that are asked for from memory: the hardware alone does not keep up with int8.
const AHEAD: usize = 2 * TILE;

/// # Safety
/// `R` rows of `4 * quads` bytes at `rows` and as many `scales`, `B` blocks of `quads` at `query`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn tile_int8<const R: usize, const B: usize>(
    quads: usize,
    query: *const Quads,
    start: &[__m512i; B],
    rows: *const u8,
    scales: *const f32,
    held: &mut [__m512; B],
) {
    let mut sums = [*start; R];
    for d in 0..quads {
        let mut q = *start;
        for b in 0..B {
            // SAFETY: row d of block b.
            q[b] = unsafe { _mm512_loadu_si512(query.add(b * quads + d).cast()) };
        }
        if R == TILE {
            // A prefetch may point anywhere.
            _mm_prefetch::<_MM_HINT_T0>(rows.wrapping_add(AHEAD * quads * 4 + d * 64).cast());
        }
        for r in 0..R {
            // SAFETY: bytes 4d to 4d + 3 of row r.
            let x = unsafe { rows.add((r * quads + d) * 4).cast::<i32>().read_unaligned() };
            let x = _mm512_set1_epi32(x);
            for b in 0..B {
                sums[r][b] = _mm512_dpbusd_epi32(sums[r][b], x, q[b]);
            }
        }
    }
    for r in 0..R {
        // SAFETY: the scale of row r.
        let scale = _mm512_set1_ps(unsafe { *scales.add(r) });
        for b in 0..B {
            let sum = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[r][b]), scale);
            held[b] = _mm512_max_ps(sum, held[b]);
        }
    }
}

/// # Safety
/// AVX-512 F and BF16; `query` is `[best.len(), dim / 2]`, `rows` whole rows of `dim`.
#[target_feature(enable = "avx512f,avx512bf16")]
pub unsafe fn raise_bf16(query: &[Pairs], rows: &[bf16], best: &mut [Lanes<f32>]) {
    let pairs = query.len() / best.len();
    let mut blocks = query.chunks(2 * pairs);
    for best in best.chunks_mut(2) {
        let block = blocks.next().expect("as many blocks as maxima").as_ptr();
        // SAFETY: `block` holds `best.len()` blocks; the caller promises the rest.
        unsafe {
            match best {
                [_, _] => cover_bf16::<2>(pairs, block, rows, best),
                _ => cover_bf16::<1>(pairs, block, rows, best),
            }
        }
    }
}

/// # Safety
/// As [`raise_bf16`], with `B` blocks at `query` and in `best`.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn cover_bf16<const B: usize>(
    pairs: usize,
    query: *const Pairs,
    rows: &[bf16],
    best: &mut [Lanes<f32>],
) {
    let mut held = [_mm512_setzero_ps(); B];
    // SAFETY: `best` has B blocks, `query` B blocks of `pairs`, and tiles lie inside `rows`.
    unsafe {
        for b in 0..B {
            held[b] = _mm512_loadu_ps(best[b].as_ptr());
        }
        let n = rows.len() / (2 * pairs);
        match tiles(n, TILE) {
            Some(tiles) => {
                for first in tiles {
                    let rows = rows.as_ptr().add(first * 2 * pairs);
                    tile_bf16::<TILE, B>(pairs, query, rows, &mut held);
                }
            }
            None => {
                for row in 0..n {
                    let rows = rows.as_ptr().add(row * 2 * pairs);
                    tile_bf16::<1, B>(pairs, query, rows, &mut held);
                }
            }
        }
        for b in 0..B {
            _mm512_storeu_ps(best[b].as_mut_ptr(), held[b]);
        }
    }
}

/// # Safety
/// `R` rows of `2 * pairs` at `rows`, `B` blocks of `pairs` at `query`.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
unsafe fn tile_bf16<const R: usize, const B: usize>(
    pairs: usize,
    query: *const Pairs,
    rows: *const bf16,
    held: &mut [__m512; B],
) {
    let as_bf16 = |bits: __m512i| {
        // SAFETY: 512 bits are 512 bits.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
    };
    let mut sums = [[_mm512_setzero_ps(); B]; R];
    for d in 0..pairs {
        let mut q = [_mm512_set1_epi32(0); B];
        for b in 0..B {
            // SAFETY: row d of block b.
            q[b] = unsafe { _mm512_loadu_si512(query.add(b * pairs + d).cast()) };
        }
        if R == TILE {
            // A prefetch may point anywhere.
            _mm_prefetch::<_MM_HINT_T0>(rows.wrapping_add(AHEAD * 2 * pairs + d * 32).cast());
        }
        for r in 0..R {
            // SAFETY: pair d of row r.
            let x = unsafe { rows.add((r * pairs + d) * 2).cast::<i32>().read_unaligned() };
            let x = as_bf16(_mm512_set1_epi32(x));
            for b in 0..B {
                sums[r][b] = _mm512_dpbf16_ps(sums[r][b], x, as_bf16(q[b]));
            }
        }
    }
    for sums in sums {
        for b in 0..B {
            // The second operand wins when the first is not a number.
            held[b] = _mm512_max_ps(sums[b], held[b]);
        }
    }
}

/// # Safety
/// AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn unpack<const BITS: usize>(row_bytes: usize, packed: &[u8], rows: &mut [u8]) {
    if BITS == 1 && row_bytes.is_multiple_of(8) {
        unpack_signs(packed, rows);
    } else if BITS == 2 && row_bytes == 32 {
        unpack_by_16(packed.as_chunks().0, rows.as_chunks_mut().0);
    } else {
        super::portable::unpack::<BITS>(row_bytes, packed, rows);
    }
}

/// 64 signs are a mask that picks between -1 and 1, both with 128 added.
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack_signs(packed: &[u8], rows: &mut [u8]) {
    let (minus, plus) = (_mm512_set1_epi8(127), _mm512_set1_epi8(-127));
    for (signs, row) in packed.as_chunks::<8>().0.iter().zip(rows.as_chunks_mut::<64>().0) {
        let codes = _mm512_mask_blend_epi8(u64::from_le_bytes(*signs), minus, plus);
        // SAFETY: 64 bytes.
        unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), codes) };
    }
}

/// How far ahead packed rows are asked of memory, bytes.
const AHEAD_BYTES: usize = 4096;

/// Rows of dim 128: the 32 bytes of a row in both halves of a register, shifted by what each half
/// is to show, and the two lowest bits of each byte looked up.
macro_rules! unpack_pairs {
    ($name:ident, $features:literal, |$codes:ident, $odd:ident| $look_up:expr) => {
        #[target_feature(enable = $features)]
        #[inline]
        pub fn $name(packed: &[[u8; 32]], rows: &mut [[u8; 128]]) {
            let $odd = _mm512_set1_epi32(i32::from_le_bytes([125, 127, 129, 131]));
            let shifts = |first, second| {
                let upper = _mm512_set1_epi16(second);
                _mm512_mask_blend_epi16(0xffff, upper, _mm512_set1_epi16(first))
            };
            let shifts = [shifts(0, 2), shifts(4, 6)];
            for (row, out) in packed.iter().zip(rows) {
                let out = out.as_mut_ptr();
                // What follows on these rows is what comes next; a prefetch may point anywhere.
                _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().wrapping_add(AHEAD_BYTES).cast());
                // SAFETY: 32 bytes to read.
                let row =
                    _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(row.as_ptr().cast()) });
                let $codes = _mm512_srlv_epi16(row, shifts[0]);
                // SAFETY: 128 bytes to write.
                unsafe { _mm512_storeu_si512(out.cast(), $look_up) };
                let $codes = _mm512_srlv_epi16(row, shifts[1]);
                // SAFETY: as above.
                unsafe { _mm512_storeu_si512(out.add(64).cast(), $look_up) };
            }
        }
    };
}

unpack_pairs!(unpack_by_16, "avx512f,avx512bw", |codes, odd| {
    _mm512_shuffle_epi8(odd, _mm512_and_si512(codes, _mm512_set1_epi8(3)))
});
// The look-up of VBMI sees six bits and the table repeats every four: nothing to mask.
unpack_pairs!(unpack_by_64, "avx512f,avx512bw,avx512vbmi", |codes, odd| {
    _mm512_permutexvar_epi8(codes, odd)
});

/// Blocks of 8 tokens whose words are held in registers.
const SIGN_BLOCKS: usize = 4;

/// # Safety
/// AVX-512 F and VPOPCNTDQ; the lengths fit as in the parent.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
pub unsafe fn lower_sign(
    row_words: usize,
    query: &[SignLanes],
    rows: &[u64],
    fewest: &mut [SignLanes],
) {
    let queries = query.chunks(SIGN_BLOCKS * row_words);
    for (query, fewest) in queries.zip(fewest.chunks_mut(SIGN_BLOCKS)) {
        match (row_words, fewest.len()) {
            (1, 4) => cover_sign::<1, 4>(query, rows, fewest),
            (1, 3) => cover_sign::<1, 3>(query, rows, fewest),
            (1, 2) => cover_sign::<1, 2>(query, rows, fewest),
            (1, _) => cover_sign::<1, 1>(query, rows, fewest),
            (2, 4) => cover_sign::<2, 4>(query, rows, fewest),
            (2, 3) => cover_sign::<2, 3>(query, rows, fewest),
            (2, 2) => cover_sign::<2, 2>(query, rows, fewest),
            (2, _) => cover_sign::<2, 1>(query, rows, fewest),
            _ => super::portable::lower_sign(row_words, query, rows, fewest),
        }
    }
}

/// `query` is `[B, W, 8]`, `rows` `[n, W]`, `fewest` `[B]`.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn cover_sign<const W: usize, const B: usize>(
    query: &[SignLanes],
    rows: &[u64],
    fewest: &mut [SignLanes],
) {
    let load = |lanes: &SignLanes| {
        // SAFETY: 8 words.
        unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
    };
    let mut held = [_mm512_set1_epi32(-1); B];
    let mut words = [[_mm512_set1_epi32(0); W]; B];
    for b in 0..B {
        held[b] = load(&fewest[b]);
        for w in 0..W {
            words[b][w] = load(&query[b * W + w]);
        }
    }
    for row in rows.as_chunks::<W>().0 {
        let row = row.map(|word| _mm512_set1_epi64(word as i64));
        for b in 0..B {
            let mut differ = _mm512_popcnt_epi64(_mm512_xor_si512(words[b][0], row[0]));
            for w in 1..W {
                let more = _mm512_popcnt_epi64(_mm512_xor_si512(words[b][w], row[w]));
                differ = _mm512_add_epi64(differ, more);
            }
            // Counts are small: unsigned 32-bit minima are one instruction where 64-bit are two.
            held[b] = _mm512_min_epu32(held[b], differ);
        }
    }
    for (fewest, held) in fewest.iter_mut().zip(held) {
        // SAFETY: 8 words.
        unsafe { _mm512_storeu_si512(fewest.as_mut_ptr().cast(), held) };
    }
}

/// # Safety
/// AVX-512 F.
#[target_feature(enable = "avx512f")]
pub unsafe fn dots_f32(blocks: &[Lanes<f32>], row: &[f32], dots: &mut [Lanes<f32>]) {
    super::portable::dots_f32(blocks, row, dots);
}
