//! The part of a recipe that is about vectors once they are there, the same for every family.

use std::path::Path;

use pagesight_core::{EncodedPage, Fusion, NeutralQuestions, PageImage, PageVectors, PatchLayout};
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::families::ink::printed_places;
use crate::families::recipe::{
    Pooler, check_fusion, check_neutral, check_pooling, is_default, is_one,
};
use crate::precision::Precision;

/// What is left out, merged and trusted. Its fields stand among those of the recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VectorRecipe {
    /// Leaves out the vectors of blank patches and of those without a place on the page. A patch is
    /// blank when its values (0 to 255) differ by no more than this in every channel. The
    /// references keep all vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune_blank: Option<u8>,
    /// Merges the vectors of each page, so that one in this many is left.
    #[serde(skip_serializing_if = "is_one")]
    pub pooling: usize,
    /// How vectors are merged.
    #[serde(skip_serializing_if = "Pooler::is_the_references")]
    pub pooler: Pooler,
    /// The precision that the model runs in; by default the one that its weights are stored in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// How far its ranking of pictures is trusted beside the ranking of words.
    #[serde(skip_serializing_if = "is_default")]
    pub fusion: Fusion,
    /// The questions that tell what a page gives to any.
    #[serde(skip_serializing_if = "NeutralQuestions::is_default")]
    pub neutral: NeutralQuestions,
}

impl Default for VectorRecipe {
    fn default() -> Self {
        Self {
            prune_blank: None,
            pooling: 1,
            pooler: Pooler::default(),
            precision: None,
            fusion: Fusion::default(),
            neutral: NeutralQuestions::default(),
        }
    }
}

impl VectorRecipe {
    /// Checks that values are in their ranges; `path` names the file in errors.
    ///
    /// # Errors
    /// [`ModelError::Setting`].
    pub fn check(&self, path: &Path) -> Result<(), ModelError> {
        check_pooling(path, self.pooling)?;
        check_fusion(path, self.fusion)?;
        check_neutral(path, &self.neutral)
    }

    /// This recipe without what vectors do not depend on.
    pub fn of_identity(&self) -> Self {
        let (fusion, neutral) = (Fusion::default(), NeutralQuestions::default());
        Self { fusion, neutral, ..self.clone() }
    }

    /// What is done with the vectors of a page, as a person reads it.
    pub fn of_pages(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(range) = self.prune_blank {
            lines.push(("", format!("patches that vary by {range} of 255 at most are left out")));
        }
        if self.pooling > 1 {
            let (factor, pooler) = (self.pooling, self.pooler);
            lines.push(("", format!("vectors are pooled to one in {factor}, {pooler}")));
        }
        lines
    }

    /// How far pictures are trusted, as a person reads it.
    pub fn trust(&self) -> (&'static str, String) {
        let Fusion { visual_weight, visual_margin } = self.fusion;
        ("trust", format!("beside words {visual_weight}, for pages without {visual_margin} more"))
    }

    /// The vectors that are kept of `rows`, `[positions, dim]`, of a page.
    ///
    /// # Errors
    /// [`ModelError::Vectors`] for numbers that are none.
    pub fn kept(
        &self,
        page: &PageImage,
        layout: PatchLayout,
        dim: usize,
        rows: Vec<f32>,
    ) -> Result<EncodedPage, ModelError> {
        let (rows, places) = match self.prune_blank {
            Some(range) => {
                let places = printed_places(page, &layout, range);
                let kept = places.iter().flat_map(|place| &rows[place * dim..][..dim]);
                (kept.copied().collect(), places)
            }
            None => (rows, (0..layout.vectors()).collect()),
        };
        let pooled = self.pooler.pool(dim, &rows, self.pooling);
        let places: Vec<u32> =
            pooled.representatives.iter().map(|&row| places[row] as u32).collect();
        let mut vectors = PageVectors::from_f32(dim, &pooled.vectors)?;
        if places.len() != layout.vectors() {
            vectors = vectors.with_places(places)?;
        }
        Ok(EncodedPage::new(vectors, layout)?)
    }
}
