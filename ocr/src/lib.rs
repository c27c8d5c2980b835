//! Words of pages that are pictures, such as scans.
//!
//! Two readers implement the seam [`Ocr`](pagesight_core::seam::Ocr), which is all that the write
//! path knows of them: `Embedded` (feature `embedded`) is part of the program, and [`Tesseract`]
//! runs the tesseract program where it is installed. [`Readers`] has the rule which of them reads a
//! page.

#![forbid(unsafe_code)]

#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod places;
mod readers;
mod scripts;
mod table;
mod tesseract;
#[cfg(all(test, feature = "embedded"))]
mod testing;
mod weights;

#[cfg(feature = "embedded")]
pub use embedded::Embedded;
pub use error::OcrError;
pub use places::{DETECTOR, RECOGNISER, WeightFile, WeightPlace, WeightSearch};
pub use readers::Readers;
pub use tesseract::Tesseract;
