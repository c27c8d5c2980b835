//! Everything between pixels or words and vectors that is not a weight. It differs between
//! published checkpoints, and is part of the identity of a model.

use std::fmt;
use std::path::{Path, PathBuf};

use pagesight_core::{Fusion, NeutralQuestions, Slices};
use pagesight_maxsim::{Pooled, pool_hierarchical, pool_k_means};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::hub_cache::HubCache;
use crate::checkpoint::json::read_json;
use crate::error::ModelError;
use crate::options::RecipeChoice;
use crate::precision::Precision;

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
    /// How far its ranking of pictures is trusted beside the ranking of words. Vectors do not
    /// depend on it, so it is not part of the identity of the model.
    #[serde(skip_serializing_if = "is_default")]
    pub fusion: Fusion,
    /// The questions that tell what a page gives to any. Vectors do not depend on them, so they are
    /// not part of the identity of the model.
    #[serde(skip_serializing_if = "NeutralQuestions::is_default")]
    pub neutral: NeutralQuestions,
}

/// How the vectors of a page are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooler {
    /// By hierarchical clustering, as the reference does: [`pagesight_maxsim::pool_hierarchical`].
    #[default]
    Hierarchical,
    /// By k-means, in a fraction of the time: [`pagesight_maxsim::pool_k_means`].
    KMeans,
}

impl fmt::Display for Pooler {
    /// The word that a recipe has for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hierarchical => "hierarchical",
            Self::KMeans => "k-means",
        })
    }
}

impl Pooler {
    fn is_the_references(&self) -> bool {
        *self == Self::Hierarchical
    }

    /// Pools `vectors`, `[n, dim]`, to one in `factor`.
    pub(crate) fn pool(self, dim: usize, vectors: &[f32], factor: usize) -> Pooled {
        match self {
            Self::Hierarchical => pool_hierarchical(dim, vectors, factor),
            Self::KMeans => pool_k_means(dim, vectors, factor),
        }
    }
}

// Fields that have their default are not written. So a recipe from before such a field existed
// still serialises to the same bytes, which are hashed into the model id.

fn is_one(factor: &usize) -> bool {
    *factor == 1
}

fn is_default(fusion: &Fusion) -> bool {
    *fusion == Fusion::default()
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

/// More would leave hardly a vector of a page.
const MOST_POOLING: usize = 64;

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

/// Where the recipe of a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecipeOrigin {
    /// The caller gave it.
    Caller,
    /// It is a file beside the weights.
    File(PathBuf),
    /// It comes with pagesight, and is the one for the name that the checkpoint goes by.
    Called {
        /// The name of the recipe.
        recipe: &'static str,
        /// The name that the checkpoint goes by.
        clue: String,
    },
    /// Nothing says it, so it is what transformers does by default.
    Default,
}

impl fmt::Display for RecipeOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => f.write_str("as asked"),
            Self::File(path) => write!(f, "from {}", path.display()),
            Self::Called { recipe, clue } => write!(f, "{recipe}, the checkpoint is {clue}"),
            Self::Default => f.write_str("the default of transformers"),
        }
    }
}

#[derive(Deserialize)]
struct ProcessorPrompts {
    query_prefix: Option<String>,
    visual_prompt_prefix: Option<String>,
}

#[derive(Deserialize)]
struct ConfigName {
    #[serde(rename = "_name_or_path")]
    name: Option<String>,
}

impl Recipe {
    /// The name of the file beside the weights.
    pub const FILE: &str = "recipe.json";

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
        Self::of_file(&path.into())
    }

    fn of_file(file: &CheckpointFile) -> Result<Self, ModelError> {
        let recipe: Self = read_json(file)?;
        recipe.check(file.shown())?;
        Ok(recipe)
    }

    /// Checks that values are in their ranges; `path` names the file in errors.
    fn check(&self, path: PathBuf) -> Result<(), ModelError> {
        let wrong = |key: &str, expected: String, got: String| ModelError::Setting {
            path: path.clone(),
            key: key.into(),
            expected,
            got,
        };
        for (key, least, most, got) in [
            ("query_pads", 0, MOST_PADS, self.query_pads),
            ("pooling", 1, MOST_POOLING, self.pooling),
        ] {
            if !(least..=most).contains(&got) {
                return Err(wrong(key, format!("{least} to {most}"), got.to_string()));
            }
        }
        let Fusion { visual_weight, visual_margin } = self.fusion;
        if ![visual_weight, visual_margin].iter().all(|share| (0.0..=1.0).contains(share)) {
            let got = format!("{visual_weight} and {visual_margin}");
            return Err(wrong("fusion", "0 to 1".into(), got));
        }
        let off = self.neutral.weight;
        if !(0.0..=2.0).contains(&off) {
            return Err(wrong("neutral", "0 to 2".into(), off.to_string()));
        }
        Ok(())
    }

    /// The caller's recipe, else that of `checkpoint`.
    ///
    /// # Errors
    /// [`ModelError::UnknownRecipe`] for a name that no recipe has, else as [`read`](Self::read).
    pub(crate) fn in_force(
        checkpoint: &Checkpoint,
        choice: Option<&RecipeChoice>,
    ) -> Result<(Self, RecipeOrigin), ModelError> {
        let recipe = match choice {
            None => return Self::of(checkpoint),
            Some(RecipeChoice::Named(name)) => Self::named(name).ok_or_else(|| {
                ModelError::UnknownRecipe { name: name.clone(), known: Self::names().collect() }
            })?,
            Some(RecipeChoice::File(path)) => Self::read(path)?,
            Some(RecipeChoice::Json(text)) => {
                let path = PathBuf::from(Self::FILE);
                let recipe = Self::from_json(text)
                    .map_err(|source| ModelError::Config { path: path.clone(), source })?;
                recipe.check(path)?;
                recipe
            }
        };
        Ok((recipe, RecipeOrigin::Caller))
    }

    /// The recipe of `checkpoint`: its file, else the prompts of its `processor_config.json`
    /// (transformers 4.53 and later), else the one that comes with pagesight for the name that
    /// the checkpoint goes by, else the default.
    fn of(checkpoint: &Checkpoint) -> Result<(Self, RecipeOrigin), ModelError> {
        let own = checkpoint.files().file(Self::FILE);
        if own.exists() {
            return Ok((Self::of_file(&own)?, RecipeOrigin::File(own.shown())));
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

/// The names that a checkpoint goes by: on the hub, as a folder, in its configuration.
fn names(checkpoint: &Checkpoint) -> Result<Vec<String>, ModelError> {
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut names = Vec::new();
    if let Some(folder) = checkpoint.files().folder() {
        if HubCache::around(folder).is_some() {
            names.extend(folder.ancestors().nth(2).and_then(last));
        }
        names.extend(last(folder));
    }
    let config = checkpoint.file("config.json");
    names.extend(read_json::<ConfigName>(&config)?.name);
    Ok(names)
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
