//! Packed codes in AVX-512: unpacking them, and comparing signs.

use std::arch::x86_64::{
    _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_loadu_si256, _mm512_add_epi64,
    _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_broadcast_i64x4, _mm512_loadu_si512,
    _mm512_mask_blend_epi8, _mm512_mask_blend_epi16, _mm512_min_epu32, _mm512_permutexvar_epi8,
    _mm512_popcnt_epi64, _mm512_set1_epi8, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_epi64,
    _mm512_shuffle_epi8, _mm512_srli_epi16, _mm512_srlv_epi16, _mm512_storeu_si512,
    _mm512_xor_si512,
};

use crate::kernel::{SignLanes, portable};

/// How far ahead packed rows are asked of memory, bytes.
const AHEAD_BYTES: usize = 4096;

/// # Safety
/// AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn unpack<const BITS: usize>(row_bytes: usize, packed: &[u8], rows: &mut [u8]) {
    if BITS == 1 && row_bytes.is_multiple_of(8) {
        unpack_signs(packed, rows);
    } else if BITS == 2 && row_bytes == 32 {
        let (packed, rows) = (packed.as_chunks().0, rows.as_chunks_mut().0);
        if is_x86_feature_detected!("avx512vbmi") {
            // SAFETY: VBMI was found.
            unsafe { unpack_by_64(packed, rows) }
        } else {
            unpack_by_16(packed, rows);
        }
    } else if BITS == 4 && row_bytes == 64 {
        unpack_fours(packed.as_chunks().0, rows.as_chunks_mut().0);
    } else {
        portable::unpack::<BITS>(row_bytes, packed, rows);
    }
}

/// 64 signs are a mask that picks between -1 and 1, both with 128 added.
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack_signs(packed: &[u8], rows: &mut [u8]) {
    let (minus, plus) = (_mm512_set1_epi8(127), _mm512_set1_epi8(-127));
    for (signs, row) in packed.as_chunks::<8>().0.iter().zip(rows.as_chunks_mut::<64>().0) {
        // As in `unpack_fours`.
        _mm_prefetch::<_MM_HINT_T0>(signs.as_ptr().wrapping_add(AHEAD_BYTES).cast());
        let codes = _mm512_mask_blend_epi8(u64::from_le_bytes(*signs), minus, plus);
        // SAFETY: 64 bytes.
        unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), codes) };
    }
}

/// Rows of dim 128: the lower and then the upper four bits of each byte, looked up.
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack_fours(packed: &[[u8; 64]], rows: &mut [[u8; 128]]) {
    let odd: [u8; 16] = std::array::from_fn(|code| 113 + 2 * code as u8);
    // SAFETY: 16 bytes to read.
    let odd = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(odd.as_ptr().cast()) });
    let lower = _mm512_set1_epi8(15);
    for (row, out) in packed.iter().zip(rows) {
        let out = out.as_mut_ptr();
        // What follows on these rows is what comes next; a prefetch may point anywhere.
        _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().wrapping_add(AHEAD_BYTES).cast());
        // SAFETY: 64 bytes to read.
        let row = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
        let codes = [row, _mm512_srli_epi16::<4>(row)];
        for (half, codes) in codes.into_iter().enumerate() {
            let codes = _mm512_shuffle_epi8(odd, _mm512_and_si512(codes, lower));
            // SAFETY: 128 bytes to write.
            unsafe { _mm512_storeu_si512(out.add(64 * half).cast(), codes) };
        }
    }
}

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
            _ => portable::lower_sign(row_words, query, rows, fewest),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A CPU with VBMI takes one of the two; both are to stay right.
    #[test]
    fn both_look_ups_of_two_bits_unpack_as_the_portable_one() {
        let packed: Vec<u8> =
            (0..32 * 256u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut expected = vec![0; packed.len() * 4];
        portable::unpack::<2>(32, &packed, &mut expected);
        let mut rows = vec![0; expected.len()];
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: BW was found, and with it F.
            unsafe { unpack_by_16(packed.as_chunks().0, rows.as_chunks_mut().0) };
            assert_eq!(rows, expected);
        }
        rows.fill(0);
        if is_x86_feature_detected!("avx512vbmi") && is_x86_feature_detected!("avx512bw") {
            // SAFETY: BW and VBMI were found.
            unsafe { unpack_by_64(packed.as_chunks().0, rows.as_chunks_mut().0) };
            assert_eq!(rows, expected);
        }
    }
}
