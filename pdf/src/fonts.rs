//! The fonts for pages that do not embed theirs. No font of the machine is read, so that a page
//! looks the same on every one.
//!
//! pdfium brings its own for the Latin and symbol fonts that a PDF may name without embedding them,
//! and draws other Latin fonts in the shape of those. For Chinese, Japanese and Korean it would
//! search the font folders of the system, and draw nothing where they have none. Here it gets one
//! font for all three, from memory, so that a worker needs no file.
//!
//! Its own Latin fonts end with the letters of Western Europe. Pages with others are drawn
//! [with another font](with_letters), which has those of Europe and the Near East, Thai and Lao.
//!
//! pdfium-render has `PdfiumCustomFontProvider` for this, but it refuses names that are not UTF-8,
//! and Chinese PDFs name SimSun in GBK.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_ulong, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use pdfium_render::prelude::{Pdfium, PdfiumLibraryBindingsAccessor};

/// Droid Sans Fallback; `fonts/README.md` says where it comes from and under which licence.
static CJK: &[u8] = include_bytes!("../fonts/DroidSansFallback.ttf");

/// Shift JIS, Hangul, Johab, GB 2312, Big5 (`FXFONT_*_CHARSET` in `fpdf_sysfontinfo.h`).
const CJK_CHARSETS: [c_int; 5] = [128, 129, 130, 134, 136];

/// `FXFONT_SYMBOL_CHARSET`.
const SYMBOL_CHARSET: c_int = 2;

/// See `fonts/README.md`.
static LETTERS: &[u8] = include_bytes!("../fonts/PagesightLetters.ttf");

/// The name that pdfium keeps the font under.
const LETTERS_NAME: &[u8] = b"Pagesight Letters";

/// Handles of the fonts.
const CJK_HANDLE: usize = 1;
const LETTERS_HANDLE: usize = 2;

/// Whether Latin fonts are ours now.
static WITH_LETTERS: AtomicBool = AtomicBool::new(false);

/// Does `run` while fonts that a document does not bring are ours. What pdfium loads for a document
/// meanwhile it keeps, so this is for a document, and a page of it, that are used in no other way.
pub fn with_letters<T>(run: impl FnOnce() -> T) -> T {
    WITH_LETTERS.store(true, Ordering::Relaxed);
    let done = run();
    WITH_LETTERS.store(false, Ordering::Relaxed);
    done
}

/// Whether the font has this letter or sign, and pdfium's own have not.
pub fn is_beyond_latin_1(unit: u32) -> bool {
    /// Those of the standard encodings between those of the font.
    const STANDARD: [u32; 23] = [
        0x131, 0x141, 0x142, 0x152, 0x153, 0x160, 0x161, 0x178, 0x17D, 0x17E, 0x192, 0x2013,
        0x2014, 0x2018, 0x2019, 0x201A, 0x201C, 0x201D, 0x201E, 0x2030, 0x20AC, 0x2122, 0x2212,
    ];
    let is_in_font = match unit {
        // Latin and its accents, to the letters of Vietnamese; Greek and Cyrillic.
        0x100..=0x24F | 0x259 | 0x300..=0x36F | 0x370..=0x52F | 0x1E00..=0x1FFF => true,
        // Armenian, Hebrew, Arabic and their forms; Thai and Lao; Georgian.
        0x530..=0x6FF | 0xFB1D..=0xFDFD | 0xFE70..=0xFEFC | 0xE00..=0xEFF | 0x10A0..=0x10FF => true,
        // Hyphens and dashes, primes, small numbers, currencies.
        0x2010..=0x201F | 0x2024 | 0x2025 | 0x2030..=0x2037 | 0x203B..=0x2043 => true,
        0x2070..=0x20CF => true,
        // № ℃, fractions, Roman numerals, arrows, signs of mathematics, numbers in circles, boxes,
        // geometric and other signs.
        0x2100..=0x231F | 0x2460..=0x27BF => true,
        _ => false,
    };
    is_in_font && !STANDARD.contains(&unit)
}

/// Whether a text has such letters.
pub fn has_beyond_latin_1(text: &str) -> bool {
    text.chars().any(|c| is_beyond_latin_1(c.into()))
}

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
    name: Option<FontName>,
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

/// Interface, font, buffer and its size; returns the size of the name.
type FontName =
    unsafe extern "C" fn(*mut SystemFonts, *mut c_void, *mut c_char, c_ulong) -> c_ulong;

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
    name: Some(name),
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
    name: *const c_char,
    _exact: *mut c_int,
) -> *mut c_void {
    // SAFETY: pdfium passes a C string, or null.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes());
    let is_symbol = charset == SYMBOL_CHARSET
        || name.is_some_and(|name| name == b"Symbol" || name == b"ZapfDingbats");
    if CJK_CHARSETS.contains(&charset) {
        std::ptr::without_provenance_mut(CJK_HANDLE)
    } else if WITH_LETTERS.load(Ordering::Relaxed) && !is_symbol {
        std::ptr::without_provenance_mut(LETTERS_HANDLE)
    } else {
        // pdfium takes its own.
        std::ptr::null_mut()
    }
}

unsafe extern "C" fn data(
    _: *mut SystemFonts,
    font: *mut c_void,
    table: c_uint,
    buffer: *mut c_uchar,
    bytes: c_ulong,
) -> c_ulong {
    // Single tables are an optimisation that pdfium does without.
    if table != 0 {
        return 0;
    }
    let font = if font.addr() == LETTERS_HANDLE { LETTERS } else { CJK };
    if !buffer.is_null() && bytes as usize >= font.len() {
        // SAFETY: pdfium says that the buffer has `bytes` bytes, which is enough.
        unsafe { buffer.copy_from_nonoverlapping(font.as_ptr(), font.len()) };
    }
    font.len() as c_ulong
}

/// pdfium keeps fonts by their names, and one that has none by the name that the document gives
/// it: the same for a font of ours and for another one.
unsafe extern "C" fn name(
    _: *mut SystemFonts,
    font: *mut c_void,
    buffer: *mut c_char,
    bytes: c_ulong,
) -> c_ulong {
    if font.addr() != LETTERS_HANDLE {
        return 0;
    }
    if !buffer.is_null() && bytes as usize >= LETTERS_NAME.len() {
        // SAFETY: pdfium says that the buffer has `bytes` bytes, which is enough.
        unsafe {
            buffer.cast::<u8>().copy_from_nonoverlapping(LETTERS_NAME.as_ptr(), LETTERS_NAME.len());
        };
    }
    LETTERS_NAME.len() as c_ulong
}

unsafe extern "C" fn delete(_: *mut SystemFonts, _font: *mut c_void) {}
