//! What a checkpoint is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pagesight_core::{ModelId, ModelSource, PageSize, PictureSize};
use serde::{Serialize, Serializer};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::Files;
use crate::checkpoint::licence::licence;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::precision::Precision;

/// A checkpoint that would load: every file is there, every tensor has its name and shape.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Which family of models it belongs to, e.g. `colpali`.
    pub family: &'static str,
    /// Where it comes from.
    #[serde(serialize_with = "in_words")]
    pub source: ModelSource,
    /// The folder with its files; `None` for nano, which is inside this program.
    pub folder: Option<PathBuf>,
    /// Where the whole weights are that it is merged into, for an adapter: a folder, or `nano`.
    pub base: Option<String>,
    /// How its files name their tensors.
    pub layout: String,
    /// Files with weights; those of nano are called `nano/NAME`.
    pub files: Vec<String>,
    /// Their length.
    pub bytes: u64,
    /// Numbers in them, an adapter's not counted.
    pub parameters: u64,
    /// How many of these numbers are stored in each type.
    pub types: BTreeMap<String, u64>,
    /// Layers of the vision tower.
    pub vision_layers: usize,
    /// Layers of the language model.
    pub language_layers: usize,
    /// Edge of its square input, px; `None` when the size depends on the page.
    pub input_px: Option<usize>,
    /// Patches of an input; `None` as for [`input_px`](Self::input_px).
    pub patches: Option<usize>,
    /// The licence that its README states, in the words of a hub, e.g. `apache-2.0`.
    pub licence: Option<String>,
    /// What an upright A4 page costs with its recipe, before vectors are left out or merged.
    pub page: PageCost,
    /// Numbers of a vector.
    pub dim: usize,
    /// What it runs in.
    pub precision: Precision,
    /// Its recipe: everything it does around its weights, as JSON.
    pub recipe: serde_json::Value,
    /// The same for a person, each with a word that says what it is about.
    #[serde(skip)]
    pub recipe_in_words: Vec<(&'static str, String)>,
    /// Why it has this recipe, in words.
    pub recipe_origin: String,
    /// The hash of everything that its vectors depend on.
    pub model_id: ModelId,
}

/// What a page costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PageCost {
    /// The picture that it is drawn into.
    #[serde(flatten)]
    pub picture: PictureSize,
    /// Vectors that it becomes.
    pub vectors: usize,
    /// Multiplications and additions, each counted.
    pub operations: u64,
}

/// The page whose cost is stated: 210 x 297 mm.
pub const A4: PageSize = PageSize { width_pt: 595.276, height_pt: 841.89 };

/// What the family of a checkpoint says of it.
pub struct Said {
    pub family: &'static str,
    pub vision_layers: usize,
    pub language_layers: usize,
    pub input_px: Option<usize>,
    pub patches: Option<usize>,
    pub page: PageCost,
    pub dim: usize,
    pub precision: Precision,
    /// As JSON.
    pub recipe: String,
    pub recipe_in_words: Vec<(&'static str, String)>,
    pub recipe_origin: String,
    pub model_id: ModelId,
}

impl ModelInfo {
    /// What the files of `checkpoint` say, and what its family does. None of `weights` has been
    /// taken.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub(crate) fn new(
        checkpoint: &Checkpoint,
        weights: &Weights,
        said: Said,
    ) -> Result<Self, ModelError> {
        let mut types = BTreeMap::new();
        for tensor in weights.tensors() {
            *types.entry(tensor.dtype().to_string()).or_default() += tensor.numbers();
        }
        let files = checkpoint.weight_files();
        let lengths = files.iter().map(|file| file.length()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            family: said.family,
            source: checkpoint.source().clone(),
            folder: checkpoint.files().folder().map(Path::to_path_buf),
            base: checkpoint.base().map(Files::shown).map(|base| base.display().to_string()),
            layout: weights.layout().to_string(),
            files: files.iter().map(|file| file.shown().display().to_string()).collect(),
            bytes: lengths.iter().sum(),
            parameters: types.values().sum(),
            types,
            vision_layers: said.vision_layers,
            language_layers: said.language_layers,
            input_px: said.input_px,
            patches: said.patches,
            licence: licence(checkpoint),
            page: said.page,
            dim: said.dim,
            precision: said.precision,
            recipe: serde_json::from_str(&said.recipe).expect("a recipe is plain data"),
            recipe_in_words: said.recipe_in_words,
            recipe_origin: said.recipe_origin,
            model_id: said.model_id,
        })
    }
}

fn in_words<S: Serializer>(source: &ModelSource, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(source)
}
