//! A loaded page.

use std::ffi::c_int;

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::annotation::Annotation;
use super::geometry::Box4;
use super::handle::{Handle, wide_text};
use super::object::Object;
use super::text_layer::TextLayer;

/// A loaded page.
pub struct Page<'d> {
    pub(super) calls: &'d dyn PdfiumLibraryBindings,
    pub(super) handle: Handle,
    pub(super) form: Option<Handle>,
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        // SAFETY: the page is open, and what was made of it is gone: it borrows the page.
        unsafe { self.calls.FPDF_ClosePage(self.handle.cast()) };
    }
}

impl<'d> Page<'d> {
    /// Width and height as displayed, points.
    pub fn size(&self) -> (f32, f32) {
        // SAFETY: the page is open.
        unsafe {
            let width = self.calls.FPDF_GetPageWidthF(self.handle.cast());
            (width, self.calls.FPDF_GetPageHeightF(self.handle.cast()))
        }
    }

    /// The part of the page that is displayed, in its own coordinates.
    pub fn bounds(&self) -> Option<Box4> {
        let mut bounds = Box4::default();
        // SAFETY: the rectangle has the layout of FS_RECTF.
        let has = unsafe {
            self.calls.FPDF_GetPageBoundingBox(self.handle.cast(), (&raw mut bounds).cast())
        };
        (has != 0).then_some(bounds)
    }

    /// Where a box of the page is displayed, in fractions of its sides from the top left.
    pub fn displayed(&self, inner: Box4) -> Option<[f32; 4]> {
        /// The page is mapped onto so many steps.
        const STEPS: c_int = 1 << 16;
        let point = |x: f32, y: f32| {
            let (mut across, mut down): (c_int, c_int) = (0, 0);
            let (at_x, at_y) = (&raw mut across, &raw mut down);
            // SAFETY: the page is open.
            let has = unsafe {
                let (page, x, y) = (self.handle.cast(), f64::from(x), f64::from(y));
                self.calls.FPDF_PageToDevice(page, 0, 0, STEPS, STEPS, 0, x, y, at_x, at_y)
            };
            let share = |steps: c_int| (steps as f32 / STEPS as f32).clamp(0.0, 1.0);
            (has != 0).then(|| (share(across), share(down)))
        };
        let (one, other) = (point(inner.left, inner.bottom)?, point(inner.right, inner.top)?);
        let (x0, x1) = (one.0.min(other.0), one.0.max(other.0));
        Some([x0, one.1.min(other.1), x1, one.1.max(other.1)])
    }

    /// Displays all of the page from the next time on that it is loaded, whatever its CropBox says:
    /// pdfium intersects it with the MediaBox.
    pub fn uncrop(&self) {
        const FAR: f32 = 1e6;
        // SAFETY: the page is open.
        unsafe { self.calls.FPDFPage_SetCropBox(self.handle.cast(), -FAR, -FAR, FAR, FAR) };
    }

