//! What a run tells while it is under way, and at its end.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use pagesight_core::{DocumentRecord, DocumentStatus};

/// What became of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was read in this run; its record says how well.
    Indexed,
    /// It has not changed, so nothing was read.
    Skipped,
    /// Its bytes are or were in the index under another path, so no page was read.
    Renamed,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The folders have been walked: what there is to read.
    Planned {
        /// Files to read.
        documents: usize,
        /// Their sizes, bytes.
        bytes: u64,
    },
    /// A page was drawn and read, or failed.
    Page {
        /// Ledger path.
        path: &'a str,
        /// Share of the document's bytes that this page stands for.
        bytes: u64,
    },
    /// A page is indexed by its looks, and OCR reads it later; [`Page`](Self::Page) follows then.
    Seen {
        /// Ledger path.
        path: &'a str,
    },
    /// All documents have been looked at. What follows is the reading of pages by OCR.
    Looked {
        /// Pages that are to be read.
        waiting: usize,
    },
    /// How far the run is: after each page and each document.
    Progress(Progress),
    /// A document is finished.
    Document {
        /// Its ledger record as committed or about to be.
        record: &'a DocumentRecord,
        /// What this run did.
        outcome: Outcome,
        /// Bytes of the plan that this finishes, beyond those of its pages.
        bytes: u64,
    },
    /// A batch is durable and visible to searches: every document that was finished before this
    /// is safe.
    Committed {
        /// Pages of this run that are committed.
        pages: u64,
    },
    /// The meaning of the text of some pages was encoded.
    Embedded {
        /// Pages of this run so far.
        pages: usize,
        /// Pages that had words and no passages when the run began.
        of: usize,
    },
    /// A file is gone from the folders, and its path from the index.
    Dropped {
        /// Ledger path.
        path: &'a str,
    },
    /// Something that a person should know, e.g. that a folder cannot be read.
    Warning {
        /// One line.
        text: String,
    },
}

/// How far a run is. Documents are opened ahead of their turn to count their pages, so the numbers
/// are soon right, and nearly right before.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Pages that are read, or have failed.
    pub pages_done: u64,
    /// Pages that can be found by their looks, and whose words OCR is still to read. They are not
    /// done.
    pub pages_waiting: u64,
    /// Pages to read in this run, those that are done among them. Documents that have not been
    /// opened yet count as many as the others have on average.
    pub pages: u64,
    /// Whether all documents have been opened, so that `pages` is a count.
    pub is_counted: bool,
    /// How much of the time is over, from 0 to 1. Pages that OCR reads take longer than others.
    pub part: f64,
    /// How long the reading will still take; `None` in the first seconds.
    pub left: Option<Duration>,
}

/// Where the time of a run went: what its threads spent in each stage, added up. Stages overlap, so
/// that together they take longer than the run; one that takes as long as the run on each thread is
/// what the run waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stages {
    /// Reading the words that PDFs hold.
    pub words: Duration,
    /// Looking whether OCR should read a page, and OCR.
    pub ocr: Duration,
    /// Drawing pages for the encoder.
    pub draw: Duration,
    /// Encoding pictures of pages, on all cores.
    pub encode: Duration,
    /// Encoding the meaning of texts, on all cores.
    pub meaning: Duration,
    /// Writing to the index.
    pub commit: Duration,
}

impl Stages {
    /// Adds what was spent elsewhere.
    pub(crate) fn add(&mut self, more: Self) {
        self.words += more.words;
        self.ocr += more.ocr;
        self.draw += more.draw;
        self.encode += more.encode;
        self.meaning += more.meaning;
        self.commit += more.commit;
    }

    /// All stages of reading a page.
    pub(crate) fn reading(self) -> Duration {
        self.words + self.ocr + self.draw
    }
}

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Documents read in this run.
    pub documents_indexed: u64,
    /// Documents unchanged.
    pub documents_skipped: u64,
    /// Paths whose document was in the index already.
    pub documents_renamed: u64,
    /// Paths dropped.
    pub documents_dropped: u64,
    /// Documents with pages that failed, also when nothing was read.
    pub documents_partial: u64,
    /// Documents without any page, also when nothing was read.
    pub documents_failed: u64,
    /// Pages added in this run.
    pub pages_indexed: u64,
    /// Pages that failed in this run.
    pub pages_failed: u64,
    /// Pages that this run has left to be found by their looks: the next one reads their words. There
    /// are some when it was stopped before it came to them, and when their document could not be read
    /// a second time.
    pub pages_waiting: u64,
    /// Records with failures, by path; their reasons are inside.
    pub failures: Vec<DocumentRecord>,
    /// Folders that held documents and hold none now; nothing of them was dropped, unless that was
    /// asked for with [`SyncOptions::drop_emptied`](crate::SyncOptions::drop_emptied).
    pub emptied: Vec<Emptied>,
    /// The run was asked to stop; the next one goes on.
    pub interrupted: bool,
    /// Where its time went.
    pub stages: Stages,
}

/// A root, or an empty folder within one, below which nothing was found, although the index has
/// documents from there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Emptied {
    /// The folder, absolute.
    pub root: PathBuf,
    /// Paths that the index has below it, without those of documents that were moved elsewhere.
    pub documents: usize,
}

impl Emptied {
    pub(crate) fn new(root: PathBuf, documents: usize) -> Self {
        Self { root, documents }
    }
}

impl fmt::Display for Emptied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let documents = if self.documents == 1 { "document" } else { "documents" };
        let root = self.root.display();
        write!(f, "found nothing below {root}, which held {} {documents}", self.documents)
    }
}

impl Summary {
    /// Counts one document that is finished.
    pub(crate) fn count(&mut self, record: &DocumentRecord, outcome: Outcome) {
        match outcome {
            Outcome::Skipped => self.documents_skipped += 1,
            Outcome::Renamed => self.documents_renamed += 1,
            Outcome::Indexed if record.status != DocumentStatus::Failed => {
                self.documents_indexed += 1;
            }
            Outcome::Indexed => {}
        }
        match record.status {
            DocumentStatus::Failed => self.documents_failed += 1,
            DocumentStatus::Partial => self.documents_partial += 1,
            DocumentStatus::Ok | DocumentStatus::InProgress => return,
        }
        self.failures.push(record.clone());
    }
}
