//! Everything between pixels or words and vectors that is not a weight. It differs between
//! published checkpoints, and is part of the identity of a model.

use std::path::Path;

use pagesight_core::{Fusion, NeutralQuestions, Slices};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::adapter::AdapterUse;
use crate::checkpoint::json::read_json;
use crate::error::ModelError;
use crate::families::recipe::{
    FamilyRecipe, Pooler, RecipeOrigin, beside, check_fusion, check_neutral, check_pooling,
    check_range, chosen, is_default, is_one, names, read_recipe,
};
use crate::options::RecipeChoice;
use crate::precision::Precision;

// Fields that have their default are not written. So a recipe from before such a field existed
// still serialises to the same bytes, which are hashed into the model id.

/// What a ColPali does around its weights; `recipe.json` beside them. Fields that are left out have
/// the values of [`Recipe::default`], which is what `ColPaliProcessor` of transformers does.
///
/// ```
/// use pagesight_model::Recipe;
/// let recipe = Recipe::named("colpali-v1.3").unwrap();
/// assert_eq!(recipe.query_text("who?"), format!("<bos>Query: who?{}\n", "<pad>".repeat(10)));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The grids that a page is cut into. Each slice is one input of the model.
    pub slices: Slices,
    /// The text that follows the image tokens of a page.
    pub page_prompt: String,
    /// The text before the question.
    pub query_prefix: String,
    /// Number of `<pad>` tokens after the question. They are attended to, and their vectors count
    /// in MaxSim.
    pub query_pads: usize,
    /// The text after the `<pad>` tokens.
    pub query_suffix: String,
    /// Whether query tokens attend only to what is before them, as v1.0 to v1.2 were trained. The
    /// tokens of pages always attend to all others.
    pub causal_queries: bool,
    /// Leaves out the vectors of blank patches and of the prompt. A patch is blank when its values
    /// (0 to 255) differ by no more than this in every channel. The reference keeps all vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune_blank: Option<u8>,
    /// Merges the vectors of each slice, so that one in this many is left. 1, the default of the
    /// reference, merges none.
    #[serde(skip_serializing_if = "is_one")]
    pub pooling: usize,
    /// How vectors are merged.
    #[serde(skip_serializing_if = "Pooler::is_the_references")]
    pub pooler: Pooler,
    /// The precision that the model runs in; by default the one that its weights are stored in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// What becomes of an adapter: merged into its base, or applied beside it.
    #[serde(skip_serializing_if = "AdapterUse::is_default")]
    pub adapter: AdapterUse,
    /// How far its ranking of pictures is trusted beside the ranking of words. Vectors do not
    /// depend on it, so it is not part of the identity of the model.
    #[serde(skip_serializing_if = "is_default")]
    pub fusion: Fusion,
    /// The questions that tell what a page gives to any. Vectors do not depend on them, so they are
    /// not part of the identity of the model.
    #[serde(skip_serializing_if = "NeutralQuestions::is_default")]
    pub neutral: NeutralQuestions,
}

const PAGE: &str = "<bos>Describe the image.\n";

/// colpali-engine writes one `<bos>`, and transformers 4.47 and later put another before it.
const PAGE_TWICE: &str = "<bos><bos>Describe the image.\n";

/// Recipes that come with pagesight: name, page prompt, query prefix and suffix.
///
/// The recipe of a checkpoint is what it was trained with: v1.1 and v1.2 by colpali-engine 0.2,
/// v1.3 by 0.3.4 to 0.3.10 on a transformers that wrote one `<bos>`. The recipes of colpali-engine
/// are what its later versions do with any checkpoint, for indexes that must agree with them.
const NAMED: [(&str, &str, &str, &str); 7] = [
    ("transformers", PAGE, "<bos>Question: ", "\n"),
    ("colpali-v1.1", PAGE, "<bos>Question: ", "\n"),
    ("colpali-v1.2", PAGE, "<bos>Question: ", "\n"),
    ("colpali-v1.3", PAGE, "<bos>Query: ", "\n"),
    ("colpali-engine-0.3.4", PAGE_TWICE, "<bos>Query: ", "\n"),
    ("colpali-engine-0.3.11", PAGE_TWICE, "<bos>Query: ", ""),
    ("colpali-engine-0.3.13", PAGE_TWICE, "<bos>", ""),
];