    /// The objects of the page, in the order in which they are drawn.
    pub fn objects(&self) -> Vec<Object<'_>> {
        // SAFETY: the page is open and the indices are below the count.
        unsafe {
            let count = self.calls.FPDFPage_CountObjects(self.handle.cast()).max(0);
            let object = |index| self.calls.FPDFPage_GetObject(self.handle.cast(), index).cast();
            (0..count).filter_map(|index| Object::of(self.calls, object(index))).collect()
        }
    }

    /// What the tags of the page say that stands for their content: texts, and the numbers of the
    /// marked content that each stands for. At most `most` tags are looked at.
    pub fn replaced_by_tags(&self, most: usize) -> Vec<(String, Vec<i32>)> {
        /// Tags within tags are followed this deep.
        const MAX_DEPTH: usize = 64;
        let calls = self.calls;
        let mut found: Vec<(String, Vec<i32>)> = Vec::new();
        // SAFETY: the page is open, the elements belong to the tree, which is closed last, and the
        // indices are below the counts.
        unsafe {
            let tree = calls.FPDF_StructTree_GetForPage(self.handle.cast());
            if tree.is_null() {
                return found;
            }
            // Each with its depth, and the text that it is within.
            let mut to_visit: Vec<(Handle, usize, Option<usize>)> = Vec::new();
            for index in 0..calls.FPDF_StructTree_CountChildren(tree).max(0) {
                let root: Handle = calls.FPDF_StructTree_GetChildAtIndex(tree, index).cast();
                to_visit.push((root, 0, None));
            }
            let mut seen = 0;
            while let Some((element, depth, within)) = to_visit.pop() {
                seen += 1;
                if element.is_null() || depth > MAX_DEPTH || seen > most {
                    continue;
                }
                let text = || {
                    wide_text(|buffer, bytes| {
                        let buffer = buffer.cast();
                        calls.FPDF_StructElement_GetActualText(element.cast(), buffer, bytes)
                    })
                };
                let within = within.or_else(|| {
                    let text = Some(text()).filter(|text| !text.is_empty())?;
                    found.push((text, Vec::new()));
                    Some(found.len() - 1)
                });
                for index in 0..calls.FPDF_StructElement_CountChildren(element.cast()).max(0) {
                    let child = calls.FPDF_StructElement_GetChildAtIndex(element.cast(), index);
                    if !child.is_null() {
                        to_visit.push((child.cast(), depth + 1, within));
                    } else if let Some(within) = within {
                        let number =
                            calls.FPDF_StructElement_GetChildMarkedContentID(element.cast(), index);
                        found[within].1.extend(Some(number).filter(|number| *number >= 0));
                    }
                    if to_visit.len() > most {
                        break;
                    }
                }
            }
            calls.FPDF_StructTree_Close(tree);
        }
        found
    }

    /// The annotations of the page, in order, at most `most` of them.
    pub fn annotations(&self, most: usize) -> Vec<Annotation<'_>> {
        // SAFETY: the page is open and the indices are below the count.
        unsafe {
            let count = self.calls.FPDFPage_GetAnnotCount(self.handle.cast()).max(0);
            let of = |index| self.calls.FPDFPage_GetAnnot(self.handle.cast(), index).cast();
            let open = |index| {
                let handle: Handle = of(index);
                (!handle.is_null()).then_some(Annotation {
                    calls: self.calls,
                    handle,
                    form: self.form,
                    index,
                })
            };
            (0..count).take(most).filter_map(open).collect()
        }
    }

    /// Takes annotation `index` off the page in memory.
    pub fn remove_annotation(&self, index: i32) {
        // SAFETY: the page is open; pdfium checks the index.
        unsafe { self.calls.FPDFPage_RemoveAnnot(self.handle.cast(), index) };
    }

    /// Makes what the annotations show part of the page in memory, from the next time on that it is
    /// loaded: its last object is a form that holds a form for each. Returns whether there was
    /// something to do.
    pub fn flatten(&self) -> bool {
        const NORMAL_DISPLAY: c_int = 0;
        const SUCCESS: c_int = 1;
        // SAFETY: the page is open.
        unsafe { self.calls.FPDFPage_Flatten(self.handle.cast(), NORMAL_DISPLAY) == SUCCESS }
    }

    /// The text of the page; of objects that are not active there is none.
    pub fn text(&self) -> Option<TextLayer<'_>> {
        // SAFETY: the page is open, and the text borrows it.
        unsafe {
            let handle: Handle = self.calls.FPDFText_LoadPage(self.handle.cast()).cast();
            if handle.is_null() {
                return None;
            }
            let count = self.calls.FPDFText_CountChars(handle.cast()).max(0);
            Some(TextLayer { calls: self.calls, handle, count })
        }
    }

    /// Draws the page over what is in `pixels`: RGB rows of `stride` bytes. Returns whether pdfium
    /// could begin.
    pub fn draw(
        &self,
        pixels: &mut [u8],
        (width, height): (u32, u32),
        stride: usize,
        quarter_turns: u8,
        layers: Drawn,
    ) -> bool {
        /// `FPDFBitmap_BGR`, which the flag below turns round.
        const BGR: c_int = 2;
        const REVERSE_BYTE_ORDER: c_int = 0x10;
        const ANNOTATIONS: c_int = 0x01;
        assert!(pixels.len() >= stride * height as usize && stride >= width as usize * 3);
        let (width, height) = (width as c_int, height as c_int);
        let turns = c_int::from(quarter_turns % 4);
        let flags = match layers {
            Drawn::All => ANNOTATIONS | REVERSE_BYTE_ORDER,
            Drawn::Content => REVERSE_BYTE_ORDER,
        };
        // SAFETY: the bitmap has the size that was checked above, and is gone before `pixels`.
        unsafe {
            let at = pixels.as_mut_ptr();
            let bitmap =
                self.calls.FPDFBitmap_CreateEx(width, height, BGR, at.cast(), stride as c_int);
            if bitmap.is_null() {
                return false;
            }
            let page = self.handle.cast();
            self.calls.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, turns, flags);
            if let (Drawn::All, Some(form)) = (layers, self.form) {
                let (form, page) = (form.cast(), self.handle.cast());
                self.calls.FPDF_FFLDraw(form, bitmap, page, 0, 0, width, height, turns, flags);
            }
            self.calls.FPDFBitmap_Destroy(bitmap);
        }
        true
    }
}

/// What of a page is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawn {
    /// All that it shows.
    All,
    /// Its content, without annotations and form fields.
    Content,
}
