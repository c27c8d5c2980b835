//! Ranking by all that is there: full-precision vectors, or the residual codes in their place.

use std::time::Instant;

use pagesight_core::seam::{DocumentFilter, VectorSource};
use pagesight_core::{Found, PageId, PageVectors, QueryVectors, Scale};
use pagesight_maxsim::{DimMismatch, ExactQuery, Here, Int8Query, Segments, Slot};
use rayon::prelude::*;

use super::Ranked;
use super::background::{OfCodes, OfVectors, off};
use super::best::keep_best;
use super::each::each;
use super::error::CodesError;
use super::work::{Code, Work};
use crate::error::QueryError;

/// The `depth` best pages by exact MaxSim over all full-precision vectors, less what `background`
/// takes off, ties by [`PageId`].
pub(super) fn rank(
    source: &dyn VectorSource,
    query: &QueryVectors,
    depth: usize,
    documents: DocumentFilter<'_>,
    background: Option<&OfVectors<'_>>,
) -> Result<Ranked, QueryError> {
    let start = Instant::now();
    let prepared = ExactQuery::new(query);
    let (mut best, mut all) = (Vec::new(), Vec::new());
    let mut mismatch = None;
    let score = |(id, page): &(PageId, PageVectors)| {
        let off = background.map_or(Ok(0.0), |background| background.off(*id, Some(page)))?;
        Ok((*id, prepared.score(page)? - off))
    };
    source
        .scan(documents, &mut |pages| {
            let scores: Result<Vec<(PageId, f32)>, DimMismatch> =
                pages.par_iter().map(score).collect();
            match scores {
                Ok(scores) => {
                    all.extend(scores.iter().map(|(_, score)| *score));
                    keep_best(&mut best, scores, depth);
                }
                Err(error) => mismatch = Some(error),
            }
        })
        .map_err(QueryError::Vectors)?;
    match mismatch {
        Some(error) => Err(error.into()),
        None => {
            let (certain, seen, scan) = (best.len(), all.len(), start.elapsed());
            let scale = Scale::of(all, seen, most(query, background.is_some()));
            let work = Work { seen, certain, scan, ..Work::default() };
            Ok((Found { pages: best, scale }, work))
        }
    }
}

/// The most that a page can have for `query`: similarities are at most 1, where nothing is taken
/// off.
pub(super) fn most(query: &QueryVectors, corrected: bool) -> f32 {
    if corrected { 0.0 } else { query.len() as f32 }
}

/// The `depth` best of `slots` by their residual codes. Nothing can be compared again: the index
/// has no full-precision vectors.
pub(super) fn rank_by_residual(
    codes: &Segments,
    slots: &[Slot],
    query: &QueryVectors,
    depth: usize,
    background: Option<&OfCodes<'_>>,
) -> Result<Ranked, CodesError> {
    let start = Instant::now();
    let mut best = Vec::new();
    let scores = by_code(codes, query, slots, background)?;
    let all = scores.iter().map(|(_, score)| *score);
    let scale = Scale::of(all, slots.len(), most(query, background.is_some()));
    keep_best(&mut best, scores, depth);
    let (code, seen, scan) = (Code::Residual, slots.len(), start.elapsed());
    let work = Work { code, again: code, seen, scan, ..Work::default() };
    Ok((Found { pages: best, scale }, work))
}

/// The scores of `slots` by their codes, int8 or residual, less what `background` takes off.
pub(crate) fn by_code(
    codes: &Segments,
    query: &QueryVectors,
    slots: &[Slot],
    background: Option<&OfCodes<'_>>,
) -> Result<Vec<(PageId, f32)>, CodesError> {
    let off = |slot: &Slot| off(background, slot);
    if codes.are_residual() {
        let queries = codes.residual_queries(query)?;
        let score = |here: &Here<'_>, slot: &Slot| {
            Ok((codes.id(slot), here.score_residual(&queries, slot)? - off(slot)))
        };
        return each(codes, slots, score);
    }
    let coded = Int8Query::new(query);
    let score = |here: &Here<'_>, slot: &Slot| {
        Ok((codes.id(slot), coded.score(here.page(slot)?)? - off(slot)))
    };
    each(codes, slots, score)
}
