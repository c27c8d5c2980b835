//! What was asked: words, vectors that were made elsewhere, or both.

use pagesight::model;
use pagesight::region::MapOf;
use pagesight::search::{Channel, Question as Searched};
use pagesight::{EncodedQuestion, Error, Index};
use pyo3::prelude::*;

use crate::errors::{invalid, raised, refused};
use crate::rows::Rows;
use crate::values::text;
use crate::vectors::QueryVectors;

/// The longest question, bytes, as over HTTP.
const LONGEST: usize = 4_096;

/// A question, checked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Without white space around it; empty for vectors alone.
    pub words: String,
    pub vectors: Option<model::QueryVectors>,
}

impl Question {
    /// The question that was given; `None` when nothing was.
    ///
    /// # Errors
    /// `InvalidValue`.
    pub fn given(
        query: Option<&Bound<'_, PyAny>>,
        vectors: Option<&Bound<'_, PyAny>>,
        dim: Option<usize>,
    ) -> PyResult<Option<Self>> {
        let words = query.map(|query| words(query)).transpose()?;
        let vectors = match vectors {
            None => None,
            Some(given) => Some(match given.cast::<QueryVectors>() {
                Ok(ours) => ours.get().0.clone(),
                Err(_) => {
                    let rows = Rows::of(given, "query_vectors", dim)?;
                    if rows.len() > 256 {
                        let detail =
                            format!("`query_vectors` must have 1 to 256 rows, got {}", rows.len());
                        return Err(refused(given.py(), &detail));
                    }
                    QueryVectors::of_rows(given.py(), rows)?.0
                }
            }),
        };
        if words.is_none() && vectors.is_none() {
            return Ok(None);
        }
        Ok(Some(Self { words: words.unwrap_or_default(), vectors }))
    }

    /// What a search is asked.
    pub fn searched(&self) -> Searched {
        match &self.vectors {
            Some(vectors) => {
                let words = (!self.words.is_empty()).then(|| self.words.clone());
                Searched::Vectors { vectors: vectors.clone(), words }
            }
            None => Searched::from(&self.words),
        }
    }

    /// The question as the model of `index` that answers in `channel` sees it. Vectors of one's own
    /// are compared with patches.
    ///
    /// # Errors
    /// What loading the model says.
    pub fn encoded(&self, index: &Index, channel: Channel) -> Result<EncodedQuestion, Error> {
        match &self.vectors {
            Some(vectors) => Ok(EncodedQuestion::of_vectors(vectors.clone(), &self.words)),
            None if channel == Channel::Passages => index.encode_meaning(&self.words),
            None => index.encode(&self.words),
        }
    }
}

/// A question in words: trimmed, 1 to 4,096 bytes, without NUL.
fn words(query: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = query.py();
    let words = text(query, "query")?;
    let words = words.trim();
    if words.is_empty() || words.len() > LONGEST {
        return Err(invalid(py, "query", &format!("1 to {LONGEST} bytes, got {}", words.len())));
    }
    if words.contains('\0') {
        return Err(invalid(py, "query", "without NUL"));
    }
    Ok(words.into())
}

/// What a map is made of: a word, a token, or the whole question.
///
/// # Errors
/// `InvalidValue` for both.
pub fn map_of(py: Python<'_>, word: Option<usize>, token: Option<usize>) -> PyResult<MapOf> {
    match (word, token) {
        (None, None) => Ok(MapOf::Question),
        (Some(word), None) => Ok(MapOf::Word(word)),
        (None, Some(token)) => Ok(MapOf::Token(token)),
        (Some(_), Some(_)) => Err(refused(py, "give `word` or `token`, not both")),
    }
}

/// What answers on a page: `visual` or `meaning`.
///
/// # Errors
/// `InvalidValue` for another word, and for meaning asked with vectors.
pub fn channel_of(py: Python<'_>, channel: &str, question: &Question) -> PyResult<Channel> {
    match channel {
        "visual" => Ok(Channel::Patches),
        "meaning" if question.vectors.is_some() => {
            Err(refused(py, "`query_vectors` are compared with patches, not with meaning"))
        }
        "meaning" => Ok(Channel::Passages),
        _ => Err(invalid(py, "channel", "\"visual\" or \"meaning\"")),
    }
}

/// As [`raised`], for results.
pub fn or_raise<T>(py: Python<'_>, result: Result<T, Error>) -> PyResult<T> {
    result.map_err(|error| raised(py, error))
}
