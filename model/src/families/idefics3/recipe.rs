//! Everything between pixels or words and vectors that is not a weight.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::families::idefics3::names::{MODERN, SMOL};
use crate::families::idefics3::processor::LONGEST_SIDE;
use crate::families::recipe::{FamilyRecipe, check_range};
use crate::families::vector_recipe::VectorRecipe;
use crate::families::whole_page::WholePageRecipe;

/// What a ColModernVBERT or a ColSmol does around its weights; `recipe.json` beside them. Fields that
/// are left out have the values of the family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TilesRecipe {
    /// The longest side that a page is brought to, px, in place of what the checkpoint says. Half of
    /// it is about a quarter of the tiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_side: Option<u32>,
    /// The text before the tiles of a page.
    pub page_prefix: String,
    /// The text after them.
    pub page_suffix: String,
    /// The text before the question.
    pub query_prefix: String,
    /// Number of `<end_of_utterance>` tokens after the question. Their vectors count in MaxSim.
    pub query_pads: usize,
    /// The text after these.
    pub query_suffix: String,
    /// What becomes of vectors.
    #[serde(flatten)]
    pub vectors: VectorRecipe,
}

/// Recipes that come with pagesight: name, and longest side where it is not the checkpoint's.
const NAMED: [(&str, Option<u32>); 4] = [
    (MODERN, None),
    ("colmodernvbert-1024", Some(1024)),
    (SMOL, None),
    ("colsmol-1024", Some(1024)),
];

/// What stands after a question, and pads.
pub const PAD: &str = "<end_of_utterance>";

/// A question has a few dozen tokens, so more padding can only be a mistake.
const MOST_PADS: usize = 1024;

impl Default for TilesRecipe {
    fn default() -> Self {
        Self::of_family(MODERN)
    }
}

impl TilesRecipe {
    /// What fields have that a recipe for a checkpoint of `family` leaves out.
    pub fn of_family(family: &str) -> Self {
        // ModernBERT's tokenizer puts its marks around every text, which other families leave out.
        let [first, begin, last] = if family == MODERN {
            ["[CLS]", "<|begin_of_text|>", "[SEP]"]
        } else {
            ["", "<|im_start|>", ""]
        };
        Self {
            longest_side: None,
            page_prefix: format!("{first}{begin}User:"),
            page_suffix: format!("Describe the image.{PAD}\nAssistant:{last}"),
            query_prefix: first.into(),
            query_pads: 10,
            query_suffix: last.into(),
            vectors: VectorRecipe::default(),
        }
    }

    /// The longest side that a page is brought to: what the recipe says, else what the processor
    /// does.
    pub fn longest(&self, processor: u32) -> u32 {
        self.longest_side.unwrap_or(processor)
    }

    /// The text that is tokenized for `question`.
    pub fn query_text(&self, question: &str) -> String {
        let pads = PAD.repeat(self.query_pads);
        format!("{}{question}{pads}{}", self.query_prefix, self.query_suffix)
    }

    /// The recipe as a person reads it.
    pub fn in_words(&self, longest: u32, edge: usize) -> Vec<(&'static str, String)> {
        let Self { query_prefix: prefix, query_pads: pads, query_suffix: suffix, .. } = self;
        let mut lines = vec![
            ("page", format!("longest side {longest} px, stretched to whole tiles of {edge} px")),
            ("", "and the whole page as one tile".to_string()),
            ("", format!("{:?}, tiles, {:?}", self.page_prefix, self.page_suffix)),
        ];
        lines.extend(self.vectors.of_pages());
        lines.push(("query", format!("{prefix:?}, the question, {pads} {PAD}, {suffix:?}")));
        lines.push(self.vectors.trust());
        lines
    }
}

impl FamilyRecipe for TilesRecipe {
    fn names() -> Vec<&'static str> {
        NAMED.iter().map(|(name, _)| *name).collect()
    }

    fn named(name: &str) -> Option<Self> {
        let (name, longest_side) = *NAMED.iter().find(|(known, _)| *known == name)?;
        let family = if name.starts_with(SMOL) { SMOL } else { MODERN };
        Some(Self { longest_side, ..Self::of_family(family) })
    }

    fn check(&self, path: &Path) -> Result<(), ModelError> {
        let side = self.longest_side.unwrap_or(1) as usize;
        check_range(path, "longest_side", 1..=LONGEST_SIDE as usize, side)?;
        check_range(path, "query_pads", 0..=MOST_PADS, self.query_pads)?;
        self.vectors.check(path)
    }
}

impl WholePageRecipe for TilesRecipe {
    fn vectors(&self) -> &VectorRecipe {
        &self.vectors
    }

    fn vectors_mut(&mut self) -> &mut VectorRecipe {
        &mut self.vectors
    }
}
