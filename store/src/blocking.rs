//! The seams of core over the async store: every call waits on a tokio runtime.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use pagesight_core::seam::{
    Batch, BoxError, DocumentFilter, PageSink, TextIndex, VectorSource, Visit,
};
use pagesight_core::{DocumentRecord, PageId, PageRecord, PageVectors};
use pagesight_maxsim::Segments;
use tokio::runtime::Handle;

use crate::{Compact, Reader, Snapshot, Snippet, StoreError, StoredModel, Swept, Tuning, Writer};

/// A [`Reader`] for callers that may block. Not for use on a runtime's own threads.
pub struct BlockingReader {
    reader: Reader,
    runtime: Handle,
}

impl BlockingReader {
    /// See [`Reader::open`].
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open(folder: &Path, runtime: Handle) -> Result<Self, StoreError> {
        let reader = runtime.block_on(Reader::open(folder))?;
        Ok(Self { reader, runtime })
    }

    /// See [`Reader::newer`].
    ///
    /// # Errors
    /// As [`Reader::newer`].
    pub fn newer(&self) -> Result<Option<Self>, StoreError> {
        let newer = self.runtime.block_on(self.reader.newer())?;
        Ok(newer.map(|reader| Self { reader, runtime: self.runtime.clone() }))
    }

    /// See [`Reader::snapshot`].
    pub fn snapshot(&self) -> &Snapshot {
        self.reader.snapshot()
    }

    /// See [`Reader::codes`].
    ///
    /// # Errors
    /// As [`Reader::codes`].
    pub fn codes(&self) -> Result<Option<Segments>, StoreError> {
        self.reader.codes()
    }

    /// See [`Reader::doubt_codes`].
    pub fn doubt_codes(&self) {
        self.reader.doubt_codes();
    }

    /// See [`Reader::documents`].
    ///
    /// # Errors
    /// As [`Reader::documents`].
    pub fn documents(&self) -> Result<Vec<DocumentRecord>, StoreError> {
        self.runtime.block_on(self.reader.documents())
    }

    /// See [`Reader::pages`].
    ///
    /// # Errors
    /// As [`Reader::pages`].
    pub fn pages(&self, ids: &[PageId]) -> Result<Vec<PageRecord>, StoreError> {
        self.runtime.block_on(self.reader.pages(ids))
    }

    /// See [`Reader::snippet`].
    pub fn snippet(&self, query: &str, text: &str) -> Snippet {
        self.reader.snippet(query, text)
    }
}

impl VectorSource for BlockingReader {
    fn scan(&self, filter: DocumentFilter<'_>, visit: Visit<'_>) -> Result<(), BoxError> {
        let mut stream = self.runtime.block_on(self.reader.vectors(filter))?;
        // One batch is read and checked while the one before it is visited.
        let (send, mut receive) = tokio::sync::mpsc::channel(1);
        let reading = self.runtime.spawn(async move {
            while let Some(batch) = stream.next().await.transpose() {
                let last = batch.is_err();
                if send.send(batch).await.is_err() || last {
                    break;
                }
            }
        });
        while let Some(batch) = receive.blocking_recv() {
            visit(&batch?);
        }
        // A reader that panicked has not read to the end: damaged bytes can do that.
        let path = self.reader.folder().join("pages.lance");
        let what = "its content makes no sense".into();
        Ok(self.runtime.block_on(reading).map_err(|_| StoreError::DamagedFile { path, what })?)
    }

    fn vectors_of(&self, pages: &[PageId]) -> Result<Vec<(PageId, PageVectors)>, BoxError> {
        Ok(self.runtime.block_on(self.reader.vectors_of_pages(pages))?)
    }
}

impl TextIndex for BlockingReader {
    fn search_text(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
    ) -> Result<Vec<(PageId, f32)>, BoxError> {
        Ok(self.reader.search_text(query, k, filter)?)
    }

    fn wordless(&self, pages: &[PageId]) -> Result<HashSet<PageId>, BoxError> {
        Ok(self.reader.wordless(pages)?)
    }
}

/// A [`Writer`] for callers that may block. Not for use on a runtime's own threads.
pub struct BlockingWriter {
    writer: Writer,
    runtime: Handle,
}

impl BlockingWriter {
    /// See [`Writer::create`].
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn create(folder: &Path, runtime: Handle) -> Result<Self, StoreError> {
        let writer = runtime.block_on(Writer::create(folder))?;
        Ok(Self { writer, runtime })
    }

    /// See [`Writer::open`].
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn open(folder: &Path, runtime: Handle) -> Result<Self, StoreError> {
        let writer = runtime.block_on(Writer::open(folder))?;
        Ok(Self { writer, runtime })
    }

    /// See [`Writer::snapshot`].
    pub fn snapshot(&self) -> &Snapshot {
        self.writer.snapshot()
    }

    /// See [`Writer::set_model`].
    ///
    /// # Errors
    /// As [`Writer::set_model`].
    pub fn set_model(&mut self, model: StoredModel, dim: usize) -> Result<(), StoreError> {
        self.runtime.block_on(self.writer.set_model(model, dim))
    }

    /// See [`Writer::set_tuning`].
    ///
    /// # Errors
    /// As [`Writer::set_tuning`].
    pub fn set_tuning(&mut self, tuning: Option<Tuning>) -> Result<(), StoreError> {
        self.runtime.block_on(self.writer.set_tuning(tuning))
    }

    /// See [`Writer::compact`].
    ///
    /// # Errors
    /// As [`Writer::compact`].
    pub fn compact(&mut self, cost: Compact) -> Result<bool, StoreError> {
        self.runtime.block_on(self.writer.compact(cost))
    }

    /// See [`Writer::maintain`].
    ///
    /// # Errors
    /// As [`Writer::maintain`].
    pub fn maintain(&mut self, stop: &AtomicBool) -> Result<Swept, StoreError> {
        self.runtime.block_on(self.writer.maintain(stop))
    }

    /// See [`Writer::sweep`].
    ///
    /// # Errors
    /// As [`Writer::sweep`].
    pub fn sweep(&mut self) -> Result<Swept, StoreError> {
        self.writer.sweep()
    }
}

impl PageSink for BlockingWriter {
    fn documents(&mut self) -> Result<Vec<DocumentRecord>, BoxError> {
        Ok(self.writer.documents().cloned().collect())
    }

    fn commit(&mut self, batch: Batch) -> Result<(), BoxError> {
        Ok(self.runtime.block_on(self.writer.commit(batch))?)
    }
}
