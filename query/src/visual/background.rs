//! What a page gives to any question, taken off what it gives to the one that is asked.
//!
//! The largest of many dot products is larger than the largest of few, so a page with many vectors
//! goes before one with few whatever is asked. What a page gives to neutral questions
//! ([`Neutral`]) measures that, once a page, when its codes are written. The corrected score is
//!
//! `MaxSim - weight * tokens of the question * background a token`,
//!
//! where those tokens count that are in the letters of the neutral questions. That subtracts a known
//! number from each page: bounds on MaxSim are bounds on the corrected score,
//! and whatever ranks by one can rank by the other.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use pagesight_core::seam::QueryEncoder;
use pagesight_core::{NeutralQuestions, PageId, PageVectors, QueryToken, QueryVectors};
use pagesight_maxsim::{DimMismatch, Here, Neutral, Segments, Slot};

use super::each::each;
use super::error::CodesError;
use crate::error::QueryError;
use crate::parts::ask::{Answer, Off, Question};
use crate::parts::joined::Joined;

/// What the pages of one snapshot give to neutral questions. Kept with the snapshot: what an index
/// of an earlier version does not have is measured by the first search that wants it.
#[derive(Default)]
pub struct Backgrounds {
    questions: NeutralQuestions,
    neutral: OnceLock<Option<Neutral>>,
    coded: OnceLock<Coded>,
}

/// Where the backgrounds of pages with codes are.
pub(crate) enum Coded {
    /// In the files of the codes.
    Stored,
    /// Measured here, for each page of each file.
    Measured(Vec<Vec<f32>>),
}

impl Backgrounds {
    /// Of a snapshot whose model has these neutral questions.
    pub fn new(questions: NeutralQuestions) -> Self {
        Self { questions, ..Self::default() }
    }

    /// The questions as query vectors, encoded when they are first needed; `None` where nothing
    /// encodes questions.
    fn neutral(&self, encoder: Option<&dyn QueryEncoder>) -> Option<&Neutral> {
        if let Some(neutral) = self.neutral.get() {
            return neutral.as_ref();
        }
        // A model whose vectors are made elsewhere encodes none. The question is encoded already.
        let questions: Vec<&str> = self.questions.questions.iter().map(String::as_str).collect();
        let encoded = encoder?.encode_queries(&questions).ok()?;
        self.neutral.get_or_init(|| Neutral::new("measured here", &encoded)).as_ref()
    }

    /// Makes sure that the background of each page of `codes` is known; whether it is.
    fn of_codes(
        &self,
        codes: &Segments,
        encoder: Option<&dyn QueryEncoder>,
    ) -> Result<Option<&Coded>, CodesError> {
        if let Some(coded) = self.coded.get() {
            return Ok(Some(coded));
        }
        let by = |slot: &Slot| codes.background(slot).map(|background| background.of);
        let mut living = codes.living().iter();
        let first = living.next().and_then(by);
        // Measured by the same questions, whichever: backgrounds compare with one another.
        if first.is_some() && living.all(|slot| by(slot) == first) {
            return Ok(Some(self.coded.get_or_init(|| Coded::Stored)));
        }
        let Some(neutral) = self.neutral(encoder) else { return Ok(None) };
        let measured = measured(codes, neutral)?;
        Ok(Some(self.coded.get_or_init(|| measured)))
    }
}

/// What each page of `codes` gives to `neutral` questions, measured by its codes.
pub(crate) fn measured(codes: &Segments, neutral: &Neutral) -> Result<Coded, CodesError> {
    let mut measured: Vec<Vec<f32>> =
        codes.segments().iter().map(|segment| vec![0.0; segment.len()]).collect();
    let residual =
        if codes.are_residual() { codes.residual_queries(neutral.vectors())? } else { Vec::new() };
    let measure = |here: &Here<'_>, slot: &Slot| -> Result<f32, CodesError> {
        let background = if codes.are_residual() {
            neutral.of_score(here.score_residual(&residual, slot)?)
        } else {
            neutral.measure_code(&here.page(slot)?)?
        };
        Ok(background.per_token)
    };
    let found = each(codes, codes.living(), measure)?;
    for (slot, per_token) in codes.living().iter().zip(found) {
        measured[slot.segment as usize][slot.index as usize] = per_token;
    }
    Ok(Coded::Measured(measured))
}

/// The alphabet that a letter is of, roughly: Latin, or its block of 256 letters.
fn alphabet(letter: char) -> u32 {
    match u32::from(letter) {
        0..0x250 | 0x1E00..0x1F00 => 0,
        other => other >> 8,
    }
}

/// What is taken off the score of each page for one question.
pub(crate) struct Correction<'a> {
    backgrounds: &'a Backgrounds,
    encoder: Option<&'a dyn QueryEncoder>,
    /// What a background a token is multiplied by.
    factor: f32,
}

impl<'a> Correction<'a> {
    /// For a question with these vectors; `None` where nothing is taken off.
    pub fn new(
        backgrounds: &'a Backgrounds,
        encoder: Option<&'a dyn QueryEncoder>,
        query: &QueryVectors,
    ) -> Option<Self> {
        let alphabets: HashSet<u32> =
            backgrounds.questions.questions.iter().flat_map(|q| q.chars()).map(alphabet).collect();
        // Tokens in other letters look for other things on a page than the neutral questions did.
        let is_like = |token: &&QueryToken| {
            let mut letters = token.text.chars().filter(|letter| letter.is_alphabetic());
            letters.all(|letter| alphabets.contains(&alphabet(letter)))
        };
        let tokens = query.tokens().iter().filter(is_like).count();
        let factor = backgrounds.questions.weight * tokens as f32;
        (factor != 0.0).then_some(Self { backgrounds, encoder, factor })
    }

