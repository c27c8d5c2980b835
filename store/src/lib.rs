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
//! codes/            int8 codes and sketches of the multi-vectors, derived, for searches to scan;
//!                   of a compact index residual codes, in place of the multi-vectors; and int8
//!                   codes of the meaning of the pages' text, derived from the stored words
//! sums/             checksums of large files of words, by block, so that opening reads none of them
//! addresses/        of a large index: where the row of each page lies, derived
//! write.lock        held by the one writer, with its process id
//! ```
//!
//! A [`Writer`] turns batches into snapshots; a [`Reader`] sees one snapshot, whole. [`verify`]
//! names damage, [`repair`] mends it, [`export`] and [`import`] move an index between machines. The
//! columns of the tables are described in `store/src/lance/schema.rs`, the pointer in
//! `store/src/snapshot/pointer.rs`; the format on disk is not a part of the API.
//!
//! ```
//! use pagesight_core::seam::{Batch, PageSink, TextIndex};
//! use pagesight_core::testing::{document_record, page_record};
//! use pagesight_core::{DocumentId, ModelId, ModelRecord};
//! use pagesight_store::{Reader, Writer};
//!
//! let folder = tempfile::tempdir()?;
//! let mut writer = Writer::create(folder.path())?;
//! writer.set_model(ModelRecord::new(ModelId("my-model".into()), 2))?;
//! let id = DocumentId::of(b"the bytes of a PDF");
//! writer.commit(Batch {
//!     documents: vec![document_record("a.pdf", id, 1)],
//!     pages: vec![page_record(id, 1, "orchard apples", Some((2, &[0.6, 0.8])))],
//!     ..Batch::default()
//! })?;
//! let reader = Reader::open(folder.path())?;
//! let (page, _score) = reader.search_text("apple", 10, None)?.pages[0];
//! let page = &reader.pages_with_vectors(&[page])?[0];
//! assert_eq!(page.vectors.as_ref().map(|vectors| vectors.len()), Some(1));
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # In async code
//!
//! Every call that touches the disk blocks its thread until it is done. Any of them may be made,
//! and any value dropped, in async code of any runtime: nothing here panics there or waits for the
//! caller's runtime. A task that blocks keeps its thread from other tasks, though, so a server
//! moves calls to threads that may block:
//!
//! ```
//! # use pagesight_core::seam::TextIndex;
//! # use pagesight_store::{Reader, Writer};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let folder = tempfile::tempdir()?;
//! # drop(Writer::create(folder.path())?);
//! let reader = std::sync::Arc::new(Reader::open(folder.path())?);
//! let found = tokio::task::spawn_blocking(move || reader.search_text("apple", 10, None)).await??;
//! # assert!(found.pages.is_empty());
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod blocking;
mod bucket;
mod codes;
mod error;
mod lance;
mod lately;
mod reader;
mod runtime;
mod snapshot;
mod text;
mod upkeep;
mod vectors;
mod writer;

pub use blocking::{
    Reader, Writer, check_lock, export, export_bucket, import, repair, verify, verify_bucket,
};
pub use bucket::address::{Address, Scheme};
pub use bucket::commit::Committed;
pub use bucket::entry::BUCKET_FORMAT;
pub use bucket::fleet::Fleet;
pub use bucket::gc::{Keeping, OpenPlan, Swept};
pub use bucket::mirror::LocalCopy;
pub use bucket::pdfs::Pdfs;
pub use bucket::record::{DroppedPath, Plan, PlanCounts, PlannedDocument, PlannedFile, Work};
pub use bucket::share::Share;
pub use bucket::worker::{Worker, WorkerSummary};
pub use codes::neutral::LazyNeutral;
pub use codes::passages::PassageCodes;
pub use error::StoreError;
pub use snapshot::contents::{Compact, Snapshot, Tuning};
pub use snapshot::garbage::Collected;
pub use snapshot::pointer::FORMAT;
pub use text::analysis::{ANALYSIS, Analyser, Language, Word};
pub use text::joined::JoinedWords;
pub use text::snippet::Snippet;
pub use upkeep::repair::Repaired;
pub use upkeep::verify::{Damage, Verified};
