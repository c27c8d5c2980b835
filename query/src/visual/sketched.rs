//! Ranking the pages whose sketches look best, where comparing all would take too long.

use std::time::Instant;

use pagesight_core::{Found, QueryVectors, Scale};
use pagesight_maxsim::{Segments, Slot};
use rayon::prelude::*;

use super::Ranked;
use super::background::{OfCodes, off};
use super::best::{at_rank, keep_best};
use super::error::CodesError;
use super::scan::{by_code, most};
use super::work::{Code, Work};

/// Sketches that a thread scans at a time: a megabyte.
const AT_A_TIME: usize = 256;

/// The `depth` best by code of the `count` best by sketch.
pub(super) fn rank(
    codes: &Segments,
    slots: &[Slot],
    query: &QueryVectors,
    depth: usize,
    count: usize,
    background: Option<&OfCodes<'_>>,
) -> Result<Ranked, CodesError> {
    let start = Instant::now();
    let scores = scores(codes, slots, query, background)?;
    let chosen = chosen(codes, slots, &scores, count);
    let mut chosen: Vec<Slot> = chosen.into_iter().map(|(slot, _)| slot).collect();
    let again = if codes.are_residual() { Code::Residual } else { Code::Int8 };
    let mut work = Work { code: Code::Sketch, again, seen: slots.len(), ..Work::default() };
    (work.reranked, work.scan) = (chosen.len(), start.elapsed());
    let start = Instant::now();
    // In the order of the files.
    chosen.sort_unstable_by_key(|slot| (slot.segment, slot.index));
    let mut best = Vec::new();
    keep_best(&mut best, by_code(codes, query, &chosen, background)?, depth);
    work.rerank = start.elapsed();
    // By their sketches, which are of all pages.
    let scale = Scale::of(scores, slots.len(), most(query, background.is_some()));
    Ok((Found { pages: best, scale }, work))
}

/// The scores of `slots` by their sketches, less what `background` takes off.
pub(crate) fn scores(
    codes: &Segments,
    slots: &[Slot],
    query: &QueryVectors,
    background: Option<&OfCodes<'_>>,
) -> Result<Vec<f32>, CodesError> {
    let queries = codes.sketch_queries(query)?;
    let mut scores = vec![0.0; slots.len()];
    let parts = scores.par_chunks_mut(AT_A_TIME).zip(slots.par_chunks(AT_A_TIME));
    parts.try_for_each(|(scores, slots)| -> Result<(), CodesError> {
        scores.copy_from_slice(&codes.score_sketches(&queries, slots)?);
        scores.iter_mut().zip(slots).for_each(|(score, slot)| *score -= off(background, slot));
        Ok(())
    })?;
    Ok(scores)
}

/// The `count` best of `slots` by `scores`, with these, best first, ties by page.
pub(crate) fn chosen(
    codes: &Segments,
    slots: &[Slot],
    scores: &[f32],
    count: usize,
) -> Vec<(Slot, f32)> {
    let last = at_rank(scores.to_vec(), count);
    let reaches = |(_, score): &(&Slot, &f32)| last.total_cmp(score).is_le();
    let mut best: Vec<(&Slot, &f32)> = slots.iter().zip(scores).filter(reaches).collect();
    best.sort_unstable_by(|a, b| {
        b.1.total_cmp(a.1).then_with(|| codes.id(a.0).cmp(&codes.id(b.0)))
    });
    best.into_iter().take(count).map(|(slot, score)| (*slot, *score)).collect()
}
