//! A page of the index: its words and its picture.

use std::fs;
use std::sync::{Arc, OnceLock};

use pagesight_core::{DocumentId, PageImage, PageRecord, PageSize, TextSource};
use pagesight_store::Snippet;

use crate::index::View;
use crate::{Error, Index};

/// A page, as the index has it.
pub struct Page<'a> {
    pub(crate) index: &'a Index,
    pub(crate) view: Arc<View>,
    pub(crate) path: String,
    pub(crate) record: PageRecord,
    /// The text without the marks of what lines cut, once it was asked for.
    pub(crate) joined: OnceLock<String>,
}

/// Stands in a stored text where a line ended within a word: search reads the word whole and in its
/// parts.
const CUT: char = '\u{AD}';

impl Page<'_> {
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

    /// Where the words come from.
    pub fn text_source(&self) -> TextSource {
        self.record.text_source
    }

    /// The part of the text that answers `query` best.
    pub fn snippet(&self, query: &str) -> Snippet {
        self.view.reader.snippet(query, &self.record.text)
    }

    /// Draws the page from its file, `width_px` wide, in its own shape.
    ///
    /// # Errors
    /// [`Error::Io`] when the file is gone, [`Error::FileChanged`] when it is another one now,
    /// [`Error::Draw`] when the worker fails.
    pub fn image(&self, width_px: u32) -> Result<PageImage, Error> {
        let file = self.index.file(&self.path);
        let bytes = fs::read(&file).map_err(|source| Error::Io {
            action: "reading",
            path: file,
            source,
        })?;
        if DocumentId::of(&bytes) != self.document() {
            return Err(Error::FileChanged { path: self.path.clone() });
        }
        let (path, page) = (self.path.clone(), self.number());
        let options = self.index.renderer();
        let mut renderer = options.start(&path, page)?;
        let drawn =
            renderer.open(&bytes, &options.passwords).and_then(|_| renderer.draw(page, width_px));
        drawn.map_err(|source| Error::Draw { path, page, source })
    }
}
