//! pdfium's objects as handles that are closed when they are dropped.
//!
//! pdfium-render's own types hide their handles and offer neither marked content nor whether an
//! object is active, so its bindings are called directly. They keep the C types to themselves;
//! `cast` lets the compiler fill them in.

use std::ffi::{c_int, c_ulong, c_void};
use std::marker::PhantomData;
use std::ptr;

use pdfium_render::prelude::{Pdfium, PdfiumLibraryBindings, PdfiumLibraryBindingsAccessor};

/// Any pdfium object; never null outside this file.
pub type Handle = *mut c_void;

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

/// A rectangle in the coordinates of a page, points; `FS_RECTF` of `fpdfview.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Box4 {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

impl Box4 {
    /// The part that both have; its sides may be the wrong way round when they have none.
    pub fn and(self, other: Self) -> Self {
        Self {
            left: self.left.max(other.left),
            top: self.top.min(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// The smallest box around both.
    pub fn joined(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.max(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// Whether a point lies in it.
    pub fn holds(&self, x: f32, y: f32) -> bool {
        (self.left..=self.right).contains(&x) && (self.bottom..=self.top).contains(&y)
    }

    /// Whether all of `other` lies in it.
    pub fn holds_all(&self, other: &Self) -> bool {
        self.holds(other.left, other.bottom) && self.holds(other.right, other.top)
    }

    /// Whether they have no point in common.
    pub fn misses(&self, other: &Self) -> bool {
        let both = self.and(*other);
        !(both.left <= both.right && both.bottom <= both.top)
    }

    /// Square points.
    pub fn area(&self) -> f32 {
        (self.right - self.left).max(0.0) * (self.top - self.bottom).max(0.0)
    }

    /// The smallest box around points.
    pub fn around(points: impl IntoIterator<Item = (f32, f32)>) -> Option<Self> {
        points.into_iter().fold(None, |around: Option<Self>, (x, y)| {
            let Some(b) = around else {
                return Some(Self { left: x, top: y, right: x, bottom: y });
            };
            Some(Self {
                left: b.left.min(x),
                top: b.top.max(y),
                right: b.right.max(x),
                bottom: b.bottom.min(y),
            })
        })
    }
}

/// A transformation; `FS_MATRIX` of `fpdfview.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix {
    a: f32,
    b: f32,
    c: f32,
    d: f32,
    e: f32,
    f: f32,
}

impl Matrix {
    pub const IDENTITY: Self = Self { a: 1.0, b: 0.0, c: 0.0, d: 1.0, e: 0.0, f: 0.0 };

    /// First this, then `next`.
    pub fn then(self, next: Self) -> Self {
        Self {
            a: self.a * next.a + self.b * next.c,
            b: self.a * next.b + self.b * next.d,
            c: self.c * next.a + self.d * next.c,
            d: self.c * next.b + self.d * next.d,
            e: self.e * next.a + self.f * next.c + next.e,
            f: self.e * next.b + self.f * next.d + next.f,
        }
    }

    fn point(&self, x: f32, y: f32) -> (f32, f32) {
        (self.a * x + self.c * y + self.e, self.b * x + self.d * y + self.f)
    }

    /// The box around what `inner` becomes.
    pub fn apply(&self, inner: Box4) -> Box4 {
        if *self == Self::IDENTITY {
            return inner;
        }
        let corners = [
            (inner.left, inner.bottom),
            (inner.left, inner.top),
            (inner.right, inner.bottom),
            (inner.right, inner.top),
        ];
        Box4::around(corners.map(|(x, y)| self.point(x, y))).unwrap_or(inner)
    }
}

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

/// UTF-16 text that a C function writes in two calls: one for its size, one for the bytes.
fn wide_text(mut call: impl FnMut(*mut u16, c_ulong) -> c_ulong) -> String {
    /// No text that we ask for in this way is longer, bytes.
    const MAX: usize = 4 << 20;
    let bytes = (call(ptr::null_mut(), 0) as usize).min(MAX);
    let mut units = vec![0u16; bytes.div_ceil(2)];
    if units.len() < 2 {
        return String::new();
    }
    call(units.as_mut_ptr(), bytes as c_ulong);
    if let Some(end) = units.iter().position(|unit| *unit == 0) {
        units.truncate(end);
    }
    String::from_utf16_lossy(&units)
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

/// A file within a document, listed or pinned to a page by an annotation.
pub struct AttachedFile<'d> {
    calls: &'d dyn PdfiumLibraryBindings,
    handle: Handle,
}

impl<'d> AttachedFile<'d> {
    fn of(calls: &'d dyn PdfiumLibraryBindings, handle: Handle) -> Option<Self> {
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

/// A loaded page.
pub struct Page<'d> {
    calls: &'d dyn PdfiumLibraryBindings,
    handle: Handle,
    form: Option<Handle>,
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

/// Something that is drawn on a page. It lives as long as its page.
#[derive(Clone, Copy)]
pub struct Object<'p> {
    calls: &'p dyn PdfiumLibraryBindings,
    handle: Handle,
}

impl<'p> Object<'p> {
    fn of(calls: &'p dyn PdfiumLibraryBindings, handle: Handle) -> Option<Self> {
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

/// A font of a page's text.
#[derive(Clone, Copy)]
pub struct Font<'p> {
    calls: &'p dyn PdfiumLibraryBindings,
    handle: Handle,
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

/// A mark of content: it names what stands in it, and may say something about it. All objects in
/// one piece of marked content have the same mark.
#[derive(Clone, Copy)]
pub struct Mark<'p> {
    calls: &'p dyn PdfiumLibraryBindings,
    handle: Handle,
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

/// An annotation of a page: a comment, a stamp, a form field.
pub struct Annotation<'p> {
    calls: &'p dyn PdfiumLibraryBindings,
    handle: Handle,
    form: Option<Handle>,
    index: c_int,
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

/// The text of a page, character by character.
pub struct TextLayer<'p> {
    calls: &'p dyn PdfiumLibraryBindings,
    handle: Handle,
    count: c_int,
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
