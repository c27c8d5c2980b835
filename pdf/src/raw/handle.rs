//! What pdfium gives out: handles, and text that a call writes.

use std::ffi::{c_ulong, c_void};
use std::ptr;

/// Any pdfium object; never null outside this module.
pub type Handle = *mut c_void;

/// UTF-16 text that a C function writes in two calls: one for its size, one for the bytes.
pub(super) fn wide_text(mut call: impl FnMut(*mut u16, c_ulong) -> c_ulong) -> String {
    /// No text that we ask for in this way is longer, bytes.
    const MAX: usize = 4 << 20;
    let bytes = (call(ptr::null_mut(), 0) as usize).min(MAX);
    let mut units = vec![0u16; bytes.div_ceil(2)];
    if units.len() < 2 {
        return String::new();
    }
    call(units.as_mut_ptr(), bytes as c_ulong);
    if let Some(end) = units.iter().position(|unit| *unit == 0) {
        units.truncate(end);
    }
    String::from_utf16_lossy(&units)
}