/// A question has a few dozen tokens, so more padding can only be a mistake.
const MOST_PADS: usize = 1024;

impl From<Recipe> for RecipeChoice {
    fn from(recipe: Recipe) -> Self {
        Self::Json(recipe.to_json())
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Self::named("transformers").expect("it is in the list")
    }
}

#[derive(Deserialize)]
struct ProcessorPrompts {
    query_prefix: Option<String>,
    visual_prompt_prefix: Option<String>,
}

impl Recipe {
    /// The name of the file beside the weights.
    pub const FILE: &str = crate::families::recipe::FILE;

    /// The recipe called `name` that comes with pagesight.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (_, page, prefix, suffix) = NAMED.iter().find(|(known, ..)| *known == name)?;
        Some(Self {
            slices: Slices::default(),
            page_prompt: (*page).into(),
            query_prefix: (*prefix).into(),
            query_pads: 10,
            query_suffix: (*suffix).into(),
            causal_queries: false,
            prune_blank: None,
            pooling: 1,
            pooler: Pooler::default(),
            precision: None,
            adapter: AdapterUse::default(),
            fusion: Fusion::default(),
            neutral: NeutralQuestions::default(),
        })
    }

    /// The names that [`named`](Self::named) knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, ..)| *name)
    }

    /// All fields as JSON. Equal recipes give equal text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a recipe is plain data")
    }

    /// The part that is hashed into the model id: all fields that vectors depend on.
    pub(crate) fn identity(&self) -> String {
        let (fusion, neutral) = (Fusion::default(), NeutralQuestions::default());
        Self { fusion, neutral, ..self.clone() }.to_json()
    }

    /// The inverse of [`to_json`](Self::to_json). Fields that are left out have their defaults.
    ///
    /// # Errors
    /// The error of the parser, with line and column.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a file that does not parse or has a field that is not known;
    /// [`ModelError::Setting`] for a value outside its range.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        read_recipe(&path.into())
    }

    /// The caller's recipe, else that of `checkpoint`.
    ///
    /// # Errors
    /// [`ModelError::UnknownRecipe`] for a name that no recipe has, else as [`read`](Self::read).
    pub(crate) fn in_force(
        checkpoint: &Checkpoint,
        choice: Option<&RecipeChoice>,
    ) -> Result<(Self, RecipeOrigin), ModelError> {
        match choice {
            None => Self::of(checkpoint),
            Some(choice) => Ok((chosen(choice)?, RecipeOrigin::Caller)),
        }
    }

    /// The recipe of `checkpoint`: its file, else the prompts of its `processor_config.json`
    /// (transformers 4.53 and later), else the one that comes with pagesight for the name that
    /// the checkpoint goes by, else the default.
    fn of(checkpoint: &Checkpoint) -> Result<(Self, RecipeOrigin), ModelError> {
        if let Some(own) = beside(checkpoint)? {
            return Ok(own);
        }
        let processor = checkpoint.files().file("processor_config.json");
        if processor.exists() {
            let prompts: ProcessorPrompts = read_json(&processor)?;
            if let Some(prefix) = prompts.query_prefix {
                let mut recipe = Self { query_prefix: format!("<bos>{prefix}"), ..Self::default() };
                if let Some(prompt) = prompts.visual_prompt_prefix {
                    recipe.page_prompt = format!("<bos>{prompt}\n");
                }
                return Ok((recipe, RecipeOrigin::File(processor.shown())));
            }
        }
        for clue in names(checkpoint)? {
            if let Some(recipe) = called(&clue) {
                let this = Self::named(recipe).expect("it is in the list");
                return Ok((this, RecipeOrigin::Called { recipe, clue }));
            }
        }
        Ok((Self::default(), RecipeOrigin::Default))
    }

    /// The text that is tokenized for `question`.
    pub fn query_text(&self, question: &str) -> String {
        let pads = "<pad>".repeat(self.query_pads);
        format!("{}{question}{pads}{}", self.query_prefix, self.query_suffix)
    }
}

