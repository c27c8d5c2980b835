//! The ranking by patches where several machines have the codes, each those of a part of the pages.

use std::time::Instant;

use pagesight_core::{PageId, QueryVectors, Sums};

use super::Ranked;
use super::background::Correction;
use super::certified::{Again, Coded, Scored};
use super::error::CodesError;
use super::scan::most;
use super::work::{Code, Work};
use super::{Depth, best::keep_best};
use crate::effort::Effort;
use crate::parts::ask::{Answer, Between, OfPatches, Off, Question};
use crate::parts::joined::{Joined, whole};

/// A question to the patches of all parts.
pub(super) struct Parted<'a> {
    pub parts: &'a Joined,
    of: OfPatches,
    most: f32,
}

impl<'a> Parted<'a> {
    pub fn new(
        parts: &'a Joined,
        query: &QueryVectors,
        documents: pagesight_core::seam::DocumentFilter<'_>,
        correction: Option<&Correction<'_>>,
    ) -> Self {
        let off = correction.map_or(Off::Nothing, |correction| correction.of_parts(parts));
        let most = most(query, off != Off::Nothing);
        let of = OfPatches { vectors: query.into(), documents: documents.cloned(), off };
        Self { parts, of, most }
    }

    /// As one machine ranks with the codes of all pages; int8 codes leave open which ranks are certain.
    pub fn rank(
        &self,
        depth: Depth,
        effort: Effort,
    ) -> Result<(Ranked, Option<Coded<PageId>>), CodesError> {
        let codes = self.parts.codes().expect("asked where there are codes");
        let count = match &self.of.documents {
            None => codes.living,
            Some(documents) => {
                let within = Question::Within { documents: documents.clone() };
                let counts = self.parts.each(within, |answer| match answer {
                    Answer::Count(count) => Some(count),
                    _ => None,
                })?;
                counts.into_iter().sum()
            }
        };
        // As the bytes of one machine are counted.
        let bytes = codes.bytes / codes.pages.max(1) * count * if codes.residual { 2 } else { 1 };
        let again = if codes.residual { Code::Residual } else { Code::Int8 };
        let start = Instant::now();
        Ok(match effort.compared(count, bytes) {
            Some(count) => {
                let count = count.max(depth.pages);
                let question = Question::Sketched { of: self.of.clone(), count };
                let (chosen, sums, seen) = self.parts.best(question, count)?;
                let mut work = Work { code: Code::Sketch, again, seen, ..Work::default() };
                (work.reranked, work.scan) = (chosen.len(), start.elapsed());
                let start = Instant::now();
                let pages: Vec<PageId> = chosen.iter().map(|(page, _)| *page).collect();
                let question = Question::ByCode { of: self.of.clone(), pages };
                let mut best = Vec::new();
                let scores = self.parts.scores(question, chosen.len())?;
                keep_best(&mut best, scores, depth.pages);
                work.rerank = start.elapsed();
                (super::ranked(best, sums.scale(seen, self.most), work), None)
            }
            None if codes.residual => {
                let question = Question::Residual { of: self.of.clone(), pages: depth.pages };
                let (best, sums, seen) = self.parts.best(question, depth.pages)?;
                let scan = start.elapsed();
                let work = Work { code: again, again, seen, scan, ..Work::default() };
                (super::ranked(best, sums.scale(seen, self.most), work), None)
            }
            None => {
                let Depth { pages, certain } = depth;
                let question = Question::Coded { of: self.of.clone(), pages, certain };
                let of_parts = self.parts.each(question, |answer| match answer {
                    Answer::Coded { pages, sums, seen } => Some((pages, sums, seen)),
                    _ => None,
                })?;
                let (mut scored, mut sums, mut seen) = (Vec::new(), Sums::default(), 0);
                for (pages, of_part, seen_there) in of_parts {
                    scored.extend(pages.into_iter().map(scored_of));
                    (sums, seen) = (sums.and(of_part), seen + seen_there);
                }
                let scale = sums.scale(seen, self.most);
                let coded = Coded::of(scored, seen, scale, depth, start.elapsed());
                (coded.by_code(), Some(coded))
            }
        })
    }
}

fn scored_of(between: Between) -> Scored<PageId> {
    let Between { page, off, score, least, most } = between;
    let (off, score, least, most) = (off.into(), score.into(), least.into(), most.into());
    Scored { place: page, off, score, least, most }
}

impl Again<PageId> for Parted<'_> {
    fn exact(&self, pages: &[&Scored<PageId>]) -> Result<Vec<(PageId, f32)>, CodesError> {
        let ids: Vec<PageId> = pages.iter().map(|page| page.place).collect();
        self.parts.scores(Question::Exact { of: self.of.clone(), pages: ids }, pages.len())
    }

    fn closer(&self, pages: &[&Scored<PageId>]) -> Result<Vec<Scored<PageId>>, CodesError> {
        if pages.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<PageId> = pages.iter().map(|page| page.place).collect();
        let of_parts =
            self.parts.each(Question::Closer { of: self.of.clone(), pages: ids }, |answer| {
                let Answer::Between(pages) = answer else { return None };
                Some(pages)
            })?;
        let closer: Vec<Scored<PageId>> = of_parts.into_iter().flatten().map(scored_of).collect();
        whole(closer, pages.len())
    }
}
