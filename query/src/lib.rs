//! The read path: a question in, ranked pages out.
//!
//! [`search()`] asks each [`Channel`](pagesight_core::Channel) of a request for its ranking and
//! [`fuse`]s them; a [`Hit`](pagesight_core::Hit) keeps what each channel said of it.
//!
//! * *Patches* rank by late interaction. How much of it is read is the request's [`Effort`]:
//!   compressed codes first, and full-precision vectors where the error of the codes may matter; of
//!   very many pages, only those that small sketches choose.
//! * *Words* rank by BM25.
//! * *Passages* rank by what the text of a page means: vectors of its passages find, vectors of
//!   its tokens compare the best by late interaction.
//!
//! [`HeatMap`] says where on a page a question is answered, and [`regions()`] which lines or
//! pictures that is, from the vectors that are stored: those of patches, or those of the tokens of its
//! text, once [`layout_of_tokens`] says where they stand.
//!
//! The parts work alone, with rankings and vectors from anywhere: [`fuse`] joins rankings,
//! [`explain()`] says which part of a page answers a query token, [`measure`] says how good a ranking
//! is and what an approximation loses.

#![forbid(unsafe_code)]

mod citations;
mod effort;
mod error;
mod explain;
mod filter;
mod fusion;
mod heat;
mod identifiers;
mod lines;
pub mod measure;
mod notice;
mod parts;
mod passages;
mod question;
mod question_vectors;
mod ranking;
mod regions;
mod request;
mod search;
mod support;
#[cfg(test)]
mod testing;
mod token_places;
mod verdict;
mod visual;
mod words;

pub use citations::{Sentence, sentences};
pub use effort::{AUTO_EXACT_BYTES, Effort};
pub use error::QueryError;
pub use explain::{TokenMatch, explain};
pub use filter::{PathFilter, PathFilterError};
pub use fusion::{ChannelRanking, Wordless, fuse};
pub use heat::{HeatError, HeatMap, HeatScale, MAX_CELLS, MapOf, Similarity};
pub use lines::{PlacedWord, line_numbers};
pub use notice::Notice;
pub use parts::{Ask, Joined, Part, PartSources, Parts, Reply};
pub use passages::{PassageMatch, PassageSource, PassageWeights};
pub use question::Question;
pub use ranking::{Ranking, Timings};
pub use regions::{Ink, Region, RegionKind, regions};
pub use request::{Request, Sources};
pub use search::search;
pub use support::{Support, claimed, support};
pub use token_places::layout_of_tokens;
pub use verdict::{Calibration, Likelihood, Verdict};
pub use visual::{Backgrounds, Code, Work};
pub use words::{QuestionWord, question_words, words_of_tokens};
