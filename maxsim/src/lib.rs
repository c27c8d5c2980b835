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
//! use pagesight_maxsim::ExactQuery;
//!
//! let query = QueryVectors::of_rows(2, vec![1.0, 0.0, 0.0, 1.0])?;
//! let page = PageVectors::from_f32(2, &[0.5, 0.0, 0.0, 0.25])?;
//! assert_eq!(ExactQuery::new(&query).score(&page)?, 0.75);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Query`] is laid out once and scores many pages of one [`Code`]:
//!
//! | pages in | made by | query | what it is |
//! |---|---|---|---|
//! | [`PageVectors`](pagesight_core::PageVectors) | a model | [`ExactQuery`] | full-precision vectors, f16: exact |
//! | [`Int8Page`] | [`Int8Page::encode`] | [`Int8Query`] | half the bytes, with a bound on the error |
//! | [`ScalarPage`] | [`ScalarCoder`] | [`ScalarQuery`] | 4, 2 or 1 bit a number around a mean |
//! | [`ResidualPage`] | [`ResidualCoder`] | [`ResidualQuery`] | the same beside the nearest of 256 centres |
//! | [`SignPage`] | [`SignCoder`] | [`SignQuery`] | a bit a number on both sides |
//! | [`Sketch`] | [`SketchCoder`] | [`SketchQuery`] | pooled vectors in 2 bits, for very many pages |
//!
//! [`pool()`] and its like merge similar vectors of a page. [`Segment`] keeps the codes of many pages
//! in one file that is mapped into memory, and [`Segments`] are those of an index.

mod background;
mod centres;
mod codes;
mod error;
mod kernel;
mod matches;
mod pool;
mod reference;
mod segment;
mod similarity;
#[cfg(test)]
mod testing;

pub use background::{Background, Neutral};
pub use codes::{
    Bits, Code, ExactQuery, F16, Int8, Int8Page, Int8Query, Int8View, LayOut, Query, Residual,
    ResidualCoder, ResidualPage, ResidualQuery, ResidualView, Scalar, ScalarCoder, ScalarPage,
    ScalarQuery, Sign, SignCoder, SignPage, SignQuery, Sketch, SketchCoder, SketchQuery,
};
pub use error::DimMismatch;
pub use matches::{best_vectors, products};
pub use pagesight_simd::Instructions;
pub use pool::{Pooled, hierarchical_clusters, pool, pool_hierarchical, pool_k_means, pool_to};
pub use reference::maxsim_reference;
pub use segment::{
    Elsewhere, Here, HereError, Segment, SegmentError, SegmentWriter, Segments, Slot,
};
pub use similarity::SimilarityMap;

/// The example of the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
