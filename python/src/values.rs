//! Values on their way between the two languages: JSON, text and paths.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use serde_json::Value;

use crate::errors::invalid;

/// `value` as Python's own types: dict, list, str, int, float, bool, None.
pub fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(whole), _) => whole.into_pyobject(py)?.into_any(),
            (None, Some(whole)) => whole.into_pyobject(py)?.into_any(),
            (None, None) => number.as_f64().unwrap_or(f64::NAN).into_pyobject(py)?.into_any(),
        },
        Value::Array(values) => {
            let list = PyList::empty(py);
            for value in values {
                list.append(to_python(py, value)?)?;
            }
            list.into_any()
        }
        Value::Object(fields) => {
            let dict = PyDict::new(py);
            for (name, value) in fields {
                dict.set_item(name, to_python(py, value)?)?;
            }
            dict.into_any()
        }
    })
}

/// The text of a `str`, which must be Unicode: half of a surrogate pair is none.
pub fn text(value: &Bound<'_, PyAny>, name: &str) -> PyResult<String> {
    let text = value.cast::<PyString>()?;
    match text.to_str() {
        Ok(text) => Ok(text.into()),
        Err(_) => Err(invalid(value.py(), name, "Unicode text without lone surrogates")),
    }
}

/// A path: `str` or `os.PathLike`. Bytes that are no UTF-8 arrive as Python writes them into a str.
pub fn path(value: &Bound<'_, PyAny>, name: &str) -> PyResult<PathBuf> {
    let py = value.py();
    let path = value.extract::<PathBuf>().map_err(|error| {
        if error.is_instance_of::<pyo3::exceptions::PyUnicodeError>(py) {
            return invalid(py, name, "a path that the file system's encoding can write");
        }
        error
    })?;
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(invalid(py, name, "a path without NUL"));
    }
    if path.as_os_str().is_empty() {
        return Err(invalid(py, name, "a path, not an empty text"));
    }
    Ok(path)
}
