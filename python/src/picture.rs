//! Pictures of pages and of heat.

use std::ffi::c_int;

use pagesight::model::PageImage;
use pagesight::picture::{self, Format};
use pagesight::region::HeatMap;
use pagesight::search::Page;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde_json::Value;

use crate::buffer;
use crate::errors::{invalid, refused};
use crate::question::or_raise;
use crate::values::to_python;

/// The widest picture of a map, px.
const WIDEST_MAP: u32 = 10_000;

/// A picture, `[height_px, width_px, 3]`, 8-bit RGB, rows from the top.
///
/// The memory is the engine's own, read-only: `numpy.asarray(image)` copies nothing.
#[pyclass(frozen, module = "pagesight")]
pub struct Image(PageImage);

impl Image {
    pub fn new(image: PageImage) -> Self {
        Self(image)
    }
}

#[pymethods]
impl Image {
    /// The picture in a PNG, JPEG or WebP file.
    ///
    /// Raises DrawError for what is none.
    #[staticmethod]
    fn decode(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let image = or_raise(py, py.detach(|| picture::decode(data)))?;
        Ok(Self(image))
    }

    /// Width, px.
    #[getter]
    fn width_px(&self) -> u32 {
        self.0.width_px()
    }

    /// Height, px.
    #[getter]
    fn height_px(&self) -> u32 {
        self.0.height_px()
    }

    /// `(height_px, width_px, 3)`.
    #[getter]
    fn shape(&self) -> (u32, u32, u32) {
        (self.0.height_px(), self.0.width_px(), 3)
    }

    /// The picture as a PNG file.
    fn png<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.encoded(py, Format::Png)
    }

    /// The picture as a JPEG file of a quality from 1 to 100.
    #[pyo3(signature = (quality = 85))]
    fn jpeg<'py>(&self, py: Python<'py>, quality: u8) -> PyResult<Bound<'py, PyBytes>> {
        if !(1..=100).contains(&quality) {
            return Err(invalid(py, "quality", &format!("1 to 100, got {quality}")));
        }
        self.encoded(py, Format::Jpeg(quality))
    }

    /// The picture as a WebP file, without loss.
    fn webp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.encoded(py, Format::WebP)
    }

    /// The picture as a PIL.Image.Image, mode RGB. Needs pillow.
    fn to_pil<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let size = (slf.get().0.width_px(), slf.get().0.height_px());
        let made = py.import("PIL.Image")?.getattr("frombuffer")?;
        made.call1(("RGB", size, slf, "raw", "RGB", 0, 1))
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let image = &slf.get().0;
        let shape = [image.height_px() as usize, image.width_px() as usize, 3];
        // SAFETY: a frozen object keeps its pixels as they are, and the view keeps the object.
        unsafe { buffer::fill(view, flags, slf.clone().into_any(), image.rgb(), c"B", &shape) }
    }

    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: the interpreter releases what `__getbuffer__` has filled, once.
        unsafe { buffer::release(view) };
    }

    fn __repr__(&self) -> String {
        format!("<Image {} x {} px>", self.0.width_px(), self.0.height_px())
    }
}

impl Image {
    fn encoded<'py>(&self, py: Python<'py>, format: Format) -> PyResult<Bound<'py, PyBytes>> {
        let picture = or_raise(py, py.detach(|| picture::encode(&self.0, format)))?;
        Ok(PyBytes::new(py, &picture.bytes))
    }
}

/// Where on a page a question is answered, `[rows, columns]`, single precision, 0 to 1, from the top
/// left; NaN where no vector of the page stands.
///
/// The memory is the engine's own, read-only: `numpy.asarray(heatmap)` copies nothing.
#[pyclass(frozen, module = "pagesight")]
pub struct Heatmap {
    columns: usize,
    rows: usize,
    values: Vec<f32>,
    record: Py<PyDict>,
    drawn: Drawn,
}

/// What draws a map.
enum Drawn {
    Here {
        map: Box<HeatMap>,
        page: Box<Page>,
    },
    /// A callable of width and smoothness, such as one that asks a server.
    Elsewhere(Py<PyAny>),
}

impl Heatmap {
    /// A map of `page`; `record` is all of it but the values.
    pub fn drawn_here(py: Python<'_>, map: HeatMap, record: &Value, page: Page) -> PyResult<Self> {
        let record = to_python(py, record)?.cast_into::<PyDict>()?.unbind();
        let (columns, rows, values) = (map.columns(), map.rows(), map.values().to_vec());
        let drawn = Drawn::Here { map: Box::new(map), page: Box::new(page) };
        Ok(Self { columns, rows, values, record, drawn })
    }
}

