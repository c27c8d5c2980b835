//! An index in a bucket that is larger than a machine: each of several has a part of its codes and words,
//! and a router asks them and joins what they say.
//!
//! A part is an index that was opened with [`Share::Part`](crate::index::Share): it answers what a router
//! asks of its pages ([`Index::answer_part`](crate::Index::answer_part)), and no searches of its own, which would be shorter
//! answers. A router is one that was opened with [`BucketOptions::parts`](crate::index::BucketOptions):
//! it searches as any other index does, and its answers are those of one machine, to the last bit. How
//! the two reach each other is up to the program: `pagesight serve` does it over HTTP.

use std::fmt;
use std::sync::Arc;

use pagesight_query::{Parts, QueryError};

pub use pagesight_query::{Ask, Reply};
pub use pagesight_store::Share;

/// How the parts of an index are asked. Every call names a snapshot, so that all parts, and the router,
/// speak of the same pages.
pub trait PartsAt: fmt::Debug + Send + Sync {
    /// Asks all parts the same of snapshot `number`, at the same time. The answers, in one order.
    ///
    /// # Errors
    /// [`QueryError::Part`] where one does not answer; its source is an [`OtherSnapshot`] where it has
    /// none of that number.
    fn ask(&self, number: u64, ask: &Ask) -> Result<Vec<Reply>, QueryError>;
}

/// A part does not have the snapshot that it is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has snapshot {newest}, and was asked about snapshot {wanted}")]
pub struct OtherSnapshot {
    /// The number that was asked about.
    pub wanted: u64,
    /// The newest that it has.
    pub newest: u64,
}

/// The parts of one snapshot.
pub(crate) struct OfSnapshot {
    pub parts: Arc<dyn PartsAt>,
    pub number: u64,
}

impl Parts for OfSnapshot {
    fn ask(&self, ask: &Ask) -> Result<Vec<Reply>, QueryError> {
        self.parts.ask(self.number, ask)
    }
}
