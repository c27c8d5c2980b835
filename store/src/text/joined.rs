//! What belongs to the words of all pages where each machine has some of them.

use pagesight_core::{Frequencies, WordFacts};

use super::bm25::Statistics;
use super::snippet::{Snippet, snippet_of};

/// The words of all pages, as far as they are known without the pages: the sum of what is known of the
/// parts.
pub struct JoinedWords {
    facts: WordFacts,
    statistics: Statistics,
}

impl JoinedWords {
    /// Of parts with these facts.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a WordFacts>) -> Self {
        let facts = parts.into_iter().fold(WordFacts::default(), WordFacts::and);
        let statistics = Statistics::of(&facts);
        Self { facts, statistics }
    }

    /// The facts of all pages.
    pub fn facts(&self) -> &WordFacts {
        &self.facts
    }

    /// As [`Reader::snippet`](crate::Reader::snippet) on one machine; `have` says on how many pages
    /// what `query` looks up is.
    pub fn snippet(&self, query: &str, text: &str, have: &Frequencies) -> Snippet {
        let question = self.statistics.question(query);
        snippet_of(&question, text, self.statistics.pages, &have.terms)
    }
}
