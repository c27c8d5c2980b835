//! A page of an index: its words and its picture.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use pagesight_core::{
    DocumentId, DocumentRecord, DrawSize, MAX_SIDE_PX, PageId, PageImage, PageRecord, PageSize,
    PatchLayout, PictureSize, Rect, TextSource,
};

use crate::engine::{Engine, Place};
use crate::error::Error;
use crate::reference::PageRef;

/// A page, as the index has it. Owned: it stays as it is when the index moves on.
#[derive(Clone)]
pub struct Page {
    engine: Arc<Engine>,
    path: String,
    record: PageRecord,
    /// Of its document, from the ledger.
    paths: Vec<String>,
    title: Option<String>,
    page_count: u32,
    /// The snapshot that it was read from.
    snapshot: u64,
    /// The text without the marks of what lines cut, once it was asked for.
    joined: OnceLock<String>,
}

/// Stands in a stored text where a line ended within a word: search reads the word whole and in its
/// parts.
const CUT: char = '\u{AD}';

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({}#{})", self.path, self.number())
    }
}

impl Page {
    /// The page of `record`, whose document `of_document` are the ledger records of; `path` is one of
    /// theirs.
    pub(crate) fn new(
        engine: Arc<Engine>,
        snapshot: u64,
        path: String,
        of_document: &[DocumentRecord],
        record: PageRecord,
    ) -> Self {
        let at_path = of_document.iter().find(|document| document.path == path);
        Self {
            engine,
            paths: of_document.iter().map(|document| document.path.clone()).collect(),
            title: at_path.and_then(|document| document.title.clone()),
            page_count: at_path.map_or(0, |document| document.page_count),
            snapshot,
            path,
            record,
            joined: OnceLock::new(),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where it is drawn from.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { path: &self.path, paths: &self.paths, id: self.record.id }
    }

    /// Names the page for as long as the bytes of its document stay what they are.
    pub fn reference(&self) -> PageRef {
        PageRef::of(self.record.id)
    }

    /// All ledger paths at which its document was found, in order.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The title of its document, when its metadata has one.
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// Pages of its document.
    pub fn page_count(&self) -> u32 {
        self.page_count
    }

    /// The snapshot that it was read from.
    pub fn snapshot(&self) -> u64 {
        self.snapshot
    }

    /// Ledger path of its document; of several, the first that the search let through.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// 1-based.
    pub fn number(&self) -> u32 {
        self.record.id.number
    }

    /// Its document.
    pub fn document(&self) -> DocumentId {
        self.record.id.document
    }

    /// Document and number: what names the page in rankings, and in a search for pages like it.
    pub fn id(&self) -> PageId {
        self.record.id
    }

    /// Size as displayed, points.
    pub fn size(&self) -> PageSize {
        self.record.size
    }

    /// Its words, in the order of the text layer; a word that a line's end cut is joined.
    pub fn text(&self) -> &str {
        if self.record.text.contains(CUT) {
            self.joined.get_or_init(|| self.record.text.replace(CUT, ""))
        } else {
            &self.record.text
        }
    }

    /// The words as the index has them, and as their meaning was encoded.
    pub(crate) fn stored_text(&self) -> &str {
        &self.record.text
    }

    /// Where the words come from.
    pub fn text_source(&self) -> TextSource {
        self.record.text_source
    }

    /// Where its vectors stand on the page; `None` for a page without vectors.
    pub fn layout(&self) -> Option<&PatchLayout> {
        self.record.layout.as_ref()
    }

    /// The size of the page's picture that is `width_px` wide: what [`image`](Self::image) draws.
    pub fn picture_size(&self, width_px: u32) -> PictureSize {
        self.record.size.picture(width_px)
    }

    /// Draws the page from its file, `width_px` wide, in its own shape. Workers stay warm, so only
    /// the first picture waits for a process to start.
    ///
    /// # Errors
    /// [`Error::Io`] when the file is gone, [`Error::FileChanged`] when it is another one now,
    /// [`Error::Draw`] when the page cannot be drawn.
    pub fn image(&self, width_px: u32) -> Result<PageImage, Error> {
        self.image_until(width_px, &Arc::default())
    }

    /// Draws the part of the page in `region`, points, cut to the page: `width_px` is the part's.
    /// `None` when nothing of it is on the page. A very small part is drawn smaller than asked,
    /// since no page is drawn wider than 10,000 px.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    pub fn image_of(
        &self,
        region: Rect,
        width_px: u32,
        stop: &Arc<AtomicBool>,
    ) -> Result<Option<PageImage>, Error> {
        let size = self.size();
        let (x0, y0) = (region.x0.max(0.0), region.y0.max(0.0));
        let (x1, y1) = (region.x1.min(size.width_pt), region.y1.min(size.height_pt));
        let (wide, high) = (x1 - x0, y1 - y0);
        // Also when one of them is no number.
        let is_some = wide > 0.0 && high > 0.0;
        if !is_some {
            return Ok(None);
        }
        let whole = (f64::from(width_px) * f64::from(size.width_pt / wide)).round();
        let whole = whole.clamp(1.0, f64::from(MAX_SIDE_PX)) as u32;
        let image = self.image_until(whole, stop)?;
        let span = |from: f32, to: f32, length: f32, pixels: u32| {
            let scale = pixels as f32 / length;
            let first = ((from * scale).floor() as u32).min(pixels - 1);
            let end = ((to * scale).ceil() as u32).clamp(first + 1, pixels);
            (first, end - first)
        };
        let (x, w) = span(x0, x1, size.width_pt, image.width_px());
        let (y, h) = span(y0, y1, size.height_pt, image.height_px());
        // A pixel that is only touched is not one more than was asked for.
        let w = w.min(width_px.max(1));
        let shape = f64::from(w) * f64::from(high / wide);
        let h = h.min((shape.round() as u32).max(1));
        Ok(Some(image.crop(x, y, w, h)))
    }

    /// As [`image`](Self::image); ends early with an error when `stop` is set from elsewhere.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    pub fn image_until(&self, width_px: u32, stop: &Arc<AtomicBool>) -> Result<PageImage, Error> {
        let size = DrawSize::Width(width_px);
        self.engine.with_document(self.place(), stop, |document| document.draw(self.number(), size))
    }
}
