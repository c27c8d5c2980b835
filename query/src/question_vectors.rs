//! The query vectors of a question: encoded, given, or those of a page.

use pagesight_core::seam::VectorSource;
use pagesight_core::{PageId, QueryToken, QueryVectors};
use pagesight_maxsim::pool_k_means;

use crate::error::QueryError;
use crate::question::Question;
use crate::request::Sources;

/// Vectors that a page is reduced to, about, when it is the question.
pub(crate) const VECTORS_OF_A_PAGE: usize = 64;

/// The vectors of a question.
pub(crate) fn encode(
    sources: &Sources<'_>,
    question: &Question,
) -> Result<QueryVectors, QueryError> {
    match question {
        Question::Words(words) => {
            let encoder = sources.encoder.ok_or(QueryError::NoModel)?;
            let mut vectors = encoder.encode_queries(&[words]).map_err(QueryError::Encode)?;
            vectors.pop().ok_or_else(|| QueryError::Encode("the encoder gave nothing back".into()))
        }
        Question::Vectors { vectors, .. } => Ok(vectors.clone()),
        Question::Page { page, .. } => vectors_of_page(sources.vectors, *page),
    }
}

/// The stored vectors of a page as those of a query. Similar ones are merged until about
/// [`VECTORS_OF_A_PAGE`] are left: a search then takes as long as that of a long question, and the
/// many vectors of blank paper count as the few that they are. A token is called by the place of
/// the vector that is most like it.
pub(crate) fn vectors_of_page(
    source: &dyn VectorSource,
    page: PageId,
) -> Result<QueryVectors, QueryError> {
    let found = source.vectors_of(&[page]).map_err(QueryError::Vectors)?;
    let (_, vectors) = found.into_iter().next().ok_or(QueryError::NoVectors { page })?;
    let rows: Vec<f32> = vectors.values().iter().map(|value| value.to_f32()).collect();
    let factor = vectors.len().div_ceil(VECTORS_OF_A_PAGE);
    let pooled = pool_k_means(vectors.dim(), &rows, factor);
    let name = |&row: &usize| QueryToken::special(vectors.place(row).to_string());
    let tokens = pooled.representatives.iter().map(name).collect();
    QueryVectors::new(vectors.dim(), pooled.vectors, tokens)
        .map_err(|error| QueryError::Vectors(error.into()))
}
