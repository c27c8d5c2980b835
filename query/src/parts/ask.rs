//! What parts are asked and answer, as it goes from machine to machine. Numbers with a fraction go as
//! their bits, so that what comes is what was sent.

use std::collections::HashSet;

use pagesight_core::{
    DocumentId, FoundWords, Frequencies, PageId, QueryVectors, Sums, VectorError, WordFacts,
};
use serde::{Deserialize, Serialize};

/// A number by its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Bits(u32);

impl From<f32> for Bits {
    fn from(number: f32) -> Self {
        Self(number.to_bits())
    }
}

impl From<Bits> for f32 {
    fn from(bits: Bits) -> Self {
        Self::from_bits(bits.0)
    }
}

/// Pages with their scores.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Scores(Vec<(PageId, Bits)>);

impl From<Vec<(PageId, f32)>> for Scores {
    fn from(pages: Vec<(PageId, f32)>) -> Self {
        Self(pages.into_iter().map(|(page, score)| (page, score.into())).collect())
    }
}

impl From<Scores> for Vec<(PageId, f32)> {
    fn from(scores: Scores) -> Self {
        scores.0.into_iter().map(|(page, score)| (page, score.into())).collect()
    }
}

/// The vectors of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vectors {
    dim: usize,
    values: Vec<Bits>,
}

impl From<&QueryVectors> for Vectors {
    fn from(query: &QueryVectors) -> Self {
        let values = query.values().iter().map(|&value| value.into()).collect();
        Self { dim: query.dim(), values }
    }
}

impl TryFrom<&Vectors> for QueryVectors {
    type Error = VectorError;

    fn try_from(vectors: &Vectors) -> Result<Self, VectorError> {
        Self::of_rows(vectors.dim, vectors.values.iter().map(|&value| value.into()).collect())
    }
}

/// Which documents pass; `None` for all.
pub(crate) type Documents = Option<HashSet<DocumentId>>;

/// What is taken off the scores of pages because they give it to any question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Off {
    /// Nothing.
    Nothing,
    /// What stands with the codes, times this.
    Stored(Bits),
    /// What these questions measure, times this: some codes say nothing of it, or by other questions.
    Measured(Bits, Vectors),
}

/// A question to the patches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfPatches {
    pub vectors: Vectors,
    pub documents: Documents,
    pub off: Off,
}

/// What parts are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask(pub(crate) Question);

impl Ask {
    /// What is known of the pages, whatever is asked: a part that answers this is ready.
    pub fn facts() -> Self {
        Self(Question::Facts)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// What is known of the pages, whatever is asked.
    Facts,
    /// On how many pages what a question looks up is.
    Frequencies { query: String, all: WordFacts },
    /// The best pages by words.
    Words {
        query: String,
        k: usize,
        documents: Documents,
        all: WordFacts,
        frequencies: Frequencies,
    },
    /// Those of some pages that have hardly a word.
    Wordless { pages: Vec<PageId> },
    /// How many pages of some documents have codes.
    Within { documents: HashSet<DocumentId> },
    /// The best pages by their sketches.
    Sketched { of: OfPatches, count: usize },
    /// The pages that may be among the best by int8 codes.
    Coded { of: OfPatches, pages: usize, certain: usize },
    /// The best pages by residual codes.
    Residual { of: OfPatches, pages: usize },
    /// Some pages by their codes.
    ByCode { of: OfPatches, pages: Vec<PageId> },
    /// Some pages by their codes and the query as it is, not rounded.
    Closer { of: OfPatches, pages: Vec<PageId> },
    /// Some pages by their full-precision vectors.
    Exact { of: OfPatches, pages: Vec<PageId> },
    /// What is taken off the scores of some pages.
    Off { off: Off, pages: Vec<PageId> },
}

/// What is known of the pages of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Which part it is, from 0, and how many there are.
    pub part: [usize; 2],
    pub words: WordFacts,
    /// `None` where the pages have no codes.
    pub codes: Option<CodeFacts>,
}

/// What is known of the codes of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CodeFacts {
    /// Pages and bytes of the files.
    pub pages: usize,
    pub bytes: usize,
    /// Pages that are searched.
    pub living: usize,
    pub residual: bool,
    /// Which neutral questions all of them were measured with; `None` where that differs, or some were
    /// not.
    pub measured: Option<u32>,
}

/// A page scored by its code, and between which two scores its exact one lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Between {
    pub page: PageId,
    pub off: Bits,
    pub score: Bits,
    pub least: Bits,
    pub most: Bits,
}

/// What a part answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply(pub(crate) Answer);

impl Reply {
    /// Whether the part found its codes damaged.
    pub fn is_damaged(&self) -> bool {
        matches!(self.0, Answer::Damaged(_))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Facts(Facts),
    Frequencies(Frequencies),
    Words {
        pages: Scores,
        sums: Sums,
        searched: usize,
        most: Bits,
    },
    Pages(Vec<PageId>),
    Count(usize),
    /// The best pages, and the sums of the scores of all `seen`.
    Best {
        pages: Scores,
        sums: Sums,
        seen: usize,
    },
    Coded {
        pages: Vec<Between>,
        sums: Sums,
        seen: usize,
    },
    Between(Vec<Between>),
    Scores(Scores),
    /// The codes of a page are damaged, or the full-precision vectors lack one.
    Damaged(String),
}

impl From<FoundWords> for Answer {
    fn from(found: FoundWords) -> Self {
        let FoundWords { pages, sums, searched, most } = found;
        Self::Words { pages: pages.into(), sums, searched, most: most.into() }
    }
}
