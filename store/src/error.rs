//! What can go wrong with an index on disk.

use std::io;
use std::path::{Path, PathBuf};

use pagesight_core::ModelId;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("{action} {path}")]
    Io {
        /// What was being done, e.g. `writing`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No space is left; nothing acknowledged is lost.
    #[error(
        "the disk is full at {path}: free some space and run again, what was committed is safe"
    )]
    DiskFull {
        /// The index.
        path: PathBuf,
        /// What the layers below said; not in the chain, it only repeats the same at length.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no index here.
    #[error("there is no index at {path}")]
    Missing {
        /// The index folder.
        path: PathBuf,
    },
    /// The folder has an index already.
    #[error("there is an index at {path} already")]
    Exists {
        /// The index folder.
        path: PathBuf,
    },
    /// The pointer file does not parse.
    #[error("{path} is damaged: restore it from a backup, or remove the folder and index again")]
    Pointer {
        /// The pointer file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The index was made by a newer pagesight.
    #[error(
        "{path} has format {got}, this pagesight reads up to format {expected}: use a newer pagesight"
    )]
    NewerFormat {
        /// The pointer file.
        path: PathBuf,
        /// The newest format that we read.
        expected: u32,
        /// The format found.
        got: u32,
    },
    /// Another process writes to the index.
    #[error("{path} is being written by process {pid}: wait for it to end")]
    Locked {
        /// The index folder.
        path: PathBuf,
        /// The writer, `unknown` when it left no number.
        pid: String,
    },
    /// The index holds vectors of another model.
    #[error(
        "{path} was made with model {expected}, not {got}: use that model, or make another index with --index"
    )]
    OtherModel {
        /// The index folder.
        path: PathBuf,
        /// The model of the index.
        expected: ModelId,
        /// The model offered.
        got: ModelId,
    },
    /// The index has vectors of another length.
    #[error(
        "{path} stores vectors of dim {expected}, the model gives {got}: make another index with --index"
    )]
    OtherDim {
        /// The index folder.
        path: PathBuf,
        /// The dim of the index.
        expected: usize,
        /// The dim offered.
        got: usize,
    },
    /// A row does not match its checksum or its shape.
    #[error("page {page} in {path} is damaged ({what}): index its document again")]
    DamagedPage {
        /// The table.
        path: PathBuf,
        /// `document#number`.
        page: String,
        /// What does not fit.
        what: String,
    },
    /// A table lacks a column or has another type in it.
    #[error("column {column} of {path} is missing or has another type")]
    Column {
        /// The table.
        path: PathBuf,
        /// The column.
        column: &'static str,
    },
    /// LanceDB failed.
    #[error("{action} table {path}")]
    Table {
        /// What was being done.
        action: &'static str,
        /// The table.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<lancedb::Error>,
    },
    /// The codes that searches scan are damaged. They are derived: indexing makes them again.
    #[error("the codes {path} cannot be read")]
    Codes {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// tantivy failed.
    #[error("{action} the text index {path}")]
    Text {
        /// What was being done.
        action: &'static str,
        /// The text index.
        path: PathBuf,
        /// The cause.
        #[source]
        source: tantivy::TantivyError,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => {
                Self::DiskFull { path: path.to_path_buf(), cause: source.into() }
            }
            _ => Self::Io { action, path: path.to_path_buf(), source },
        }
    }

    pub(crate) fn table(action: &'static str, path: &Path) -> impl FnOnce(lancedb::Error) -> Self {
        move |source| match is_disk_full(&source) {
            true => Self::DiskFull { path: path.to_path_buf(), cause: source.into() },
            false => Self::Table { action, path: path.to_path_buf(), source: Box::new(source) },
        }
    }

    pub(crate) fn text(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(tantivy::TantivyError) -> Self {
        move |source| match is_disk_full(&source) {
            true => Self::DiskFull { path: path.to_path_buf(), cause: source.into() },
            false => Self::Text { action, path: path.to_path_buf(), source },
        }
    }
}

/// Libraries box the operating system's error at different depths, some only as text.
fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let by_kind = error
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::StorageFull);
        if by_kind || error.to_string().contains("No space left on device") {
            return true;
        }
        cause = error.source();
    }
    false
}
