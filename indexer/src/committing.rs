//! What the next commit writes, and when it is due.

use std::time::Instant;

use pagesight_core::seam::{Batch, PageSink};
use pagesight_core::{DocumentId, DocumentRecord, PageRecord};

use crate::error::IndexError;
use crate::options::BatchSize;

/// About what a store reads of a page that gets other words, bytes: vectors as those of nano.
const STORED_VECTORS: usize = 512 << 10;

/// Gathers pages and records into batches for a store.
pub(crate) struct Committing<'a> {
    sink: &'a mut dyn PageSink,
    size: &'a BatchSize,
    batch: Batch,
    /// Vectors and text of the batch.
    bytes: usize,
    /// Pages of the batch that are in the store already, and get other vectors.
    again: u64,
    /// Pages that are committed.
    committed: u64,
    since: Instant,
}

impl<'a> Committing<'a> {
    pub fn new(sink: &'a mut dyn PageSink, size: &'a BatchSize) -> Self {
        let (batch, since) = (Batch::default(), Instant::now());
        Self { sink, size, batch, bytes: 0, again: 0, committed: 0, since }
    }

    pub fn add_page(&mut self, page: PageRecord) {
        let vectors = page.vectors.as_ref().map_or(0, |v| size_of_val(v.values()));
        self.bytes += page.text.len() + vectors;
        self.batch.pages.push(page);
    }

    /// Adds a page that is committed and has other words now; without vectors those stay that it
    /// has.
    pub fn add_words(&mut self, page: PageRecord) {
        if page.vectors.is_some() {
            self.again += 1;
            self.add_page(page);
        } else {
            self.bytes += page.text.len() + STORED_VECTORS;
            self.batch.words.push(page);
        }
    }

    /// Tells the store that all documents have been looked at.
    pub fn looked(&mut self) -> Result<(), IndexError> {
        self.sink.looked().map_err(IndexError::Store)
    }

    pub fn add_record(&mut self, record: DocumentRecord) {
        self.batch.documents.push(record);
    }

    pub fn drop_pages(&mut self, document: DocumentId) {
        self.batch.dropped_pages.push(document);
    }

    pub fn drop_path(&mut self, path: &str) {
        self.batch.dropped_paths.push(path.into());
    }

    /// Whether enough has come together.
    pub fn is_due(&self) -> bool {
        let Batch { pages, documents, .. } = &self.batch;
        pages.len() >= self.size.pages
            || self.bytes >= self.size.bytes
            || documents.len() >= self.size.pages
            || (self.since.elapsed() >= self.size.time && !self.batch.is_empty())
    }

    /// Commits what has come together, with the records of the documents that are `open`. Returns
    /// how many pages this has committed in all; `None` when there was nothing to commit.
    pub fn commit<'r>(
        &mut self,
        open: impl Iterator<Item = &'r DocumentRecord>,
    ) -> Result<Option<u64>, IndexError> {
        self.batch.documents.extend(open.cloned());
        self.since = Instant::now();
        self.bytes = 0;
        if self.batch.is_empty() {
            return Ok(None);
        }
        let batch = std::mem::take(&mut self.batch);
        let pages = batch.pages.len() as u64 - std::mem::take(&mut self.again);
        self.sink.commit(batch).map_err(IndexError::Store)?;
        self.committed += pages;
        Ok(Some(self.committed))
    }
}