impl FamilyRecipe for Recipe {
    fn names() -> Vec<&'static str> {
        Self::names().collect()
    }

    fn named(name: &str) -> Option<Self> {
        Self::named(name)
    }

    fn check(&self, path: &Path) -> Result<(), ModelError> {
        check_range(path, "query_pads", 0..=MOST_PADS, self.query_pads)?;
        check_pooling(path, self.pooling)?;
        check_fusion(path, self.fusion)?;
        check_neutral(path, &self.neutral)
    }
}

/// The recipe for a checkpoint called `name`, e.g. `vidore/colpali-v1.3-hf`.
fn called(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase().replace('_', "-");
    let after = &name[name.find("colpali-v")?..];
    // v1.3 is not v1.30.
    let of = |known: &&str| {
        let rest = after.strip_prefix(known);
        known.starts_with("colpali-v") && rest.is_some_and(|r| !r.starts_with(char::is_numeric))
    };
    Recipe::names().find(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_known_by_its_name() {
        for (name, expected) in [
            ("vidore/colpali-v1.3-hf", Some("colpali-v1.3")),
            ("models--vidore--colpali-v1.2-merged", Some("colpali-v1.2")),
            ("ColPali_v1.1", Some("colpali-v1.1")),
            ("colpali-v1.30", None),
            ("colpali-v1.4", None),
            ("colqwen2-v1.0", None),
            ("colpali-engine-0.3.4", None),
            ("", None),
        ] {
            assert_eq!(called(name), expected, "{name}");
        }
    }

    #[test]
    fn each_named_recipe_survives_its_file() {
        for name in Recipe::names() {
            let recipe = Recipe::named(name).unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), recipe.to_json()).unwrap();
            assert_eq!(Recipe::read(file.path()).unwrap(), recipe);
        }
        assert_eq!(Recipe::named("colpali"), None);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"query_pads": 99999999}"#).unwrap();
        assert!(matches!(Recipe::read(file.path()), Err(ModelError::Setting { .. })));
        std::fs::write(file.path(), r#"{"pooling": 0}"#).unwrap();
        assert!(matches!(Recipe::read(file.path()), Err(ModelError::Setting { .. })));
    }

    #[test]
    fn a_recipe_that_leaves_nothing_out_is_written_as_ever() {
        let fields = r#"{"slices":"1x1","page_prompt":"<bos>Describe the image.\n","query_prefix":"<bos>Question: ","query_pads":10,"query_suffix":"\n","causal_queries":false}"#;
        assert_eq!(Recipe::default().to_json(), fields);
        let fusion = Fusion { visual_weight: 0.25, visual_margin: 0.0 };
        let neutral = NeutralQuestions { weight: 0.5, ..NeutralQuestions::default() };
        let trusted = Recipe { fusion, neutral, ..Recipe::default() };
        assert_eq!(trusted.identity(), Recipe::default().identity());
        assert_eq!(Recipe::from_json(&trusted.to_json()).unwrap(), trusted);
        let pruned = Recipe { prune_blank: Some(16), pooling: 2, ..Recipe::default() };
        assert_eq!(Recipe::from_json(&pruned.to_json()).unwrap(), pruned);
        assert!(pruned.to_json().ends_with(r#""prune_blank":16,"pooling":2}"#));
        let pooled = Recipe { pooler: Pooler::KMeans, ..pruned };
        assert_eq!(Recipe::from_json(&pooled.to_json()).unwrap(), pooled);
        assert!(
            pooled.to_json().ends_with(&format!(r#""pooling":2,"pooler":"{}"}}"#, pooled.pooler))
        );
    }
}
