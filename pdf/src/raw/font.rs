//! The fonts of text.

use std::ptr;

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::handle::Handle;

/// A font of a page's text.
#[derive(Clone, Copy)]
pub struct Font<'p> {
    pub(super) calls: &'p dyn PdfiumLibraryBindings,
    pub(super) handle: Handle,
}

impl Font<'_> {
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Whether the document brings it.
    pub fn is_embedded(&self) -> bool {
        // SAFETY: the font is of an object of an open page.
        unsafe { self.calls.FPDFFont_GetIsEmbedded(self.handle.cast()) == 1 }
    }

    /// The name in the document, e.g. `ABCDEF+Vera`.
    pub fn base_name(&self) -> String {
        let mut name = vec![0u8; 256];
        let at = name.as_mut_ptr();
        // SAFETY: the buffer has the size that is said.
        let bytes = unsafe {
            self.calls.FPDFFont_GetBaseFontName(self.handle.cast(), at.cast(), name.len() as _)
        };
        name.truncate((bytes as usize).saturating_sub(1).min(256));
        String::from_utf8_lossy(&name).into_owned()
    }

    /// The font program as the document has it; nothing when it is larger than `most` bytes.
    pub fn program(&self, most: usize) -> Vec<u8> {
        let mut bytes = 0;
        // SAFETY: the buffer has the size that is said.
        unsafe {
            let none = ptr::null_mut();
            self.calls.FPDFFont_GetFontData(self.handle.cast(), none, 0, &raw mut bytes);
            let size = bytes;
            if size == 0 || size > most {
                return Vec::new();
            }
            let mut program = vec![0u8; size];
            let (at, room) = (program.as_mut_ptr(), bytes);
            let read =
                self.calls.FPDFFont_GetFontData(self.handle.cast(), at, room, &raw mut bytes);
            if read == 0 {
                return Vec::new();
            }
            program
        }
    }
}
