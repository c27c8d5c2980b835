//! Whole runs over folders, with fakes in the place of PDF library, model, OCR and store.

mod attached;
mod changes;
mod encoding;
mod first_look;
mod overlap;
mod own_vectors;
mod reading;

use std::fs;
use std::sync::Arc;

use pagesight_core::seam::PageSink;
use pagesight_core::testing::{FakeEncoder, FakePdfReader, FakeStore};
use pagesight_core::{DocumentRecord, Slices};
use pagesight_indexer::{Engines, Event, IndexError, Summary, SyncOptions, sync};

/// A folder, an index of it, and what reads.
struct Place {
    folder: tempfile::TempDir,
    store: FakeStore,
    reader: Arc<FakePdfReader>,
    engines: Engines,
    options: SyncOptions,
}

impl Place {
    fn new() -> Self {
        Self::with(FakePdfReader::default())
    }

    fn with(reader: FakePdfReader) -> Self {
        let reader = Arc::new(reader);
        Self {
            folder: tempfile::tempdir().unwrap(),
            store: FakeStore::default(),
            engines: Engines::new(Arc::clone(&reader) as _),
            reader,
            options: SyncOptions { workers: Some(3), ..SyncOptions::default() },
        }
    }

    fn encoder(&mut self) {
        self.engines.encoder = Some(Arc::new(FakeEncoder::new(8, Slices::grid(2, 1))));
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, pages: &[&str]) {
        fs::write(self.path(name), FakePdfReader::pdf(pages)).unwrap();
    }

    fn run_told(&mut self, tell: &mut dyn FnMut(Event<'_>)) -> Result<Summary, IndexError> {
        let base = self.path("");
        let roots = [base.clone()];
        sync(&mut self.store, &self.engines, &base, &roots, &self.options, tell)
    }

    fn run(&mut self) -> Summary {
        self.run_told(&mut |_| {}).unwrap()
    }

    fn record(&mut self, path: &str) -> Option<DocumentRecord> {
        self.store.documents().unwrap().into_iter().find(|record| record.path == path)
    }

    fn texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.store.pages().into_iter().map(|page| page.text).collect();
        texts.sort();
        texts
    }
}

fn counts(summary: &Summary) -> [u64; 5] {
    [
        summary.documents_indexed,
        summary.documents_skipped,
        summary.documents_renamed,
        summary.documents_dropped,
        summary.documents_failed,
    ]
}
