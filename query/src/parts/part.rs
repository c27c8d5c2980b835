//! One part: what it answers from its own pages.

use std::collections::HashMap;
use std::sync::OnceLock;

use pagesight_core::seam::{TextIndex, VectorSource, WordsPart};
use pagesight_core::{PageId, QueryVectors, Sums};
use pagesight_maxsim::{ExactQuery, Neutral, Segments, Slot};

use super::ask::{
    Answer, Ask, Between, CodeFacts, Facts, OfPatches, Off, Question, Reply, Vectors,
};
use crate::error::QueryError;
use crate::visual::background::{Coded as Backgrounds, OfCodes, measured, off};
use crate::visual::best::keep_best;
use crate::visual::certified::{self, Coded, Located, Scored, closer};
use crate::visual::error::CodesError;
use crate::visual::{Depth, scan, sketched, within};

/// What a part answers from, all of one snapshot.
#[derive(Clone, Copy)]
pub struct PartSources<'a> {
    /// Which part it is, from 0, and how many there are.
    pub part: [usize; 2],
    /// The stored multi-vectors.
    pub vectors: &'a dyn VectorSource,
    /// The words of the pages of this part.
    pub text: &'a dyn TextIndex,
    /// The same, as a part of the words of all pages.
    pub words: &'a dyn WordsPart,
    /// The codes of the pages of this part.
    pub codes: Option<&'a Segments>,
}

/// The pages of a part, kept with the snapshot: where each lies, and what it gives to any question.
#[derive(Default)]
pub struct Part {
    places: HashMap<PageId, Slot>,
    measured: Option<u32>,
    backgrounds: OnceLock<Backgrounds>,
}

impl Part {
    /// The part that has `codes`.
    pub fn of(codes: Option<&Segments>) -> Self {
        let Some(codes) = codes else { return Self::default() };
        let places = codes.ids().zip(codes.living().iter().copied()).collect();
        let by = |slot: &Slot| codes.background(slot).map(|background| background.of);
        let mut living = codes.living().iter();
        let first = living.next().and_then(by);
        let measured = first.filter(|_| living.all(|slot| by(slot) == first));
        Self { places, measured, backgrounds: OnceLock::new() }
    }

    /// Answers `ask` from `sources`, which have the codes that this was made [`of`](Self::of).
    ///
    /// # Errors
    /// [`QueryError`] for what cannot be read. Codes that are damaged are an answer.
    pub fn answer(&self, sources: &PartSources<'_>, ask: &Ask) -> Result<Reply, QueryError> {
        match self.answer_to(sources, &ask.0) {
            Ok(answer) => Ok(Reply(answer)),
            Err(CodesError::Damaged(reason)) => Ok(Reply(Answer::Damaged(reason))),
            Err(CodesError::Failed(error)) => Err(error),
        }
    }

    fn answer_to(
        &self,
        sources: &PartSources<'_>,
        question: &Question,
    ) -> Result<Answer, CodesError> {
        let text = |error| CodesError::Failed(QueryError::Text(error));
        Ok(match question {
            Question::Facts => Answer::Facts(self.facts(sources)),
            Question::Frequencies { query, all } => {
                Answer::Frequencies(sources.words.frequencies(query, all).map_err(text)?)
            }
            Question::Words { query, k, documents, all, frequencies } => {
                let all = (all, frequencies);
                let found = sources.words.search_words(query, *k, documents.as_ref(), all);
                found.map_err(text)?.into()
            }
            Question::Wordless { pages } => {
                let found = sources.text.wordless(pages).map_err(text)?;
                Answer::Pages(found.into_iter().collect())
            }
            Question::Within { documents } => {
                let ids = sources.codes.into_iter().flat_map(Segments::ids);
                Answer::Count(ids.filter(|id| documents.contains(&id.document)).count())
            }
            Question::Sketched { of, count } => self.sketched(codes(sources)?, of, *count)?,
            Question::Coded { of, pages, certain } => {
                let depth = Depth { pages: *pages, certain: *certain };
                self.coded(codes(sources)?, of, depth)?
            }
            Question::Residual { of, pages } => {
                let codes = codes(sources)?;
                let (query, off) = self.read(codes, of)?;
                let slots = within(codes, of.documents.as_ref());
                let scores = scan::by_code(codes, &query, &slots, off.as_ref())?;
                best(scores, *pages)
            }
            Question::ByCode { of, pages } => {
                let codes = codes(sources)?;
                let (query, off) = self.read(codes, of)?;
                let slots = self.slots(pages);
                Answer::Scores(scan::by_code(codes, &query, &slots, off.as_ref())?.into())
            }
            Question::Closer { of, pages } => {
                let codes = codes(sources)?;
                let (query, off) = self.read(codes, of)?;
                let slots = self.slots(pages);
                let closer = closer(codes, &slots, &ExactQuery::new(&query))?;
                let pages = slots.iter().zip(closer).map(|(slot, (score, bound))| {
                    let place = Located { id: codes.id(slot), slot: *slot };
                    between(&Scored::new(place, score, bound, self::off(off.as_ref(), slot)))
                });
                Answer::Between(pages.collect())
            }
            Question::Exact { of, pages } => {
                let codes = codes(sources)?;
                let (query, off) = self.read(codes, of)?;
                let slots = self.slots(pages);
                let ids: Vec<PageId> = slots.iter().map(|slot| codes.id(slot)).collect();
                let off: HashMap<PageId, f32> = slots
                    .iter()
                    .map(|slot| (codes.id(slot), self::off(off.as_ref(), slot)))
                    .collect();
                let exact = ExactQuery::new(&query);
                Answer::Scores(certified::exact(sources.vectors, &exact, &ids, &off)?.into())
            }
            Question::Off { off, pages } => {
                let codes = codes(sources)?;
                let of = self.off(codes, off)?;
                let slots = self.slots(pages);
                let pages = slots.iter().map(|slot| (codes.id(slot), self::off(of.as_ref(), slot)));
                Answer::Scores(pages.collect::<Vec<_>>().into())
            }
        })
    }

