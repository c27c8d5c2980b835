//! Files within a document.

use std::ffi::c_ulong;
use std::ptr;

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::handle::{Handle, wide_text};

/// A file within a document, listed or pinned to a page by an annotation.
pub struct AttachedFile<'d> {
    calls: &'d dyn PdfiumLibraryBindings,
    handle: Handle,
}

impl<'d> AttachedFile<'d> {
    pub(super) fn of(calls: &'d dyn PdfiumLibraryBindings, handle: Handle) -> Option<Self> {
        (!handle.is_null()).then_some(Self { calls, handle })
    }

    /// Its name, without control characters.
    pub fn name(&self) -> String {
        // SAFETY: the document that holds it is open, here and below, and the buffer has the size
        // that is said.
        let name = wide_text(|buffer, bytes| unsafe {
            self.calls.FPDFAttachment_GetName(self.handle.cast(), buffer.cast(), bytes)
        });
        name.chars().filter(|c| !c.is_control()).collect()
    }

    /// What kind of file it says that it is, e.g. `application/pdf`.
    pub fn media_type(&self) -> String {
        // SAFETY: as in `name`.
        wide_text(|buffer, bytes| unsafe {
            self.calls.FPDFAttachment_GetSubtype(self.handle.cast(), buffer.cast(), bytes)
        })
    }

    /// How many bytes it has; `None` when they cannot be read.
    pub fn size(&self) -> Option<u64> {
        let mut length: c_ulong = 0;
        // SAFETY: as in `name`; there is no buffer.
        let ok = unsafe {
            let file = self.handle.cast();
            self.calls.FPDFAttachment_GetFile(file, ptr::null_mut(), 0, &raw mut length)
        };
        (ok != 0 && length > 0).then_some(length as u64)
    }

    /// Its bytes, when there are at most `most` of them.
    ///
    /// # Errors
    /// How many bytes it has when there are more, 0 when it has no bytes that can be read.
    pub fn bytes(&self, most: u64) -> Result<Vec<u8>, u64> {
        let bytes = self.size().ok_or(0_u64)?;
        if bytes > most {
            return Err(bytes);
        }
        let mut length = bytes as c_ulong;
        let mut file = vec![0_u8; bytes as usize];
        let buffer = file.as_mut_ptr().cast();
        // SAFETY: as in `name`.
        let ok = unsafe {
            self.calls.FPDFAttachment_GetFile(self.handle.cast(), buffer, length, &raw mut length)
        };
        if ok != 0 && length as u64 == bytes { Ok(file) } else { Err(0) }
    }
}
