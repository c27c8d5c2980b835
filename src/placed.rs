//! Words of a page with their places, as an index keeps them while they are likely to be asked for.

use pagesight_core::Area;

/// The words of a page and where each stands, in fractions of the page's sides.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlacedWords {
    pub words: Vec<(String, Area)>,
    pub from_ocr: bool,
}
