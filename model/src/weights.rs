//! Named tensors out of safetensors files. Every tensor of a checkpoint is used exactly once, in
//! the shape that the configuration gives it, or loading fails: a half-loaded model gives vectors
//! that look right and are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use crate::ModelError;
use crate::config::read_json;

/// Tied to the token embedding and not used by ColPali; some files carry it.
const UNUSED: [&str; 3] =
    ["lm_head.weight", "vlm.lm_head.weight", "vlm.language_model.lm_head.weight"];

/// The tensors of a folder, taken out one by one.
pub struct Weights {
    folder: PathBuf,
    files: Vec<PathBuf>,
    tensors: MmapedSafetensors,
    left: BTreeSet<String>,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let files = weight_files(folder)?;
        for path in &files {
            // One at a time, so that a damaged shard is named.
            map(std::slice::from_ref(path)).map_err(|source| damaged(path, source))?;
        }
        let tensors = map(&files).map_err(|source| damaged(folder, source))?;
        let mut left: BTreeSet<String> =
            tensors.tensors().into_iter().map(|(name, _)| name).collect();
        left.retain(|name| !UNUSED.contains(&name.as_str()));
        Ok(Self { folder: folder.to_path_buf(), files, tensors, left })
    }

    /// The files, for hashing.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Takes tensor `key` of `shape`, as f32.
    pub fn take(&mut self, key: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        Ok(self.take_stored(key, shape)?.to_dtype(DType::F32)?)
    }

    /// Takes tensor `key` of `shape` in the type that the file has.
    pub fn take_stored(&mut self, key: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        if !self.left.remove(key) {
            return Err(ModelError::MissingTensor { path: self.folder.clone(), key: key.into() });
        }
        let load = self.tensors.load(key, &Device::Cpu);
        let tensor = load.map_err(|source| damaged(&self.folder, source))?;
        if tensor.dims() != shape {
            let (path, key) = (self.folder.clone(), key.to_string());
            let (expected, got) = (shape.to_vec(), tensor.dims().to_vec());
            return Err(ModelError::Shape { path, key, expected, got });
        }
        Ok(tensor)
    }

    /// Fails when a tensor was not taken.
    pub fn finish(self) -> Result<(), ModelError> {
        match self.left.first() {
            None => Ok(()),
            Some(key) => Err(ModelError::UnknownTensor {
                path: self.folder,
                key: key.clone(),
                count: self.left.len(),
            }),
        }
    }
}

fn damaged(path: &Path, source: candle_core::Error) -> ModelError {
    ModelError::Weights { path: path.to_path_buf(), source: Box::new(source) }
}

fn map(files: &[PathBuf]) -> candle_core::Result<MmapedSafetensors> {
    // SAFETY: the map is read as plain numbers after its header was checked against the file's
    // length. Who changes the file while it is loaded gets other numbers or a bus error, as with
    // every mapped model; the weights are copied out before `load` returns.
    unsafe { MmapedSafetensors::multi(files) }
}

fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let index = folder.join("model.safetensors.index.json");
    if index.exists() {
        let shards: ShardIndex = read_json(&index)?;
        let names: BTreeSet<String> = shards.weight_map.into_values().collect();
        return names
            .into_iter()
            .map(|name| {
                // A shard lies beside its index; a path could lead anywhere.
                let plain = Path::new(&name).file_name().is_some_and(|file| *file == *name);
                let path = folder.join(&name);
                match plain && path.is_file() {
                    true => Ok(path),
                    false => {
                        let source = std::io::ErrorKind::NotFound.into();
                        Err(ModelError::Io { path, source })
                    }
                }
            })
            .collect();
    }
    let single = folder.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let pickle = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let pickle = pickle.into_iter().find(|path| {
        path.extension().is_some_and(|e| e == "bin" || e == "pt" || e == "pth" || e == "ckpt")
    });
    Err(match pickle {
        Some(path) => ModelError::Pickle { path },
        None => ModelError::Io { path: single, source: std::io::ErrorKind::NotFound.into() },
    })
}
