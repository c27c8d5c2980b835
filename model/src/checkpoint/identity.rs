//! The name of a model: a hash of everything that its vectors depend on.

use pagesight_core::ModelId;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::adapter::AdapterConfig;
use crate::checkpoint::digest::Digests;
use crate::error::ModelError;

/// Files beside the weights that decide about vectors, where they are there.
const SMALL: [&str; 5] = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    AdapterConfig::FILE,
];

/// The BLAKE3 of configuration, tokenizer, preprocessing, weights and `recipe`, the JSON of those
/// fields of the recipe in force that vectors depend on. Where the files lie does not matter.
///
/// # Errors
/// [`ModelError::Io`].
pub fn model_id(
    checkpoint: &Checkpoint,
    recipe: &str,
    digests: &Digests,
) -> Result<ModelId, ModelError> {
    let mut hasher = blake3::Hasher::new();
    let small = SMALL.map(|name| checkpoint.file(name)).into_iter().filter(|file| file.exists());
    for file in small.chain(checkpoint.weight_files()) {
        // The name keeps two files from being taken for each other.
        let (digest, bytes) = digests.of(&file)?;
        hasher.update(format!("{}\0{bytes}\0{digest}\0", file.name()).as_bytes());
    }
    hasher.update(recipe.as_bytes());
    Ok(ModelId(hasher.finalize().to_hex().to_string()))
}
