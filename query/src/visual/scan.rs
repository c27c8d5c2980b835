//! Ranking by all that is there: full-precision vectors, or the residual codes in their place.

use std::time::Instant;

use pagesight_core::seam::{DocumentFilter, VectorSource};
use pagesight_core::{PageId, PageVectors, QueryVectors};
use pagesight_maxsim::{DimMismatch, ExactQuery, Int8Query, Segments, Slot};
use rayon::prelude::*;

use super::Ranked;
use super::best::keep_best;
use super::error::CodesError;
use super::work::{Code, Work};
use crate::error::QueryError;

/// The `depth` best pages by exact MaxSim over all full-precision vectors, ties by [`PageId`].
pub(super) fn rank(
    source: &dyn VectorSource,
    query: &QueryVectors,
    depth: usize,
    documents: DocumentFilter<'_>,
) -> Result<Ranked, QueryError> {
    let start = Instant::now();
    let prepared = ExactQuery::new(query);
    let mut best: Vec<(PageId, f32)> = Vec::new();
    let mut seen = 0;
    let mut mismatch = None;
    source
        .scan(documents, &mut |pages| match score_all(&prepared, pages) {
            Ok(scores) => {
                seen += scores.len();
                keep_best(&mut best, scores, depth);
            }
            Err(error) => mismatch = Some(error),
        })
        .map_err(QueryError::Vectors)?;
    match mismatch {
        Some(error) => Err(error.into()),
        None => {
            let (certain, scan) = (best.len(), start.elapsed());
            Ok((best, Work { seen, certain, scan, ..Work::default() }))
        }
    }
}

/// The exact scores of `pages`.
pub(super) fn score_all(
    query: &ExactQuery,
    pages: &[(PageId, PageVectors)],
) -> Result<Vec<(PageId, f32)>, DimMismatch> {
    pages.par_iter().map(|(id, page)| Ok((*id, query.score(page)?))).collect()
}

/// The `depth` best of `slots` by their residual codes. Nothing can be compared again: the index has
/// no full-precision vectors.
pub(super) fn rank_by_residual(
    codes: &Segments,
    slots: &[Slot],
    query: &QueryVectors,
    depth: usize,
) -> Result<Ranked, CodesError> {
    let start = Instant::now();
    let mut best = Vec::new();
    keep_best(&mut best, by_code(codes, query, slots)?, depth);
    let (code, seen, scan) = (Code::Residual, slots.len(), start.elapsed());
    Ok((best, Work { code, again: code, seen, scan, ..Work::default() }))
}

/// The scores of `slots` by their codes, int8 or residual.
pub(super) fn by_code(
    codes: &Segments,
    query: &QueryVectors,
    slots: &[Slot],
) -> Result<Vec<(PageId, f32)>, CodesError> {
    if codes.are_residual() {
        let queries = codes.residual_queries(query)?;
        let score = |slot: &Slot| Ok((slot.id, codes.score_residual(&queries, slot)?));
        return slots.par_iter().map(score).collect();
    }
    let coded = Int8Query::new(query);
    let score = |slot: &Slot| Ok((slot.id, coded.score(codes.page(slot)?)?));
    slots.par_iter().map(score).collect()
}
