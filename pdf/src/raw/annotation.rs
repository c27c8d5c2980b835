//! Annotations: comments, stamps, form fields.

use std::ffi::c_int;

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::attached::AttachedFile;
use super::geometry::Box4;
use super::handle::{Handle, wide_text};

/// An annotation of a page: a comment, a stamp, a form field.
pub struct Annotation<'p> {
    pub(super) calls: &'p dyn PdfiumLibraryBindings,
    pub(super) handle: Handle,
    pub(super) form: Option<Handle>,
    pub(super) index: c_int,
}

impl Drop for Annotation<'_> {
    fn drop(&mut self) {
        // SAFETY: the annotation is open.
        unsafe { self.calls.FPDFPage_CloseAnnot(self.handle.cast()) };
    }
}

impl Annotation<'_> {
    /// Its place among the annotations of its page.
    pub fn index(&self) -> i32 {
        self.index
    }

    /// `FPDF_ANNOT_*` of `fpdf_annot.h`.
    pub fn subtype(&self) -> i32 {
        // SAFETY: the annotation is open; so it is in all of these functions.
        unsafe { self.calls.FPDFAnnot_GetSubtype(self.handle.cast()) }
    }

    /// `FPDF_ANNOT_FLAG_*` of `fpdf_annot.h`.
    pub fn flags(&self) -> i32 {
        // SAFETY: as in `subtype`.
        unsafe { self.calls.FPDFAnnot_GetFlags(self.handle.cast()) }
    }

    /// The box that it is drawn in, in the coordinates of the page.
    pub fn bounds(&self) -> Option<Box4> {
        let mut bounds = Box4::default();
        // SAFETY: as in `subtype`; the rectangle has the layout of FS_RECTF.
        let has =
            unsafe { self.calls.FPDFAnnot_GetRect(self.handle.cast(), (&raw mut bounds).cast()) };
        (has != 0).then_some(bounds)
    }

    /// Keeps it from being displayed, as long as the document is open.
    pub fn hide(&self) {
        const HIDDEN: c_int = 1 << 1;
        // SAFETY: as in `subtype`.
        unsafe { self.calls.FPDFAnnot_SetFlags(self.handle.cast(), self.flags() | HIDDEN) };
    }

    pub fn has(&self, key: &str) -> bool {
        // SAFETY: as in `subtype`.
        unsafe { self.calls.FPDFAnnot_HasKey(self.handle.cast(), key) != 0 }
    }

    /// A string of its dictionary.
    pub fn string(&self, key: &str) -> String {
        // SAFETY: the buffer has the size that is said.
        wide_text(|buffer, bytes| unsafe {
            self.calls.FPDFAnnot_GetStringValue(self.handle.cast(), key, buffer.cast(), bytes)
        })
    }

    /// What a list of choices shows of those that are chosen, of its first `most` choices.
    pub fn chosen_labels(&self, most: usize) -> Vec<String> {
        let Some(form) = self.form else { return Vec::new() };
        let annotation = self.handle.cast();
        // SAFETY: as in `subtype`; the indices are below the count.
        let count = unsafe { self.calls.FPDFAnnot_GetOptionCount(form.cast(), annotation) };
        // SAFETY: as above.
        let is_chosen = |index: &c_int| unsafe {
            self.calls.FPDFAnnot_IsOptionSelected(form.cast(), annotation, *index) != 0
        };
        // SAFETY: the buffer has the size that is said.
        let label = |index| {
            wide_text(|buffer, bytes| unsafe {
                let (form, buffer) = (form.cast(), buffer.cast());
                self.calls.FPDFAnnot_GetOptionLabel(form, annotation, index, buffer, bytes)
            })
        };
        (0..count.max(0)).take(most).filter(is_chosen).map(label).collect()
    }

    /// The file that it pins to the page.
    pub fn attached(&self) -> Option<AttachedFile<'_>> {
        // SAFETY: as in `subtype`.
        AttachedFile::of(self.calls, unsafe {
            self.calls.FPDFAnnot_GetFileAttachment(self.handle.cast()).cast()
        })
    }

    /// `FPDF_FORMFIELD_*` of `fpdf_formfill.h`; -1 for what is no form field.
    pub fn field_type(&self) -> i32 {
        let Some(form) = self.form else { return -1 };
        // SAFETY: as in `subtype`.
        unsafe { self.calls.FPDFAnnot_GetFormFieldType(form.cast(), self.handle.cast()) }
    }

    /// The flags of a form field.
    pub fn field_flags(&self) -> i32 {
        let Some(form) = self.form else { return 0 };
        // SAFETY: as in `subtype`.
        unsafe { self.calls.FPDFAnnot_GetFormFieldFlags(form.cast(), self.handle.cast()) }
    }

    /// What a form field holds.
    pub fn field_value(&self) -> String {
        let Some(form) = self.form else { return String::new() };
        // SAFETY: the buffer has the size that is said.
        wide_text(|buffer, bytes| unsafe {
            let annotation = self.handle.cast();
            self.calls.FPDFAnnot_GetFormFieldValue(form.cast(), annotation, buffer.cast(), bytes)
        })
    }
}
