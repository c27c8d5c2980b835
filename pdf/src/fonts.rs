//! The fonts for pages that do not embed theirs. No font of the machine is read, so that a page
//! looks the same on every one.
//!
//! pdfium brings its own for the Latin, Greek and symbol fonts that a PDF may name without
//! embedding them, and draws other Latin fonts in the shape of those. For Chinese, Japanese and
//! Korean it would search the font folders of the system, and draw nothing where they have none.
//! Here it gets one font for all three, from memory, so that a worker needs no file.
//!
//! pdfium-render has `PdfiumCustomFontProvider` for this, but it refuses names that are not UTF-8,
//! and Chinese PDFs name SimSun in GBK.

use std::ffi::{c_char, c_int, c_uchar, c_uint, c_ulong, c_void};

use pdfium_render::prelude::{Pdfium, PdfiumLibraryBindingsAccessor};

/// Droid Sans Fallback; `fonts/README.md` says where it comes from and under which licence.
static CJK: &[u8] = include_bytes!("../fonts/DroidSansFallback.ttf");

/// Shift JIS, Hangul, Johab, GB 2312, Big5 (`FXFONT_*_CHARSET` in `fpdf_sysfontinfo.h`).
const CJK_CHARSETS: [c_int; 5] = [128, 129, 130, 134, 136];

/// What pdfium knows the only font by.
const HANDLE: usize = 1;

/// `FPDF_SYSFONTINFO` of `fpdf_sysfontinfo.h`, which pdfium-render keeps to itself.
#[repr(C)]
struct SystemFonts {
    /// 2: pdfium asks for each font when it needs it.
    version: c_int,
    release: Option<unsafe extern "C" fn(*mut Self)>,
    enumerate: Option<unsafe extern "C" fn(*mut Self, *mut c_void)>,
    map: Option<MapFont>,
    get: Option<unsafe extern "C" fn(*mut Self, *const c_char) -> *mut c_void>,
    data: Option<FontData>,
    name: Option<unsafe extern "C" fn(*mut Self, *mut c_void, *mut c_char, c_ulong) -> c_ulong>,
    charset: Option<unsafe extern "C" fn(*mut Self, *mut c_void) -> c_int>,
    delete: Option<unsafe extern "C" fn(*mut Self, *mut c_void)>,
}

/// Interface, weight, italic, charset, pitch and family, name, exact.
type MapFont = unsafe extern "C" fn(
    *mut SystemFonts,
    c_int,
    c_int,
    c_int,
    c_int,
    *const c_char,
    *mut c_int,
) -> *mut c_void;

/// Interface, font, table, buffer and its size; returns the size of the data.
type FontData =
    unsafe extern "C" fn(*mut SystemFonts, *mut c_void, c_uint, *mut c_uchar, c_ulong) -> c_ulong;

static FONTS: SystemFonts = SystemFonts {
    version: 2,
    release: None,
    enumerate: None,
    map: Some(map),
    get: None,
    data: Some(data),
    name: None,
    charset: None,
    delete: Some(delete),
};

/// Gives pdfium our font in place of those of the system.
pub fn use_ours(pdfium: &Pdfium) {
    // SAFETY: the table is static and has the layout of version 2; pdfium reads it and passes it
    // back to functions that do not look at it.
    unsafe { pdfium.bindings().FPDF_SetSystemFontInfo((&raw const FONTS).cast_mut().cast()) }
}

unsafe extern "C" fn map(
    _: *mut SystemFonts,
    _weight: c_int,
    _italic: c_int,
    charset: c_int,
    _family: c_int,
    _name: *const c_char,
    _exact: *mut c_int,
) -> *mut c_void {
    if CJK_CHARSETS.contains(&charset) {
        std::ptr::without_provenance_mut(HANDLE)
    } else {
        // pdfium takes its own.
        std::ptr::null_mut()
    }
}

unsafe extern "C" fn data(
    _: *mut SystemFonts,
    _font: *mut c_void,
    table: c_uint,
    buffer: *mut c_uchar,
    bytes: c_ulong,
) -> c_ulong {
    // Single tables are an optimisation that pdfium does without.
    if table != 0 {
        return 0;
    }
    if !buffer.is_null() && bytes as usize >= CJK.len() {
        // SAFETY: pdfium says that the buffer has `bytes` bytes, which is enough.
        unsafe { buffer.copy_from_nonoverlapping(CJK.as_ptr(), CJK.len()) };
    }
    CJK.len() as c_ulong
}

unsafe extern "C" fn delete(_: *mut SystemFonts, _font: *mut c_void) {}
