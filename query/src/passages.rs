//! The ranking of pages by what their text means.
//!
//! Every page has a vector a passage; the one that is most like the question's says how near the
//! page is as a whole. That is one dot product a passage, so all pages are compared. Of the best by
//! it, and of the best that words found, the vectors of all tokens are compared by late interaction,
//! which sees more and reads a hundred times as much.
//!
//! The two scores are joined by how far each lies above the mean of all pages, in deviations:
//! neither has a scale of its own. That of late interaction is measured on a sample of the pages.

use std::collections::{HashMap, HashSet};

use pagesight_core::seam::{DocumentFilter, PassageEncoder};
use pagesight_core::{Found, PageId, PassageQuestion, Scale};
use pagesight_maxsim::{Int8Query, SegmentError, Segments, Slot};
use rayon::prelude::*;

use crate::error::QueryError;

/// Pages of each ranking whose tokens are compared.
const COMPARED: usize = 32;

/// Pages on which the scale of late interaction is measured.
const SAMPLE: usize = 128;

/// Of the best pages by words, those that show whether passages are there.
const SHOWN: usize = 10;

/// What the passages channel searches: a model of meaning, and what it gave for the pages' text.
#[derive(Clone, Copy)]
pub struct PassageSource<'a> {
    /// The model.
    pub encoder: &'a dyn PassageEncoder,
    /// A vector a passage, in int8 codes.
    pub pooled: &'a Segments,
    /// A vector a token, of the same pages.
    pub tokens: &'a Segments,
}

/// What the two kinds of vectors count beside the words.
///
/// ```
/// use pagesight_query::PassageWeights;
/// let weights = PassageWeights::default();
/// // The best page has most of what is asked: its words are to be trusted.
/// assert_eq!(weights.of_words(0.7), 1.0);
/// // It has half of what would be enough: the question is in other words than the pages.
/// assert_eq!(weights.of_words(0.25), 0.25);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PassageWeights {
    /// What a deviation of late interaction over the vectors of tokens counts.
    pub tokens: f32,
    /// What a deviation of the best vector of a passage counts.
    pub pooled: f32,
    /// How much of what is asked the best page must have in words, 0 to 1, for a deviation of the
    /// words to count 1. With a share of that it counts the square of it. At 0 it always counts 1.
    pub enough: f32,
}

impl PassageWeights {
    /// What a deviation of the words counts where their best page has `share` of what is asked.
    ///
    /// How far a page stands out by its words says little by itself: one of a thousand that has the
    /// only word of the question that is anywhere stands out by thirty deviations. How much of the
    /// question it has is what tells a page that is asked for from one that shares a word by chance.
    pub fn of_words(&self, share: f32) -> f32 {
        if self.enough > 0.0 { (share / self.enough).min(1.0).powi(2) } else { 1.0 }
    }
}

impl Default for PassageWeights {
    fn default() -> Self {
        Self { tokens: 1.0, pooled: 0.5, enough: 0.5 }
    }
}

/// What the channel found.
#[derive(Debug, Default)]
pub(crate) struct Meant {
    /// Pages and their scores, which are deviations above the mean of all pages already.
    pub found: Found,
    /// For each page, which of its passages is most like the question.
    pub passages: HashMap<PageId, PassageMatch>,
}

/// The passage of a page that is most like a question.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct PassageMatch {
    /// Which of the page's passages, as its encoder cuts them, from 0.
    pub passage: usize,
    /// The cosine between it and the question.
    pub similarity: f32,
}

/// Why passages do not answer.
pub(crate) enum PassagesError {
    /// The codes of a page are damaged.
    Damaged(String),
    /// Too many of the pages that words found have none: a run that brings them is not done.
    Missing,
    /// The question cannot be asked.
    Failed(QueryError),
}

