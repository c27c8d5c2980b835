//! What a run reads with, how far it may go, and when it commits.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pagesight_core::OcrChoice;
use pagesight_core::seam::{Ocr, PageEncoder, PdfReader};

/// What a run reads PDFs with.
#[derive(Clone)]
pub struct Engines {
    /// Opens documents, reads their words and draws their pages.
    pub pdf: Arc<dyn PdfReader>,
    /// Finds words on pages that have none of their own; `None` leaves such pages without words.
    pub ocr: Option<Arc<dyn Ocr>>,
    /// Makes the vectors of pages; `None` indexes words alone.
    pub encoder: Option<Arc<dyn PageEncoder>>,
}

impl Engines {
    /// Reads words with `pdf`, and nothing else.
    pub fn new(pdf: Arc<dyn PdfReader>) -> Self {
        Self { pdf, ocr: None, encoder: None }
    }
}

/// How a run goes about it.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Documents read at once; one a core when `None`.
    pub workers: Option<usize>,
    /// Reads documents again that failed before and have not changed.
    pub retry_failed: bool,
    /// Which reader reads pages that are pictures. Whoever makes [`Engines::ocr`] looks here; where
    /// there is none although one is wanted, documents with such pages get a note that says so.
    pub ocr: OcrChoice,
    /// Languages of such pages as tesseract names them, `+` between them, where they are known.
    pub ocr_languages: Option<String>,
    /// Drops the documents of a root that held some and holds none now, and of a folder within a
    /// root that held several and is empty. Without it they stay, since an empty folder may be a
    /// drive that is not mounted; documents that were moved elsewhere go with either.
    pub drop_emptied: bool,
    /// Reads PDFs outside the roots to which links in them lead, as it does by default. Without it
    /// such links are passed over, for roots that others may write to.
    pub links_out: bool,
    /// After so long, pages that OCR should read are indexed by their looks alone, and read when all
    /// documents have been looked at; `None` reads each page at its turn. OCR takes seconds a page,
    /// so a long run is of use early.
    pub look_first: Option<Duration>,
    /// How much of a document is read.
    pub limits: Limits,
    /// When what was read is committed.
    pub batch: BatchSize,
    /// Set from elsewhere, it ends the run after a commit. The next run goes on from there.
    pub stop: Arc<AtomicBool>,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            workers: None,
            retry_failed: false,
            drop_emptied: false,
            ocr: OcrChoice::Auto,
            ocr_languages: None,
            links_out: true,
            look_first: Some(BatchSize::default().time),
            limits: Limits::default(),
            batch: BatchSize::default(),
            stop: Arc::default(),
        }
    }
}

/// How much of a document is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Size of a file, bytes; a larger one is not read.
    pub file_bytes: u64,
    /// Pages read of a document; the others are left out, and a note says so.
    pub pages: u32,
    /// Text kept of a page, bytes; the rest is left out, and a note says so.
    pub text_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 512 << 20, pages: 10_000, text_bytes: 1_000_000 }
    }
}

/// When a run commits: as soon as one of these is reached. An interrupted run repeats at most one
/// batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSize {
    /// Pages, or documents without any.
    pub pages: usize,
    /// Vectors and text, bytes.
    pub bytes: usize,
    /// Time since the last commit.
    pub time: Duration,
}

impl Default for BatchSize {
    fn default() -> Self {
        Self { pages: 256, bytes: 64 << 20, time: Duration::from_secs(20) }
    }
}
