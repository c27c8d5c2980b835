//! The files of a checkpoint: a folder with weights, or an adapter's folder over that of its base.

pub mod adapter;
pub mod bytes;
pub mod digest;
#[cfg(feature = "hub")]
pub mod fetch;
pub mod files;
pub mod hub_cache;
pub mod identity;
pub mod inventory;
pub mod json;
pub mod layout;
pub mod licence;
pub mod remembered;
pub mod settings;
pub mod shard;
pub mod stored;
pub mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use pagesight_core::ModelSource;
use serde::Deserialize;

use crate::checkpoint::adapter::{AdapterConfig, has_factors};
use crate::checkpoint::files::{CheckpointFile, Files, NANO, NANO_SHA256};
use crate::checkpoint::hub_cache::HubCache;
use crate::checkpoint::json::read_json;
use crate::checkpoint::shard::Shard;
use crate::error::ModelError;
use crate::options::LoadOptions;

/// An opened checkpoint; only headers of its weights have been read.
#[derive(Debug)]
pub struct Checkpoint {
    source: ModelSource,
    files: Files,
    base: Option<Files>,
    /// The weights, without the adapter's.
    pub shards: Vec<Shard>,
    /// Its settings and the file with its factors, for an adapter.
    pub adapter: Option<(AdapterConfig, Shard)>,
    /// Whether whole numbers may take the place of bf16.
    pub whole_numbers: bool,
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

    /// Opens the checkpoint of `source`. Its kind (whole, sharded or adapter) is detected from the
    /// files that are there and the names of their tensors. The base of an adapter is looked for
    /// where `options` say, beside the adapter, and in the hub's cache.
    ///
    /// # Errors
    /// [`ModelError::NotFound`] when there is no such checkpoint; [`ModelError`] for a file that is
    /// missing, cut off, a pickle, or contradicts its index, and for an adapter without a base.
    pub fn open(source: &ModelSource, options: &LoadOptions) -> Result<Self, ModelError> {
        let files = Files::of(source, options.hub.as_ref())?;
        let source = absolute(source)?;
        let shards = open_shards(&files)?;
        // Other checkpoints are measured where they are loaded.
        let whole_numbers = options.whole_numbers.unwrap_or(source == ModelSource::Nano);
        let (Files::Folder(folder), [shard]) = (&files, shards.as_slice()) else {
            return Ok(Self { source, files, base: None, shards, adapter: None, whole_numbers });
        };
        if !has_factors(shard.keys()) {
            return Ok(Self { source, files, base: None, shards, adapter: None, whole_numbers });
        }
        let config = AdapterConfig::read(&files)?;
        let base = find_base(folder, &config, options)?;
        let adapter = Some((config, shard.clone()));
        let shards = open_shards(&base)?;
        if let Some(shard) = shards.iter().find(|shard| has_factors(shard.keys())) {
            return Err(ModelError::AdapterOfAdapter { path: shard.file().shown() });
        }
        Ok(Self { source, files, base: Some(base), shards, adapter, whole_numbers })
    }

    /// The base alone of an adapter; any other checkpoint stays as it is.
    pub fn without_adapter(self) -> Self {
        match self.base {
            Some(base) => Self { files: base, base: None, adapter: None, ..self },
            None => self,
        }
    }

    /// What was opened; a folder is absolute.
    pub fn source(&self) -> &ModelSource {
        &self.source
    }

    /// Its own files, which for an adapter are not those of its base.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The files of the base, for an adapter.
    pub fn base(&self) -> Option<&Files> {
        self.base.as_ref()
    }

    /// The files among which the whole weights are.
    pub fn of_weights(&self) -> &Files {
        self.base().unwrap_or(&self.files)
    }

    /// File `name`: the adapter's own, else the base's, whether there or not.
    pub fn file(&self, name: &str) -> CheckpointFile {
        let own = self.files.file(name);
        match &self.base {
            Some(base) if !own.exists() => base.file(name),
            _ => own,
        }
    }

