//! Proof that a checkpoint is whole: hashes where they are known, and every number read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pagesight_core::ModelSource;
use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::digest::Digests;
use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::json::read_json;
use crate::error::ModelError;
use crate::options::LoadOptions;

/// What [`verify_checkpoint`] has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct VerifiedModel {
    /// Files whose hash was known, and is right.
    pub hashes: usize,
    /// Numbers, all finite.
    pub numbers: u64,
}

/// BLAKE3 of each file by its path below the model's folder.
pub type Checksums = BTreeMap<PathBuf, String>;

/// Where checksums lie in an imported model.
pub const CHECKSUMS: &str = "checksums.json";

/// Reads all of the checkpoint of `source`: each file whose hash is known has it (an imported
/// model's checksums; in a hub's cache the SHA-256 that large files are named by), and every
/// number is finite. `tell` hears of each file that is read.
///
/// # Errors
/// [`ModelError::Hash`], [`ModelError::NotFinite`], and those of opening it.
///
/// ```
/// use pagesight_core::ModelSource;
/// use pagesight_model::{LoadOptions, verify_checkpoint};
///
/// let verified = verify_checkpoint(&ModelSource::Nano, &LoadOptions::default(), &mut |_| {})?;
/// assert!(verified.numbers > 3_000_000);
/// # Ok::<(), pagesight_model::ModelError>(())
/// ```
pub fn verify_checkpoint(
    source: &ModelSource,
    options: &LoadOptions,
    tell: &mut dyn FnMut(&Path),
) -> Result<VerifiedModel, ModelError> {
    let checkpoint = Checkpoint::open(source, options)?;
    let mut verified = VerifiedModel::default();
    let list = checkpoint.files().file(CHECKSUMS);
    let known: Checksums = if list.exists() { read_json(&list)? } else { Checksums::new() };
    for (name, expected) in &known {
        let file = match checkpoint.files().folder() {
            Some(folder) => CheckpointFile::Disk(folder.join(name)),
            None => checkpoint.files().file(&name.to_string_lossy()),
        };
        tell(&file.shown());
        compare(&file, expected, Digests::default().of(&file)?.0)?;
        verified.hashes += 1;
    }
    #[cfg(feature = "hub")]
    for file in checkpoint.weight_files() {
        if let Some((path, expected)) =
            file.on_disk().and_then(|path| Some((path, hub_name(path)?)))
        {
            tell(path);
            compare(&file, &expected, crate::checkpoint::fetch::sha256(path)?)?;
            verified.hashes += 1;
        }
    }
    let adapter = checkpoint.adapter.iter().map(|(_, shard)| shard);
    for shard in checkpoint.shards.iter().chain(adapter) {
        tell(&shard.file().shown());
        for tensor in shard.keys().filter_map(|key| shard.get(key)).filter(|t| t.is_float()) {
            if !tensor.is_finite() {
                let (path, key) = (shard.file().shown(), tensor.key().to_string());
                return Err(ModelError::NotFinite { path, key });
            }
            verified.numbers += tensor.numbers();
        }
    }
    Ok(verified)
}

fn compare(file: &CheckpointFile, expected: &str, got: String) -> Result<(), ModelError> {
    if got == expected {
        return Ok(());
    }
    Err(ModelError::Hash { path: file.shown(), expected: expected.into(), got })
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
