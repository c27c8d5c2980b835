//! Why a page was found: what of it answers each query token.

use pagesight_core::seam::VectorSource;
use pagesight_core::{Hit, PageId, PageVectors, QueryVectors};
use pagesight_maxsim::best_vectors;

use crate::QueryError;

/// A query token and the page vector that it meets best.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenMatch {
    /// The token's text.
    pub token: String,
    /// Their dot product: what the token adds to the score.
    pub similarity: f32,
    /// Place of the page vector; where that is on the page the model's grid says.
    pub place: usize,
}

/// For each of `hits`, its matches, one a query token; none for a page without vectors.
pub(crate) fn explain(
    source: &dyn VectorSource,
    query: &QueryVectors,
    hits: &[Hit],
) -> Result<Vec<Vec<TokenMatch>>, QueryError> {
    let ids: Vec<PageId> = hits.iter().map(|hit| hit.page).collect();
    let masters = source.vectors_of(&ids).map_err(QueryError::Vectors)?;
    let of = |id: &PageId| match masters.iter().find(|(page, _)| page == id) {
        Some((_, page)) => matches(query, page),
        None => Ok(Vec::new()),
    };
    ids.iter().map(of).collect()
}

fn matches(query: &QueryVectors, page: &PageVectors) -> Result<Vec<TokenMatch>, QueryError> {
    let best = best_vectors(query, page)?;
    let of = |((vector, similarity), token): ((usize, f32), &String)| TokenMatch {
        token: token.clone(),
        similarity,
        place: page.place(vector),
    };
    Ok(best.into_iter().zip(query.tokens()).map(of).collect())
}
