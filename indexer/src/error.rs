//! What can end a whole run. What happens to one document is in the ledger instead.

use std::path::PathBuf;

use pagesight_core::seam::BoxError;

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
    /// A folder was given that cannot be walked.
    #[error("cannot walk {path}")]
    Walk {
        /// The root.
        path: PathBuf,
        /// The cause.
        #[source]
        source: ignore::Error,
    },
    /// The worker program does not start or does not answer.
    #[error("the worker {program} does not work")]
    Worker {
        /// The program.
        program: PathBuf,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The model failed on a picture that it should take.
    #[error("encoding page {page} of {path}")]
    Encode {
        /// Ledger path.
        path: String,
        /// 1-based.
        page: u32,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The store failed; what was committed before is safe.
    #[error("writing the index")]
    Store(#[source] BoxError),
}
