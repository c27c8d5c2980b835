//! What was read of a page.

use pagesight_core::{DocumentId, PageId, PageRecord, PageSize, PageText, TextSource, Turn};

/// The words of a page, and what else of it matters on its way to the store.
#[derive(Debug)]
pub(crate) struct PageRead {
    /// 1-based.
    pub number: u32,
    pub size: PageSize,
    pub text: String,
    pub text_source: TextSource,
    /// There is more text than the limit.
    pub cut: bool,
    /// The share of the page that images cover.
    pub images: f32,
    /// Lines and shapes.
    pub paths: u32,
    /// How its picture is turned for the encoder.
    pub turn: Turn,
}

impl PageRead {
    /// Page `number` with its own text.
    pub fn of(number: u32, page: PageText) -> Self {
        let is_bare = page.text.trim().is_empty();
        let text_source = if is_bare { TextSource::None } else { TextSource::Layer };
        let PageText { size, text, cut, images, paths, .. } = page;
        Self { number, size, text, text_source, cut, images, paths, turn: Turn::None }
    }

    /// The page as a store takes it, without vectors.
    pub fn into_record(self, document: DocumentId) -> PageRecord {
        PageRecord {
            id: PageId { document, number: self.number },
            size: self.size,
            text: self.text,
            text_source: self.text_source,
            vectors: None,
            layout: None,
        }
    }
}
