//! Marked content.

use std::ffi::c_ulong;
use std::ptr;

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::handle::Handle;

/// A mark of content: it names what stands in it, and may say something about it. All objects in
/// one piece of marked content have the same mark.
#[derive(Clone, Copy)]
pub struct Mark<'p> {
    pub(super) calls: &'p dyn PdfiumLibraryBindings,
    pub(super) handle: Handle,
}

impl Mark<'_> {
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Whether it is called `OC`: optional content, a layer.
    pub fn is_layer(&self) -> bool {
        let mut name = [0u16; 8];
        let mut bytes: c_ulong = 0;
        let room = size_of_val(&name) as c_ulong;
        let at = name.as_mut_ptr();
        // SAFETY: the buffer has the size that is said.
        let has = unsafe {
            let mark = self.handle.cast();
            self.calls.FPDFPageObjMark_GetName(mark, at.cast(), room, &raw mut bytes)
        };
        has != 0 && bytes == 6 && name[..2] == [u16::from(b'O'), u16::from(b'C')]
    }

    /// What stands for its content in text, as it is in the document; `None` when it says nothing.
    pub fn actual_text(&self) -> Option<Vec<u8>> {
        self.string("ActualText")
    }

    /// The name of a layer; `None` for what depends on several.
    pub fn layer_name(&self) -> Option<Vec<u8>> {
        self.string("Name")
    }

    /// A string of its dictionary, as it is in the document.
    fn string(&self, key: &str) -> Option<Vec<u8>> {
        const MAX: c_ulong = 1 << 20;
        // SAFETY: the buffer has the size that is said.
        unsafe {
            let (mark, none) = (self.handle.cast(), ptr::null_mut());
            let mut bytes: c_ulong = 0;
            let has =
                self.calls.FPDFPageObjMark_GetParamBlobValue(mark, key, none, 0, &raw mut bytes);
            if has == 0 || bytes > MAX {
                return None;
            }
            let mut value = vec![0u8; bytes as usize];
            let (at, mark) = (value.as_mut_ptr(), self.handle.cast());
            let room = bytes;
            self.calls.FPDFPageObjMark_GetParamBlobValue(mark, key, at, room, &raw mut bytes);
            Some(value)
        }
    }
}
