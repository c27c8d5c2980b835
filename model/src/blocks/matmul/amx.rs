//! Intel AMX: tiles of 16 rows of 64 bytes, multiplied by one instruction. Written in assembly
//! because the intrinsics are not stable in Rust.

use std::arch::asm;

use pagesight_simd::amx::Tiles;

use super::tile::{ROWS, TILE};
use crate::blocks::lanes::{LANES, Line};

/// The product for bf16: 2 x 2 tiles of the result stay in registers. What follows `b` in memory
/// is asked for ahead: it is the next group's part.
///
/// # Safety
/// `a` and `b` are as many tiles.
pub unsafe fn multiply_bf16(
    _tiles: &Tiles,
    a: &[[Line; TILE]],
    b: &[[Line; TILE]],
    c: &mut [[f32; LANES]; ROWS],
    add: bool,
) {
    let c = c.as_mut_ptr();
    // SAFETY: addresses inside `a`, `b` and `c` (prefetches may be anywhere); the tiles and the
    // counter are the only registers changed.
    unsafe {
        if add {
            asm!(
                "tileloadd tmm0, [{c} + {row}*1]",
                "tileloadd tmm1, [{c} + {row}*1 + 64]",
                "tileloadd tmm2, [{c} + {row}*1 + 2048]",
                "tileloadd tmm3, [{c} + {row}*1 + 2112]",
                c = in(reg) c, row = in(reg) 128usize, options(nostack, readonly),
            );
        } else {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem),
            );
        }
        asm!(
            "test {steps}, {steps}",
            "jz 3f",
            "2:",
            "tileloadd tmm6, [{b} + {brow}*1]",
            "tileloadd tmm4, [{a} + {arow}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            ".irp at, 0,64,128,192,256,320,384,448,512,576,640,704,768,832,896,960",
            "prefetcht0 [{b} + 6144 + \\at]",
            ".endr",
            "tileloadd tmm7, [{b} + {brow}*1 + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a} + {arow}*1 + 1024]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            ".irp at, 0,64,128,192,256,320,384,448,512,576,640,704,768,832,896,960",
            "prefetcht0 [{b} + 7168 + \\at]",
            ".endr",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 2048",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 2b",
            "3:",
            "tilestored [{c} + {brow}*1], tmm0",
            "tilestored [{c} + {brow}*1 + 64], tmm1",
            "tilestored [{c} + {brow}*1 + 2048], tmm2",
            "tilestored [{c} + {brow}*1 + 2112], tmm3",
            a = inout(reg) a.as_ptr() => _,
            b = inout(reg) b.as_ptr() => _,
            steps = inout(reg) a.len() => _,
            c = in(reg) c, arow = in(reg) 64usize, brow = in(reg) 128usize,
            options(nostack),
        );
    }
}

/// `rounds` times four independent products in registers.
pub fn peak_bf16(_tiles: &Tiles, rounds: usize) {
    // SAFETY: tiles are set up; only they and the counter change.
    unsafe {
        asm!(
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {rounds}",
            "jnz 2b",
            rounds = inout(reg) rounds => _, options(nostack, nomem),
        );
    }
}
