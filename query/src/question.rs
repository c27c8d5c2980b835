//! What a search asks for.

use pagesight_core::{PageId, QueryVectors};

/// What a search asks for: words, vectors that were made elsewhere, or a page that is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// What a user typed. The model encodes it for the patches.
    Words(String),
    /// Query vectors of the index's model, made elsewhere.
    Vectors {
        /// Asked in the patches.
        vectors: QueryVectors,
        /// Asked in the words, which stay silent without.
        words: Option<String>,
    },
    /// More like this page: its stored vectors are the query, and it is left out of the answer. Of
    /// many vectors similar ones are merged until some sixty are left, so that a page of mostly
    /// blank paper is not found by its blankness.
    Page {
        /// A page of the index.
        page: PageId,
        /// Asked in the words, which stay silent without.
        words: Option<String>,
    },
}

impl Question {
    /// What is asked in the words.
    pub fn words(&self) -> Option<&str> {
        match self {
            Self::Words(words) => Some(words),
            Self::Vectors { words, .. } | Self::Page { words, .. } => words.as_deref(),
        }
    }

    /// The page whose like is wanted; it is no answer.
    pub(crate) fn page(&self) -> Option<PageId> {
        match self {
            Self::Page { page, .. } => Some(*page),
            _ => None,
        }
    }
}

impl From<&str> for Question {
    fn from(words: &str) -> Self {
        Self::Words(words.into())
    }
}

impl From<String> for Question {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<&String> for Question {
    fn from(words: &String) -> Self {
        Self::Words(words.clone())
    }
}

impl From<QueryVectors> for Question {
    fn from(vectors: QueryVectors) -> Self {
        Self::Vectors { vectors, words: None }
    }
}

impl From<PageId> for Question {
    fn from(page: PageId) -> Self {
        Self::Page { page, words: None }
    }
}