impl From<SegmentError> for PassagesError {
    fn from(error: SegmentError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Ranks the pages of `documents` for `question`. The best of `words`, what the words found, are
/// compared too. Where more than a fifth of the very best of them have no passages, nothing is
/// ranked: they would lose to whatever page has some.
pub(crate) fn rank(
    source: PassageSource<'_>,
    question: &PassageQuestion,
    words: &[(PageId, f32)],
    documents: DocumentFilter<'_>,
    weights: PassageWeights,
) -> Result<Meant, PassagesError> {
    let passes = |id: PageId| documents.is_none_or(|of| of.contains(&id.document));
    let slots = source.pooled.living().iter();
    let slots: Vec<Slot> = slots.filter(|slot| passes(source.pooled.id(slot))).copied().collect();
    let shown: HashSet<PageId> = words.iter().take(SHOWN).map(|(page, _)| *page).collect();
    let missing =
        shown.len() - slots.iter().filter(|slot| shown.contains(&source.pooled.id(slot))).count();
    if missing * 5 > shown.len() {
        return Err(PassagesError::Missing);
    }
    let pooled = scores(source.pooled, &Int8Query::new(&question.pooled), &slots)?;
    let scale = Scale::of(pooled.iter().map(|page| page.1), slots.len(), 0.0);

    let mut best: Vec<usize> = (0..slots.len()).collect();
    let better = |&a: &usize, &b: &usize| {
        pooled[b].1.total_cmp(&pooled[a].1).then(pooled[a].0.cmp(&pooled[b].0))
    };
    if best.len() > COMPARED {
        best.select_nth_unstable_by(COMPARED, better);
        best.truncate(COMPARED);
    }
    let mut compared: HashSet<PageId> = best.iter().map(|&at| pooled[at].0).collect();
    compared.extend(words.iter().take(COMPARED).map(|(page, _)| *page));
    // Evenly spread over all pages, so that it is the same for every question.
    let step = slots.len().div_ceil(SAMPLE).max(1);
    let sample: HashSet<PageId> =
        slots.iter().step_by(step).map(|slot| source.pooled.id(slot)).collect();
    let read = |slot: &&Slot| {
        let id = source.tokens.id(slot);
        passes(id) && (compared.contains(&id) || sample.contains(&id))
    };
    let read: Vec<Slot> = source.tokens.living().iter().filter(read).copied().collect();
    let late = scores(source.tokens, &Int8Query::new(&question.tokens), &read)?;
    let of_sample = late.iter().filter(|page| sample.contains(&page.0));
    let late_scale = Scale::of(of_sample.map(|page| page.1), sample.len(), 0.0);

    let late: HashMap<PageId, f32> = late.into_iter().collect();
    let mut pages = Vec::with_capacity(compared.len());
    let mut passages = HashMap::with_capacity(compared.len());
    for (slot, &(page, similarity)) in slots.iter().zip(&pooled) {
        let Some(&late) = late.get(&page).filter(|_| compared.contains(&page)) else { continue };
        let score = weights.tokens * late_scale.z(late) + weights.pooled * scale.z(similarity);
        pages.push((page, score));
        let view = source.pooled.page(slot)?;
        let rows = view.best_rows(&question.pooled).map_err(QueryError::Dim);
        let rows = rows.map_err(PassagesError::Failed)?;
        if let Some(&(passage, similarity)) = rows.first() {
            passages.insert(page, PassageMatch { passage, similarity });
        }
    }
    pages.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    // Sums of deviations: their mean is 0, and their own deviation is that of nothing else.
    let scale = Scale { pages: slots.len(), mean: 0.0, deviation: 1.0, most: 0.0 };
    Ok(Meant { found: Found { pages, scale }, passages })
}

/// The scores of `slots`, in their order.
fn scores(
    codes: &Segments,
    query: &Int8Query,
    slots: &[Slot],
) -> Result<Vec<(PageId, f32)>, PassagesError> {
    let score = |slot: &Slot| -> Result<(PageId, f32), PassagesError> {
        let score = query.score(codes.page(slot)?);
        Ok((codes.id(slot), score.map_err(|error| PassagesError::Failed(error.into()))?))
    };
    slots.par_iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use pagesight_core::testing::FakePassageEncoder;
    use pagesight_core::{DocumentId, PageVectors};

    use super::*;
    use crate::testing::coded;

    fn page(number: u32) -> PageId {
        PageId { document: DocumentId([1; 32]), number }
    }

    #[test]
    fn all_pages_are_ranked_as_by_all_their_vectors() {
        let encoder = FakePassageEncoder::default();
        let texts: Vec<String> = (0..300)
            .map(|n| format!("page {n} of {}\nword{} and word{}", n % 7, n % 11, n % 13))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encoded: Vec<_> = encoder.encode_texts(&texts).unwrap().into_iter().flatten().collect();
        let of = |of: fn(&pagesight_core::EncodedPassages) -> &PageVectors| {
            let pages: Vec<_> = (1..).map(page).zip(encoded.iter().map(of)).collect();
            coded(&pages)
        };
        let (pooled, tokens) = (of(|page| &page.pooled), of(|page| &page.tokens));
        let source = PassageSource { encoder: &encoder, pooled: &pooled, tokens: &tokens };
        let question = encoder.encode_question("word3 of 5").unwrap();
        let weights = PassageWeights::default();
        let few = HashSet::from([DocumentId([2; 32])]);
        let meant = |words: &[(PageId, f32)], documents: DocumentFilter<'_>| match rank(
            source, &question, words, documents, weights,
        ) {
            Ok(meant) => meant,
            Err(_) => panic!("sound codes"),
        };
        let found = meant(&[], None);
        assert_eq!(found.found.pages.len(), COMPARED);
        assert!(found.found.pages.windows(2).all(|two| two[0].1 >= two[1].1));
        // What words found is compared too, wherever it ranks.
        let words: Vec<_> = (250..=300).map(|number| (page(number), 1.0)).collect();
        let more = meant(&words, None);
        assert!((250..250 + COMPARED as u32).all(|n| more.passages.contains_key(&page(n))));
        // And the scores of the others are the same.
        let score =
            |of: &Meant, id: PageId| of.found.pages.iter().find(|page| page.0 == id).unwrap().1;
        assert!(found.found.pages.iter().all(|&(id, is)| score(&more, id) == is));
        // The passage is the one that is most like it.
        let best = found.found.pages[0].0;
        let values = encoded[best.number as usize - 1].pooled.values();
        let asked = question.pooled.values();
        let dot =
            |row: &[half::f16]| -> f32 { row.iter().zip(asked).map(|(a, b)| a.to_f32() * b).sum() };
        let dots: Vec<f32> = values.chunks(asked.len()).map(dot).collect();
        let expected = dots.iter().fold(f32::MIN, |best, &dot| best.max(dot));
        assert!((found.passages[&best].similarity - expected).abs() < 0.02);
        assert!(meant(&[], Some(&few)).found.pages.is_empty());
        // One page of ten may have come since; with three nothing is ranked.
        let words = |from: u32| -> Vec<_> { (from..from + 10).map(|n| (page(n), 1.0)).collect() };
        assert!(!meant(&words(292), None).found.pages.is_empty());
        let few = rank(source, &question, &words(294), None, weights);
        assert!(matches!(few, Err(PassagesError::Missing)));
    }
}
