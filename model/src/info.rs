//! What a checkpoint is, told from its files without reading its weights; and, where asked, proof
//! that they are whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pagesight_core::ModelId;
use serde::Serialize;

use crate::checkpoint::{BasePlaces, Checkpoint};
use crate::colpali::{in_force, model_id};
use crate::config::{Config, PreprocessorConfig, read_json};
use crate::digest::Digests;
use crate::embedded::length;
use crate::inventory;
use crate::precision::Precision;
use crate::recipe::Recipe;
use crate::tokens::Tokens;
use crate::weights::Weights;
use crate::{LoadOptions, ModelError};

/// A checkpoint that would load: every file is there, every tensor has its name and shape.
#[derive(Debug, Clone, Serialize)]
pub struct ModelInfo {
    /// Where it is.
    pub folder: PathBuf,
    /// Where the base is, for an adapter.
    pub base: Option<PathBuf>,
    /// How its files name their tensors.
    pub layout: String,
    /// Files with weights.
    pub files: Vec<PathBuf>,
    /// Their length.
    pub bytes: u64,
    /// Numbers in them, an adapter's not counted.
    pub parameters: u64,
    /// Of which so many are stored in each type.
    pub types: BTreeMap<String, u64>,
    /// Layers of the vision tower.
    pub vision_layers: usize,
    /// Layers of the language model.
    pub language_layers: usize,
    /// Edge of its input, px.
    pub input_px: usize,
    /// Patches of an input.
    pub patches: usize,
    /// Numbers of a vector.
    pub dim: usize,
    /// What it runs in.
    pub precision: Precision,
    /// What it does around its weights.
    pub recipe: Recipe,
    /// Why it does that, in words.
    pub recipe_origin: String,
    /// The hash of it all.
    pub model_id: ModelId,
}

/// What [`ModelInfo::verify`] has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct VerifiedModel {
    /// Files whose hash was known, and is right.
    pub hashes: usize,
    /// Numbers, all finite.
    pub numbers: u64,
}

/// BLAKE3 of each file by its path below the model's folder, written by
/// [`Models::import`](crate::Models::import).
pub(crate) type Checksums = BTreeMap<PathBuf, String>;

/// Where checksums lie in an imported model.
pub(crate) const CHECKSUMS: &str = "checksums.json";

impl ModelInfo {
    /// Looks at the checkpoint in `folder`.
    ///
    /// # Errors
    /// [`ModelError`], the same that loading it would give.
    ///
    /// ```
    /// use pagesight_model::{LoadOptions, ModelInfo};
    ///
    /// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity/orig");
    /// let info = ModelInfo::read(folder.as_ref(), &LoadOptions::default())?;
    /// assert_eq!((info.layout.as_str(), info.parameters), ("colpali-engine", 181_432));
    /// # Ok::<(), pagesight_model::ModelError>(())
    /// ```
    pub fn read(folder: &Path, options: &LoadOptions) -> Result<Self, ModelError> {
        let checkpoint = open(folder, options)?;
        let config = Config::read(&checkpoint.file("config.json"))?;
        PreprocessorConfig::read(&checkpoint, &config)?;
        let mut weights = Weights::open(&checkpoint)?;
        let (recipe, origin, precision) = in_force(&checkpoint, &weights, options)?;
        let tokens = Tokens::read(&checkpoint.file("tokenizer.json"), &config.vlm_config)?;
        tokens.ids(&recipe.page_prompt)?;
        tokens.ids(&recipe.query_text(""))?;
        let layout = weights.layout().to_string();
        let mut types = BTreeMap::new();
        for tensor in weights.tensors() {
            *types.entry(tensor.dtype().to_string()).or_default() += tensor.numbers();
        }
        weights.skip(&inventory::all(&config))?;
        weights.finish()?;
        let files = checkpoint.weight_files();
        let lengths = files.iter().map(|path| length(path)).collect::<Result<Vec<_>, _>>()?;
        let vision = &config.vlm_config.vision_config;
        Ok(Self {
            folder: folder.to_path_buf(),
            base: checkpoint.base().map(Path::to_path_buf),
            layout,
            bytes: lengths.iter().sum(),
            parameters: types.values().sum(),
            types,
            vision_layers: vision.num_hidden_layers,
            language_layers: config.vlm_config.text_config.num_hidden_layers,
            input_px: vision.image_size,
            patches: vision.side() * vision.side(),
            dim: config.embedding_dim,
            precision,
            recipe_origin: origin.to_string(),
            model_id: model_id(&checkpoint, &recipe, &Digests::new(options.digests.clone()))?,
            recipe,
            files,
        })
    }

    /// Reads all of the checkpoint in `folder`: each file whose hash is known has it (an imported
    /// model's checksums; in a hub's cache the SHA-256 that large files are named by), and every
    /// number is finite. `tell` hears of each file that is read.
    ///
    /// # Errors
    /// [`ModelError::Hash`], [`ModelError::NotFinite`], and those of [`read`](Self::read).
    pub fn verify(
        folder: &Path,
        options: &LoadOptions,
        tell: &mut dyn FnMut(&Path),
    ) -> Result<VerifiedModel, ModelError> {
        let checkpoint = open(folder, options)?;
        let mut verified = VerifiedModel::default();
        let list = folder.join(CHECKSUMS);
        let known: Checksums = if list.exists() { read_json(&list)? } else { Checksums::new() };
        for (file, expected) in &known {
            let path = folder.join(file);
            tell(&path);
            compare(&path, expected, Digests::default().of(&path)?.0)?;
            verified.hashes += 1;
        }
        #[cfg(feature = "hub")]
        for path in checkpoint.weight_files() {
            if let Some(expected) = hub_name(&path) {
                tell(&path);
                compare(&path, &expected, crate::fetch::sha256(&path)?)?;
                verified.hashes += 1;
            }
        }
        for shard in checkpoint.shards.iter().chain(checkpoint.adapter_shard()) {
            tell(shard.path());
            for tensor in shard.keys().filter_map(|key| shard.get(key)).filter(|t| t.is_float()) {
                if !tensor.is_finite() {
                    let (path, key) = (shard.path().to_path_buf(), tensor.key().to_string());
                    return Err(ModelError::NotFinite { path, key });
                }
                verified.numbers += tensor.numbers();
            }
        }
        Ok(verified)
    }
}

fn open(folder: &Path, options: &LoadOptions) -> Result<Checkpoint, ModelError> {
    let places = BasePlaces { folder: options.base.as_deref(), hub: options.hub.as_ref() };
    Checkpoint::open(folder, places)
}

fn compare(path: &Path, expected: &str, got: String) -> Result<(), ModelError> {
    match got == expected {
        true => Ok(()),
        false => {
            let (path, expected) = (path.to_path_buf(), expected.to_string());
            Err(ModelError::Hash { path, expected, got })
        }
    }
}

/// The SHA-256 that a link into a hub's `blobs/` points to.
#[cfg(feature = "hub")]
fn hub_name(path: &Path) -> Option<String> {
    let blob = path.canonicalize().ok()?;
    let inside = blob.parent()?.file_name()? == "blobs";
    let name = blob.file_name()?.to_str()?;
    let is_hash = name.len() == 64 && name.bytes().all(|c| c.is_ascii_hexdigit());
    (inside && is_hash).then(|| name.to_lowercase())
}
