//! Which instructions multiply a tile, and the kernel that holds the state they need.

use std::sync::OnceLock;

use pagesight_simd::Instructions;
#[cfg(target_arch = "x86_64")]
use pagesight_simd::amx::Tiles;

use super::portable;
use super::tile::{Arithmetic, ROWS, TILE};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx512};
use crate::blocks::lanes::{LANES, Line};

/// The sets of instructions that there is a kernel for and that this CPU has, for `arithmetic`, the
/// best first; never empty.
pub fn available(arithmetic: Arithmetic) -> Vec<Instructions> {
    let has_kernel = |set: &Instructions| match (set, arithmetic) {
        (Instructions::Portable | Instructions::Avx2, _) => true,
        (Instructions::Avx512, Arithmetic::F32) => true,
        (Instructions::Avx512, Arithmetic::Bf16) => has_avx512_bf16(),
        (Instructions::Amx, _) => arithmetic == Arithmetic::Bf16,
        _ => false,
    };
    Instructions::available().iter().copied().filter(has_kernel).collect()
}

/// The best set of instructions that this CPU has for `arithmetic`.
pub fn best(arithmetic: Arithmetic) -> Instructions {
    static BEST: OnceLock<[Instructions; 2]> = OnceLock::new();
    let best = BEST.get_or_init(|| [Arithmetic::F32, Arithmetic::Bf16].map(|a| available(a)[0]));
    best[usize::from(arithmetic == Arithmetic::Bf16)]
}

#[cfg(target_arch = "x86_64")]
fn has_avx512_bf16() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512_bf16() -> bool {
    false
}

/// The kernel of one task, with the state of the CPU that it needs.
pub struct Kernel {
    arithmetic: Arithmetic,
    instructions: Instructions,
    #[cfg(target_arch = "x86_64")]
    tiles: Option<Tiles>,
}

impl Kernel {
    /// For this thread, until dropped.
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

    /// Multiplies `tiles` tiles: `a`, `[tiles, 32 rows, 16 words]`, with `b`, `[tiles, 16 words,
    /// 32 positions]`, into `c`, `[32 rows, 32 positions]`, or adds to it.
    ///
    /// # Panics
    /// When `a` and `b` are of different lengths or not whole tiles.
    pub fn multiply(&self, a: &[Line], b: &[Line], c: &mut [[f32; LANES]; ROWS], add: bool) {
        let ((a, rest), (b, _)) = (a.as_chunks(), b.as_chunks());
        assert!(rest.is_empty() && a.len() == b.len(), "whole tiles");
        match (self.arithmetic, self.instructions) {
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::Bf16, Instructions::Amx) => match &self.tiles {
                // SAFETY: `a` and `b` are as many tiles.
                Some(set_up) => unsafe { amx::multiply_bf16(set_up, a, b, c, add) },
                None => portable::multiply_bf16(a, b, c, add),
            },
            // SAFETY: the instructions are there: whoever made the kernel took them from `available`.
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::Bf16, Instructions::Avx512) => unsafe {
                avx512::multiply_bf16(a, b, c, add);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::F32, Instructions::Avx512) => unsafe {
                avx512::multiply_f32(a, b, c, add);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::Bf16, Instructions::Avx2) => unsafe {
                portable::multiply_bf16_avx2(a, b, c, add);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::F32, Instructions::Avx2) => unsafe {
                portable::multiply_f32_avx2(a, b, c, add);
            },
            (Arithmetic::F32, _) => portable::multiply_f32(a, b, c, add),
            (Arithmetic::Bf16, _) => portable::multiply_bf16(a, b, c, add),
        }
    }
}
