//! A page of an index: its words and its picture.

use std::fmt;
use std::sync::Arc;

use pagesight_core::{DocumentId, PageId, PageImage, PageRecord, PageSize, PatchLayout, TextSource};

use crate::engine::Engine;
use crate::error::Error;

/// A page, as the index has it. Owned: it stays as it is when the index moves on.
#[derive(Clone)]
pub struct Page {
    engine: Arc<Engine>,
    path: String,
    record: PageRecord,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({}#{})", self.path, self.number())
    }
}

impl Page {
    pub(crate) fn new(engine: Arc<Engine>, path: String, record: PageRecord) -> Self {
        Self { engine, path, record }
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

    /// Its words, in the order of the text layer.
    pub fn text(&self) -> &str {
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

    /// Draws the page from its file, `width_px` wide, in its own shape. Workers stay warm, so only
    /// the first picture waits for a process to start.
    ///
    /// # Errors
    /// [`Error::Io`] when the file is gone, [`Error::FileChanged`] when it is another one now,
    /// [`Error::Draw`] when the page cannot be drawn.
    pub fn image(&self, width_px: u32) -> Result<PageImage, Error> {
        self.engine.draw(&self.path, self.record.id, width_px)
    }
}
