//! Multi-vectors of pages and of questions, shown without a copy.

use std::ffi::c_int;
use std::sync::Arc;

use half::f16;
use pagesight::model::{self, EncodedPage, PageSize};
use pagesight::wire::rect_pt;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::arrow;
use crate::buffer;
use crate::errors::raised;
use crate::rows::Rows;

/// The vectors of a page, `[n, dim]`, half precision, rows of length 1.
///
/// The memory is the engine's own, read-only: `numpy.asarray(vectors)` copies nothing, and so does
/// `pyarrow.array(vectors)`, whose type is fixed_size_list<halffloat>[dim].
#[pyclass(frozen, module = "pagesight")]
pub struct Vectors {
    page: Arc<EncodedPage>,
    size: PageSize,
}

impl Vectors {
    pub fn new(page: EncodedPage, size: PageSize) -> Self {
        Self { page: Arc::new(page), size }
    }
}

#[pymethods]
impl Vectors {
    /// How many vectors there are.
    fn __len__(&self) -> usize {
        self.page.vectors().len()
    }

    /// `(n, dim)`.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.page.vectors().len(), self.page.vectors().dim())
    }

    /// Numbers in a vector.
    #[getter]
    fn dim(&self) -> usize {
        self.page.vectors().dim()
    }

    /// Where each vector stands on its page: (left, top, right, bottom) in points from the top left,
    /// or None for a vector without a place, such as one of the prompt.
    #[getter]
    fn places(&self) -> Vec<Option<(f64, f64, f64, f64)>> {
        let (vectors, layout) = (self.page.vectors(), self.page.layout());
        let place = |row| {
            let rect = layout.rect(vectors.place(row), self.size)?;
            let [x0, y0, x1, y1] = rect_pt(rect);
            Some((x0, y0, x1, y1))
        };
        (0..vectors.len()).map(place).collect()
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        // A wish that may be ignored: nothing is converted.
        let _ = requested_schema;
        arrow::exported(py, &self.page)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        arrow::schema_of(py, self.page.vectors().dim())
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let vectors = slf.get().page.vectors();
        let (values, shape): (&[f16], _) = (vectors.values(), [vectors.len(), vectors.dim()]);
        // SAFETY: a frozen object keeps its page as it is, and the view keeps the object.
        unsafe { buffer::fill(view, flags, slf.clone().into_any(), values, c"e", &shape) }
    }

    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: the interpreter releases what `__getbuffer__` has filled, once.
        unsafe { buffer::release(view) };
    }

    fn __repr__(&self) -> String {
        let vectors = self.page.vectors();
        format!("<Vectors [{}, {}] float16>", vectors.len(), vectors.dim())
    }
}

/// The vectors of a question, `[n, dim]`, single precision, rows of length 1, one a query token.
///
/// The memory is the engine's own, read-only: `numpy.asarray(vectors)` copies nothing.
#[pyclass(frozen, module = "pagesight")]
pub struct QueryVectors(pub model::QueryVectors);

impl QueryVectors {
    pub fn of_rows(py: Python<'_>, rows: Rows) -> PyResult<Self> {
        let vectors = model::QueryVectors::of_rows(rows.dim, rows.values);
        vectors.map(Self).map_err(|error| raised(py, error.into()))
    }
}

#[pymethods]
impl QueryVectors {
    /// How many query tokens there are.
    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// `(n, dim)`.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.0.len(), self.0.dim())
    }

    /// Numbers in a vector.
    #[getter]
    fn dim(&self) -> usize {
        self.0.dim()
    }

    /// The text of each query token.
    #[getter]
    fn tokens(&self) -> Vec<String> {
        self.0.tokens().iter().map(|token| token.text.clone()).collect()
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let vectors = &slf.get().0;
        let shape = [vectors.len(), vectors.dim()];
        // SAFETY: a frozen object keeps its vectors as they are, and the view keeps the object.
        unsafe { buffer::fill(view, flags, slf.clone().into_any(), vectors.values(), c"f", &shape) }
    }

    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: the interpreter releases what `__getbuffer__` has filled, once.
        unsafe { buffer::release(view) };
    }

    fn __repr__(&self) -> String {
        format!("<QueryVectors [{}, {}] float32>", self.0.len(), self.0.dim())
    }
}

/// The rows of an array, `[n, dim]`, made to have length 1.
#[pyfunction]
pub fn unit_rows(array: &Bound<'_, PyAny>, name: &str) -> PyResult<QueryVectors> {
    let rows = Rows::of(array, name, None)?;
    QueryVectors::of_rows(array.py(), rows)
}
