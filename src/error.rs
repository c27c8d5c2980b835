//! What can go wrong, from any room.

use std::path::PathBuf;

use pagesight_core::seam::{BoxError, PdfError};
use pagesight_core::{Failure, ModelId, ModelSource, VectorError};
use pagesight_indexer::{AddError, IndexError};
#[cfg(feature = "model")]
use pagesight_model::ModelError;
#[cfg(feature = "ocr")]
use pagesight_ocr::OcrError;
#[cfg(feature = "pdf")]
use pagesight_pdf::StartError;
use pagesight_query::{HeatError, PathFilterError, QueryError};
use pagesight_store::StoreError;

use crate::parts::OtherSnapshot;

#[cfg(feature = "ask")]
use crate::endpoint::EndpointError;

/// An error of the library. The cause chain tells the rest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The index on disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A run of indexing ended early; what was committed is safe.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Vectors made elsewhere were not taken in; the index is as it was.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The model.
    #[cfg(feature = "model")]
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Starting what reads PDFs, e.g. when libpdfium is nowhere.
    #[cfg(feature = "pdf")]
    #[error(transparent)]
    Pdf(#[from] StartError),
    /// The reader of pages that are pictures, when it was asked for and is not there, or its weights
    /// are not the published ones.
    #[cfg(feature = "ocr")]
    #[error(transparent)]
    Ocr(#[from] OcrError),
    /// Nothing was brought that reads PDFs, and this library was built without feature `pdf`.
    #[error("nothing reads PDFs: the library was built without pdfium, and no reader was given")]
    NoReader,
    /// An index without a model was asked for vectors, or given some.
    #[error("the index has no model")]
    NoModel,
    /// An index without a model of meaning was asked for what its text means.
    #[error("the index does not know what its text means")]
    NoMeaning,
    /// The model of meaning could not encode the text of pages.
    #[error("the meaning of the text could not be encoded")]
    Embed(#[source] BoxError),
    /// A search.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A part of an index was asked about a snapshot that it does not have.
    #[error(transparent)]
    OtherSnapshot(OtherSnapshot),
    /// Vectors and layout that do not belong together.
    #[error(transparent)]
    Vectors(#[from] VectorError),
    /// A path pattern.
    #[error(transparent)]
    Filter(#[from] PathFilterError),
    /// Drawing a page.
    #[error("drawing page {page} of {path}")]
    Draw {
        /// Ledger path.
        path: String,
        /// 1-based.
        page: u32,
        /// The cause.
        #[source]
        source: PdfError,
    },
    /// Nothing of a region is on the page.
    #[error("nothing of the region is on page {page} of {path}")]
    OutsidePage {
        /// Ledger path.
        path: String,
        /// 1-based.
        page: u32,
    },
    /// The model that the index was made with is not where it was.
    #[error("the index was made with the model {source_of}, which is not there any more")]
    ModelGone {
        /// Where it was.
        source_of: ModelSource,
    },
    /// The index was made with a model that its program brought, and this one brought none.
    #[error("the index was made with model {id}, which its program brings, and none was given")]
    ModelNotBrought {
        /// The model of the index.
        id: ModelId,
    },
    /// The place of the model, or this program for its own model, holds another model now; or
    /// another one was brought.
    #[error("the index was made with model {expected}, {} {got}", holder(source_of))]
    ModelChanged {
        /// Where the model found came from; `None` when it was brought.
        source_of: Option<ModelSource>,
        /// The model of the index.
        expected: ModelId,
        /// The model found.
        got: ModelId,
    },
    /// The chat model that was to answer.
    #[cfg(feature = "ask")]
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No document of the index has this path.
    #[error("{path} is not in the index")]
    NoSuchDocument {
        /// As asked.
        path: String,
    },
    /// The end of several paths.
    #[error("{path} could be {}", candidates.join(" or "))]
    AmbiguousPath {
        /// As asked.
        path: String,
        /// Ledger paths that end so.
        candidates: Vec<String>,
    },
    /// The first digits of the ids of several documents.
    #[error("{digits} begins the id of {}", candidates.join(" and of "))]
    AmbiguousDocument {
        /// As asked.
        digits: String,
        /// Ids that begin so.
        candidates: Vec<String>,
    },
    /// The page was indexed without vectors.
    #[error("page {page} of {path} has no vectors")]
    NoVectors {
        /// Ledger path.
        path: String,
        /// 1-based.
        page: u32,
    },
    /// The page has no vectors of what its text means: it has no words, or was read and not encoded
    /// yet.
    #[error("the meaning of page {page} of {path} is not known")]
    NoPassages {
        /// Ledger path.
        path: String,
        /// 1-based.
        page: u32,
    },
    /// A heat map.
    #[error(transparent)]
    Heat(#[from] HeatError),
    /// The document does not have this page, or it is not indexed.
    #[error("page {page} of {path} is not in the index{}", because(failure, *page_count))]
    NoSuchPage {
        /// Ledger path.
        path: String,
        /// As asked.
        page: u32,
        /// Why it failed, when the ledger knows.
        failure: Option<Failure>,
        /// Pages that the document has, 0 when unknown.
        page_count: u32,
    },
    /// Words name a page that the pages table lacks: the index is damaged.
    #[error("page {page} of {path} has words and no page: the index is damaged")]
    PageMissing {
        /// Ledger path.
        path: String,
        /// 1-based.
        page: u32,
    },
    /// A file is not what was indexed.
    #[error("{path} has changed since it was indexed: index its folder again")]
    FileChanged {
        /// Ledger path.
        path: String,
    },
    /// A picture that cannot be encoded or decoded.
    #[error("the picture cannot be made")]
    Picture(#[source] BoxError),
    /// A file or folder of the caller.
    #[error("{action} {path}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Whether a search failed because a part of the index has another snapshot than its router.
    pub(crate) fn is_of_another_snapshot(&self) -> bool {
        let Self::Query(error) = self else { return false };
        match error.of_part() {
            Some(QueryError::Part { source, .. }) => source.is::<OtherSnapshot>(),
            _ => false,
        }
    }
}

/// Who holds the model that was found.
fn holder(source: &Option<ModelSource>) -> String {
    match source {
        Some(ModelSource::Nano) => "this version of pagesight holds".into(),
        Some(ModelSource::MiniLm) => "the one that comes with this version is".into(),
        Some(source) => format!("{source} holds"),
        None => "the program brought".into(),
    }
}

fn because(failure: &Option<Failure>, page_count: u32) -> String {
    match (failure, page_count) {
        (Some(failure), _) => format!(": {failure}"),
        (None, 0) => String::new(),
        (None, count) => format!(": it has {count} pages"),
    }
}
