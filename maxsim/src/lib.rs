//! Late interaction: the score of a page for a query is the sum over the query tokens of the
//! largest dot product with any vector of the page.
//!
//! ```text
//! maxsim(q, p) = sum_n max_s <q_n, p_s>        (Khattab & Zaharia 2020, ColBERT, eq. 3)
//! ```
//!
//! Every query token counts (bos, prefix and padding included), as in the reference
//! (colpali-engine 0.3.13, `score_multi_vector`); pages have their true length, so there is no
//! floor of 0 under the maximum.
//!
//! ```
//! use pagesight_core::{PageVectors, QueryVectors};
//! use pagesight_maxsim::PreparedQuery;
//!
//! let query = QueryVectors::of_rows(2, vec![1.0, 0.0, 0.0, 1.0])?;
//! let page = PageVectors::from_f32(2, &[0.5, 0.0, 0.0, 0.25])?;
//! assert_eq!(PreparedQuery::new(&query).score(&page)?, 0.75);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

mod bf16;
mod centres;
mod exact;
mod hierarchical;
mod int8;
mod kernel;
mod matches;
mod mean;
mod packed;
mod pooling;
mod reference;
mod residual;
mod rotation;
mod scalar;
mod segment;
mod segments;
mod sign;
mod similarity;
mod sketch;
#[cfg(test)]
mod testing;
mod tokens;

pub use bf16::{Bf16Page, Bf16Query};
pub use exact::{DimMismatch, PreparedQuery};
pub use hierarchical::{Pooled, hierarchical_clusters, pool_hierarchical};
pub use int8::{Int8Page, Int8Query, Int8View};
pub use matches::best_vectors;
pub use packed::Bits;
pub use pooling::{pool, pool_k_means, pool_to};
pub use reference::maxsim_reference;
pub use residual::{ResidualCoder, ResidualPage, ResidualQuery};
pub use scalar::{ScalarCoder, ScalarPage, ScalarQuery};
pub use segment::{Segment, SegmentError, SegmentWriter};
pub use segments::{Segments, Slot};
pub use sign::{SignCoder, SignPage, SignQuery};
pub use similarity::SimilarityMap;
pub use sketch::{Sketch, SketchCoder, SketchQuery};

pub use pagesight_simd::Instructions;
