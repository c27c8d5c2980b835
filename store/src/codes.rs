//! Codes and sketches of the pages in `codes/`, which searches scan instead of the tables.
//!
//! A commit that adds or drops pages with vectors adds one segment; the pointer names those that
//! count, the oldest first. int8 codes and sketches can be derived again from the tables. A compact
//! index has residual codes instead and no vectors in its tables: they are the only copy.
//!
//! * [`segments`]: names of the files, and mapping them.
//! * [`mod@write`]: the segment of one commit.
//! * [`mod@derive`]: codes of all pages at once.
//! * [`join`]: few segments in the place of many.
//! * [`mend`]: codes of some documents in the place of what there was of them.
//! * [`passages`]: the same of the passages of pages, beside those of their pictures.
//! * [`neutral`]: what pages are measured with, encoded when it is needed.
//! * [`residual`]: vectors back from residual codes.
//! * [`damage`]: what a search reports, and what can be saved.

pub(crate) mod damage;
pub(crate) mod derive;
pub(crate) mod join;
pub(crate) mod mend;
pub(crate) mod neutral;
pub(crate) mod passages;
pub(crate) mod residual;
pub(crate) mod segments;
pub(crate) mod write;
