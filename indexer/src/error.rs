//! What can end a whole run, and what can keep a document from being added. What happens to one
//! document of a run is in the ledger instead.

use std::path::PathBuf;

use pagesight_core::seam::{BoxError, PdfError};
use pagesight_core::{Failure, ModelId, VectorError};

/// An error that ends a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A root is not there, or may not be read.
    #[error("cannot read {path}")]
    Root {
        /// The root.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// No PDF can be read, whichever it is.
    #[error(transparent)]
    Pdf(#[from] PdfError),
    /// The model failed on a picture that it should take.
    #[error("encoding page {page} of {path}")]
    Encode {
        /// Ledger path of the first document of the batch.
        path: String,
        /// 1-based number of its page.
        page: u32,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The store failed; what was committed before is safe.
    #[error("writing the index")]
    Store(#[source] BoxError),
}

/// Why a document could not be added with vectors made elsewhere. Nothing of it was committed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The file is not there, or cannot be looked at.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The document cannot be read.
    #[error("{path}: {failure}")]
    Document {
        /// The file.
        path: PathBuf,
        /// Why.
        failure: Failure,
    },
    /// There is not one multi-vector for each page.
    #[error("{path} has {expected} pages, and {got} multi-vectors came with it")]
    Pages {
        /// The file.
        path: PathBuf,
        /// Pages of the document.
        expected: u32,
        /// Multi-vectors given.
        got: usize,
    },
    /// The rows of a page have another length than those of the model.
    #[error("page {page} of {path} has vectors of {got} numbers, expected {expected}")]
    Dim {
        /// The file.
        path: PathBuf,
        /// 1-based.
        page: u32,
        /// Row length of the model.
        expected: usize,
        /// Row length given.
        got: usize,
    },
    /// The vectors of a page are not what an index takes, e.g. a row is not of length 1.
    #[error("page {page} of {path}")]
    Vectors {
        /// The file.
        path: PathBuf,
        /// 1-based.
        page: u32,
        /// What is wrong with them.
        #[source]
        source: VectorError,
    },
    /// The index has vectors of another model, with which these cannot be compared.
    #[error("the index was made with model {expected}, the vectors are of {got}")]
    Model {
        /// The model of the index.
        expected: ModelId,
        /// The model given.
        got: ModelId,
    },
    /// It was stopped before all pages were read.
    #[error("{path} was not added: stopped before it was read")]
    Stopped {
        /// The file.
        path: PathBuf,
    },
    /// No PDF can be read, whichever it is.
    #[error(transparent)]
    Pdf(PdfError),
    /// The store failed; the index is as it was.
    #[error("writing the index")]
    Store(#[source] BoxError),
}
