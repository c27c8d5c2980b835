//! Ranking by int8 codes whose first ranks are those of exact MaxSim for certain.
//!
//! The int8 code of a page comes with a bound on its error. A page whose score and bound together
//! do not reach the exact score of the last of the best `certain` cannot be among these. All others
//! are scored again with full-precision vectors, the most promising first, so that the last of the
//! best is soon known. These ranks are the exact ones, to the last bit, at a fraction of the
//! reading. What a background takes off is one known number a page, so the bounds on a score are
//! bounds on what is left of it. (Candidates with certificates are known from top-k joins; cf. Fagin, Lotem & Naor 2003,
//! "Optimal aggregation algorithms for middleware".) What follows them, for fusion with another
//! channel, is ordered by code.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use pagesight_core::seam::VectorSource;
use pagesight_core::{Found, PageId, PageVectors, QueryVectors, Scale};
use pagesight_maxsim::{ExactQuery, Here, Int8Query, Segments, Slot};
use rayon::prelude::*;

use super::background::{OfCodes, off};
use super::best::{at_rank, keep_best};
use super::each::each;
use super::error::CodesError;
use super::scan::most;
use super::work::{Code, Work};
use super::{Depth, Ranked};
use crate::error::QueryError;

/// Pages whose full-precision vectors are in memory at a time: 68 MB at 1,030 vectors of dim 128.
const IN_MEMORY: usize = 256;

/// Pages whose full-precision vectors are read at a time while the best so far may still rule the
/// next ones out: as many as cost about as much to read as to ask for.
const AT_ONCE: usize = 16;

/// A page scored by its code, and between which two scores its exact one lies, all less what the
/// background takes off.
struct Scored {
    slot: Slot,
    off: f32,
    score: f32,
    least: f32,
    most: f32,
}

impl Scored {
    fn new(slot: Slot, score: f32, bound: f32, off: f32) -> Self {
        // Rounding keeps the order of what it rounds: the exact score, less the same number, lies
        // between these still.
        let (least, most) = ((score - bound).next_down() - off, (score + bound).next_up() - off);
        Self { slot, off, score: score - off, least, most }
    }
}

/// What int8 codes say of the pages.
pub(crate) struct Coded {
    /// Those that may be among the first ranks, or follow them, the best by code first.
    scored: Vec<Scored>,
    scale: Scale,
    depth: Depth,
    work: Work,
}

