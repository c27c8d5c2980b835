//! AMX, the matrix unit of Intel's CPUs: whether a process may use it, and the setting up of its
//! tile registers. The products themselves are each kernel's own.
//!
//! The intrinsics have no stable names in Rust, so kernels write these instructions in assembly.
//! The compiler never uses a tile register of its own accord.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::LazyLock;

/// Tile registers.
pub const TILES: usize = 8;

/// Rows of a tile register.
pub const ROWS: usize = 16;

/// Bytes of a row of a tile register.
pub const ROW_BYTES: usize = 64;

/// Whether the CPU has tiles with products of int8 and of bf16, and the operating system lets this
/// process use them. Linux makes room for the registers (8 kB a thread) only when a process asks;
/// the first call asks, for all threads. Other systems are never asked, and the answer there is no.
pub fn is_available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| has_tiles() && ask_permission());
    *AVAILABLE
}

fn has_tiles() -> bool {
    /// AMX-BF16, AMX-TILE and AMX-INT8 in EDX of leaf 7 (Intel SDM vol. 2A, CPUID).
    const BITS: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    // Every x86-64 CPU has leaf 0, which names the last.
    __cpuid_count(0, 0).eax >= 7 && __cpuid_count(7, 0).edx & BITS == BITS
}

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`; the kernel's Documentation/arch/x86/xstate.
#[cfg(target_os = "linux")]
fn ask_permission() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: a system call that touches none of our memory; the kernel overwrites rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn ask_permission() -> bool {
    false
}

/// What `ldtilecfg` reads (Intel SDM vol. 1, 18.3).
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Every register in its largest shape.
static CONFIGURATION: Configuration = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < TILES {
        (row_bytes[tile], rows[tile]) = (ROW_BYTES as u16, ROWS as u8);
        tile += 1;
    }
    Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

thread_local! {
    /// Values of [`Tiles`] that this thread holds.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// The tile registers of this thread, each set up as [`ROWS`] rows of [`ROW_BYTES`] bytes for as
/// long as a value of this type lives. Kernels hold one only while they multiply: a register that
/// stays set up makes every switch of threads save 8 kB.
///
/// A thread may hold several; the registers are released with the last. What is in them is not
/// kept: a kernel loads all that it reads.
#[derive(Debug)]
pub struct Tiles {
    /// The registers belong to one thread: neither `Send` nor `Sync`.
    of_this_thread: PhantomData<*const ()>,
}

impl Tiles {
    /// Sets the registers up; `None` unless AMX [is available](is_available).
    #[must_use]
    pub fn load() -> Option<Self> {
        if !is_available() {
            return None;
        }
        HELD.with(|held| {
            if held.get() == 0 {
                // SAFETY: AMX is available; 64 bytes that describe registers within the limits of
                // palette 1.
                unsafe {
                    asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack));
                }
            }
            held.set(held.get() + 1);
        });
        Some(Self { of_this_thread: PhantomData })
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        HELD.with(|held| {
            held.set(held.get() - 1);
            if held.get() == 0 {
                // SAFETY: AMX is available, since a value of this type is.
                unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `sttilecfg` writes: zeros while nothing is set up.
    fn configuration() -> [u8; 64] {
        #[repr(align(64))]
        struct Stored([u8; 64]);
        let mut stored = Stored([0xff; 64]);
        // SAFETY: called where AMX is available; 64 bytes to write.
        unsafe { asm!("sttilecfg [{}]", in(reg) stored.0.as_mut_ptr(), options(nostack)) }
        stored.0
    }

    #[test]
    fn tiles_are_set_up_until_the_last_value_is_dropped() {
        let Some(first) = Tiles::load() else {
            assert!(!is_available());
            return;
        };
        let set_up = configuration();
        assert_eq!(set_up[0], 1, "the palette");
        assert_eq!(set_up[16..18], 64u16.to_le_bytes(), "bytes of a row of the first");
        assert_eq!(set_up[48 + TILES - 1..][..2], [16, 0], "rows of the last, and none after it");
        let second = Tiles::load();
        drop(first);
        assert_eq!(configuration(), set_up, "another value lives");
        // Another thread has registers of its own.
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(configuration(), [0; 64]));
        });
        drop(second);
        assert_eq!(configuration(), [0; 64]);
    }
}
