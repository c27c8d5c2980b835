//! Why a document or a page is not in the index: a kind that code acts on, and a line for a person.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure it was. What is done about a failure depends on this alone, never on the
/// words of its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The document is encrypted, and no password that was given opens it.
    Encrypted,
    /// The file cannot be read from its disk.
    Unreadable,
    /// It is not a PDF, or one that cannot be understood.
    Damaged,
    /// The page was indexed, and damage to the index took it.
    Lost,
    /// Reading it took longer than the limit.
    Timeout,
    /// It crashed the reader, or needed more memory than the limit.
    Crashed,
    /// It is larger than a limit: bytes, pages or pixels.
    TooLarge,
    /// Anything else, and failures in an old ledger whose words are not known.
    Other,
}

impl FailureKind {
    /// The word used in the ledger and in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::Unreadable => "unreadable",
            Self::Damaged => "damaged",
            Self::Lost => "lost",
            Self::Timeout => "timeout",
            Self::Crashed => "crashed",
            Self::TooLarge => "too_large",
            Self::Other => "other",
        }
    }

    /// The inverse of [`as_str`](Self::as_str); a word of a newer ledger is [`Other`](Self::Other).
    pub fn parse(word: &str) -> Self {
        let kinds = [
            Self::Encrypted,
            Self::Unreadable,
            Self::Damaged,
            Self::Lost,
            Self::Timeout,
            Self::Crashed,
            Self::TooLarge,
        ];
        kinds.into_iter().find(|kind| kind.as_str() == word).unwrap_or(Self::Other)
    }
}

/// Why a document or a page is not in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What code acts on.
    pub kind: FailureKind,
    /// One line for a person.
    pub reason: String,
}

impl Failure {
    /// A failure of `kind`, with one line for a person.
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// A page that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageFailure {
    /// 1-based page number.
    pub page: u32,
    /// Why.
    #[serde(flatten)]
    pub failure: Failure,
}

impl PageFailure {
    /// Page `page` failed with `failure`.
    pub fn new(page: u32, failure: Failure) -> Self {
        Self { page, failure }
    }

    /// A page that was indexed and that damage took: a run reads it again.
    pub fn lost(page: u32) -> Self {
        let reason = "lost to damage of the index: the next run reads it again";
        Self::new(page, Failure::new(FailureKind::Lost, reason))
    }

    /// Whether damage to the index took it, so that a run reads it again.
    pub fn is_lost(&self) -> bool {
        self.failure.kind == FailureKind::Lost
    }
}