    fn facts(&self, sources: &PartSources<'_>) -> Facts {
        let codes = sources.codes.map(|codes| {
            let (pages, bytes) = codes.extent();
            let (living, residual) = (codes.living().len(), codes.are_residual());
            CodeFacts { pages, bytes, living, residual, measured: self.measured }
        });
        Facts { part: sources.part, words: sources.words.facts(), codes }
    }

    /// Where those of `pages` lie that are of this part.
    fn slots(&self, pages: &[PageId]) -> Vec<Slot> {
        pages.iter().filter_map(|page| self.places.get(page).copied()).collect()
    }

    fn read<'a>(
        &'a self,
        codes: &'a Segments,
        of: &OfPatches,
    ) -> Result<(QueryVectors, Option<OfCodes<'a>>), CodesError> {
        Ok((query(&of.vectors)?, self.off(codes, &of.off)?))
    }

    fn off<'a>(
        &'a self,
        codes: &'a Segments,
        off: &Off,
    ) -> Result<Option<OfCodes<'a>>, CodesError> {
        Ok(match off {
            Off::Nothing => None,
            Off::Stored(factor) => Some(OfCodes::stored(codes, (*factor).into())),
            Off::Measured(factor, questions) => {
                let backgrounds = match self.backgrounds.get() {
                    Some(backgrounds) => backgrounds,
                    None => {
                        let neutral = Neutral::new("measured here", &[query(questions)?]);
                        let neutral = neutral.ok_or_else(|| {
                            QueryError::Vectors("neutral questions without a token".into())
                        })?;
                        let found = measured(codes, &neutral)?;
                        self.backgrounds.get_or_init(|| found)
                    }
                };
                Some(OfCodes::new(backgrounds, codes, (*factor).into()))
            }
        })
    }

    fn sketched(
        &self,
        codes: &Segments,
        of: &OfPatches,
        count: usize,
    ) -> Result<Answer, CodesError> {
        let (query, off) = self.read(codes, of)?;
        let slots = within(codes, of.documents.as_ref());
        let scores = sketched::scores(codes, &slots, &query, off.as_ref())?;
        let chosen = sketched::chosen(codes, &slots, &scores, count);
        let pages: Vec<(PageId, f32)> =
            chosen.into_iter().map(|(slot, score)| (codes.id(&slot), score)).collect();
        let (sums, seen) = (scores.into_iter().collect(), slots.len());
        Ok(Answer::Best { pages: pages.into(), sums, seen })
    }

    fn coded(&self, codes: &Segments, of: &OfPatches, depth: Depth) -> Result<Answer, CodesError> {
        let (query, off) = self.read(codes, of)?;
        let slots = within(codes, of.documents.as_ref());
        let scored = certified::scores(codes, &slots, &query, off.as_ref())?;
        let (sums, seen) = (scored.iter().map(|page| page.score).collect::<Sums>(), scored.len());
        let in_question = Coded::in_question(scored, depth);
        let pages = in_question.iter().map(between).collect();
        Ok(Answer::Coded { pages, sums, seen })
    }
}

fn codes<'a>(sources: &PartSources<'a>) -> Result<&'a Segments, CodesError> {
    sources.codes.ok_or_else(|| CodesError::Damaged("the codes of a part cannot be read".into()))
}

fn query(vectors: &Vectors) -> Result<QueryVectors, CodesError> {
    let read = QueryVectors::try_from(vectors);
    read.map_err(|error| CodesError::Failed(QueryError::Vectors(error.into())))
}

fn best(scores: Vec<(PageId, f32)>, depth: usize) -> Answer {
    let (sums, seen) = (scores.iter().map(|(_, score)| *score).collect(), scores.len());
    let mut pages = Vec::new();
    keep_best(&mut pages, scores, depth);
    Answer::Best { pages: pages.into(), sums, seen }
}

fn between(page: &Scored<Located>) -> Between {
    let Scored { place, off, score, least, most } = *page;
    let (off, score, least, most) = (off.into(), score.into(), least.into(), most.into());
    Between { page: place.id, off, score, least, most }
}
