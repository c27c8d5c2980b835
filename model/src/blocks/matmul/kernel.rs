//! Which instructions multiply a tile, and the kernel that holds the state they need.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::{amx, avx512};
use super::portable;
use super::tile::{Arithmetic, ROWS, TILE};
use crate::blocks::lanes::{LANES, Line};

/// Instructions that the kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// What every processor has.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F.
    Avx512,
    /// AVX-512 BF16.
    Avx512Bf16,
    /// AMX with bf16 tiles.
    Amx,
}

impl Instructions {
    /// All that this processor has for `arithmetic`, the best first; never empty.
    pub fn available(arithmetic: Arithmetic) -> Vec<Self> {
        let mut available = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if arithmetic == Arithmetic::Bf16 && amx::available() {
                available.push(Self::Amx);
            }
            if is_x86_feature_detected!("avx512f") {
                match arithmetic {
                    Arithmetic::F32 => available.push(Self::Avx512),
                    Arithmetic::Bf16 if is_x86_feature_detected!("avx512bf16") => {
                        available.push(Self::Avx512Bf16);
                    }
                    Arithmetic::Bf16 => {}
                }
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                available.push(Self::Avx2);
            }
        }
        let _ = arithmetic;
        available.push(Self::Portable);
        available
    }

    /// The best that this processor has for `arithmetic`.
    pub fn best(arithmetic: Arithmetic) -> Self {
        static BEST: OnceLock<[Instructions; 2]> = OnceLock::new();
        let best =
            BEST.get_or_init(|| [Arithmetic::F32, Arithmetic::Bf16].map(|a| Self::available(a)[0]));
        best[usize::from(arithmetic == Arithmetic::Bf16)]
    }
}

/// The kernel of one task, with the state of the processor that it needs.
pub struct Kernel {
    arithmetic: Arithmetic,
    instructions: Instructions,
    #[cfg(target_arch = "x86_64")]
    tiles: Option<amx::Tiles>,
}

impl Kernel {
    /// For this thread, until dropped.
    ///
    /// # Panics
    /// When the processor lacks `instructions` for `arithmetic`.
    pub fn new(arithmetic: Arithmetic, instructions: Instructions) -> Self {
        debug_assert!(Instructions::available(arithmetic).contains(&instructions));
        Self {
            arithmetic,
            instructions,
            #[cfg(target_arch = "x86_64")]
            tiles: (instructions == Instructions::Amx && amx::available()).then(|| {
                // SAFETY: available.
                unsafe { amx::Tiles::set_up() }
            }),
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
            // SAFETY: the instructions are there, as `new` was told (`available`).
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::Bf16, Instructions::Avx512Bf16) => unsafe {
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
