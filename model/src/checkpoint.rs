//! The files of a checkpoint: a folder with weights, or an adapter's folder over that of its base.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::adapter::{Adapter, AdapterConfig};
use crate::config::read_json;
use crate::embedded::{is_embedded, is_there};
use crate::shard::Shard;
use crate::{HubCache, ModelError};

/// Where to look for the base of an adapter.
#[derive(Debug, Clone, Copy, Default)]
pub struct BasePlaces<'a> {
    /// Given by the caller.
    pub folder: Option<&'a Path>,
    /// Where Hugging Face's programs keep what they fetched.
    pub hub: Option<&'a HubCache>,
}

/// An opened checkpoint; only headers of its weights have been read.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    base: Option<PathBuf>,
    /// The weights, without the adapter's.
    pub shards: Vec<Shard>,
    pub adapter: Option<Adapter>,
    adapter_shard: Option<Shard>,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const ADAPTER: &str = "adapter_model.safetensors";

impl Checkpoint {
    /// Where an imported adapter has its base, below its own folder.
    pub const BASE: &str = "base";

    /// Opens the checkpoint in `folder`; what it is says its content.
    ///
    /// # Errors
    /// [`ModelError`] for a file that is missing, cut off, a pickle, or that its index
    /// contradicts, and for an adapter whose base is not found.
    pub fn open(folder: &Path, places: BasePlaces<'_>) -> Result<Self, ModelError> {
        let mut shards = open_shards(folder)?;
        let folder = folder.to_path_buf();
        let [shard] = shards.as_slice() else {
            return Ok(Self { folder, base: None, shards, adapter: None, adapter_shard: None });
        };
        if !Adapter::has(shard.keys()) {
            return Ok(Self { folder, base: None, shards, adapter: None, adapter_shard: None });
        }
        let config = AdapterConfig::read(&folder)?;
        let adapter = Adapter::new(&config, shard)?;
        let adapter_shard = Some(shard.clone());
        let base = find_base(&folder, &config, places)?;
        shards = open_shards(&base)?;
        if let Some(shard) = shards.iter().find(|shard| Adapter::has(shard.keys())) {
            let path = shard.path().to_path_buf();
            return Err(ModelError::AdapterOfAdapter { path });
        }
        Ok(Self { folder, base: Some(base), shards, adapter: Some(adapter), adapter_shard })
    }

    /// The folder that was asked for.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the base, for an adapter.
    pub fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// The folder with the whole weights.
    pub fn weights_folder(&self) -> &Path {
        self.base().unwrap_or(&self.folder)
    }

    /// File `name`: the adapter's own, else the base's, whether there or not.
    pub fn file(&self, name: &str) -> PathBuf {
        let own = self.folder.join(name);
        match &self.base {
            Some(base) if !is_there(&own) => base.join(name),
            _ => own,
        }
    }

    /// The file of the adapter.
    pub fn adapter_shard(&self) -> Option<&Shard> {
        self.adapter_shard.as_ref()
    }

    /// All files with weights.
    pub fn weight_files(&self) -> Vec<PathBuf> {
        let shards = self.shards.iter().map(|shard| shard.path().to_path_buf());
        shards.chain(self.adapter.iter().map(|adapter| adapter.path().to_path_buf())).collect()
    }
}

/// The weights in `folder`: the shards of an index, a file of the usual name, or the only one.
fn open_shards(folder: &Path) -> Result<Vec<Shard>, ModelError> {
    if is_embedded(folder) {
        return Ok(vec![Shard::open(&folder.join(SINGLE))?]);
    }
    let index = folder.join(INDEX);
    if index.exists() {
        return indexed(folder, &index);
    }
    let mut found = Vec::new();
    for entry in
        fs::read_dir(folder).map_err(|source| ModelError::Io { path: folder.into(), source })?
    {
        let path = entry.map_err(|source| ModelError::Io { path: folder.into(), source })?.path();
        found.push(path);
    }
    found.sort();
    let ends = |path: &&PathBuf, endings: &[&str]| {
        path.extension().is_some_and(|end| endings.iter().any(|ending| end == *ending))
    };
    let usual = [SINGLE, ADAPTER].map(|name| folder.join(name));
    if let Some(path) = usual.iter().find(|path| path.exists()) {
        return Ok(vec![Shard::open(path)?]);
    }
    let weights: Vec<&PathBuf> = found.iter().filter(|path| ends(path, &["safetensors"])).collect();
    match weights.as_slice() {
        [path] => return Ok(vec![Shard::open(path)?]),
        [] => {}
        // Shards, but which belong together nothing says.
        _ => return Err(ModelError::Io { path: index, source: ErrorKind::NotFound.into() }),
    }
    let [single, _] = usual;
    Err(match found.iter().find(|path| ends(path, &["bin", "pt", "pth", "ckpt", "pkl"])) {
        Some(path) => ModelError::Pickle { path: path.clone() },
        None => ModelError::Io { path: single, source: ErrorKind::NotFound.into() },
    })
}

/// The shards that `index` names. Each tensor is in the shard that the index gives it, and
/// nowhere else.
fn indexed(folder: &Path, index: &Path) -> Result<Vec<Shard>, ModelError> {
    let map = read_json::<ShardIndex>(index)?.weight_map;
    let names: BTreeSet<&str> = map.values().map(String::as_str).collect();
    let mut shards = Vec::new();
    for name in names {
        let path = folder.join(name);
        // A shard lies beside its index; a path could lead anywhere.
        if Path::new(name).file_name().is_none_or(|file| *file != *name) {
            return Err(ModelError::Io { path, source: ErrorKind::NotFound.into() });
        }
        if matches!(path.extension(), Some(end) if end == "bin" || end == "pt") {
            return Err(ModelError::Pickle { path });
        }
        shards.push((name, Shard::open(&path)?));
    }
    let wrong = |key: &str, expected: &str, got: &str| ModelError::ShardIndex {
        path: index.to_path_buf(),
        key: key.into(),
        expected: expected.into(),
        got: got.into(),
    };
    for (name, shard) in &shards {
        for key in shard.keys() {
            match map.get(key) {
                Some(expected) if expected == name => {}
                Some(expected) => return Err(wrong(key, expected, name)),
                None => return Err(wrong(key, "no shard", name)),
            }
        }
    }
    for (key, name) in &map {
        let (_, shard) = shards.iter().find(|(shard, _)| shard == name).expect("opened above");
        if shard.get(key).is_none() {
            return Err(wrong(key, name, "no shard"));
        }
    }
    Ok(shards.into_iter().map(|(_, shard)| shard).collect())
}

/// The base that an adapter names: given by the caller, a folder beside it, or in a hub cache.
fn find_base(
    folder: &Path,
    config: &AdapterConfig,
    places: BasePlaces<'_>,
) -> Result<PathBuf, ModelError> {
    if let Some(base) = places.folder {
        return Ok(base.to_path_buf());
    }
    let name = &config.base_model_name_or_path;
    let beside = folder.join(name);
    for base in [folder.join(Checkpoint::BASE), beside.clone()] {
        if base.is_dir() {
            return Ok(base);
        }
    }
    // What was fetched together lies together.
    let around = HubCache::around(folder);
    let mut looked = vec![beside];
    for cache in around.iter().chain(places.hub) {
        match cache.snapshot(name, config.revision.as_deref()) {
            Some(found) => return Ok(found),
            None => looked.push(cache.model_folder(name)),
        }
    }
    Err(ModelError::NoBase { path: folder.join(AdapterConfig::FILE), name: name.clone(), looked })
}
