//! What a checkpoint is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pagesight_core::{ModelId, ModelSource};
use serde::{Serialize, Serializer};

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

fn in_words<S: Serializer>(source: &ModelSource, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(source)
}
