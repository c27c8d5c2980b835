//! What the parts of an index answer, joined into what one machine would.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use pagesight_core::seam::{BoxError, DocumentFilter, TextIndex};
use pagesight_core::{Found, Frequencies, PageId, Sums, WordFacts};

use super::Parts;
use super::ask::{Answer, Ask, CodeFacts, Facts, Question, Reply};
use crate::error::QueryError;
use crate::visual::best::keep_best;
use crate::visual::error::CodesError;

/// Questions whose frequencies are kept: a search needs them for its ranking and again for its snippets.
const KEPT: usize = 64;

/// The best pages with their scores, the sums of the scores of all pages, and how many were scored.
pub(crate) type Best = (Vec<(PageId, f32)>, Sums, usize);

/// All parts of one snapshot of an index.
pub struct Joined {
    parts: Arc<dyn Parts>,
    words: WordFacts,
    codes: Option<CodeFacts>,
    kept: Mutex<Vec<(String, Arc<Frequencies>)>>,
}

impl Joined {
    /// Asks `parts` for their facts.
    ///
    /// # Errors
    /// [`QueryError::Part`] where one does not answer, [`QueryError::NotAllParts`] where some are missing
    /// or stand twice: the answers would be shorter, or count pages twice.
    pub fn open(parts: Arc<dyn Parts>) -> Result<Self, QueryError> {
        let replies = parts.ask(&Ask(Question::Facts))?;
        let facts = |(at, reply): (usize, Reply)| match reply.0 {
            Answer::Facts(facts) => Ok(facts),
            _ => Err(senseless(at)),
        };
        let facts = replies.into_iter().enumerate().map(facts);
        let facts: Vec<Facts> = facts.collect::<Result<_, _>>()?;
        let parts_said: Vec<[usize; 2]> = facts.iter().map(|part| part.part).collect();
        let mut sorted = parts_said.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq((0..sorted.len()).map(|at| [at, sorted.len()])) {
            return Err(QueryError::NotAllParts { got: parts_said });
        }
        let words = facts.iter().map(|part| &part.words).fold(WordFacts::default(), WordFacts::and);
        let codes = facts.iter().filter_map(|part| part.codes).reduce(joined_codes);
        Ok(Self { parts, words, codes, kept: Mutex::default() })
    }

    /// The facts of the words of all pages.
    pub fn words(&self) -> &WordFacts {
        &self.words
    }

    /// The facts of the codes of all pages; `None` where there are none.
    pub(crate) fn codes(&self) -> Option<CodeFacts> {
        self.codes
    }

    /// Whether there are codes of pages.
    pub fn has_codes(&self) -> bool {
        self.codes.is_some()
    }

    /// On how many of all pages what `query` looks up is.
    ///
    /// # Errors
    /// [`QueryError::Part`].
    pub fn frequencies(&self, query: &str) -> Result<Arc<Frequencies>, QueryError> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = kept().iter().find(|(asked, _)| asked == query) {
            return Ok(Arc::clone(known));
        }
        let question = Question::Frequencies { query: query.into(), all: self.words.clone() };
        let of_parts = self.each(question, |answer| match answer {
            Answer::Frequencies(found) => Some(found),
            _ => None,
        });
        let sum = |sum: Frequencies, part: Frequencies| sum.and(&part);
        let found = of_parts.map_err(failed)?.into_iter().fold(Frequencies::default(), sum);
        let found = Arc::new(found);
        let mut kept = kept();
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((query.into(), Arc::clone(&found)));
        Ok(found)
    }

    /// Asks all parts, and reads what each answers.
    pub(crate) fn each<T>(
        &self,
        question: Question,
        read: impl Fn(Answer) -> Option<T>,
    ) -> Result<Vec<T>, CodesError> {
        let replies = self.parts.ask(&Ask(question))?;
        let read = |(at, reply): (usize, Reply)| match reply.0 {
            Answer::Damaged(reason) => Err(CodesError::Damaged(reason)),
            answer => read(answer).ok_or_else(|| senseless(at).into()),
        };
        replies.into_iter().enumerate().map(read).collect()
    }

    /// Asks all parts for the best pages: the `depth` best of all, the sums of all scores, and how many
    /// were scored.
    pub(crate) fn best(&self, question: Question, depth: usize) -> Result<Best, CodesError> {
        let of_parts = self.each(question, |answer| match answer {
            Answer::Best { pages, sums, seen } => Some((pages, sums, seen)),
            _ => None,
        })?;
        let (mut best, mut sums, mut seen) = (Vec::new(), Sums::default(), 0);
        for (pages, of_part, seen_there) in of_parts {
            keep_best(&mut best, pages.into(), depth);
            (sums, seen) = (sums.and(of_part), seen + seen_there);
        }
        Ok((best, sums, seen))
    }

    /// Asks all parts to score `count` pages, each of which one part has.
    pub(crate) fn scores(
        &self,
        question: Question,
        count: usize,
    ) -> Result<Vec<(PageId, f32)>, CodesError> {
        let of_parts = self.each(question, |answer| match answer {
            Answer::Scores(scores) => Some(Vec::<(PageId, f32)>::from(scores)),
            _ => None,
        })?;
        let scores: Vec<(PageId, f32)> = of_parts.into_iter().flatten().collect();
        whole(scores, count)
    }
}

