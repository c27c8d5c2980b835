//! Memory that is free and does not go back by itself.

/// Gives free memory back to the system. glibc keeps an arena a thread, and what a commit leaves
/// in them looks like a leak: over 10,000 pages 120 MB, none of which is in use.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes an integer, and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
