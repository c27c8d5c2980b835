//! What an encoder gives for a page.

use crate::layout::PatchLayout;
use crate::multivector::{PageVectors, VectorError};

/// The vectors of a page with the layout that says where each stands: what an encoder gives.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedPage {
    vectors: PageVectors,
    layout: PatchLayout,
}

impl EncodedPage {
    /// Joins `vectors` with their page's `layout`.
    ///
    /// # Errors
    /// [`VectorError::Layout`] when the vectors have no places and are not as many as the layout
    /// has, [`VectorError::PlaceOutside`] when one stands past its end.
    ///
    /// ```
    /// use pagesight_core::{EncodedPage, PageVectors, PatchLayout};
    /// let vectors = PageVectors::from_f32(2, &[1.0, 0.0, 0.6, 0.8]).unwrap();
    /// assert!(EncodedPage::new(vectors.clone(), PatchLayout::grid(2, 1)).is_ok());
    /// assert!(EncodedPage::new(vectors, PatchLayout::grid(3, 1)).is_err());
    /// ```
    pub fn new(vectors: PageVectors, layout: PatchLayout) -> Result<Self, VectorError> {
        layout.check(&vectors)?;
        Ok(Self { vectors, layout })
    }

    /// The vectors.
    pub fn vectors(&self) -> &PageVectors {
        &self.vectors
    }

    /// The layout of the page.
    pub fn layout(&self) -> &PatchLayout {
        &self.layout
    }

    /// Takes the two apart.
    pub fn into_parts(self) -> (PageVectors, PatchLayout) {
        (self.vectors, self.layout)
    }
}
