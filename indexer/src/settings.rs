//! What a run may use and how far it may go.

use std::path::PathBuf;
use std::time::Duration;

use crate::batch::BatchSize;
use crate::sandbox::Sandbox;

/// What one run reads, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Paths in the ledger are relative to this folder where they can be.
    pub base: PathBuf,
    /// Folders to walk, or single files.
    pub roots: Vec<PathBuf>,
    /// Worker processes, at least 1.
    pub workers: usize,
    /// The program that serves as worker: one that calls
    /// [`serve_worker_if_asked`](crate::serve_worker_if_asked) first in `main`.
    pub worker_program: PathBuf,
    /// libpdfium.
    pub pdfium: PathBuf,
    /// Tried in turn on encrypted documents.
    pub passwords: Vec<String>,
    /// Reads documents again that failed before and have not changed.
    pub retry_failed: bool,
    /// Reads pages without words; `None` does not.
    pub ocr_languages: Option<String>,
    /// What a file, a page and a worker may cost.
    pub limits: Limits,
    /// Whether workers must be shut in.
    pub sandbox: Sandbox,
    /// When what was read is committed.
    pub batch: BatchSize,
}

/// What a file, a page and a worker may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time to open a document, and time to draw and read a page.
    pub page_time: Duration,
    /// Address space of a worker, bytes.
    pub worker_bytes: u64,
    /// Pages read of a document.
    pub pages: u32,
    /// Size of a file, bytes.
    pub file_bytes: u64,
    /// Text kept of a page, bytes.
    pub text_bytes: usize,
    /// Pixels of a drawing, at most 64 million; a larger one is drawn smaller.
    pub pixels: u64,
    /// Documents that a worker opens before a new one takes its place.
    pub worker_documents: u32,
    /// Memory that a worker may keep after a document; with more, a new one takes its place. Only
    /// seen on Linux, bytes.
    pub worker_kept_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            page_time: Duration::from_secs(30),
            worker_bytes: 1 << 30,
            pages: 10_000,
            file_bytes: 512 << 20,
            text_bytes: 1_000_000,
            pixels: 64_000_000,
            worker_documents: 500,
            worker_kept_bytes: 256 << 20,
        }
    }
}
