//! Intel AMX: tiles of 16 rows of 64 bytes, multiplied by one instruction. Written in assembly
//! because the intrinsics are not stable in Rust 1.95.

use std::arch::asm;
use std::sync::OnceLock;

use super::tile::{ROWS, TILE};
use crate::blocks::lanes::{LANES, Line};

/// Whether this processor has AMX for bf16 and the system lets this process use it.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| processor_has_it() && system_permits())
}

fn processor_has_it() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    let leaves = std::arch::x86_64::__cpuid(0).eax;
    leaves >= 7 && {
        let features = std::arch::x86_64::__cpuid_count(7, 0).edx;
        features & (BF16 | TILE) == BF16 | TILE
    }
}

/// Tile registers are 8 kB that the system saves at every switch, so it wants to be asked
/// (Linux 5.16, `Documentation/arch/x86/xstate.rst`). The answer holds for all threads.
#[cfg(target_os = "linux")]
fn system_permits() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XTILEDATA: libc::c_ulong = 18;
    // SAFETY: a system call with two numbers, which touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn system_permits() -> bool {
    false
}

#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_a_row: [u16; 16],
    rows: [u8; 16],
}

/// All eight tiles 16 rows of 64 bytes.
static CONFIG: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_a_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Tiles of this thread set up; released when it goes out of scope, which spares the system
/// saving them.
pub struct Tiles(());

impl Tiles {
    /// # Safety
    /// [`available`] is true.
    pub unsafe fn set_up() -> Self {
        // SAFETY: the configuration is valid for palette 1; tile registers are used by nothing
        // that the compiler makes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack)) };
        Self(())
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: tiles were set up by this thread; `Tiles` does not move between threads because
        // it is held on the stack of one task.
        unsafe { asm!("tilerelease", options(nostack)) };
    }
}

/// The product for bf16: 2 x 2 tiles of the result stay in registers. What follows `b` in memory
/// is asked for ahead: it is the next group's part.
///
/// # Safety
/// `_tiles` is this thread's, and `a` and `b` are as many.
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
///
/// # Safety
/// [`available`] is true.
pub unsafe fn peak_bf16(rounds: usize) {
    // SAFETY: available; only tiles and the counter change.
    unsafe {
        let _tiles = Tiles::set_up();
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
