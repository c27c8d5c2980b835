//! The text of a page.

use std::ffi::c_int;

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::geometry::Box4;
use super::handle::Handle;

/// The text of a page, character by character.
pub struct TextLayer<'p> {
    pub(super) calls: &'p dyn PdfiumLibraryBindings,
    pub(super) handle: Handle,
    pub(super) count: c_int,
}

impl Drop for TextLayer<'_> {
    fn drop(&mut self) {
        // SAFETY: the text is open.
        unsafe { self.calls.FPDFText_ClosePage(self.handle.cast()) };
    }
}

impl TextLayer<'_> {
    /// Number of characters; in each of these functions the index is below it.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// A code unit of UTF-16, or a character of its own.
    pub fn unit(&self, index: i32) -> u32 {
        // SAFETY: the text is open; pdfium checks the index. So it is in all of these functions.
        unsafe { self.calls.FPDFText_GetUnicode(self.handle.cast(), index) }
    }

    /// The object that a character is of; null for one that pdfium made up.
    pub fn object(&self, index: i32) -> Handle {
        // SAFETY: as in `unit`.
        unsafe { self.calls.FPDFText_GetTextObject(self.handle.cast(), index) }.cast()
    }

    /// Whether `unit` is the character's code in its font, because the font does not say which
    /// letter that is.
    pub fn is_unmapped(&self, index: i32) -> bool {
        // SAFETY: as in `unit`.
        unsafe { self.calls.FPDFText_HasUnicodeMapError(self.handle.cast(), index) == 1 }
    }

    /// The box around a character, in the coordinates of the page.
    pub fn bounds(&self, index: i32) -> Option<Box4> {
        let (mut left, mut right, mut bottom, mut top) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        // SAFETY: as in `unit`.
        let has = unsafe {
            let text = self.handle.cast();
            let (left, right) = (&raw mut left, &raw mut right);
            self.calls.FPDFText_GetCharBox(text, index, left, right, &raw mut bottom, &raw mut top)
        };
        (has != 0).then_some(Box4 {
            left: left as f32,
            top: top as f32,
            right: right as f32,
            bottom: bottom as f32,
        })
    }
}
