//! The write path: a folder of PDFs in, committed pages out.
//!
//! [`sync()`] walks the folders ([`Settings`]), compares them with the ledger, and has worker
//! processes ([`serve_worker_if_asked`]) draw and read the pages of what is new; it encodes the
//! pictures and commits pages and ledger together, batch by batch. A page that crashes, hangs or
//! blows up its worker costs that page; the ledger keeps the reason. A page that takes its worker
//! over finds itself in a [`Sandbox`].

#![deny(missing_docs)]

mod batch;
mod canvas;
mod claims;
mod discover;
mod document;
mod error;
mod event;
mod fonts;
mod memory;
mod ocr;
mod pdfium;
mod process;
#[cfg(not(fuzzing))]
mod protocol;
/// For the fuzz target in `fuzz/` alone.
#[cfg(fuzzing)]
#[allow(missing_docs)]
pub mod protocol;
mod restrict;
mod sandbox;
mod settings;
mod sync;
mod watch;
mod worker;

pub use batch::BatchSize;
pub use discover::{decode_path, encode_path};
pub use error::IndexError;
pub use event::{Event, Outcome, Summary};
pub use ocr::Ocr;
pub use pdfium::{PdfiumPlace, find_pdfium};
pub use process::{Drawing, Renderer, RendererError};
pub use sandbox::{Confinement, Layer, Sandbox, shut_in};
pub use settings::{Limits, Settings};
pub use sync::sync;
pub use watch::FolderWatch;
pub use worker::serve_worker_if_asked;
