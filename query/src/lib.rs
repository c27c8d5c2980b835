//! The read path: a question in, ranked pages out.
//!
//! [`search()`] asks two channels, the picture (exact MaxSim over the stored multi-vectors) and
//! the words (BM25), and [`fuse`]s them; each [`Hit`](pagesight_core::Hit) keeps what each
//! channel said. [`metrics`] measures rankings against labelled questions.

#![deny(missing_docs)]

mod filter;
mod fusion;
pub mod metrics;
mod search;

pub use filter::{PathFilter, PathFilterError};
pub use fusion::fuse;
pub use search::{Channel, Channels, QueryError, Ranking, Request, Timings, search};
