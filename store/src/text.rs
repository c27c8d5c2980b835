//! The words of all pages in tantivy: BM25 with one document a page.
//!
//! * [`analysis`]: text becomes words, the same way for pages, queries and snippets.
//! * [`schema`]: the fields.
//! * [`pinned`]: a tantivy directory that shows one snapshot.
//! * [`writer`] and [`reader`]: words in, ranked pages out.
//! * [`statistics`]: what BM25 takes from the whole index.
//! * [`snippet`]: the part of a page that shows why it was found.

mod analysis;
mod pinned;
pub(crate) mod reader;
mod schema;
pub(crate) mod snippet;
mod statistics;
pub(crate) mod writer;