    /// Every file with weights, the adapter's last.
    pub fn weight_files(&self) -> Vec<CheckpointFile> {
        let shards = self.shards.iter().chain(self.adapter.iter().map(|(_, shard)| shard));
        shards.map(|shard| shard.file().clone()).collect()
    }
}

/// `source` so that it is found from any working folder.
pub fn absolute(source: &ModelSource) -> Result<ModelSource, ModelError> {
    let ModelSource::Folder(folder) = source else { return Ok(source.clone()) };
    std::path::absolute(folder)
        .map(ModelSource::Folder)
        .map_err(|error| ModelError::Io { path: folder.clone(), source: error })
}

/// The weights among `files`: the shards of an index, a file of the usual name, or the only one.
fn open_shards(files: &Files) -> Result<Vec<Shard>, ModelError> {
    let Files::Folder(folder) = files else {
        return Ok(vec![Shard::open(files.file(SINGLE))?]);
    };
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
        return Ok(vec![Shard::open(path.as_path().into())?]);
    }
    let weights: Vec<&PathBuf> = found.iter().filter(|path| ends(path, &["safetensors"])).collect();
    match weights.as_slice() {
        [path] => return Ok(vec![Shard::open(path.as_path().into())?]),
        [] => {}
        // Several shards, and no index says which of them belong together.
        _ => return Err(ModelError::Io { path: index, source: ErrorKind::NotFound.into() }),
    }
    let [single, _] = usual;
    let of = |endings: &[&str]| found.iter().find(|path| ends(path, endings)).cloned();
    Err(if let Some(path) = of(&["bin", "pt", "pth", "ckpt", "pkl"]) {
        ModelError::Pickle { path }
    } else if let Some(path) = of(&["npz", "keras", "h5"]) {
        ModelError::OtherFramework { path }
    } else {
        ModelError::Io { path: single, source: ErrorKind::NotFound.into() }
    })
}

/// The shards that `index` names. Each tensor is in the shard that the index gives it, and
/// nowhere else.
fn indexed(folder: &Path, index: &Path) -> Result<Vec<Shard>, ModelError> {
    let map = read_json::<ShardIndex>(&index.into())?.weight_map;
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
        shards.push((name, Shard::open(path.as_path().into())?));
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

/// The base of the adapter in `folder`: the one that `options` name, else a folder beside it, else
/// nano, where that is its name, else a model in a hub's cache.
fn find_base(
    folder: &Path,
    config: &AdapterConfig,
    options: &LoadOptions,
) -> Result<Files, ModelError> {
    if let Some(base) = &options.base {
        let base = Files::of(base, options.hub.as_ref())?;
        return if base == Files::Nano { nano_for(folder, config) } else { Ok(base) };
    }
    let name = &config.base_model_name_or_path;
    let beside = folder.join(name);
    for base in [folder.join(Checkpoint::BASE), beside.clone()] {
        if base.is_dir() {
            return Ok(Files::Folder(base));
        }
    }
    if name == NANO {
        return nano_for(folder, config);
    }
    // What was fetched together lies together.
    let around = HubCache::around(folder);
    let mut looked = vec![beside];
    for cache in around.iter().chain(&options.hub) {
        match cache.snapshot(name, config.revision.as_deref()) {
            Some(found) => return Ok(Files::Folder(found)),
            None => looked.push(cache.model_folder(name)),
        }
    }
    Err(ModelError::NoBase { path: folder.join(AdapterConfig::FILE), name: name.clone(), looked })
}

/// nano as the base of the adapter in `folder`, if the adapter was made for these weights: on others it
/// would give vectors that look right and are not.
fn nano_for(folder: &Path, config: &AdapterConfig) -> Result<Files, ModelError> {
    let got = config.revision.as_deref().unwrap_or("none");
    if got == NANO_SHA256 {
        return Ok(Files::Nano);
    }
    Err(ModelError::OtherBase {
        path: folder.join(AdapterConfig::FILE),
        name: NANO.into(),
        expected: NANO_SHA256.into(),
        got: got.into(),
    })
}
