//! Answers of searches.

use std::sync::Arc;

use pagesight::records::{self, HitText};
use pagesight::region::{MapOf, Region};
use pagesight::search::Channel;
use pagesight::{Index, wire};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use serde_json::{Map, Value, json};

use crate::page::Page;
use crate::question::Question;
use crate::values::to_python;

/// Regions are looked for on so many hits, as over HTTP.
const HITS_WITH_REGIONS: usize = 10;

/// What a search was asked beside its question.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub text: HitText,
    pub regions: usize,
    pub explain: bool,
}

/// Ranked pages as the engine has them.
#[pyclass(frozen, module = "pagesight._pagesight")]
pub struct Answer {
    index: Index,
    question: Arc<Question>,
    wanted: Wanted,
    answer: pagesight::Answer,
    /// Of the first hits, where they were asked for.
    regions: Vec<Vec<Region>>,
}

impl Answer {
    /// `answer` to `question`, with what was asked beside it.
    ///
    /// # Errors
    /// What the store says of the vectors of a page.
    pub fn new(
        index: Index,
        question: Question,
        wanted: Wanted,
        answer: pagesight::Answer,
    ) -> Result<Self, pagesight::Error> {
        let mut regions = Vec::new();
        if wanted.regions > 0 {
            let encoded = match (&question.vectors, &answer.model) {
                (None, None) => None,
                _ => question.encoded(&index, Channel::Patches).ok(),
            };
            for hit in answer.hits.iter().take(HITS_WITH_REGIONS) {
                regions.push(match &encoded {
                    Some(question) if hit.page.layout().is_some() => {
                        hit.page.regions_or_patches(question, MapOf::Question, wanted.regions)?
                    }
                    _ => Vec::new(),
                });
            }
        }
        Ok(Self { index, question: Arc::new(question), wanted, answer, regions })
    }

    fn written(&self) -> Value {
        let mut whole = Map::new();
        whole.insert("query".into(), json!(self.question.words));
        whole.insert("index".into(), json!(self.index.name()));
        if self.wanted.explain {
            let looked = self.question.vectors.is_some() || self.answer.model.is_some();
            let encoded =
                looked.then(|| self.question.encoded(&self.index, Channel::Patches).ok()).flatten();
            let tokens = encoded.as_ref().map(wire::tokens).unwrap_or_default();
            whole.insert("tokens".into(), json!(tokens));
            let words = encoded.as_ref().map(wire::words).unwrap_or_default();
            whole.insert("words".into(), json!(words));
        }
        if let Ok(Value::Object(mut course)) = serde_json::to_value(wire::Summary::of(&self.answer))
        {
            course.shift_remove("hits");
            whole.append(&mut course);
        }
        Value::Object(whole)
    }
}

#[pymethods]
impl Answer {
    fn __len__(&self) -> usize {
        self.answer.hits.len()
    }

    /// All but the hits.
    fn course<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let written = py.detach(|| self.written());
        to_python(py, &written)
    }

    /// Hit `at`, 0-based.
    fn hit<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, PyAny>> {
        let hit = self.answer.hits.get(at).ok_or_else(|| PyIndexError::new_err(at))?;
        let mut written = records::hit(hit, self.wanted.text);
        if let Some(regions) = self.regions.get(at) {
            let regions = regions.iter().map(|region| records::region(region, false));
            written["regions"] = Value::Array(regions.collect());
        }
        to_python(py, &written)
    }

    /// The page of hit `at`, 0-based.
    fn page(&self, at: usize) -> PyResult<Page> {
        let hit = self.answer.hits.get(at).ok_or_else(|| PyIndexError::new_err(at))?;
        let asked = Some(Arc::clone(&self.question));
        Ok(Page { index: self.index.clone(), page: hit.page.clone(), asked })
    }
}
