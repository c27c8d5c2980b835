//! Pages: words, pictures, vectors, maps and regions.

use std::sync::Arc;

use pagesight::records;
use pagesight::region::{HeatScale, MapOf};
use pagesight::search::{self, Channel, Rect};
use pagesight::{EncodedQuestion, Error, Index};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::errors::{invalid, refused};
use crate::picture::{Heatmap, Image};
use crate::process;
use crate::question::{Question, channel_of, map_of, or_raise};
use crate::values::to_python;
use crate::vectors::Vectors;

/// The widest picture that is drawn, px.
const WIDEST: u32 = 10_000;

/// A page as the engine has it.
#[pyclass(frozen, module = "pagesight._pagesight")]
pub struct Page {
    pub index: Index,
    pub page: search::Page,
    /// What the search asked that found it.
    pub asked: Option<Arc<Question>>,
}

impl Page {
    /// What a map is asked: what is given, else what found the page.
    fn question(
        &self,
        py: Python<'_>,
        query: Option<&Bound<'_, PyAny>>,
        vectors: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Arc<Question>> {
        let dim = self.index.snapshot().model().map(|model| model.dim);
        if let Some(given) = Question::given(query, vectors, dim)? {
            return Ok(Arc::new(given));
        }
        let asked = self.asked.clone();
        asked.ok_or_else(|| refused(py, "`query` or `query_vectors` is needed: what is asked"))
    }

    /// A page without vectors has no map of patches, whatever the model.
    fn encoded(&self, question: &Question, channel: Channel) -> Result<EncodedQuestion, Error> {
        if channel == Channel::Patches && self.page.layout().is_none() {
            let (path, page) = (self.page.path().into(), self.page.number());
            return Err(Error::NoVectors { path, page });
        }
        question.encoded(&self.index, channel)
    }
}

#[pymethods]
impl Page {
    /// Its record.
    fn record<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        process::enter(py)?;
        let record = py.detach(|| records::page(&self.index, &self.page));
        to_python(py, &or_raise(py, record)?)
    }

    /// Its text.
    #[getter]
    fn text(&self) -> &str {
        self.page.text()
    }

    /// Its words with their places.
    fn words<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        process::enter(py)?;
        let words = or_raise(py, py.detach(|| self.page.words()))?;
        to_python(py, &json!(words))
    }

    /// Its picture, or that of a part of it.
    fn image(
        &self,
        py: Python<'_>,
        width: u32,
        region: Option<(f32, f32, f32, f32)>,
    ) -> PyResult<Image> {
        process::enter(py)?;
        if !(1..=WIDEST).contains(&width) {
            return Err(invalid(py, "width", &format!("1 to {WIDEST} px, got {width}")));
        }
        let stop = Arc::default();
        let drawn = py.detach(|| match region {
            None => self.page.image(width).map(Some),
            Some((x0, y0, x1, y1)) => self.page.image_of(Rect { x0, y0, x1, y1 }, width, &stop),
        });
        let size = self.page.size();
        let drawn = or_raise(py, drawn)?.ok_or_else(|| {
            let (w, h) = (size.width_pt, size.height_pt);
            invalid(py, "region", &format!("a box on the page, which is {w} x {h} pt"))
        })?;
        Ok(Image::new(drawn))
    }

    /// Its picture as a JPEG of at most `most` bytes, with its size in px.
    fn jpeg_within(
        &self,
        py: Python<'_>,
        width: u32,
        most: usize,
    ) -> PyResult<(Vec<u8>, u32, u32)> {
        process::enter(py)?;
        let stop = Arc::default();
        let drawn =
            py.detach(|| pagesight::picture::jpeg_within(&self.page, width, None, most, &stop));
        let picture = or_raise(py, drawn)?;
        Ok((picture.bytes, picture.width_px, picture.height_px))
    }

    /// Its stored vectors.
    fn vectors(&self, py: Python<'_>) -> PyResult<Vectors> {
        process::enter(py)?;
        let found = py.detach(|| self.index.vectors(self.page.id()));
        let found = or_raise(py, found)?;
        let (path, page) = (self.page.path().to_string(), self.page.number());
        let vectors = or_raise(py, found.ok_or(Error::NoVectors { path, page }))?;
        Ok(Vectors::new(vectors, self.page.size()))
    }

    /// Where a question is answered on it.
    #[pyo3(signature = (query, query_vectors, word, token, scale, channel))]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn heatmap(
        &self,
        py: Python<'_>,
        query: Option<&Bound<'_, PyAny>>,
        query_vectors: Option<&Bound<'_, PyAny>>,
        word: Option<usize>,
        token: Option<usize>,
        scale: &str,
        channel: &str,
    ) -> PyResult<Heatmap> {
        process::enter(py)?;
        let question = self.question(py, query, query_vectors)?;
        let channel = channel_of(py, channel, &question)?;
        let of = map_of(py, word, token)?;
        let scale = match scale {
            "page" => HeatScale::Page,
            "absolute" => HeatScale::Absolute,
            _ => return Err(invalid(py, "scale", "\"page\" or \"absolute\"")),
        };
        let made = py.detach(|| {
            let question = self.encoded(&question, channel)?;
            let heat = self.page.heat(&question, of, scale)?;
            let record = records::heat_without_values(&self.page, &question, &heat);
            Ok((heat, record))
        });
        let (heat, record) = or_raise(py, made)?;
        Heatmap::drawn_here(py, heat.map, &record, self.page.clone())
    }

    /// The parts of it that answer a question best.
    #[pyo3(signature = (query, query_vectors, word, n, words, channel))]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn regions<'py>(
        &self,
        py: Python<'py>,
        query: Option<&Bound<'py, PyAny>>,
        query_vectors: Option<&Bound<'py, PyAny>>,
        word: Option<usize>,
        n: usize,
        words: bool,
        channel: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        process::enter(py)?;
        if !(1..=5).contains(&n) {
            return Err(invalid(py, "n", &format!("1 to 5, got {n}")));
        }
        let question = self.question(py, query, query_vectors)?;
        let channel = channel_of(py, channel, &question)?;
        let of = word.map_or(MapOf::Question, MapOf::Word);
        let found = py.detach(|| {
            let question = self.encoded(&question, channel)?;
            self.page.regions(&question, of, n)
        });
        let found = or_raise(py, found)?;
        let found = found.iter().map(|region| records::region(region, words));
        to_python(py, &Value::Array(found.collect()))
    }
}
