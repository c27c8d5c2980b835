//! Why a page was found: what of it answers each query token.

use std::ops::Range;

use pagesight_core::seam::VectorSource;
use pagesight_core::{Channel, Hit, PageId, PageVectors, QueryVectors};
use pagesight_maxsim::{DimMismatch, best_vectors};

use crate::error::QueryError;

/// A query token and the vector of a page that answers it best.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TokenMatch {
    /// The channel whose vector it is.
    pub channel: Channel,
    /// The token's text.
    pub token: String,
    /// The bytes of the question that the token stands for; `None` for tokens of the prompt and the
    /// like.
    pub span: Option<Range<usize>>,
    /// The dot product of token and vector: what the token adds to the score of the page.
    pub similarity: f32,
    /// The place of the vector in the [layout](pagesight_core::PatchLayout) of its page, which says
    /// where on the page that is.
    pub place: usize,
}

/// For each token of `query`, the vector of `page` that answers it best. The similarities add up to
/// the page's score.
///
/// ```
/// use pagesight_core::{PageVectors, QueryVectors};
/// let query = QueryVectors::of_rows(2, vec![1.0, 0.0])?;
/// let page = PageVectors::from_f32(2, &[0.0, 1.0, 0.8, 0.6])?;
/// let matches = pagesight_query::explain(&query, &page)?;
/// assert_eq!((matches[0].place, matches[0].span.clone()), (1, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DimMismatch`] when the row lengths differ.
pub fn explain(query: &QueryVectors, page: &PageVectors) -> Result<Vec<TokenMatch>, DimMismatch> {
    let best = best_vectors(query, page)?;
    let matched = best.into_iter().zip(query.tokens());
    let of = |((vector, similarity), token): ((usize, f32), &pagesight_core::QueryToken)| {
        let (token, span) = (token.text.clone(), token.span.clone());
        let place = page.place(vector);
        TokenMatch { channel: Channel::Patches, token, span, similarity, place }
    };
    Ok(matched.map(of).collect())
}

/// For each of `hits`, its matches, one a query token; none for a page without vectors.
pub(crate) fn explain_hits(
    source: &dyn VectorSource,
    query: &QueryVectors,
    hits: &[Hit],
) -> Result<Vec<Vec<TokenMatch>>, QueryError> {
    let ids: Vec<PageId> = hits.iter().map(|hit| hit.page).collect();
    let vectors = source.vectors_of(&ids).map_err(QueryError::Vectors)?;
    let of = |id: &PageId| match vectors.iter().find(|(page, _)| page == id) {
        Some((_, page)) => Ok(explain(query, page)?),
        None => Ok(Vec::new()),
    };
    ids.iter().map(of).collect()
}
