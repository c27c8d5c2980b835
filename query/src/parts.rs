//! One index on several machines, each of which has the codes and words of a part of its pages.
//!
//! Whoever asks sends all parts the same [`Ask`], and joins what they answer ([`Joined`]); each part
//! answers from its own pages ([`Part`]). A search takes a few rounds of it:
//!
//! 1. The facts of all parts, once a snapshot: how many pages, words and bytes there are.
//! 2. Of the words of a question, how many pages have each; the sums decide what a word is worth. Then
//!    the best pages by them.
//! 3. Of the patches, the best pages by sketches, which are joined before any page is compared; or the
//!    pages whose codes may be among the best. Then the exact scores of those that are in question.
//!
//! Every number that one machine would compute from all pages is computed here from sums of whole
//! numbers, and every score by the code that one machine runs. So the answer is that of one machine, to
//! the last bit, however the pages are shared out. A part that does not answer is an error
//! ([`QueryError::Part`]), never a shorter answer.

pub(crate) mod ask;
pub(crate) mod joined;
mod part;

use crate::error::QueryError;
pub use ask::{Ask, Reply};
pub use joined::Joined;
pub use part::{Part, PartSources};

/// Asks the parts of an index. A seam: the program asks over HTTP, tests ask in one process.
pub trait Parts: Send + Sync {
    /// Asks all parts the same, at the same time. The answers, in the order of the parts.
    ///
    /// # Errors
    /// [`QueryError::Part`] where one does not answer.
    fn ask(&self, ask: &Ask) -> Result<Vec<Reply>, QueryError>;
}

#[cfg(test)]
mod tests;
