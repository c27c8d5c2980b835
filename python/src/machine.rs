//! What the package brings for the engine: libpdfium from pypdfium2, models and weights from its own
//! folder, and workers that are this interpreter, started again.

use std::ffi::OsString;
use std::path::PathBuf;

use pagesight::machine::Machine;
use pyo3::prelude::*;

/// As `pagesight._machine` finds it.
pub fn machine(py: Python<'_>) -> PyResult<Machine> {
    let found = py.import("pagesight._machine")?.call_method0("found")?;
    let path = |name: &str| -> PyResult<Option<PathBuf>> { found.get_item(name)?.extract() };
    Ok(Machine {
        worker_program: path("worker_program")?,
        worker_arguments: found.get_item("worker_arguments")?.extract::<Vec<OsString>>()?,
        pdfium: path("pdfium")?,
        weights: path("weights")?,
        ocr_weights: path("ocr_weights")?,
    })
}