/// `pages`, of which there must be `count`.
pub(crate) fn whole<T>(pages: Vec<T>, count: usize) -> Result<Vec<T>, CodesError> {
    if pages.len() == count {
        return Ok(pages);
    }
    let what = format!("the parts of the index have {} of {count} pages", pages.len());
    Err(CodesError::Damaged(what))
}

fn joined_codes(one: CodeFacts, other: CodeFacts) -> CodeFacts {
    let measured = match (one.living, other.living) {
        (0, _) => other.measured,
        (_, 0) => one.measured,
        _ => one.measured.filter(|_| one.measured == other.measured),
    };
    CodeFacts {
        pages: one.pages + other.pages,
        bytes: one.bytes + other.bytes,
        living: one.living + other.living,
        residual: one.residual || other.residual,
        measured,
    }
}

/// An answer of the part at place `at` of those that were asked to another question.
fn senseless(at: usize) -> QueryError {
    let what = "it answered another question than it was asked: is it of the same version?";
    QueryError::Part {
        part: format!("place {} of those that were given", at + 1),
        source: what.into(),
    }
}

fn failed(error: CodesError) -> QueryError {
    match error {
        CodesError::Failed(error) => error,
        CodesError::Damaged(reason) => QueryError::Text(reason.into()),
    }
}

impl TextIndex for Joined {
    fn search_text(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
    ) -> Result<Found, BoxError> {
        let frequencies = self.frequencies(query)?;
        let question = Question::Words {
            query: query.into(),
            k,
            documents: filter.cloned(),
            all: self.words.clone(),
            frequencies: (*frequencies).clone(),
        };
        let of_parts = self.each(question, |answer| match answer {
            Answer::Words { pages, sums, searched, most } => Some((pages, sums, searched, most)),
            _ => None,
        });
        let (mut best, mut sums, mut searched, mut most) = (Vec::new(), Sums::default(), 0, 0.0);
        for (pages, of_part, searched_there, most_there) in of_parts.map_err(failed)? {
            keep_best(&mut best, pages.into(), k);
            (sums, searched) = (sums.and(of_part), searched + searched_there);
            // It is worth the same on all of them.
            most = most_there.into();
        }
        Ok(Found { pages: best, scale: sums.scale(searched, most) })
    }

    fn wordless(&self, pages: &[PageId]) -> Result<HashSet<PageId>, BoxError> {
        if pages.is_empty() {
            return Ok(HashSet::new());
        }
        let of_parts = self.each(Question::Wordless { pages: pages.to_vec() }, |answer| {
            let Answer::Pages(pages) = answer else { return None };
            Some(pages)
        });
        Ok(of_parts.map_err(failed)?.into_iter().flatten().collect())
    }
}
