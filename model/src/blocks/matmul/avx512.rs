//! AVX-512: 32 positions are two registers; up to 12 rows of the result stay in registers. Of a group
//! with up to 16 positions only the first register is multiplied, with up to 16 rows.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps,
};
use std::mem::transmute;

use super::ahead::Ahead;
use super::tile::{ROWS, TILE};
use crate::blocks::lanes::{LANES, Line};

/// # Safety
/// AVX-512 F.
#[target_feature(enable = "avx512f")]
pub unsafe fn multiply_f32(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
    count: usize,
    ahead: &mut Ahead<'_>,
) {
    // SAFETY: the feature is there; 12 + 12 + 8 = 16 + 16 = ROWS.
    unsafe {
        if count > LANES / 2 {
            ahead.divide(3 * a.len());
            rows_f32::<0, 12, 2>(a, b, c, add, ahead);
            rows_f32::<12, 12, 2>(a, b, c, add, ahead);
            rows_f32::<24, 8, 2>(a, b, c, add, ahead);
        } else {
            ahead.divide(2 * a.len());
            rows_f32::<0, 16, 1>(a, b, c, add, ahead);
            rows_f32::<16, 16, 1>(a, b, c, add, ahead);
        }
    }
}

/// # Safety
/// AVX-512 F and BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
pub unsafe fn multiply_bf16(
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
    count: usize,
    ahead: &mut Ahead<'_>,
) {
    // SAFETY: the features are there; 12 + 12 + 8 = 16 + 16 = ROWS.
    unsafe {
        if count > LANES / 2 {
            ahead.divide(3 * a.len());
            rows_bf16::<0, 12, 2>(a, b, c, add, ahead);
            rows_bf16::<12, 12, 2>(a, b, c, add, ahead);
            rows_bf16::<24, 8, 2>(a, b, c, add, ahead);
        } else {
            ahead.divide(2 * a.len());
            rows_bf16::<0, 16, 1>(a, b, c, add, ahead);
            rows_bf16::<16, 16, 1>(a, b, c, add, ahead);
        }
    }
}

/// One body for both types: a line of `a` is 16 words of one row, 2 lines of `b` are one word of
/// each position; a word is an f32 or a pair of bf16. Values are moved by `transmute`, without
/// pointers, so that nothing is checked between the products in a build with assertions.
macro_rules! rows {
    ($name:ident, $features:literal, $broadcast:expr, $multiply:expr) => {
        /// Rows `FIRST ..` of the product, `R` of them, for the positions of `V` registers. Those of
        /// the other become 0.
        ///
        /// # Safety
        /// The features of the function above.
        #[target_feature(enable = $features)]
        unsafe fn $name<const FIRST: usize, const R: usize, const V: usize>(
            a: &[[Line; TILE]],
            b: &[[Line; TILE]],
            c: &mut [[f32; LANES]; ROWS],
            add: bool,
            ahead: &mut Ahead<'_>,
        ) {
            let mut sums = [[_mm512_setzero_ps(); V]; R];
            if add {
                for r in 0..R {
                    // SAFETY: 128 bytes are 128 bytes.
                    let both = unsafe { transmute::<[f32; LANES], [__m512; 2]>(c[FIRST + r]) };
                    for v in 0..V {
                        sums[r][v] = both[v];
                    }
                }
            }
            for (a, b) in a.iter().zip(b) {
                ahead.fetch();
                for word in 0..16 {
                    // SAFETY: 64 bytes are 64 bytes.
                    let x = unsafe {
                        transmute::<[Line; 2], [__m512; 2]>([b[2 * word], b[2 * word + 1]])
                    };
                    for r in 0..R {
                        let weight = $broadcast(a[FIRST + r].0[word]);
                        for v in 0..V {
                            sums[r][v] = $multiply(sums[r][v], weight, x[v]);
                        }
                    }
                }
            }
            for r in 0..R {
                let mut both = [_mm512_setzero_ps(); 2];
                for v in 0..V {
                    both[v] = sums[r][v];
                }
                // SAFETY: 128 bytes are 128 bytes.
                c[FIRST + r] = unsafe { transmute::<[__m512; 2], [f32; LANES]>(both) };
            }
        }
    };
}

rows!(rows_f32, "avx512f", |word: u32| _mm512_set1_ps(f32::from_bits(word)), |sum, weight, x| {
    _mm512_fmadd_ps(weight, x, sum)
});
rows!(
    rows_bf16,
    "avx512f,avx512bf16",
    |word: u32| _mm512_set1_epi32(word.cast_signed()),
    |sum, weight, x: __m512| {
        // SAFETY: 64 bytes are 64 bytes.
        unsafe {
            _mm512_dpbf16_ps(
                sum,
                transmute::<__m512i, __m512bh>(weight),
                transmute::<__m512, __m512bh>(x),
            )
        }
    }
);

/// `rounds` times 24 independent products in registers.
macro_rules! peak {
    ($name:ident, $features:literal, $instruction:literal) => {
        /// # Safety
        /// The features are there.
        #[target_feature(enable = $features)]
        pub unsafe fn $name(rounds: usize) {
            // SAFETY: registers named as outputs are all that changes.
            unsafe {
                std::arch::asm!(
                    "2:",
                    ".irp to, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23",
                    concat!($instruction, " zmm\\to, zmm24, zmm24"),
                    ".endr",
                    "dec {rounds}",
                    "jnz 2b",
                    rounds = inout(reg) rounds => _,
                    out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _,
                    out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
                    out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                    out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
                    out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
                    out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                    out("zmm24") _,
                    options(nostack, nomem),
                );
            }
        }
    };
}

peak!(peak_f32, "avx512f", "vfmadd231ps");
peak!(peak_bf16, "avx512f,avx512bf16", "vdpbf16ps");
