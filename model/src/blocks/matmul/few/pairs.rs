//! A position as pairs of bf16, for weights of bf16 that are multiplied as they are.

use pagesight_simd::Instructions;

use super::side::{CHUNK, PARTS, Side, Sums};
use crate::blocks::matmul::kernel::best;
use crate::blocks::matmul::tile::Arithmetic;

/// Bytes of a chunk.
const BYTES: usize = 2 * CHUNK;

/// By chunk: the first number of each pair in the low half.
pub struct Pairs(Vec<[u32; PARTS]>);

impl Pairs {
    /// Whether the CPU multiplies pairs of bf16 without AMX, which is made for many positions.
    pub fn are_multiplied() -> bool {
        cfg!(target_arch = "x86_64")
            && matches!(best(Arithmetic::Bf16), Instructions::Avx512 | Instructions::Amx)
    }

    /// Numbers that bf16 has, filled up with zeros.
    pub fn of(values: &[f32]) -> Self {
        let chunk = |values: &[f32]| {
            let half = |at: usize| values.get(at).map_or(0, |value| value.to_bits() >> 16);
            std::array::from_fn(|pair| half(2 * pair) | half(2 * pair + 1) << 16)
        };
        Self(values.chunks(CHUNK).map(chunk).collect())
    }

    /// Adds the products with rows of bf16 to `sums`.
    pub fn add(&self, side: &Side<'_>, sums: &mut Sums) {
        let whole = side.rows[0].len() / BYTES;
        add_chunks(side, &self.0[..whole], sums);
        if whole < self.0.len() {
            add_chunks(&side.rest(whole * BYTES, 0).side(), &self.0[whole..], sums);
        }
    }
}

/// The products of whole chunks.
fn add_chunks(side: &Side<'_>, x: &[[u32; PARTS]], sums: &mut Sums) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: pairs are made only where the CPU multiplies them.
    unsafe {
        vector::add(side, x, sums);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, sums);
}

#[cfg(target_arch = "x86_64")]
mod vector {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::super::side::{PARTS, SIDE, Side, Sums};
    use super::BYTES;

    /// # Safety
    /// AVX-512 F and BF16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub unsafe fn add(side: &Side<'_>, x: &[[u32; PARTS]], sums: &mut Sums) {
        let rows = side.rows.map(|row| &row.as_chunks::<BYTES>().0[..x.len()]);
        let mut local = [_mm512_setzero_ps(); SIDE];
        for (at, x) in x.iter().enumerate() {
            side.prefetch(at * BYTES, BYTES);
            // SAFETY: 64 bytes are 64 bytes.
            let x = unsafe { transmute::<[u32; PARTS], __m512bh>(*x) };
            for r in 0..SIDE {
                // SAFETY: as above.
                let weights = unsafe { transmute::<[u8; BYTES], __m512bh>(rows[r][at]) };
                local[r] = _mm512_dpbf16_ps(local[r], weights, x);
            }
        }
        for (sums, local) in sums.iter_mut().zip(local) {
            // SAFETY: 64 bytes are 64 bytes.
            let local = unsafe { transmute::<__m512, [f32; PARTS]>(local) };
            sums.iter_mut().zip(local).for_each(|(sum, local)| *sum += local);
        }
    }
}
