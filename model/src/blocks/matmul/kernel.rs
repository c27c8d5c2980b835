//! The choice of instructions for a tile, and the kernel, which holds the state that they need.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use pagesight_simd::amx::Tiles;
use pagesight_simd::{Extension, Instructions};

use super::ahead::Ahead;
use super::factor::Factor;
use super::tile::{Arithmetic, ROWS};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512};
use super::{int16, portable};
use crate::blocks::lanes::LANES;

/// The instruction sets of this CPU for which there is a kernel for `arithmetic`, the best first;
/// never empty.
pub fn available(arithmetic: Arithmetic) -> Vec<Instructions> {
    let has_kernel = |set: &Instructions| match (set, arithmetic) {
        (Instructions::Portable | Instructions::Avx2, _) => true,
        (Instructions::Avx512, Arithmetic::F32) => true,
        (Instructions::Avx512, Arithmetic::Bf16) => Extension::Avx512Bf16.is_available(),
        (Instructions::Avx512, Arithmetic::Int16) => Extension::Avx512Vnni.is_available(),
        (Instructions::Amx, _) => arithmetic == Arithmetic::Bf16,
        _ => false,
    };
    Instructions::available().iter().copied().filter(has_kernel).collect()
}

/// The best instruction set of this CPU for `arithmetic`.
pub fn best(arithmetic: Arithmetic) -> Instructions {
    static BEST: OnceLock<[Instructions; 3]> = OnceLock::new();
    let all = [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int16];
    let best = BEST.get_or_init(|| all.map(|arithmetic| available(arithmetic)[0]));
    match arithmetic {
        Arithmetic::F32 => best[0],
        Arithmetic::Bf16 => best[1],
        Arithmetic::Int16 => best[2],
    }
}

/// The kernel of one task. For AMX it holds the tile registers of the thread.
pub struct Kernel {
    arithmetic: Arithmetic,
    instructions: Instructions,
    #[cfg(target_arch = "x86_64")]
    tiles: Option<Tiles>,
}

impl Kernel {
    /// A kernel for this thread.
    ///
    /// # Panics
    /// In debug builds when the CPU lacks `instructions` for `arithmetic`.
    pub fn new(arithmetic: Arithmetic, instructions: Instructions) -> Self {
        debug_assert!(available(arithmetic).contains(&instructions));
        Self {
            arithmetic,
            instructions,
            #[cfg(target_arch = "x86_64")]
            tiles: (instructions == Instructions::Amx).then(Tiles::load).flatten(),
        }
    }

    /// Multiplies `a`, `[tiles, 32 rows, 16 words]`, with `b`, `[tiles, 16 words, 32 positions]`.
    /// The product replaces `c`, `[32 rows, 32 positions]`, or with `add` is added to it. Of the
    /// positions the first `count` matter; the others get any number that is one. What is `ahead` is
    /// fetched meanwhile.
    ///
    /// # Panics
    /// When `a` and `b` are of different lengths or not whole tiles, or lack the scales of whole
    /// numbers.
    pub fn multiply(
        &self,
        a: Factor<'_, ROWS>,
        b: Factor<'_, LANES>,
        c: &mut [[f32; LANES]; ROWS],
        add: bool,
        count: usize,
        ahead: &mut Ahead<'_>,
    ) {
        assert_eq!(a.lines.len(), b.lines.len(), "as many tiles");
        if self.instructions != Instructions::Avx512 || self.arithmetic == Arithmetic::Int16 {
            ahead.fetch_all();
        }
        if self.arithmetic == Arithmetic::Int16 {
            return self.multiply_whole(a, b, c, add);
        }
        let (a, b) = (a.tiles(), b.tiles());
        match (self.arithmetic, self.instructions) {
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::Bf16, Instructions::Amx) => match &self.tiles {
                // SAFETY: `a` and `b` are as many tiles.
                Some(set_up) => unsafe { amx::multiply_bf16(set_up, a, b, c, add) },
                None => portable::multiply_bf16(a, b, c, add),
            },
            // SAFETY: the instructions are there: whoever made the kernel took them from
            // `available`.
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::Bf16, Instructions::Avx512) => unsafe {
                avx512::multiply_bf16(a, b, c, add, count, ahead);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::F32, Instructions::Avx512) => unsafe {
                avx512::multiply_f32(a, b, c, add, count, ahead);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::Bf16, Instructions::Avx2) => unsafe {
                portable::multiply_bf16_avx2(a, b, c, add);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::F32, Instructions::Avx2) => unsafe {
                avx2::multiply_f32(a, b, c, add);
            },
            (Arithmetic::F32, _) => portable::multiply_f32(a, b, c, add),
            (Arithmetic::Bf16, _) => portable::multiply_bf16(a, b, c, add),
            (Arithmetic::Int16, _) => unreachable!("whole numbers have scales"),
        }
    }

    /// As [`multiply`](Self::multiply), for whole numbers.
    fn multiply_whole(
        &self,
        a: Factor<'_, ROWS>,
        b: Factor<'_, LANES>,
        c: &mut [[f32; LANES]; ROWS],
        add: bool,
    ) {
        match self.instructions {
            // SAFETY: as in `multiply`; there is a kernel for AVX-512 where there is VNNI.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => unsafe { int16::avx512_vnni::multiply(a, b, c, add) },
            // SAFETY: the extension is there in one encoding or the other.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 if Extension::AvxVnni.is_available() => unsafe {
                if is_x86_feature_detected!("avxvnni") {
                    int16::avx_vnni::multiply(a, b, c, add);
                } else {
                    int16::avx512_vnni_halves::multiply(a, b, c, add);
                }
            },
            // SAFETY: as in `multiply`.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { int16::avx2::multiply(a, b, c, add) },
            _ => int16::multiply(a, b, c, add),
        }
    }
}
