//! Reads PDFs with pdfium in sandboxed worker processes.

mod canvas;
mod fonts;
mod memory;
mod pdfium;
mod protocol;
mod renderer;
mod restrict;
mod sandbox;
mod worker;
