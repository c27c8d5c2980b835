//! Arrays that callers bring: `[n, dim]` of floats, from whatever holds such numbers.

use half::f16;
use pagesight::model::make_unit;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use crate::arrow;
use crate::errors::{raised, refused};

/// Rows of length 1, `[n, dim]`.
pub struct Rows {
    pub dim: usize,
    pub values: Vec<f32>,
}

impl Rows {
    /// The rows of `object`: what has the buffer protocol, `__arrow_c_array__` or `__array__`, or a
    /// sequence of sequences of numbers. Each is made to have length 1.
    ///
    /// # Errors
    /// `InvalidValue` for another shape, another row length than `dim`, numbers that are not finite
    /// or of another byte order, and rows of zeros.
    pub fn of(object: &Bound<'_, PyAny>, name: &str, dim: Option<usize>) -> PyResult<Self> {
        let py = object.py();
        let (length, mut values) = read(object, name)?;
        if let Some(expected) = dim.filter(|expected| *expected != length) {
            let detail = format!("`{name}` must be rows of {expected} numbers, got {length}");
            return Err(refused(py, &detail));
        }
        make_unit(length, &mut values).map_err(|error| raised(py, error.into()))?;
        Ok(Self { dim: length, values })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }
}

fn read(object: &Bound<'_, PyAny>, name: &str) -> PyResult<(usize, Vec<f32>)> {
    let py = object.py();
    if let Ok(view) = PyMemoryView::from(object) {
        return of_buffer(view.as_any(), name);
    }
    if let Some(read) = arrow::imported(object)? {
        return Ok(read);
    }
    if object.hasattr("__array__")? {
        // Such as a tensor, which has no buffer protocol of its own.
        let array = object.call_method0("__array__").map_err(|error| {
            refused(py, &format!("`{name}` cannot be read as an array: {error}"))
        })?;
        return of_buffer(PyMemoryView::from(&array)?.as_any(), name);
    }
    let rows: Vec<Vec<f64>> = object.extract().map_err(|_| {
        PyTypeError::new_err(format!(
            "`{name}` must be an array of floats, [n, dim], with the buffer protocol or \
             __arrow_c_array__, got {}",
            object.get_type()
        ))
    })?;
    let dim = rows.first().map_or(0, Vec::len);
    if dim == 0 || rows.iter().any(|row| row.len() != dim) {
        return Err(refused(py, &format!("`{name}` must be rows of one length")));
    }
    Ok((dim, rows.into_iter().flatten().map(|x| x as f32).collect()))
}

/// Numbers behind a memoryview, contiguous or not.
fn of_buffer(view: &Bound<'_, PyAny>, name: &str) -> PyResult<(usize, Vec<f32>)> {
    let py = view.py();
    let format: String = view.getattr("format")?.extract()?;
    let shape: Vec<usize> = view.getattr("shape")?.extract()?;
    let &[n, dim] = &shape[..] else {
        let detail = format!("`{name}` must be an array [n, dim], got one of shape {shape:?}");
        return Err(refused(py, &detail));
    };
    if n == 0 || dim == 0 {
        return Err(refused(py, &format!("`{name}` has no numbers: its shape is {shape:?}")));
    }
    let order = format.chars().next().filter(|c| "@=<>!".contains(*c));
    let kind = &format[order.map_or(0, char::len_utf8)..];
    let is_foreign = match order {
        Some('>' | '!') => cfg!(target_endian = "little"),
        Some('<') => cfg!(target_endian = "big"),
        _ => false,
    };
    if is_foreign {
        let detail = format!(
            "`{name}` has the byte order of another machine (format {format:?}): convert it, with \
             numpy by .astype(\"=f4\")"
        );
        return Err(refused(py, &detail));
    }
    // In the order of rows, whatever the strides.
    let bytes = view.call_method0("tobytes")?.cast_into::<PyBytes>()?;
    let bytes = bytes.as_bytes();
    let values = match kind {
        "e" => numbers(bytes, |bytes| f16::from_ne_bytes(bytes).to_f32()),
        "f" => numbers(bytes, f32::from_ne_bytes),
        "d" => numbers(bytes, |bytes| f64::from_ne_bytes(bytes) as f32),
        _ => {
            let detail = format!(
                "`{name}` must be floats of 16, 32 or 64 bits, got numbers of format {format:?}"
            );
            return Err(refused(py, &detail));
        }
    };
    Ok((dim, values))
}

fn numbers<const N: usize>(bytes: &[u8], number: fn([u8; N]) -> f32) -> Vec<f32> {
    let whole = bytes.chunks_exact(N);
    whole.map(|bytes| number(bytes.try_into().expect("as many as the chunk has"))).collect()
}
