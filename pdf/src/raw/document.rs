//! The library and its documents.

use std::ffi::c_int;
use std::marker::PhantomData;

use pdfium_render::prelude::{Pdfium, PdfiumLibraryBindings, PdfiumLibraryBindingsAccessor};

use super::attached::AttachedFile;
use super::handle::{Handle, wide_text};
use super::page::Page;

/// What pdfium says when it cannot open a document (`FPDF_ERR_*` of `fpdfview.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// It is no PDF, or a damaged one.
    Format,
    /// No password was given, or a wrong one.
    Password,
    /// It is encrypted in a way that pdfium does not know.
    Security,
    /// Anything else, by its number.
    Other(u64),
}

/// The loaded library.
#[derive(Clone, Copy)]
pub struct Library<'l>(&'l dyn PdfiumLibraryBindings);

impl<'l> Library<'l> {
    pub fn of(pdfium: &'l Pdfium) -> Self {
        Self(pdfium.bindings())
    }

    /// Opens `bytes`, which stay where they are as long as the document is open.
    pub fn open(self, bytes: &'l [u8], password: Option<&str>) -> Result<Document<'l>, OpenError> {
        // SAFETY: the document borrows `bytes`, so they outlive it.
        let handle: Handle = unsafe { self.0.FPDF_LoadMemDocument64(bytes, password) }.cast();
        if handle.is_null() {
            // SAFETY: reads a number.
            // Of another width on Windows.
            #[allow(clippy::useless_conversion)]
            let number = u64::from(unsafe { self.0.FPDF_GetLastError() });
            return Err(match number {
                3 => OpenError::Format,
                4 => OpenError::Password,
                5 => OpenError::Security,
                other => OpenError::Other(other),
            });
        }
        let form = Form::of(self, handle);
        Ok(Document { library: self, handle, form, bytes: PhantomData })
    }
}

/// Forms are drawn and answer questions only in a "form fill environment".
struct Form {
    handle: Handle,
    /// `FPDF_FORMFILLINFO`: its version and callbacks, of which nobody needs any; pdfium keeps the
    /// address. It has 36 fields in version 2.
    _info: Box<[usize; 64]>,
}

impl Form {
    fn of(library: Library<'_>, document: Handle) -> Option<Self> {
        let mut info = Box::new([0usize; 64]);
        // The version is an int at the beginning; the words have the byte order of the machine.
        // SAFETY: the address is that of 64 words, of which the first holds the int.
        unsafe { info.as_mut_ptr().cast::<c_int>().write(2) };
        // SAFETY: the table lives as long as the environment, and all its callbacks are absent.
        unsafe {
            let info_at = info.as_mut_ptr();
            let handle: Handle =
                library.0.FPDFDOC_InitFormFillEnvironment(document.cast(), info_at.cast()).cast();
            if handle.is_null() {
                return None;
            }
            if library.0.FPDF_GetFormType(document.cast()) == 0 {
                library.0.FPDFDOC_ExitFormFillEnvironment(handle.cast());
                return None;
            }
            Some(Self { handle, _info: info })
        }
    }
}

/// An open document.
pub struct Document<'l> {
    library: Library<'l>,
    handle: Handle,
    form: Option<Form>,
    bytes: PhantomData<&'l [u8]>,
}

impl Drop for Document<'_> {
    fn drop(&mut self) {
        // SAFETY: both handles are open and nobody has them any more: pages borrow the document.
        unsafe {
            if let Some(form) = &self.form {
                self.library.0.FPDFDOC_ExitFormFillEnvironment(form.handle.cast());
            }
            self.library.0.FPDF_CloseDocument(self.handle.cast());
        }
    }
}

impl<'l> Document<'l> {
    pub fn page_count(&self) -> u32 {
        // SAFETY: the document is open.
        unsafe { self.library.0.FPDF_GetPageCount(self.handle.cast()) }.max(0) as u32
    }

    /// A line of the document's metadata, e.g. its `Title`.
    pub fn metadata(&self, tag: &str) -> String {
        // SAFETY: the buffer has the size that is said.
        wide_text(|buffer, bytes| unsafe {
            self.library.0.FPDF_GetMetaText(self.handle.cast(), tag, buffer.cast(), bytes)
        })
    }

    /// 0: no form, 1: an AcroForm, 2: XFA alone, 3: both.
    pub fn form_type(&self) -> i32 {
        // SAFETY: the document is open.
        unsafe { self.library.0.FPDF_GetFormType(self.handle.cast()) }
    }

    /// How many files the document lists as attached.
    pub fn attached_count(&self) -> u32 {
        // SAFETY: the document is open.
        unsafe { self.library.0.FPDFDoc_GetAttachmentCount(self.handle.cast()) }.max(0) as u32
    }

    /// Attached file `index` (0-based) of those that the document lists.
    pub fn attached(&self, index: u32) -> Option<AttachedFile<'_>> {
        let calls = self.library.0;
        let index = c_int::try_from(index).ok()?;
        // SAFETY: the document is open; pdfium checks the index.
        AttachedFile::of(calls, unsafe {
            calls.FPDFDoc_GetAttachment(self.handle.cast(), index).cast()
        })
    }

    /// Loads page `index` (0-based).
    pub fn page(&self, index: u32) -> Option<Page<'_>> {
        let index = c_int::try_from(index).ok()?;
        // SAFETY: the document is open; pdfium checks the index.
        let handle: Handle =
            unsafe { self.library.0.FPDF_LoadPage(self.handle.cast(), index) }.cast();
        (!handle.is_null()).then(|| Page {
            calls: self.library.0,
            handle,
            form: self.form.as_ref().map(|form| form.handle),
        })
    }
}
