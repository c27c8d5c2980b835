//! What the recipes of all families share: where they come from, and the parts that they have in
//! common.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use pagesight_core::{Fusion, NeutralQuestions};
use pagesight_maxsim::{Pooled, pool_hierarchical, pool_k_means};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::hub_cache::HubCache;
use crate::checkpoint::json::read_json;
use crate::error::ModelError;
use crate::options::RecipeChoice;

/// The name of the file beside the weights.
pub const FILE: &str = "recipe.json";

/// Everything between pixels or words and vectors that is not a weight, as a family has it.
pub trait FamilyRecipe: DeserializeOwned {
    /// The names of the recipes that come with pagesight.
    fn names() -> Vec<&'static str>;

    /// One of them.
    fn named(name: &str) -> Option<Self>;

    /// Checks that values are in their ranges; `path` names the file in errors.
    ///
    /// # Errors
    /// [`ModelError::Setting`].
    fn check(&self, path: &Path) -> Result<(), ModelError>;
}

/// Reads and checks the recipe in `file`.
///
/// # Errors
/// [`ModelError::Config`] for a file that does not parse or has a field that is not known;
/// [`ModelError::Setting`] for a value outside its range.
pub fn read_recipe<R: FamilyRecipe>(file: &CheckpointFile) -> Result<R, ModelError> {
    let recipe: R = read_json(file)?;
    recipe.check(&file.shown())?;
    Ok(recipe)
}

/// The recipe that a caller chose.
///
/// # Errors
/// [`ModelError::UnknownRecipe`] for a name that no recipe has, else as [`read_recipe`].
pub fn chosen<R: FamilyRecipe>(choice: &RecipeChoice) -> Result<R, ModelError> {
    match choice {
        RecipeChoice::Named(name) => R::named(name)
            .ok_or_else(|| ModelError::UnknownRecipe { name: name.clone(), known: R::names() }),
        RecipeChoice::File(path) => read_recipe(&path.as_path().into()),
        RecipeChoice::Json(text) => {
            let path = PathBuf::from(FILE);
            let recipe: R = serde_json::from_str(text)
                .map_err(|source| ModelError::Config { path: path.clone(), source })?;
            recipe.check(&path)?;
            Ok(recipe)
        }
    }
}

/// The recipe in the file beside the weights, if there is one; that of its base for an adapter without.
///
/// # Errors
/// As [`read_recipe`].
pub fn beside<R: FamilyRecipe>(
    checkpoint: &Checkpoint,
) -> Result<Option<(R, RecipeOrigin)>, ModelError> {
    let own = checkpoint.file(FILE);
    if !own.exists() {
        return Ok(None);
    }
    Ok(Some((read_recipe(&own)?, RecipeOrigin::File(own.shown()))))
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
    pub(crate) fn is_the_references(&self) -> bool {
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

/// Whether a factor is 1, which merges nothing.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
pub fn is_one(factor: &usize) -> bool {
    *factor == 1
}

/// Whether pictures are trusted as words are.
pub fn is_default(fusion: &Fusion) -> bool {
    *fusion == Fusion::default()
}

/// More would leave hardly a vector of a page.
const MOST_POOLING: usize = 64;

/// Checks one field of a recipe.
///
/// # Errors
/// [`ModelError::Setting`] for a value outside `range`.
pub fn check_range(
    path: &Path,
    key: &str,
    range: RangeInclusive<usize>,
    got: usize,
) -> Result<(), ModelError> {
    if range.contains(&got) {
        return Ok(());
    }
    let expected = format!("{} to {}", range.start(), range.end());
    Err(ModelError::Setting { path: path.into(), key: key.into(), expected, got: got.to_string() })
}

/// Checks how many vectors become one.
///
/// # Errors
/// [`ModelError::Setting`].
pub fn check_pooling(path: &Path, pooling: usize) -> Result<(), ModelError> {
    check_range(path, "pooling", 1..=MOST_POOLING, pooling)
}

/// Checks how much of what a page gives to any question is taken off of its score.
///
/// # Errors
/// [`ModelError::Setting`].
pub fn check_neutral(path: &Path, neutral: &NeutralQuestions) -> Result<(), ModelError> {
    if (0.0..=2.0).contains(&neutral.weight) {
        return Ok(());
    }
    let (path, key, expected) = (path.into(), "neutral".into(), "0 to 2".into());
    Err(ModelError::Setting { path, key, expected, got: neutral.weight.to_string() })
}

/// Checks how far pictures are trusted.
///
/// # Errors
/// [`ModelError::Setting`].
pub fn check_fusion(path: &Path, fusion: Fusion) -> Result<(), ModelError> {
    let Fusion { visual_weight, visual_margin } = fusion;
    if [visual_weight, visual_margin].iter().all(|share| (0.0..=1.0).contains(share)) {
        return Ok(());
    }
    let got = format!("{visual_weight} and {visual_margin}");
    let (path, key, expected) = (path.into(), "fusion".into(), "0 to 1".into());
    Err(ModelError::Setting { path, key, expected, got })
}

#[derive(Deserialize)]
struct ConfigName {
    #[serde(rename = "_name_or_path")]
    name: Option<String>,
}

/// The names that a checkpoint goes by: on the hub, as a folder, in its configuration.
pub fn names(checkpoint: &Checkpoint) -> Result<Vec<String>, ModelError> {
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
