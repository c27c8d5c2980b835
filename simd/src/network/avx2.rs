//! AVX2: pairs of 16 bits, for CPUs without VNNI. The compiler would spread each pair over two
//! products.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_madd_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
};
use std::mem::transmute;

use super::places::{Filled, Places};
use super::weights::{ByteWeights, LANES, Pairs};

/// Places whose sums stay in registers, two registers each.
const PLACES: usize = 6;

/// [`ByteWeights::apply`] for weights in `pairs`; places have been checked.
///
/// # Safety
/// AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn apply(
    weights: &ByteWeights,
    pairs: &[Pairs],
    places: &Places<'_>,
    out: &mut [f32],
    filled: Filled,
) {
    // Pair by pair, those of all places side by side.
    let mut wide = vec![[[0i16; 2]; PLACES]; weights.inputs / 2];
    for first in (0..places.count).step_by(PLACES) {
        let count = PLACES.min(places.count - first);
        for i in 0..count {
            for (part, wide) in wide.chunks_exact_mut(places.part / 2).enumerate() {
                let bytes = places.part(first + i, part).as_chunks::<2>().0;
                for (bytes, wide) in bytes.iter().zip(wide) {
                    wide[i] = [i16::from(bytes[0]), i16::from(bytes[1])];
                }
            }
        }
        for (block, pairs) in pairs.chunks_exact(wide.len()).enumerate() {
            let mut sums = [[_mm256_setzero_si256(); 2]; PLACES];
            for (wide, pairs) in wide.iter().zip(pairs) {
                // SAFETY: 64 bytes are 64 bytes.
                let [low, high] = unsafe { transmute::<Pairs, [__m256i; 2]>(*pairs) };
                for i in 0..PLACES {
                    // SAFETY: four bytes are four bytes.
                    let pair = unsafe { transmute::<[i16; 2], i32>(wide[i]) };
                    let pair = _mm256_set1_epi32(pair);
                    sums[i][0] = _mm256_add_epi32(sums[i][0], _mm256_madd_epi16(pair, low));
                    sums[i][1] = _mm256_add_epi32(sums[i][1], _mm256_madd_epi16(pair, high));
                }
            }
            for (i, sums) in sums.iter().take(count).enumerate() {
                let place = first + i;
                let row = &mut out[place * weights.outputs..][..weights.outputs];
                // SAFETY: 64 bytes are 64 bytes.
                let sums = unsafe { transmute::<[__m256i; 2], [i32; LANES]>(*sums) };
                let row = &mut row[block * LANES..];
                weights.settle::<true>(&sums, places.step(place), block * LANES, row, filled);
            }
        }
    }
}