    /// For pages by their codes; `None` where no background is known and none can be measured.
    pub(super) fn of_codes<'b>(
        &'b self,
        codes: &'b Segments,
    ) -> Result<Option<OfCodes<'b>>, CodesError> {
        let coded = self.backgrounds.of_codes(codes, self.encoder)?;
        Ok(coded.map(|coded| OfCodes { coded, codes, factor: self.factor }))
    }

    /// For pages whose codes several machines have: as one machine with all of them takes it off.
    pub(super) fn of_parts(&self, parts: &Joined) -> Off {
        if parts.codes().is_some_and(|codes| codes.living > 0 && codes.measured.is_some()) {
            return Off::Stored(self.factor.into());
        }
        let neutral = self.backgrounds.neutral(self.encoder);
        neutral.map_or(Off::Nothing, |neutral| {
            Off::Measured(self.factor.into(), neutral.vectors().into())
        })
    }

    /// As [`of_vectors`](Self::of_vectors), of `pages` whose codes several machines have.
    ///
    /// # Errors
    /// What the parts say.
    pub fn of_pages(&self, parts: &Joined, pages: &[PageId]) -> Result<OfVectors<'_>, QueryError> {
        let question = Question::Off { off: self.of_parts(parts), pages: pages.to_vec() };
        let known = match parts.each(question, |answer| match answer {
            Answer::Scores(off) => Some(Vec::from(off)),
            _ => None,
        }) {
            Ok(of_parts) => of_parts.into_iter().flatten().collect(),
            // Vectors tell what damaged codes do not.
            Err(CodesError::Damaged(_)) => HashMap::new(),
            Err(CodesError::Failed(error)) => return Err(error),
        };
        let neutral = self.backgrounds.neutral(if known.is_empty() { self.encoder } else { None });
        Ok(OfVectors { known, neutral, factor: self.factor })
    }

    /// For pages by their vectors: what the codes know of them, where there are codes, else what
    /// neutral questions measure.
    pub fn of_vectors<'b>(
        &'b self,
        codes: Option<&'b Segments>,
    ) -> Result<OfVectors<'b>, QueryError> {
        let known = match codes.map(|codes| self.of_codes(codes)).transpose() {
            Ok(of) => of.flatten().map(|of| of.all()).unwrap_or_default(),
            // Vectors tell what damaged codes do not.
            Err(CodesError::Damaged(_)) => HashMap::new(),
            Err(CodesError::Failed(error)) => return Err(error),
        };
        let neutral = self.backgrounds.neutral(if known.is_empty() { self.encoder } else { None });
        Ok(OfVectors { known, neutral, factor: self.factor })
    }
}

/// What is taken off the scores of pages with codes.
#[derive(Clone, Copy)]
pub(crate) struct OfCodes<'a> {
    coded: &'a Coded,
    codes: &'a Segments,
    factor: f32,
}

/// The backgrounds of codes that have them all.
static STORED: Coded = Coded::Stored;

impl<'a> OfCodes<'a> {
    pub fn new(coded: &'a Coded, codes: &'a Segments, factor: f32) -> Self {
        Self { coded, codes, factor }
    }

    /// Of codes that have the backgrounds of all pages.
    pub fn stored(codes: &'a Segments, factor: f32) -> Self {
        Self { coded: &STORED, codes, factor }
    }
}

impl OfCodes<'_> {
    /// What is taken off the score of every page.
    fn all(&self) -> HashMap<PageId, f32> {
        self.codes.living().iter().map(|slot| (self.codes.id(slot), self.off(slot))).collect()
    }

    /// What is taken off the score of a page.
    pub fn off(&self, slot: &Slot) -> f32 {
        let per_token = match self.coded {
            Coded::Stored => self.codes.background(slot).map_or(0.0, |found| found.per_token),
            Coded::Measured(all) => all[slot.segment as usize][slot.index as usize],
        };
        self.factor * per_token
    }
}

/// What is taken off, as far as anything is.
pub(crate) fn off(correction: Option<&OfCodes<'_>>, slot: &Slot) -> f32 {
    correction.map_or(0.0, |correction| correction.off(slot))
}

/// What is taken off the scores of pages with vectors.
pub(crate) struct OfVectors<'a> {
    known: HashMap<PageId, f32>,
    neutral: Option<&'a Neutral>,
    factor: f32,
}

impl OfVectors<'_> {
    /// Whether it is known without vectors what is taken off the score of a page.
    pub fn knows(&self, id: PageId) -> bool {
        self.known.contains_key(&id)
    }

    /// What is taken off the score of a page with these vectors.
    pub fn off(&self, id: PageId, page: Option<&PageVectors>) -> Result<f32, DimMismatch> {
        match (self.known.get(&id), self.neutral.zip(page)) {
            (Some(off), _) => Ok(*off),
            (None, Some((neutral, page))) => Ok(self.factor * neutral.measure(page)?.per_token),
            (None, None) => Ok(0.0),
        }
    }
}
