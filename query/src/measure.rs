//! How good rankings are, and what approximations lose and cost.

pub mod codes;
pub mod metrics;
pub mod tune;

use pagesight_core::{PageId, QueryVectors};

/// A question to measure with, and the pages that answer it.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The question's vectors.
    pub query: QueryVectors,
    /// Its answers; empty when they are not known.
    pub answers: Vec<PageId>,
}
