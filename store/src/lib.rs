//! Pages and documents in LanceDB, words in tantivy, and the pointer that joins them.
//!
//! An index is a folder:
//!
//! ```text
//! snapshot.json     the pointer: which versions belong together, with every file's hash
//! snapshots/        copies of the pointer, one a snapshot in use, held by its readers
//! documents.lance/  the ledger, a plain Lance table
//! pages.lance/      sizes, words and multi-vectors, a plain Lance table
//! text/             tantivy segments; which of them count stands in the pointer
//! codes/            int8 codes and sketches of the multi-vectors, derived, for searches to scan; of a
//!                   compact index residual codes, in place of the multi-vectors
//! write.lock        held by the one writer, with its process id
//! ```
//!
//! A [`Writer`] turns batches into snapshots; a [`Reader`] sees one snapshot, whole. Both are
//! async; [`BlockingReader`] and [`BlockingWriter`] carry the seams of pagesight-core. The
//! columns are described in `store/src/schema.rs`.

#![deny(missing_docs)]

mod addresses;
mod analysis;
mod blocking;
mod bm25;
mod codes;
mod error;
mod files;
mod lease;
mod lock;
mod pinned;
mod pointer;
mod reader;
mod repair;
mod schema;
mod snippet;
mod tables;
mod text;
mod transfer;
mod verify;
mod writer;

pub use analysis::{ANALYSIS, Analyser, Language, Word};
pub use blocking::{BlockingReader, BlockingWriter};
pub use error::StoreError;
pub use files::Swept;
pub use lock::check_lock;
pub use pointer::{Compact, FORMAT, FileMark, Snapshot, StoredModel, Tuning};
pub use reader::{Reader, VectorStream};
pub use repair::{Repaired, repair};
pub use snippet::Snippet;
pub use transfer::{export, import};
pub use verify::{Damage, Verified, verify};
pub use writer::Writer;
