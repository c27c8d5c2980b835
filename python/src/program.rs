//! The `pagesight` program inside the interpreter, and its worker.

use std::ffi::OsString;

use pyo3::prelude::*;

use crate::machine::machine;

/// Runs the program with `arguments`, of which the first is its name; returns its exit code.
#[pyfunction]
pub fn run(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<u8> {
    let host = machine(py)?;
    Ok(py.detach(|| pagesight::program::run(arguments, host)))
}

/// Turns this process into a worker that reads PDFs for its parent, when `arguments` are those of
/// one, and then never returns.
#[pyfunction]
pub fn serve_worker(py: Python<'_>, arguments: Vec<OsString>) {
    py.detach(|| pagesight::pdf::serve_worker(arguments));
}

/// The version of the engine.
#[pyfunction]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
