//! What is drawn on a page.

use std::ffi::{c_int, c_ulong};

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::font::Font;
use super::geometry::{Box4, Matrix};
use super::handle::Handle;
use super::mark::Mark;

/// Kinds of page objects (`FPDF_PAGEOBJ_*` of `fpdf_edit.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Path,
    Image,
    Shading,
    Form,
    Unknown,
}

/// Something that is drawn on a page. It lives as long as its page.
#[derive(Clone, Copy)]
pub struct Object<'p> {
    calls: &'p dyn PdfiumLibraryBindings,
    handle: Handle,
}

impl<'p> Object<'p> {
    pub(super) fn of(calls: &'p dyn PdfiumLibraryBindings, handle: Handle) -> Option<Self> {
        (!handle.is_null()).then_some(Self { calls, handle })
    }

    /// Names the object; the text of a page says which one a character is of.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    pub fn kind(&self) -> Kind {
        // SAFETY: the object is the page's, which is open; so it is in all of these functions.
        match unsafe { self.calls.FPDFPageObj_GetType(self.handle.cast()) } {
            1 => Kind::Text,
            2 => Kind::Path,
            3 => Kind::Image,
            4 => Kind::Shading,
            5 => Kind::Form,
            _ => Kind::Unknown,
        }
    }

    /// The objects of a form.
    pub fn objects(&self) -> Vec<Object<'p>> {
        // SAFETY: as in `kind`; the indices are below the count.
        unsafe {
            let count = self.calls.FPDFFormObj_CountObjects(self.handle.cast()).max(0) as c_ulong;
            let object = |index| self.calls.FPDFFormObj_GetObject(self.handle.cast(), index).cast();
            (0..count).filter_map(|index| Object::of(self.calls, object(index))).collect()
        }
    }

    /// Where it is, in the coordinates of what it stands in.
    pub fn bounds(&self) -> Option<Box4> {
        let mut b = Box4::default();
        let Box4 { left, top, right, bottom } = &mut b;
        // SAFETY: as in `kind`.
        let has = unsafe {
            self.calls.FPDFPageObj_GetBounds(self.handle.cast(), left, bottom, right, top)
        };
        (has != 0).then_some(b)
    }

    /// How a form stands in what it stands in.
    pub fn matrix(&self) -> Matrix {
        let mut matrix = Matrix::IDENTITY;
        // SAFETY: as in `kind`; the matrix has the layout of FS_MATRIX.
        unsafe {
            self.calls.FPDFPageObj_GetMatrix(self.handle.cast(), (&raw mut matrix).cast());
        }
        matrix
    }

    /// The box that its clipping paths leave, in the coordinates of what it stands in; `None`
    /// without any.
    pub fn clip(&self) -> Option<Box4> {
        /// A path of more points is taken for one that leaves all.
        const MAX_POINTS: c_int = 2_000;
        let mut clip: Option<Box4> = None;
        // SAFETY: as in `kind`; the indices are below their counts.
        unsafe {
            let path = self.calls.FPDFPageObj_GetClipPath(self.handle.cast());
            if path.is_null() {
                return None;
            }
            for index in 0..self.calls.FPDFClipPath_CountPaths(path).clamp(0, 64) {
                let points = self.calls.FPDFClipPath_CountPathSegments(path, index);
                if !(1..=MAX_POINTS).contains(&points) {
                    continue;
                }
                let point = |segment| {
                    let segment = self.calls.FPDFClipPath_GetPathSegment(path, index, segment);
                    let (mut x, mut y) = (0.0, 0.0);
                    let has = self.calls.FPDFPathSegment_GetPoint(segment, &raw mut x, &raw mut y);
                    (has != 0).then_some((x, y))
                };
                if let Some(around) = Box4::around((0..points).filter_map(point)) {
                    clip = Some(clip.map_or(around, |clip| clip.and(around)));
                }
            }
        }
        clip
    }

    /// The marked content that it stands in, outermost first.
    pub fn marks(&self) -> impl Iterator<Item = Mark<'p>> + use<'p> {
        let (calls, handle) = (self.calls, self.handle);
        // SAFETY: as in `kind`; the indices are below the count.
        let count = unsafe { calls.FPDFPageObj_CountMarks(handle.cast()) }.max(0) as c_ulong;
        (0..count).filter_map(move |index| {
            // SAFETY: as above.
            let mark: Handle = unsafe { calls.FPDFPageObj_GetMark(handle.cast(), index) }.cast();
            (!mark.is_null()).then_some(Mark { calls, handle: mark })
        })
    }

    /// The number of the marked content that it stands in, by which tags know it; -1 for none.
    pub fn content_number(&self) -> i32 {
        // SAFETY: as in `kind`.
        unsafe { self.calls.FPDFPageObj_GetMarkedContentID(self.handle.cast()) }
    }

    /// Whether it is drawn and has text.
    pub fn set_active(&self, active: bool) {
        // SAFETY: as in `kind`.
        unsafe { self.calls.FPDFPageObj_SetIsActive(self.handle.cast(), active.into()) };
    }

    /// The number of the way in which text is drawn; 3 is not at all.
    pub fn text_mode(&self) -> i32 {
        // SAFETY: as in `kind`.
        unsafe { self.calls.FPDFTextObj_GetTextRenderMode(self.handle.cast()) }
    }

    /// The font of text.
    pub fn font(&self) -> Option<Font<'p>> {
        // SAFETY: as in `kind`; the font lives as long as the object.
        let handle: Handle = unsafe { self.calls.FPDFTextObj_GetFont(self.handle.cast()) }.cast();
        (!handle.is_null()).then_some(Font { calls: self.calls, handle })
    }
}