impl Coded {
    /// Scores all pages by their codes.
    pub(super) fn scan(
        codes: &Segments,
        slots: &[Slot],
        query: &QueryVectors,
        depth: Depth,
        background: Option<&OfCodes<'_>>,
    ) -> Result<Self, CodesError> {
        let start = Instant::now();
        let coded = Int8Query::new(query);
        let score = |here: &Here<'_>, slot: &Slot| -> Result<Scored, CodesError> {
            let page = here.page(slot)?;
            Ok(Scored::new(*slot, coded.score(&page)?, coded.bound(&page), off(background, slot)))
        };
        let mut scored = each(codes, slots, score)?;
        let all = scored.iter().map(|page| page.score);
        let scale = Scale::of(all, scored.len(), most(query, background.is_some()));
        let depth = Depth { certain: depth.certain.min(scored.len()), ..depth };
        let mut work = Work { code: Code::Int8, seen: scored.len(), ..Work::default() };
        let last = at_rank(scored.iter().map(|page| page.least).collect(), depth.certain);
        // All that may be certain or follow.
        let next = at_rank(scored.iter().map(|page| page.score).collect(), depth.pages);
        scored.retain(|page| page.most >= last || page.score >= next);
        scored.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.slot.id.cmp(&b.slot.id)));
        work.scan = start.elapsed();
        Ok(Self { scored, scale, depth, work })
    }

    /// The best pages by code alone; no rank is certain.
    pub(super) fn by_code(&self) -> Ranked {
        let best = self.scored.iter().take(self.depth.pages);
        let pages = best.map(|page| (page.slot.id, page.score)).collect();
        (Found { pages, scale: self.scale }, self.work)
    }

    /// The best pages: the codes say which might be among the certain ones, full-precision vectors
    /// which are.
    ///
    /// Pages are read in the order of the most that their scores can be, the best by code first,
    /// until no page that is left can reach the last of the best. Before, the pages in question are
    /// compared with the query as it is, not rounded: that halves the bound and reads nothing.
    pub(super) fn settle(
        self,
        codes: &Segments,
        source: &dyn VectorSource,
        query: &QueryVectors,
    ) -> Result<Ranked, CodesError> {
        let Self { scored, scale, depth: Depth { pages, certain }, mut work } = self;
        work.certain = certain;
        let start = Instant::now();
        let exact = ExactQuery::new(query);
        let mut best = Vec::new();
        let mut compare = |pages: &[Scored], best: &mut Vec<(PageId, f32)>| {
            work.reranked += pages.len();
            let off: HashMap<PageId, f32> =
                pages.iter().map(|page| (page.slot.id, page.off)).collect();
            let pages: Vec<PageId> = pages.iter().map(|page| page.slot.id).collect();
            let score =
                |(id, page): &(PageId, PageVectors)| Ok((*id, exact.score(page)? - off[id]));
            for pages in pages.chunks(IN_MEMORY) {
                let scores: Result<Vec<(PageId, f32)>, CodesError> =
                    vectors(source, pages)?.par_iter().map(score).collect();
                keep_best(best, scores?, certain);
            }
            Ok::<(), CodesError>(())
        };
        compare(&scored[..certain], &mut best)?;
        let closer = |here: &Here<'_>, slot: &Slot| {
            let view = here.page(slot)?;
            Ok((exact.score_code(&view)?, exact.bound_code(&view)))
        };
        let in_question: Vec<&Scored> =
            scored[certain..].iter().filter(|page| reaches(page, &best, certain)).collect();
        let slots: Vec<Slot> = in_question.iter().map(|page| page.slot).collect();
        let closer = each(codes, &slots, closer)?;
        let mut in_question: Vec<Scored> = in_question
            .iter()
            .zip(closer)
            .map(|(page, (score, bound))| Scored::new(page.slot, score, bound, page.off))
            .collect();
        in_question
            .sort_unstable_by(|a, b| b.most.total_cmp(&a.most).then(a.slot.id.cmp(&b.slot.id)));
        let mut rest = &in_question[..];
        loop {
            let few = &rest[..rest.len().min(AT_ONCE)];
            let few = &few[..few.partition_point(|page| reaches(page, &best, certain))];
            if few.is_empty() {
                break;
            }
            compare(few, &mut best)?;
            rest = &rest[few.len()..];
        }
        let ranked: HashSet<PageId> = best.iter().map(|(page, _)| *page).collect();
        let others = scored.iter().filter(|page| !ranked.contains(&page.slot.id));
        // What is known of them exactly is that they have no more than the last certain one.
        let last = best.last().map_or(f32::INFINITY, |last| last.1);
        let others = others.map(|page| (page.slot.id, page.score.min(last)));
        best.extend(others.take(pages.saturating_sub(certain)));
        work.rerank = start.elapsed();
        Ok((Found { pages: best, scale }, work))
    }
}

/// Whether a page may be among the `count` best when these are the best so far; one that has just
/// the score of the last of them may have the smaller [`PageId`].
fn reaches(page: &Scored, best: &[(PageId, f32)], count: usize) -> bool {
    match count.checked_sub(1) {
        Some(last) => best.get(last).is_none_or(|last| page.most >= last.1),
        None => false,
    }
}

/// The full-precision vectors of `pages`.
fn vectors(
    source: &dyn VectorSource,
    pages: &[PageId],
) -> Result<Vec<(PageId, PageVectors)>, CodesError> {
    let vectors = source.vectors_of(pages).map_err(QueryError::Vectors)?;
    match pages.len() - vectors.len() {
        0 => Ok(vectors),
        missing => {
            Err(CodesError::Damaged(format!("{missing} pages of the codes have no vectors")))
        }
    }
}
