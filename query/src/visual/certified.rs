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
use std::time::{Duration, Instant};

use pagesight_core::seam::VectorSource;
use pagesight_core::{Found, PageId, PageVectors, QueryVectors, Scale};
use pagesight_maxsim::{ExactQuery, Int8Query, Segments, Slot};
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

/// Where a page is found again: its place in the codes of this machine, or on several machines its id.
pub(crate) trait Place: Copy {
    fn page(&self) -> PageId;
}

/// A page in the codes of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located {
    pub id: PageId,
    pub slot: Slot,
}

impl Place for Located {
    fn page(&self) -> PageId {
        self.id
    }
}

impl Place for PageId {
    fn page(&self) -> PageId {
        *self
    }
}

/// A page scored by its code, and between which two scores its exact one lies, all less what the
/// background takes off.
#[derive(Clone, Copy)]
pub(crate) struct Scored<P> {
    pub place: P,
    pub off: f32,
    pub score: f32,
    pub least: f32,
    pub most: f32,
}

impl<P> Scored<P> {
    pub fn new(place: P, score: f32, bound: f32, off: f32) -> Self {
        // Rounding keeps the order of what it rounds: the exact score, less the same number, lies
        // between these still.
        let (least, most) = ((score - bound).next_down() - off, (score + bound).next_up() - off);
        Self { place, off, score: score - off, least, most }
    }
}

/// What compares pages again, once their codes are scored.
pub(crate) trait Again<P> {
    /// The exact scores of `pages`, in any order, less what the background takes off.
    fn exact(&self, pages: &[&Scored<P>]) -> Result<Vec<(PageId, f32)>, CodesError>;

    /// `pages`, in any order, by their codes and the query as it is, not rounded: that halves the bound
    /// and reads nothing.
    fn closer(&self, pages: &[&Scored<P>]) -> Result<Vec<Scored<P>>, CodesError>;
}

/// Pages whose codes and full-precision vectors this machine reads.
pub(super) struct Here<'a> {
    codes: &'a Segments,
    source: &'a dyn VectorSource,
    exact: ExactQuery,
}

impl<'a> Here<'a> {
    pub fn new(codes: &'a Segments, source: &'a dyn VectorSource, query: &QueryVectors) -> Self {
        Self { codes, source, exact: ExactQuery::new(query) }
    }
}

impl Again<Located> for Here<'_> {
    fn exact(&self, pages: &[&Scored<Located>]) -> Result<Vec<(PageId, f32)>, CodesError> {
        let off = pages.iter().map(|page| (page.place.id, page.off)).collect();
        let pages: Vec<PageId> = pages.iter().map(|page| page.place.id).collect();
        exact(self.source, &self.exact, &pages, &off)
    }

    fn closer(&self, pages: &[&Scored<Located>]) -> Result<Vec<Scored<Located>>, CodesError> {
        let slots: Vec<Slot> = pages.iter().map(|page| page.place.slot).collect();
        let closer = closer(self.codes, &slots, &self.exact)?.into_iter();
        let scored = pages.iter().zip(closer);
        let scored =
            scored.map(|(page, (score, bound))| Scored::new(page.place, score, bound, page.off));
        Ok(scored.collect())
    }
}

/// The exact scores of `pages`, in any order, less what is taken `off`.
pub(crate) fn exact(
    source: &dyn VectorSource,
    query: &ExactQuery,
    pages: &[PageId],
    off: &HashMap<PageId, f32>,
) -> Result<Vec<(PageId, f32)>, CodesError> {
    let score = |(id, page): &(PageId, PageVectors)| Ok((*id, query.score(page)? - off[id]));
    let mut all = Vec::with_capacity(pages.len());
    for pages in pages.chunks(IN_MEMORY) {
        let scores: Result<Vec<(PageId, f32)>, CodesError> =
            vectors(source, pages)?.par_iter().map(score).collect();
        all.extend(scores?);
    }
    Ok(all)
}

/// The scores of `slots` by their codes, with the bounds on their errors.
pub(crate) fn scores(
    codes: &Segments,
    slots: &[Slot],
    query: &QueryVectors,
    background: Option<&OfCodes<'_>>,
) -> Result<Vec<Scored<Located>>, CodesError> {
    let coded = Int8Query::new(query);
    let score = |here: &pagesight_maxsim::Here<'_>, slot: &Slot| -> Result<_, CodesError> {
        let page = here.page(slot)?;
        let place = Located { id: codes.id(slot), slot: *slot };
        Ok(Scored::new(place, coded.score(&page)?, coded.bound(&page), off(background, slot)))
    };
    each(codes, slots, score)
}

/// For each of `slots` its score by its code and the query as it is, not rounded, and the bound on its
/// error.
pub(crate) fn closer(
    codes: &Segments,
    slots: &[Slot],
    exact: &ExactQuery,
) -> Result<Vec<(f32, f32)>, CodesError> {
    each(codes, slots, |here: &pagesight_maxsim::Here<'_>, slot: &Slot| {
        let view = here.page(slot)?;
        Ok((exact.score_code(&view)?, exact.bound_code(&view)))
    })
}

