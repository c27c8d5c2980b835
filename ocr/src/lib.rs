//! Words of pages that are pictures, such as scans.
//!
//! Two readers implement the seam [`Ocr`](pagesight_core::seam::Ocr), which is all that the write
//! path knows of them: `Embedded` (feature `embedded`) is part of the program, and [`Tesseract`]
//! runs the tesseract program where it is installed.

#![forbid(unsafe_code)]

#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod table;
mod tesseract;
#[cfg(feature = "embedded")]
mod weights;

#[cfg(feature = "embedded")]
pub use embedded::Embedded;
pub use error::OcrError;
pub use tesseract::Tesseract;
#[cfg(feature = "embedded")]
pub use weights::{DETECTOR, RECOGNISER, WeightFile, WeightPlace, WeightSearch};
