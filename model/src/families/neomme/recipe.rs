//! Everything between pixels or words and vectors that is not a weight.

use std::path::Path;

use pagesight_core::{Fusion, NeutralQuestions};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::neomme::config::{LONGEST_SIDE, Limits};
use crate::families::recipe::{
    FamilyRecipe, Pooler, RecipeOrigin, beside, check_fusion, check_neutral, check_pooling,
    check_range, chosen, is_default, is_one,
};
use crate::options::RecipeChoice;
use crate::precision::Precision;

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
    /// Leaves out the vectors of blank patches and of the marks around them. A patch is blank when
    /// its values (0 to 255) differ by no more than this in every channel. The reference keeps all
    /// vectors.
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
            prune_blank: None,
            pooling: 1,
            pooler: Pooler::default(),
            precision: None,
            fusion: Fusion::default(),
            neutral: NeutralQuestions::default(),
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
        check_pooling(path, self.pooling)?;
        check_fusion(path, self.fusion)?;
        check_neutral(path, &self.neutral)
    }
}

impl NeoMmeRecipe {
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
        Ok(beside(checkpoint)?.unwrap_or_else(|| (Self::default(), RecipeOrigin::Default)))
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
        if let Some(range) = self.prune_blank {
            lines.push(("", format!("patches that vary by {range} of 255 at most are left out")));
        }
        if self.pooling > 1 {
            let (factor, pooler) = (self.pooling, self.pooler);
            lines.push(("", format!("vectors are pooled to one in {factor}, {pooler}")));
        }
        let Self { query_prefix: prefix, query_masks: masks, .. } = self;
        lines.push(("query", format!("{prefix:?}, the question, {masks} <mask>")));
        lines.push(("score", "the sum over tokens; the maker's mean ranks alike".into()));
        let Fusion { visual_weight, visual_margin } = self.fusion;
        let trust = format!("beside words {visual_weight}, for pages without {visual_margin} more");
        lines.push(("trust", trust));
        lines
    }
}
