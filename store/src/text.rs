//! The words of all pages in tantivy: BM25 with one document a page.
//!
//! * [`analysis`]: text becomes words, the same way for pages, queries and snippets.
//! * [`schema`]: the fields.
//! * [`pinned`]: a tantivy directory that shows one snapshot.
//! * [`checked`]: a file of it whose blocks are checked when they are read.
//! * [`writer`] and [`reader`]: words in, ranked pages out.
//! * [`bm25`]: the scores of pages.
//! * [`joined`]: what belongs to all pages where each machine has some of them.
//! * [`snippet`]: the part of a page that shows why it was found.

pub(crate) mod analysis;
mod bm25;
mod checked;
pub(crate) mod joined;
pub(crate) mod pinned;
pub(crate) mod reader;
mod schema;
pub(crate) mod snippet;
pub(crate) mod writer;