/// What int8 codes say of the pages.
pub(crate) struct Coded<P> {
    /// Those that may be among the first ranks, or follow them, the best by code first.
    scored: Vec<Scored<P>>,
    scale: Scale,
    depth: Depth,
    work: Work,
}

impl Coded<Located> {
    /// Scores all pages by their codes.
    pub(super) fn scan(
        codes: &Segments,
        slots: &[Slot],
        query: &QueryVectors,
        depth: Depth,
        background: Option<&OfCodes<'_>>,
    ) -> Result<Self, CodesError> {
        let start = Instant::now();
        let scored = scores(codes, slots, query, background)?;
        let (all, seen) = (scored.iter().map(|page| page.score), scored.len());
        let scale = Scale::of(all, seen, most(query, background.is_some()));
        Ok(Self::of(scored, seen, scale, depth, start.elapsed()))
    }
}

impl<P: Place> Coded<P> {
    /// Of the `scored` pages: all `seen`, or of each part of them those
    /// [`in_question`](Self::in_question).
    pub(crate) fn of(
        scored: Vec<Scored<P>>,
        seen: usize,
        scale: Scale,
        depth: Depth,
        scan: Duration,
    ) -> Self {
        let depth = Depth { certain: depth.certain.min(seen), ..depth };
        let mut scored = Self::in_question(scored, depth);
        scored.sort_unstable_by(|a, b| {
            b.score.total_cmp(&a.score).then(a.place.page().cmp(&b.place.page()))
        });
        let work = Work { code: Code::Int8, seen, scan, ..Work::default() };
        Self { scored, scale, depth, work }
    }

    /// All of `scored` that may be certain or follow. What is in question among all pages is in question
    /// among those of its part: less is needed there to be among the best.
    pub(crate) fn in_question(mut scored: Vec<Scored<P>>, depth: Depth) -> Vec<Scored<P>> {
        let certain = depth.certain.min(scored.len());
        let last = at_rank(scored.iter().map(|page| page.least).collect(), certain);
        let next = at_rank(scored.iter().map(|page| page.score).collect(), depth.pages);
        scored.retain(|page| page.most >= last || page.score >= next);
        scored
    }

    /// The best pages by code alone; no rank is certain.
    pub(super) fn by_code(&self) -> Ranked {
        let best = self.scored.iter().take(self.depth.pages);
        let pages = best.map(|page| (page.place.page(), page.score)).collect();
        (Found { pages, scale: self.scale }, self.work)
    }

    /// The best pages: the codes say which might be among the certain ones, full-precision vectors
    /// which are.
    ///
    /// Pages are read in the order of the most that their scores can be, the best by code first,
    /// until no page that is left can reach the last of the best. Before, the pages in question are
    /// compared with the query as it is.
    pub(super) fn settle(self, again: &impl Again<P>) -> Result<Ranked, CodesError> {
        let Self { scored, scale, depth: Depth { pages, certain }, mut work } = self;
        work.certain = certain;
        let start = Instant::now();
        let mut best = Vec::new();
        let mut compare = |pages: &[&Scored<P>], best: &mut Vec<(PageId, f32)>| {
            work.reranked += pages.len();
            keep_best(best, again.exact(pages)?, certain);
            Ok::<(), CodesError>(())
        };
        compare(&scored[..certain].iter().collect::<Vec<_>>(), &mut best)?;
        let in_question: Vec<&Scored<P>> =
            scored[certain..].iter().filter(|page| reaches(page, &best, certain)).collect();
        let mut in_question = again.closer(&in_question)?;
        in_question.sort_unstable_by(|a, b| {
            b.most.total_cmp(&a.most).then(a.place.page().cmp(&b.place.page()))
        });
        let mut rest = &in_question[..];
        loop {
            let few = &rest[..rest.len().min(AT_ONCE)];
            let few = &few[..few.partition_point(|page| reaches(page, &best, certain))];
            if few.is_empty() {
                break;
            }
            compare(&few.iter().collect::<Vec<_>>(), &mut best)?;
            rest = &rest[few.len()..];
        }
        let ranked: HashSet<PageId> = best.iter().map(|(page, _)| *page).collect();
        let others = scored.iter().filter(|page| !ranked.contains(&page.place.page()));
        // What is known of them exactly is that they have no more than the last certain one.
        let last = best.last().map_or(f32::INFINITY, |last| last.1);
        let others = others.map(|page| (page.place.page(), page.score.min(last)));
        best.extend(others.take(pages.saturating_sub(certain)));
        work.rerank = start.elapsed();
        Ok((Found { pages: best, scale }, work))
    }
}

/// Whether a page may be among the `count` best when these are the best so far; one that has just
/// the score of the last of them may have the smaller [`PageId`].
fn reaches<P>(page: &Scored<P>, best: &[(PageId, f32)], count: usize) -> bool {
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
