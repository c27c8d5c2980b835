//! Pages, as the write path hands them to a store and the read path gets them back.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::document::DocumentId;
use crate::geometry::PageSize;
use crate::layout::PatchLayout;
use crate::multivector::PageVectors;

/// A page: a document and a number. Rankings break ties by it, so results repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PageId {
    /// The document.
    pub document: DocumentId,
    /// 1-based number of the page.
    pub number: u32,
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.document, self.number)
    }
}

/// Where the words of a page come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextSource {
    /// The PDF's own text layer.
    Layer,
    /// Optical character recognition of the drawn page.
    Ocr,
    /// The page has no words that we could find.
    None,
}

impl TextSource {
    /// The word used in the store and in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Ocr => "ocr",
            Self::None => "none",
        }
    }

    /// The inverse of [`as_str`](Self::as_str).
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Layer, Self::Ocr, Self::None].into_iter().find(|s| s.as_str() == word)
    }
}

/// One indexed page.
#[derive(Debug, Clone, PartialEq)]
pub struct PageRecord {
    /// Which page.
    pub id: PageId,
    /// Size as displayed.
    pub size: PageSize,
    /// Its words, in the order of the text layer.
    pub text: String,
    /// Where the words come from.
    pub text_source: TextSource,
    /// `[n_vectors, dim]`; `None` when the page was indexed without a model.
    pub vectors: Option<PageVectors>,
    /// Where the vectors stand on the page; `None` when the page was indexed without a model.
    pub layout: Option<PatchLayout>,
}
