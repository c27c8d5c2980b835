//! What the write path and the read path ask of their surroundings.
//!
//! All calls are synchronous and may block. Errors cross a seam boxed: the caller only adds
//! what it was doing and passes them on, so the adapter's own typed error stays the source.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::corpus::{FoundWords, Frequencies, WordFacts};
use crate::document::{Attachment, DocumentId, DocumentRecord};
use crate::encoded::EncodedPage;
use crate::failure::{Failure, FailureKind};
use crate::geometry::{PageSize, PictureSize};
use crate::image::PageImage;
use crate::layout::Area;
use crate::model::{ModelId, ModelRecord};
use crate::multivector::{PageVectors, QueryVectors};
use crate::page::{PageId, PageRecord};
use crate::passage::{EmbedderRecord, EncodedPassages, PassageQuestion};
use crate::reading::{DrawSize, Filter, OcrText, PageText, PageWord};
use crate::scale::Found;
use crate::turn::Turn;

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

    /// What a page is squeezed into that size with: what the model's reference resizes pictures
    /// with, since its vectors depend on it. Bicubic unless an encoder says otherwise.
    fn filter(&self) -> Filter {
        Filter::default()
    }

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

/// Text in, vectors of its meaning out: of pages, a passage at a time, and of questions. `&self` and
/// deterministic, as [`PageEncoder`] is.
///
/// Implemented by `Embedder` of `pagesight-model`; the fake is
/// [`FakePassageEncoder`](crate::testing::FakePassageEncoder), the contract suite
/// [`passage_encoder_contract`](crate::testing::passage_encoder_contract).
pub trait PassageEncoder: Send + Sync {
    /// What an index remembers of it.
    fn record(&self) -> EmbedderRecord;

    /// The passages that `text`, all words of a page, is cut into: ranges of bytes, in order, whole
    /// characters, without overlap. Bounded, whatever the text: what a page has beyond some hundred
    /// passages is in none.
    ///
    /// # Errors
    /// When the text cannot be cut.
    fn passages(&self, text: &str) -> Result<Vec<Range<usize>>, BoxError>;

    /// Encodes the texts of pages, in the same order. Of a page there are as many pooled rows as
    /// [`passages`](Self::passages) gives ranges, in their order; `None` for a page without any.
    ///
    /// # Errors
    /// When the model cannot run; never a made-up vector.
    fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Option<EncodedPassages>>, BoxError>;

    /// What of `text` the rows of [`EncodedPassages::tokens`] stand for, in their order: ranges of
    /// bytes. A row that stands for nothing of the text has an empty one.
    ///
    /// # Errors
    /// When the text cannot be cut.
    fn tokens(&self, text: &str) -> Result<Vec<Range<usize>>, BoxError>;

    /// Whether the model was made for the language of `question`. Where it was not, its vectors
    /// mean little, and nobody should ask for them.
    fn understands(&self, question: &str) -> bool;

    /// Encodes a question. Of a very long one the first part counts.
    ///
    /// # Errors
    /// When the model cannot run.
    fn encode_question(&self, question: &str) -> Result<PassageQuestion, BoxError>;
}

/// Why a PDF could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PdfError {
    /// The reader itself does not work, so that no document can be read. The source says why.
    #[error("the PDF reader does not work")]
    Reader(#[source] BoxError),
    /// This document, or this page of it, cannot be read; others can.
    #[error("{0}")]
    Failed(Failure),
}

impl PdfError {
    /// A document or page that cannot be read.
    pub fn failed(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self::Failed(Failure::new(kind, reason))
    }
}

/// Reads PDFs: their words, and their pages as pictures. Called from many threads at once; one
/// document that crashes or hangs the reader costs that document and never another one.
///
/// Implemented by the pool of worker processes of `pagesight-pdf`; the fake is
/// [`FakePdfReader`](crate::testing::FakePdfReader), the contract suite
/// [`pdf_reader_contract`](crate::testing::pdf_reader_contract).
pub trait PdfReader: Send + Sync {
    /// Makes sure that documents can be read at all. What it returns is a line for a person, e.g.
    /// that a part of the sandbox is missing on this system.
    ///
    /// # Errors
    /// [`PdfError::Reader`].
    fn ready(&self) -> Result<Option<String>, PdfError> {
        Ok(None)
    }

    /// Whether there are passwords to try on encrypted documents. If so, documents that failed for
    /// want of one are worth another try.
    fn has_passwords(&self) -> bool {
        false
    }

    /// Opens the document `document`, which consists of `bytes`. When `stop` is set from elsewhere,
    /// what the document is being asked ends early with an error.
    ///
    /// # Errors
    /// [`PdfError::Failed`] when the document cannot be opened, [`PdfError::Reader`] when none can.
    fn open(
        &self,
        document: DocumentId,
        bytes: Arc<Vec<u8>>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Box<dyn PdfDocument>, PdfError>;

    /// The document, where the reader still has it open and nobody else uses it. This saves its
    /// caller reading the file: a second picture of one document costs the drawing alone.
    fn opened(&self, document: DocumentId) -> Option<Box<dyn PdfDocument>> {
        let _ = document;
        None
    }
}

/// A document that a [`PdfReader`] has open. Dropping it gives the reader its means back, at once.
pub trait PdfDocument: Send {
    /// Number of pages; 0 for a PDF that has none.
    fn page_count(&self) -> u32;

