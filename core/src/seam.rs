//! What the write path and the read path ask of their surroundings.
//!
//! All calls are synchronous and may block. Errors cross a seam boxed: the caller only adds
//! what it was doing and passes them on, so the adapter's own typed error stays the source.

use std::collections::HashSet;

use crate::{
    DocumentId, DocumentRecord, EncodedPage, ModelId, ModelRecord, PageId, PageImage, PageRecord,
    PageSize, PageVectors, PictureSize, QueryVectors,
};

/// An error on its way through a seam.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Pictures in, page vectors out. `&self` and deterministic: a page gets the same vectors alone
/// and in any batch, on one thread and on many.
///
/// Implemented by every model family of `pagesight-model`; the fake is
/// [`FakeEncoder`](crate::testing::FakeEncoder), the contract suite
/// [`page_encoder_contract`](crate::testing::page_encoder_contract).
pub trait PageEncoder: Send + Sync {
    /// Names weights and recipe.
    fn model_id(&self) -> &ModelId;

    /// Row length of the vectors.
    fn dim(&self) -> usize;

    /// The picture that [`encode_pages`](Self::encode_pages) wants of a page of this size. ColPali
    /// wants the same square of every page; other families keep the page's shape.
    fn picture(&self, page: PageSize) -> PictureSize;

    /// Encodes pages, each drawn in the size that [`picture`](Self::picture) asks, into as many
    /// multi-vectors in the same order, rows of length 1, each with the layout of its page. Where
    /// vectors are left out or merged, each of those that remain says its
    /// [place](crate::PageVectors::place).
    ///
    /// # Errors
    /// When a picture has a size that the model never asks for or the model cannot run; never a
    /// made-up vector.
    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError>;
}

/// Questions in, query vectors out. Deterministic as [`PageEncoder`] is.
///
/// Implementors and fake are those of [`PageEncoder`]; the contract suite is
/// [`query_encoder_contract`](crate::testing::query_encoder_contract).
pub trait QueryEncoder: Send + Sync {
    /// Encodes queries into as many multi-vectors, in the same order, rows of length 1. Each token
    /// says which bytes of the question it stands for, and whether the model can spell them.
    ///
    /// # Errors
    /// When the model cannot run.
    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError>;
}

/// A whole model: what an index needs to take pages in and to answer questions.
pub trait Model: PageEncoder + QueryEncoder {
    /// What an index remembers of the model. Its id and row length are those of [`PageEncoder`].
    fn record(&self) -> ModelRecord;

    /// Whether it can encode pages; a model may be loaded for questions alone.
    fn encodes_pages(&self) -> bool {
        true
    }
}

/// One step of indexing: it becomes visible and durable as a whole or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Ledger records to write; each replaces the record of the same path.
    pub documents: Vec<DocumentRecord>,
    /// Paths whose record is dropped. A document whose last record goes loses its pages.
    pub dropped_paths: Vec<String>,
    /// Documents whose pages are dropped before `pages` are added (a re-index).
    pub dropped_pages: Vec<DocumentId>,
    /// Pages to add; a page that is there already is replaced.
    pub pages: Vec<PageRecord>,
}

impl Batch {
    /// Whether committing would change nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The write side of a store. One writer at a time.
pub trait PageSink {
    /// Every record of the ledger.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn documents(&mut self) -> Result<Vec<DocumentRecord>, BoxError>;

    /// Makes `batch` durable. When this returns, the batch survives kill -9 and power loss;
    /// when it fails, the store is as it was before.
    ///
    /// # Errors
    /// When the store cannot be written, e.g. a full disk.
    fn commit(&mut self, batch: Batch) -> Result<(), BoxError>;
}

/// Which pages a search may return; `None` is all of them.
pub type DocumentFilter<'a> = Option<&'a HashSet<DocumentId>>;

/// Takes a batch of pages with their multi-vectors.
pub type Visit<'a> = &'a mut dyn FnMut(&[(PageId, PageVectors)]);

/// The stored multi-vectors of one snapshot.
pub trait VectorSource: Send + Sync {
    /// Calls `visit` with all pages that have vectors and pass `filter`, in batches, each page
    /// once, in any order. Bounded memory: one batch at a time.
    ///
    /// # Errors
    /// When a page cannot be read or its checksum is wrong; never a partial result as if whole.
    fn scan(&self, filter: DocumentFilter<'_>, visit: Visit<'_>) -> Result<(), BoxError>;

    /// The multi-vectors of `pages`, in any order; a page that has none is left out. By default
    /// the pages of their documents are scanned.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    fn vectors_of(&self, pages: &[PageId]) -> Result<Vec<(PageId, PageVectors)>, BoxError> {
        let wanted: HashSet<PageId> = pages.iter().copied().collect();
        let documents = pages.iter().map(|page| page.document).collect();
        let mut found = Vec::with_capacity(pages.len());
        self.scan(Some(&documents), &mut |batch| {
            found.extend(batch.iter().filter(|(id, _)| wanted.contains(id)).cloned());
        })?;
        Ok(found)
    }
}

/// The words of one snapshot.
pub trait TextIndex: Send + Sync {
    /// The `k` best pages for `query` by BM25, best first, ties by [`PageId`]. Any string is a
    /// query; one without words finds nothing.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn search_text(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
    ) -> Result<Vec<(PageId, f32)>, BoxError>;

    /// Those of `pages` that have hardly a word, such as scans: that a question's words are not
    /// on them says nothing. By default none.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn wordless(&self, pages: &[PageId]) -> Result<HashSet<PageId>, BoxError> {
        let _ = pages;
        Ok(HashSet::new())
    }
}
