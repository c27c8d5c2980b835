//! Everything between pixels or words and vectors that is not a weight.

use std::path::Path;

use pagesight_core::{Fusion, NeutralQuestions};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::colqwen2::config::{Budget, MOST_PIXELS};
use crate::families::recipe::{
    FamilyRecipe, Pooler, RecipeOrigin, beside, check_fusion, check_neutral, check_pooling,
    check_range, chosen, is_default, is_one,
};
use crate::options::RecipeChoice;
use crate::precision::Precision;

/// What a ColQwen does around its weights; `recipe.json` beside them. Fields that are left out have
/// the values of [`ColQwenRecipe::default`]: the prompts of colpali-engine 0.3.4 to 0.3.10, with
/// which the published weights were trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColQwenRecipe {
    /// The most pixels of a page's picture, in place of what the checkpoint says. 784 pixels are a
    /// vector.
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
    /// Leaves out the vectors of blank patches and of the prompt. A patch is blank when its values
    /// (0 to 255) differ by no more than this in every channel. The reference keeps all vectors.
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

/// Recipes that come with pagesight: name, query prefix and suffix, and the end of a page.
const NAMED: [(&str, &str, &str, &str); 5] = [
    ("colqwen", QUERY, "", PAGE_END),
    ("colqwen2-v0.1", QUERY, "", "<|im_end|>\n"),
    ("colqwen-engine-0.3.4", QUERY, "", PAGE_END),
    ("colqwen-engine-0.3.11", "", "", PAGE_END),
    ("colqwen-transformers-5", QUERY, "\n", PAGE_END),
];

const QUERY: &str = "Query: ";
const PAGE_END: &str = "<|im_end|><|endoftext|>";

/// What stands before a question's padding, and pads.
pub const PAD: &str = "<|endoftext|>";

/// A question has a few dozen tokens, so more padding can only be a mistake.
const MOST_PADS: usize = 1024;

impl Default for ColQwenRecipe {
    fn default() -> Self {
        Self::named("colqwen").expect("it is in the list")
    }
}

impl FamilyRecipe for ColQwenRecipe {
    fn names() -> Vec<&'static str> {
        NAMED.iter().map(|(name, ..)| *name).collect()
    }

    fn named(name: &str) -> Option<Self> {
        let (_, prefix, suffix, end) = NAMED.iter().find(|(known, ..)| *known == name)?;
        Some(Self {
            max_pixels: None,
            page_prefix: "<|im_start|>user\n<|vision_start|>".into(),
            page_suffix: format!("<|vision_end|>Describe the image.{end}"),
            query_prefix: (*prefix).into(),
            query_pads: 10,
            query_suffix: (*suffix).into(),
            prune_blank: None,
            pooling: 1,
            pooler: Pooler::default(),
            precision: None,
            fusion: Fusion::default(),
            neutral: NeutralQuestions::default(),
        })
    }

    fn check(&self, path: &Path) -> Result<(), ModelError> {
        let most = self.max_pixels.unwrap_or(1).try_into().unwrap_or(usize::MAX);
        check_range(path, "max_pixels", 1..=MOST_PIXELS as usize, most)?;
        check_range(path, "query_pads", 0..=MOST_PADS, self.query_pads)?;
        check_pooling(path, self.pooling)?;
        check_fusion(path, self.fusion)?;
        check_neutral(path, &self.neutral)
    }
}

impl ColQwenRecipe {
    /// The caller's recipe, else the one beside the weights, else the default.
    ///
    /// # Errors
    /// [`ModelError`] for a recipe that is not one.
    pub fn in_force(
        checkpoint: &Checkpoint,
        choice: Option<&RecipeChoice>,
    ) -> Result<(Self, RecipeOrigin), ModelError> {
        if let Some(choice) = choice {
            return Ok((chosen(choice)?, RecipeOrigin::Caller));
        }
        if let Some(own) = beside(checkpoint)? {
            return Ok(own);
        }
        Ok((Self::default(), RecipeOrigin::Default))
    }

    /// All fields as JSON. Equal recipes give equal text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a recipe is plain data")
    }

    /// The part that is hashed into the model id: all fields that vectors depend on.
    pub fn identity(&self) -> String {
        let (fusion, neutral) = (Fusion::default(), NeutralQuestions::default());
        Self { fusion, neutral, ..self.clone() }.to_json()
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
        if let Some(range) = self.prune_blank {
            lines.push(("", format!("patches that vary by {range} of 255 at most are left out")));
        }
        if self.pooling > 1 {
            let (factor, pooler) = (self.pooling, self.pooler);
            lines.push(("", format!("vectors are pooled to one in {factor}, {pooler}")));
        }
        let Self { query_prefix: prefix, query_pads: pads, query_suffix: suffix, .. } = self;
        lines
            .push(("query", format!("{prefix:?}, the question, {pads} {PAD}, {suffix:?}, causal")));
        let Fusion { visual_weight, visual_margin } = self.fusion;
        let trust = format!("beside words {visual_weight}, for pages without {visual_margin} more");
        lines.push(("trust", trust));
        lines
    }
}
