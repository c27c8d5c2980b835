//! Errors of the library as exceptions of the package, each with the code that the HTTP server
//! answers for it.

use std::error::Error as _;

use pagesight::Error;
use pagesight::index::{AddError, IndexError, StoreError};
use pagesight::model::BoxError;
use pagesight::pdf::PdfError;
use pagesight::region::HeatError;
use pagesight::search::QueryError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The class of an exception and its code.
type Kind = (&'static str, &'static str);

const INVALID: Kind = ("InvalidValue", "invalid_value");
const NO_MODEL: Kind = ("NoModel", "no_model");
const NO_VECTORS: Kind = ("NoVectors", "no_vectors");
const MODEL: Kind = ("ModelError", "no_model");
const STORE: Kind = ("StoreError", "index_unavailable");
const LOCKED: Kind = ("Locked", "index_unavailable");
const DRAW: Kind = ("DrawError", "draw_failed");
const GONE: Kind = ("NotFound", "file_gone");
const INTERNAL: Kind = ("Error", "internal");

/// The exception for `error`.
pub fn raised(py: Python<'_>, error: Error) -> PyErr {
    let candidates = match &error {
        Error::AmbiguousDocument { candidates, .. } | Error::AmbiguousPath { candidates, .. } => {
            Some(candidates.clone())
        }
        _ => None,
    };
    build(py, kind(&error), &chain(&error), candidates).unwrap_or_else(|error| error)
}

/// A value of `name` that is not `what`.
pub fn invalid(py: Python<'_>, name: &str, what: &str) -> PyErr {
    refused(py, &format!("`{name}` must be {what}"))
}

/// A value that is refused for what `detail` says.
pub fn refused(py: Python<'_>, detail: &str) -> PyErr {
    build(py, INVALID, detail, None).unwrap_or_else(|error| error)
}

/// There is no such page.
pub fn no_page(py: Python<'_>, detail: &str) -> PyErr {
    build(py, ("NotFound", "page_not_found"), detail, None).unwrap_or_else(|error| error)
}

/// The index, or the process, is not one that can be worked with any more.
pub fn unavailable(py: Python<'_>, detail: &str) -> PyErr {
    build(py, STORE, detail, None).unwrap_or_else(|error| error)
}

/// A bug.
pub fn internal(py: Python<'_>, detail: &str) -> PyErr {
    build(py, INTERNAL, detail, None).unwrap_or_else(|error| error)
}

fn build(
    py: Python<'_>,
    (class, code): Kind,
    detail: &str,
    candidates: Option<Vec<String>>,
) -> PyResult<PyErr> {
    let class = py.import("pagesight.errors")?.getattr(class)?;
    let fields = PyDict::new(py);
    fields.set_item("code", code)?;
    if let Some(candidates) = candidates {
        fields.set_item("candidates", candidates)?;
    }
    Ok(PyErr::from_value(class.call((detail,), Some(&fields))?))
}

fn kind(error: &Error) -> Kind {
    match error {
        Error::Store(error) => of_store(error),
        Error::Index(IndexError::Root { .. }) => ("NotFound", "root_not_found"),
        Error::Index(IndexError::Pdf(_)) => DRAW,
        Error::Index(IndexError::Encode { .. }) => MODEL,
        Error::Index(IndexError::Store(error)) => of_boxed(error),
        Error::Add(AddError::File { .. }) => GONE,
        Error::Add(AddError::Document { .. }) => ("InvalidValue", "not_a_pdf"),
        Error::Add(AddError::Pages { .. } | AddError::Dim { .. } | AddError::Vectors { .. }) => {
            INVALID
        }
        Error::Add(AddError::Model { .. }) => MODEL,
        Error::Add(AddError::Pdf(_)) => DRAW,
        Error::Add(AddError::Store(error)) => of_boxed(error),
        Error::Model(_) | Error::ModelChanged { .. } | Error::Embed(_) => MODEL,
        Error::NoModel
        | Error::NoMeaning
        | Error::ModelGone { .. }
        | Error::ModelNotBrought { .. } => NO_MODEL,
        Error::Query(error) => match error {
            QueryError::NoModel => NO_MODEL,
            QueryError::NoVectors { .. } => NO_VECTORS,
            QueryError::NoWords | QueryError::NoChannel { .. } | QueryError::NothingAsked => {
                INVALID
            }
            QueryError::Dim(_) => INVALID,
            QueryError::Encode(_) => MODEL,
            _ => STORE,
        },
        Error::Heat(HeatError::NoPlaces) => NO_VECTORS,
        Error::Heat(_) | Error::Vectors(_) | Error::Filter(_) => INVALID,
        Error::Ocr(_) => INVALID,
        Error::Pdf(_) | Error::NoReader => DRAW,
        Error::Draw { source: PdfError::Failed(_) | PdfError::Reader(_), .. } => DRAW,
        Error::Draw { .. } | Error::Picture(_) => DRAW,
        Error::NoSuchDocument { .. } => ("NotFound", "document_not_found"),
        Error::NoSuchPage { .. } => ("NotFound", "page_not_found"),
        Error::AmbiguousDocument { .. } | Error::AmbiguousPath { .. } => {
            ("Ambiguous", "ambiguous_ref")
        }
        Error::NoVectors { .. } | Error::NoPassages { .. } => NO_VECTORS,
        Error::PageMissing { .. } => STORE,
        Error::FileChanged { .. } => ("FileChanged", "file_changed"),
        Error::Io { .. } => GONE,
        _ => INTERNAL,
    }
}

fn of_store(error: &StoreError) -> Kind {
    match error {
        StoreError::Locked { .. } => LOCKED,
        StoreError::Missing { .. } => ("NotFound", "index_not_found"),
        StoreError::OtherModel { .. } => MODEL,
        StoreError::OtherDim { .. } | StoreError::Vectors { .. } => INVALID,
        _ => STORE,
    }
}

fn of_boxed(error: &BoxError) -> Kind {
    error.downcast_ref::<StoreError>().map_or(STORE, of_store)
}

/// The error and its causes on one line, a cause that only repeats its effect left out.
fn chain(error: &Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
        next = error.source();
    }
    line
}
