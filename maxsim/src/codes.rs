//! The forms in which the vectors of a page are kept, and how a query meets each.

mod f16;
mod int8;
mod mean;
mod packed;
mod query;
mod residual;
mod rotation;
mod scalar;
mod sign;
mod sketch;
mod tokens;

pub(crate) use f16::lanes;
pub use f16::{ExactQuery, F16};
pub use int8::{Int8, Int8Page, Int8Query, Int8View};
pub use packed::Bits;
pub use query::{Code, LayOut, Query};
pub use residual::{Residual, ResidualCoder, ResidualPage, ResidualQuery, ResidualView};
pub use scalar::{Scalar, ScalarCoder, ScalarPage, ScalarQuery};
pub use sign::{Sign, SignCoder, SignPage, SignQuery};
pub use sketch::{Sketch, SketchCoder, SketchQuery};
pub(crate) use sketch::{Sketches, row_bytes as sketch_row_bytes};
