//! Everything between pixels or words and vectors that is not a weight.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::settings::WIDEST;
use crate::error::ModelError;
use crate::families::colqwen::names::FAMILY_3_5;
use crate::families::colqwen::processor::{Budget, MOST_PIXELS};
use crate::families::recipe::{FamilyRecipe, RecipeOrigin, check_range, names};
use crate::families::vector_recipe::VectorRecipe;
use crate::families::whole_page::WholePageRecipe;

/// What a ColQwen does around its weights; `recipe.json` beside them. Fields that are left out have
/// the values of the family: for ColQwen2 and ColQwen2.5 [`ColQwenRecipe::default`], the prompts of
/// colpali-engine 0.3.4 to 0.3.10, with which the published weights were trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColQwenRecipe {
    /// The most pixels of a page's picture, in place of what the checkpoint says. A vector is
    /// 784 of them, for ColQwen3.5 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pixels: Option<u64>,
    /// The text before the features of a page.
    pub page_prefix: String,
    /// The text after them.
    pub page_suffix: String,
    /// The text before the question.
    pub query_prefix: String,
    /// Number of `<|endoftext|>` tokens after the question. They are attended to, and their vectors
    /// count in MaxSim.
    pub query_pads: usize,
    /// The text after these.
    pub query_suffix: String,
    /// Whether attention sees what is before a position alone. EVIE's attends to everything; its
    /// delta nets read in order like all others'.
    #[serde(skip_serializing_if = "is_true")]
    pub causal: bool,
    /// Numbers that are kept of each vector, in place of all that the head gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
    /// What becomes of vectors.
    #[serde(flatten)]
    pub vectors: VectorRecipe,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_true(yes: &bool) -> bool {
    *yes
}

/// Recipes that come with pagesight: name, query prefix and suffix, the end of a page, and whether
/// attention sees what is before alone.
const NAMED: [(&str, &str, &str, &str, bool); 7] = [
    (OLDER, QUERY, "", PAGE_END, true),
    ("colqwen2-v0.1", QUERY, "", "<|im_end|>\n", true),
    ("colqwen-engine-0.3.4", QUERY, "", PAGE_END, true),
    ("colqwen-engine-0.3.11", "", "", PAGE_END, true),
    ("colqwen-transformers-5", QUERY, "\n", PAGE_END, true),
    (NEWER, "", "", PAGE_END, true),
    (EVIE, "", "", PAGE_END, false),
];

const OLDER: &str = "colqwen";
const NEWER: &str = "colqwen3.5";
const EVIE: &str = "evie";
const QUERY: &str = "Query: ";
const PAGE_END: &str = "<|im_end|><|endoftext|>";

/// What stands before a question's padding, and pads.
pub const PAD: &str = "<|endoftext|>";

/// A question has a few dozen tokens, so more padding can only be a mistake.
const MOST_PADS: usize = 1024;

impl Default for ColQwenRecipe {
    fn default() -> Self {
        Self::of_family("")
    }
}

impl FamilyRecipe for ColQwenRecipe {
    fn names() -> Vec<&'static str> {
        NAMED.iter().map(|(name, ..)| *name).collect()
    }

    fn named(name: &str) -> Option<Self> {
        let (_, prefix, suffix, end, causal) = NAMED.iter().find(|(known, ..)| *known == name)?;
        Some(Self {
            max_pixels: None,
            page_prefix: "<|im_start|>user\n<|vision_start|>".into(),
            page_suffix: format!("<|vision_end|>Describe the image.{end}"),
            query_prefix: (*prefix).into(),
            query_pads: 10,
            query_suffix: (*suffix).into(),
            causal: *causal,
            dim: None,
            vectors: VectorRecipe::default(),
        })
    }

    fn check(&self, path: &Path) -> Result<(), ModelError> {
        let most = self.max_pixels.unwrap_or(1).try_into().unwrap_or(usize::MAX);
        check_range(path, "max_pixels", 1..=MOST_PIXELS as usize, most)?;
        check_range(path, "query_pads", 0..=MOST_PADS, self.query_pads)?;
        check_range(path, "dim", 1..=WIDEST, self.dim.unwrap_or(1))?;
        self.vectors.check(path)
    }
}

impl WholePageRecipe for ColQwenRecipe {
    fn vectors(&self) -> &VectorRecipe {
        &self.vectors
    }

    fn vectors_mut(&mut self) -> &mut VectorRecipe {
        &mut self.vectors
    }
}

impl ColQwenRecipe {
    /// What fields have that a recipe for a checkpoint of `family` leaves out.
    pub fn of_family(family: &str) -> Self {
        let name = if family == FAMILY_3_5 { NEWER } else { OLDER };
        Self::named(name).expect("it is in the list")
    }

    /// The recipe that a checkpoint of `family` has where nothing says another one.
    ///
    /// # Errors
    /// [`ModelError`] when `config.json` cannot be read.
    pub fn of_checkpoint(
        family: &str,
        checkpoint: &Checkpoint,
    ) -> Result<(Self, RecipeOrigin), ModelError> {
        // Nothing in its files says that EVIE's attention sees everything.
        let clue = names(checkpoint)?.into_iter().find(|name| is_evie(name));
        Ok(match (clue, Self::named(EVIE)) {
            (Some(clue), Some(evie)) if family == FAMILY_3_5 => {
                (evie, RecipeOrigin::Called { recipe: EVIE, clue })
            }
            _ => (Self::of_family(family), RecipeOrigin::Default),
        })
    }

    /// Fewest and most pixels: what the recipe says, else what the processor does.
    pub fn budget(&self, processor: Budget) -> Budget {
        let most = self.max_pixels.unwrap_or(processor.most);
        Budget { least: processor.least.min(most), most }
    }

    /// The text that is tokenized for `question`.
    pub fn query_text(&self, question: &str) -> String {
        let pads = PAD.repeat(self.query_pads);
        format!("{}{question}{pads}{}", self.query_prefix, self.query_suffix)
    }

    /// The recipe as a person reads it.
    pub fn in_words(&self, budget: Budget) -> Vec<(&'static str, String)> {
        let Budget { least, most } = budget;
        let mut lines = vec![
            ("page", format!("its own shape, {least} to {most} pixels")),
            ("", format!("{:?}, features, {:?}", self.page_prefix, self.page_suffix)),
        ];
        lines.extend(self.vectors.of_pages());
        let Self { query_prefix: prefix, query_pads: pads, query_suffix: suffix, .. } = self;
        let seen = if self.causal { "causal" } else { "attention sees all" };
        let query = format!("{prefix:?}, the question, {pads} {PAD}, {suffix:?}, {seen}");
        lines.push(("query", query));
        lines.extend(self.dim.map(|dim| ("vectors", format!("their first {dim} numbers"))));
        lines.push(self.vectors.trust());
        lines
    }
}

/// Whether a checkpoint's name has the word; "reviews" has not.
fn is_evie(name: &str) -> bool {
    let mut words = name.split(|letter: char| !letter.is_alphanumeric());
    words.any(|word| word.eq_ignore_ascii_case(EVIE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evie_is_known_by_its_name() {
        for (name, expected) in [
            ("models--tencent--EVIE-4.5B", true),
            ("tencent/EVIE-Preview", true),
            ("evie", true),
            ("reviews", false),
            ("vultron-flash", false),
        ] {
            assert_eq!(is_evie(name), expected, "{name}");
        }
    }
}
