//! What can go wrong, from any room.

use std::path::{Path, PathBuf};

use pagesight_core::ModelId;
use pagesight_indexer::{IndexError, PdfiumPlace, RendererError};
use pagesight_model::{ModelError, ParityError, is_embedded};
use pagesight_query::{PathFilterError, QueryError};
use pagesight_store::StoreError;

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
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Comparing the model with reference tensors.
    #[error(transparent)]
    Parity(#[from] ParityError),
    /// A search.
    #[error(transparent)]
    Query(#[from] QueryError),
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
        source: RendererError,
    },
    /// libpdfium is nowhere.
    #[error("libpdfium is not found; looked at {}", places(looked))]
    NoPdfium {
        /// Where it was looked for.
        looked: Vec<PdfiumPlace>,
    },
    /// The model that the index was made with is not where it was.
    #[error("the index was made with the model in {folder}, which is not there any more")]
    ModelGone {
        /// Where it was.
        folder: PathBuf,
    },
    /// The model folder, or this program for its own model, holds another model now.
    #[error("the index was made with model {expected}, {} holds {got}", holder(folder))]
    ModelChanged {
        /// The model's folder.
        folder: PathBuf,
        /// The model of the index.
        expected: ModelId,
        /// The model found.
        got: ModelId,
    },
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
    /// The document does not have this page, or it is not indexed.
    #[error("page {page} of {path} is not in the index{}", because(reason))]
    NoSuchPage {
        /// Ledger path.
        path: String,
        /// As asked.
        page: u32,
        /// Why it failed, when the ledger knows.
        reason: Option<String>,
    },
    /// A file is not what was indexed.
    #[error("{path} has changed since it was indexed: index its folder again")]
    FileChanged {
        /// Ledger path.
        path: String,
    },
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

/// Who holds the model in `folder`.
fn holder(folder: &Path) -> String {
    match is_embedded(folder) {
        true => "this version of pagesight".into(),
        false => folder.display().to_string(),
    }
}

fn places(looked: &[PdfiumPlace]) -> String {
    let paths: Vec<String> = looked.iter().map(|place| place.path.display().to_string()).collect();
    paths.join(", ")
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}