#[pymethods]
impl Heatmap {
    /// A map from its record as the HTTP server answers it; `draw(width, smooth)` gives its picture.
    #[new]
    fn new(py: Python<'_>, record: Bound<'_, PyDict>, draw: Py<PyAny>) -> PyResult<Self> {
        let field = |name: &str| -> PyResult<Bound<'_, PyAny>> {
            let found = record.get_item(name)?;
            found.ok_or_else(|| refused(py, &format!("the record of a map has no {name:?}")))
        };
        let (columns, rows): (usize, usize) =
            (field("columns")?.extract()?, field("rows")?.extract()?);
        let values: Vec<Option<f32>> = field("values")?.extract()?;
        if values.len() != columns * rows {
            let detail = format!("{} values for {columns} columns and {rows} rows", values.len());
            return Err(refused(py, &detail));
        }
        let values = values.into_iter().map(|value| value.unwrap_or(f32::NAN)).collect();
        let record = record.copy()?;
        record.set_item("values", py.None())?;
        Ok(Self { columns, rows, values, record: record.unbind(), drawn: Drawn::Elsewhere(draw) })
    }

    /// Cells from left to right.
    #[getter]
    fn columns(&self) -> usize {
        self.columns
    }

    /// Cells from top to bottom.
    #[getter]
    fn rows(&self) -> usize {
        self.rows
    }

    /// The query tokens: dicts of `index`, `text` and `word`, the number of its word or None.
    #[getter]
    fn tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.record.bind(py).as_any().get_item("tokens")
    }

    /// The words of the question: dicts of `index`, `text`, `start` and `end` (characters of the
    /// question), and `tokens`, the numbers of its tokens.
    #[getter]
    fn words<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.record.bind(py).as_any().get_item("words")
    }

    /// The values of the strongest token over the page: `min`, `median` and `max` of its dot
    /// products.
    #[getter]
    fn similarity<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.record.bind(py).as_any().get_item("similarity")
    }

    /// The hottest cell: `column`, `row` and `rect_pt`, points.
    #[getter]
    fn peak<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.record.bind(py).as_any().get_item("peak")
    }

    /// Whether the vectors are those of a compact index, 4 bits a number.
    #[getter]
    fn approximate<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.record.bind(py).as_any().get_item("approximate")
    }

    /// The record as the HTTP server answers it, values with four decimals.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let record = self.record.bind(py).copy()?;
        let rounded = |value: &f32| (f64::from(*value) * 1e4).round() / 1e4;
        let values: Vec<Option<f64>> =
            self.values.iter().map(|value| (!value.is_nan()).then(|| rounded(value))).collect();
        record.set_item("values", values)?;
        Ok(record)
    }

    /// The map as an RGBA PNG file that lies over the picture of its page of the same width, px:
    /// from yellow to red, the hotter the less transparent. Between the middles of cells heat is
    /// bilinear when `smooth`, else that of the cell.
    #[pyo3(signature = (width = 800, smooth = true))]
    fn png<'py>(&self, py: Python<'py>, width: u32, smooth: bool) -> PyResult<Bound<'py, PyAny>> {
        if !(1..=WIDEST_MAP).contains(&width) {
            return Err(invalid(py, "width", &format!("1 to {WIDEST_MAP} px, got {width}")));
        }
        match &self.drawn {
            Drawn::Elsewhere(draw) => draw.bind(py).call1((width, smooth)),
            Drawn::Here { map, page } => {
                let size = page.picture_size(width);
                let made =
                    py.detach(|| picture::encode_heat(map, size.width_px, size.height_px, smooth));
                let picture = or_raise(py, made)?;
                Ok(PyBytes::new(py, &picture.bytes).into_any())
            }
        }
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let map = slf.get();
        let shape = [map.rows, map.columns];
        // SAFETY: a frozen object keeps its values as they are, and the view keeps the object.
        unsafe { buffer::fill(view, flags, slf.clone().into_any(), &map.values, c"f", &shape) }
    }

    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: the interpreter releases what `__getbuffer__` has filled, once.
        unsafe { buffer::release(view) };
    }

    fn __repr__(&self) -> String {
        format!("<Heatmap {} columns x {} rows>", self.columns, self.rows)
    }
}
