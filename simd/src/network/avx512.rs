//! Rows in bytes by AVX-512. The compiler makes eight times as many instructions of the plain loop
//! that takes the least and the greatest number at once.

use std::arch::x86_64::{
    __m128i, __m512, _mm512_add_ps, _mm512_castps_si512, _mm512_cvtepi32_epi8, _mm512_max_ps,
    _mm512_min_ps, _mm512_mul_ps, _mm512_reduce_max_ps, _mm512_reduce_min_ps, _mm512_set1_ps,
    _mm512_sub_ps,
};
use std::mem::transmute;

use super::places::{ROUNDING, Step};

/// Numbers of a register.
pub(super) const LANES: usize = 16;

/// Writes the bytes of places and their steps. `values` is `[places, chunks]`; each place is
/// multiplied with `shares` first, where there are some.
///
/// # Safety
/// AVX-512 F, BW, DQ and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn fill(
    values: &[[f32; LANES]],
    shares: &[[f32; LANES]],
    shared: &mut [[f32; LANES]],
    bytes: &mut [[u8; LANES]],
    steps: &mut [Step],
) {
    let width = shared.len();
    let rows = values.chunks_exact(width).zip(bytes.chunks_exact_mut(width));
    for ((row, bytes), step) in rows.zip(steps) {
        let mut low = _mm512_set1_ps(f32::MAX);
        let mut high = _mm512_set1_ps(f32::MIN);
        for (chunk, (shared, values)) in shared.iter_mut().zip(row).enumerate() {
            // SAFETY: 64 bytes are 64 bytes, here and below.
            let mut value = unsafe { transmute::<[f32; LANES], __m512>(*values) };
            if let Some(share) = shares.get(chunk) {
                let share = unsafe { transmute::<[f32; LANES], __m512>(*share) };
                value = _mm512_mul_ps(value, share);
            }
            low = _mm512_min_ps(low, value);
            high = _mm512_max_ps(high, value);
            *shared = unsafe { transmute::<__m512, [f32; LANES]>(value) };
        }
        *step = Step::between(_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high));
        let least = _mm512_set1_ps(step.least);
        let units = _mm512_set1_ps(step.units());
        let rounding = _mm512_set1_ps(ROUNDING);
        for (shared, bytes) in shared.iter().zip(bytes) {
            let value = unsafe { transmute::<[f32; LANES], __m512>(*shared) };
            let scaled = _mm512_mul_ps(_mm512_sub_ps(value, least), units);
            let rounded = _mm512_castps_si512(_mm512_add_ps(scaled, rounding));
            // SAFETY: 16 bytes are 16 bytes.
            *bytes = unsafe { transmute::<__m128i, [u8; LANES]>(_mm512_cvtepi32_epi8(rounded)) };
        }
    }
}
