//! Everything between pixels or words and vectors that is not a weight.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::families::neomme::processor::{LONGEST_SIDE, Limits};
use crate::families::recipe::{FamilyRecipe, check_range};
use crate::families::vector_recipe::VectorRecipe;
use crate::families::whole_page::WholePageRecipe;

/// What a NeoMME does around its weights; `recipe.json` beside them. Fields that are left out have
/// the values of [`NeoMmeRecipe::default`], which is what `NeoMMEProcessor` of transformers does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeoMmeRecipe {
    /// The longest side of a page's picture, px, in place of what the checkpoint says. Half the
    /// side is a quarter of the vectors and less than a quarter of the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_side: Option<u32>,
    /// The text before the question.
    pub query_prefix: String,
    /// Number of `<mask>` tokens after the question. Their vectors count in MaxSim.
    pub query_masks: usize,
    /// What becomes of vectors.
    #[serde(flatten)]
    pub vectors: VectorRecipe,
}

/// Recipes that come with pagesight: name, and longest side where it is not the checkpoint's.
const NAMED: [(&str, Option<u32>); 3] =
    [("neomme", None), ("neomme-1024", Some(1024)), ("neomme-1536", Some(1536))];

/// A question has a few dozen tokens, so more masks can only be a mistake.
const MOST_MASKS: usize = 1024;

impl Default for NeoMmeRecipe {
    fn default() -> Self {
        Self {
            max_side: None,
            query_prefix: "<query>".into(),
            query_masks: 10,
            vectors: VectorRecipe::default(),
        }
    }
}

impl FamilyRecipe for NeoMmeRecipe {
    fn names() -> Vec<&'static str> {
        NAMED.iter().map(|(name, _)| *name).collect()
    }

    fn named(name: &str) -> Option<Self> {
        let (_, max_side) = NAMED.iter().find(|(known, _)| *known == name)?;
        Some(Self { max_side: *max_side, ..Self::default() })
    }

    fn check(&self, path: &Path) -> Result<(), ModelError> {
        let most = LONGEST_SIDE as usize;
        check_range(path, "max_side", 1..=most, self.max_side.map_or(1, |side| side as usize))?;
        check_range(path, "query_masks", 0..=MOST_MASKS, self.query_masks)?;
        self.vectors.check(path)
    }
}

impl WholePageRecipe for NeoMmeRecipe {
    fn vectors(&self) -> &VectorRecipe {
        &self.vectors
    }

    fn vectors_mut(&mut self) -> &mut VectorRecipe {
        &mut self.vectors
    }
}

impl NeoMmeRecipe {
    /// How large pictures are at most: what the recipe says, else what the processor does, else
    /// what published checkpoints say.
    pub fn limits(&self, processor: Limits) -> Limits {
        /// The longest side that the published checkpoints have.
        const PUBLISHED: u32 = 2048;
        match (self.max_side, processor) {
            (Some(side), _) => Limits { max_side: Some(side), pixels: None },
            (None, Limits { max_side: None, pixels: None }) => {
                Limits { max_side: Some(PUBLISHED), pixels: None }
            }
            (None, limits) => limits,
        }
    }

    /// The text that is tokenized for `question`.
    pub fn query_text(&self, question: &str) -> String {
        format!("{}{question}{}", self.query_prefix, "<mask>".repeat(self.query_masks))
    }

    /// The recipe as a person reads it.
    pub fn in_words(&self, limits: Limits) -> Vec<(&'static str, String)> {
        let mut size = match limits.max_side {
            Some(side) => format!("its own shape, longest side {side} px"),
            None => "its own shape".to_string(),
        };
        if let Some((least, most)) = limits.pixels {
            size += &format!(", {least} to {most} pixels");
        }
        let mut lines = vec![("page", size)];
        lines.extend(self.vectors.of_pages());
        let Self { query_prefix: prefix, query_masks: masks, .. } = self;
        lines.push(("query", format!("{prefix:?}, the question, {masks} <mask>")));
        lines.push(("score", "the sum over tokens; the maker's mean ranks alike".into()));
        lines.push(self.vectors.trust());
        lines
    }
}
