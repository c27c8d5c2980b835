//! Pictures for tests.

use pagesight_core::PageImage;

/// A picture of `fixtures/ocr`.
pub fn fixture(name: &str) -> PageImage {
    let file = format!("{}/../fixtures/ocr/{name}.png", env!("CARGO_MANIFEST_DIR"));
    let decoded = image::open(file).unwrap().to_rgb8();
    PageImage::new(decoded.width(), decoded.height(), decoded.into_raw()).unwrap()
}
