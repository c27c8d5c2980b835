//! The read path: a question in, ranked pages out.
//!
//! [`search()`] asks two channels and [`fuse`]s them; each [`Hit`](pagesight_core::Hit) keeps what
//! each channel said. The picture: exact MaxSim, over codes first and over the stored multi-vectors
//! where those leave a doubt; of very many pages, over those that sketches choose. The words: BM25.
//! [`metrics`] measures rankings against labelled questions.

#![deny(missing_docs)]

mod candidates;
mod explain;
mod filter;
mod fusion;
pub mod ladder;
pub mod metrics;
mod search;

pub use candidates::{Code, EXACT_BYTES, Shortcut, Work};
pub use explain::TokenMatch;
pub use filter::{PathFilter, PathFilterError};
pub use fusion::{Fusion, Visual, fuse};
pub use search::{Channel, Channels, QueryError, Ranking, Request, Timings, search};
