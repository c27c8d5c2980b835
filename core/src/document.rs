//! Documents: who they are, and what happened to them (the ledger's words).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::failure::{Failure, PageFailure};
use crate::model::ModelId;

/// The blake3 hash of a document's bytes: the same file under two names is one document.
///
/// ```
/// use pagesight_core::DocumentId;
/// let id = DocumentId::of(b"%PDF-1.7 ...");
/// assert_eq!(id.to_string().parse::<DocumentId>().unwrap(), id);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId(pub [u8; 32]);

impl DocumentId {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentId({self})")
    }
}

impl Serialize for DocumentId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DocumentId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A document id is 64 hexadecimal digits.
#[derive(Debug, Clone, thiserror::Error)]
#[error("a document id is 64 hexadecimal digits, got {0:?}")]
pub struct ParseDocumentIdError(String);

impl FromStr for DocumentId {
    type Err = ParseDocumentIdError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let hash = blake3::Hash::from_hex(s).map_err(|_| ParseDocumentIdError(s.to_string()))?;
        Ok(Self(*hash.as_bytes()))
    }
}

/// A PDF that another one carries as an attached file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attachment {
    /// Its place among all attached files, 0-based.
    pub index: u32,
    /// Its name as the carrier says it; it may be anything.
    pub name: String,
}

impl Attachment {
    /// The attached file at place `index`.
    pub fn new(index: u32, name: String) -> Self {
        Self { index, name }
    }
}

/// How far a document has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentStatus {
    /// Some pages are committed, the rest are still to be read; or words of some are (a run that is
    /// under way, or was interrupted).
    InProgress,
    /// Every page is indexed.
    Ok,
    /// Some pages could not be read; the others are indexed.
    Partial,
    /// Nothing of the document is indexed; its record says why.
    Failed,
}

impl DocumentStatus {
    /// The word used in the ledger and in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }

    /// The inverse of [`as_str`](Self::as_str).
    pub fn parse(word: &str) -> Option<Self> {
        [Self::InProgress, Self::Ok, Self::Partial, Self::Failed]
            .into_iter()
            .find(|s| s.as_str() == word)
    }
}

/// One line of the ledger: a path, the document found there, and what became of it.
///
/// Two paths with the same bytes are two records that share one [`DocumentId`] and its pages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentRecord {
    /// Where the file was found: relative to the index's base folder when below it, else
    /// absolute; `/` as separator; bytes that are not UTF-8 written as `%XX`.
    pub path: String,
    /// Hash of the bytes; `None` when the file could not be read.
    pub document: Option<DocumentId>,
    /// File size, bytes.
    pub bytes: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// How far it has come.
    pub status: DocumentStatus,
    /// Pages in the document, 0 when unknown.
    pub page_count: u32,
    /// Pages indexed.
    pub pages_indexed: u32,
    /// The next page to read when [`DocumentStatus::InProgress`], 1-based.
    pub next_page: u32,
    /// Pages that could not be read.
    pub failed_pages: Vec<PageFailure>,
    /// Pages that are indexed by their looks, and whose words OCR is still to read, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_pages: Vec<u32>,
    /// Why the document failed.
    pub failure: Option<Failure>,
    /// Why the file could not be read the last time, when its pages are those of what it was before.
    pub stale: Option<Failure>,
    /// Things a person should know, e.g. that OCR was wanted and tesseract is not there.
    pub notes: Vec<String>,
    /// The document's own title, when its metadata has one.
    pub title: Option<String>,
    /// The model its pages were encoded with; `None` for text only.
    pub model: Option<ModelId>,
}

impl DocumentRecord {
    /// Page `number` was read, or failed: a run that goes on starts after it.
    pub fn passed(&mut self, number: u32) {
        self.next_page = self.next_page.max(number + 1);
        // Read again, so forget the earlier loss.
        self.failed_pages.retain(|failure| failure.page != number);
    }
}
