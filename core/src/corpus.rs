//! What ranking by words needs to know of all pages, where each machine has some of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::page::PageId;
use crate::scale::Sums;

/// What is known of the words of all pages, whatever is asked. Facts of parts add up to those of the
/// whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WordFacts {
    /// Pages.
    pub pages: u64,
    /// Words of their text.
    pub words: u64,
    /// Words of their paths and titles, once a page.
    pub name_words: u64,
    /// How many pages are in each language, by the number that the index stores for it.
    pub languages: BTreeMap<u64, u64>,
    /// The languages that words are stemmed in, where the pages do not say theirs.
    pub stems: BTreeSet<u64>,
}

impl WordFacts {
    /// These and those.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.pages += others.pages;
        self.words += others.words;
        self.name_words += others.name_words;
        for (&language, &pages) in &others.languages {
            *self.languages.entry(language).or_default() += pages;
        }
        self.stems.extend(&others.stems);
        self
    }
}

/// On how many pages what a question looks up is: numbers in the order in which the index looks them
/// up, which is the same for the same question and the same [`WordFacts`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Frequencies {
    /// Pages that have a word, for each word.
    pub words: Vec<u64>,
    /// Pages that have a term, dropped ones included, for each term of each word.
    pub terms: Vec<u64>,
}

impl Frequencies {
    /// These and those.
    #[must_use]
    pub fn and(self, others: &Self) -> Self {
        let add = |mine: Vec<u64>, theirs: &[u64]| {
            let (mut mine, length) = (mine, theirs.len());
            mine.resize(mine.len().max(length), 0);
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
            mine
        };
        Self { words: add(self.words, &others.words), terms: add(self.terms, &others.terms) }
    }
}

/// What a part of the pages has for a question.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FoundWords {
    /// The best pages with their scores, best first, ties by [`PageId`].
    pub pages: Vec<(PageId, f32)>,
    /// Sums over the scores of all pages that have something of the question.
    pub sums: Sums,
    /// Pages that were searched, those without a word of the question included.
    pub searched: usize,
    /// What a page would have that has all that is asked.
    pub most: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_and_frequencies_of_parts_add_up() {
        let part = |pages, language| WordFacts {
            pages,
            words: pages * 10,
            name_words: pages,
            languages: BTreeMap::from([(language, pages), (9, 1)]),
            stems: BTreeSet::new(),
        };
        let all = WordFacts::default().and(&part(2, 1)).and(&part(3, 2)).and(&part(4, 1));
        assert_eq!((all.pages, all.words, all.name_words), (9, 90, 9));
        assert_eq!(all.languages, BTreeMap::from([(1, 6), (2, 3), (9, 3)]));
        let one = Frequencies { words: vec![1, 2], terms: vec![5] };
        let sum = Frequencies::default().and(&one).and(&one);
        assert_eq!(sum, Frequencies { words: vec![2, 4], terms: vec![10] });
    }
}