    /// The title in the document's metadata, when there is a readable one.
    fn title(&self) -> Option<&str>;

    /// What a person should know of the document, a line each: that it is not what it seems, or
    /// that something in it is not read.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// Size of page `number` (1-based), and its words, of which the first `most_bytes` bytes are
    /// kept. Cheap beside drawing; with 0 bytes it is the way to learn a page's size.
    ///
    /// # Errors
    /// [`PdfError`]. After [`PdfError::Failed`] other pages may still be asked for.
    fn text(&mut self, number: u32, most_bytes: usize) -> Result<PageText, PdfError>;

    /// Draws page `number` (1-based) as it is displayed, on white. The same page in the same size
    /// gives the same pixels, on every machine. Cheapest right after the page's
    /// [`text`](Self::text).
    ///
    /// # Errors
    /// As [`text`](Self::text); also when a picture of [`DrawSize::Exact`] would be larger than
    /// the reader draws.
    fn draw(&mut self, number: u32, size: DrawSize) -> Result<PageImage, PdfError>;

    /// The PDFs among the files that are attached to the document, in its order. By default none.
    fn attachments(&self) -> &[Attachment] {
        &[]
    }

    /// The bytes of one of its [`attachments`](Self::attachments), when there are at most
    /// `most_bytes` of them.
    ///
    /// # Errors
    /// As [`text`](Self::text); [`FailureKind::TooLarge`] when there are more bytes.
    fn attached(&mut self, attachment: &Attachment, most_bytes: u64) -> Result<Vec<u8>, PdfError> {
        let _ = most_bytes;
        let reason = format!("there is no attached file {:?}", attachment.name);
        Err(PdfError::failed(FailureKind::Other, reason))
    }

    /// Where the words of page `number` (1-based) stand, as it is displayed: boxes around pieces of
    /// lines, which tell what of its ink its text explains. By default none.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    fn text_areas(&mut self, number: u32) -> Result<Vec<Area>, PdfError> {
        let _ = number;
        Ok(Vec::new())
    }

    /// The words that page `number` (1-based) shows of its text layer, in its own order, each with
    /// the box around it. By default none.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    fn words(&mut self, number: u32) -> Result<Vec<PageWord>, PdfError> {
        let _ = number;
        Ok(Vec::new())
    }
}

/// Finds words in the picture of a page. `&self`, from many threads at once.
///
/// Implemented by `Embedded` and `Tesseract` of `pagesight-ocr`, and by `Readers`, which has the rule
/// which of them reads a page; the fake is
/// [`FakeOcr`](crate::testing::FakeOcr), the contract suite
/// [`ocr_contract`](crate::testing::ocr_contract).
pub trait Ocr: Send + Sync {
    /// The resolution in dots per inch in which it wants pages drawn.
    fn dpi(&self) -> u32;

    /// Reads the picture of a page. A picture without words gives an empty text. Gives up with an
    /// error soon after `stop` is set from elsewhere.
    ///
    /// # Errors
    /// When the engine fails, takes too long, or is stopped; never made-up words.
    fn read(&self, page: &PageImage, stop: &AtomicBool) -> Result<OcrText, BoxError>;

    /// How the picture of a page must be turned so that its words stand upright; `None` when the
    /// engine cannot tell. By default it never can.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn turn(&self, page: &PageImage, stop: &AtomicBool) -> Result<Option<Turn>, BoxError> {
        let _ = (page, stop);
        Ok(None)
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
    /// Pages that are there and get other words; their vectors and layout stay, and none are given
    /// here. What is not there is left out.
    pub words: Vec<PageRecord>,
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

    /// Hears that all documents have been looked at, and that what comes next, the reading of pages
    /// by OCR, takes long: a store may bring in step now what it derives from the words. By default
    /// nothing happens.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn looked(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Which pages a search may return; `None` is all of them.
pub type DocumentFilter<'a> = Option<&'a HashSet<DocumentId>>;

/// Takes a batch of pages with their multi-vectors.
pub type Visit<'a> = &'a mut dyn FnMut(&[(PageId, PageVectors)]);

/// Why something cannot be read now that is sound as far as anybody knows: it lies on another machine, which
/// cannot be reached. Who finds it as the error of a seam goes on with what is here.
#[derive(Debug, thiserror::Error)]
#[error("what lies elsewhere cannot be read now")]
pub struct OutOfReach(#[source] pub BoxError);

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
    /// The `k` best pages for `query` by BM25, best first, ties by [`PageId`], and the scale of the
    /// scores of all pages that pass `filter`: a page without a word of the query has 0. Any string
    /// is a query; one without words finds nothing.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn search_text(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
    ) -> Result<Found, BoxError>;

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

/// The words of some pages of a snapshot, of which other machines have the others. What all of them
/// have together decides what a word is worth, so it is given with each question: the pages then have
/// the scores that one machine with all pages gives them, to the last digit.
///
/// Implementors: the store's reader; what several of them say is joined in the query crate.
pub trait WordsPart: Send + Sync {
    /// What is known of the words of these pages.
    fn facts(&self) -> WordFacts;

    /// On how many of these pages what `query` looks up is. `all` are the facts of all pages.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn frequencies(&self, query: &str, all: &WordFacts) -> Result<Frequencies, BoxError>;

    /// The `k` best of these pages that pass `filter`, by the facts and frequencies of all pages.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn search_words(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
        all: (&WordFacts, &Frequencies),
    ) -> Result<FoundWords, BoxError>;
}
