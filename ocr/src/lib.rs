//! Words of pages that are pictures, such as scans.
//!
//! [`Tesseract`] runs the tesseract program where it is installed. It implements the seam
//! [`Ocr`](pagesight_core::seam::Ocr), which is all that the write path knows of it.

#![forbid(unsafe_code)]

mod error;
mod table;
mod tesseract;

pub use error::OcrError;
pub use tesseract::Tesseract;
