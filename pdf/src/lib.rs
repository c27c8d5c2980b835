//! Reads PDFs: their words, and their pages as pictures.
//!
//! PDFs come from anywhere, and pdfium, which understands them best, can crash, hang or take all
//! memory on a file of two kilobytes. So it runs in worker processes
//! ([`serve_worker_if_asked`]), each with limits on time and memory ([`WorkerLimits`]) and shut in
//! by a [`Sandbox`], so that code that a malicious page runs there reaches no file, no network and
//! no other process. A page that crashes its worker costs that page.
//!
//! [`RendererPool`] is the way in: it starts workers, keeps them warm and replaces them. It
//! implements the seam [`PdfReader`](pagesight_core::seam::PdfReader). [`Renderer`] is a single
//! worker, for those who want to see each of its errors.
//!
//! Pages look the same on every machine: the fonts that a PDF does not bring are ours, and none of
//! the system is read.

mod annotations;
mod canvas;
mod cff;
mod child;
mod document;
mod error;
mod facts;
mod find;
mod fonts;
mod glyphs;
mod layers;
mod letters;
mod limits;
mod memory;
mod options;
mod pdfium;
mod pool;
#[cfg(not(fuzzing))]
mod protocol;
/// For the fuzz target in `fuzz/` alone.
#[cfg(fuzzing)]
#[allow(missing_docs)]
pub mod protocol;
mod raw;
mod renderer;
mod restrict;
mod sandbox;
mod survey;
mod text;
mod worker;

pub use error::{RendererError, StartError};
pub use find::{PdfiumPlace, find_pdfium};
pub use limits::WorkerLimits;
pub use memory::give_back_memory;
pub use options::RenderOptions;
pub use pool::RendererPool;
pub use renderer::Renderer;
pub use sandbox::{Confinement, Layer, Sandbox, shut_in};
pub use worker::{serve_worker, serve_worker_if_asked};
