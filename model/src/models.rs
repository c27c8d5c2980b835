//! The checkpoints of this machine: our own folder of models, and what Hugging Face's programs
//! fetched.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::checkpoint::{BasePlaces, Checkpoint};
use crate::digest::Digests;
use crate::embedded::{copy_file, is_embedded, is_there, length};
use crate::hub_cache::snapshot_of;
use crate::info::{CHECKSUMS, Checksums};
use crate::recipe::Recipe;
use crate::weights::Weights;
use crate::{ColPali, HubCache, LoadOptions, ModelError, ModelInfo};

/// Where checkpoints are kept.
#[derive(Debug, Clone, Default)]
pub struct Models {
    /// Our own folder, a model a folder inside.
    pub own: Option<PathBuf>,
    /// The hub's cache.
    pub hub: Option<HubCache>,
}

/// A checkpoint that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelEntry {
    /// What `--model` takes.
    pub name: String,
    /// The commit, for one in the hub's cache.
    pub revision: Option<String>,
    /// Where it is.
    pub folder: PathBuf,
    /// Its layout and the length of its weights in bytes, or why it would not load.
    pub state: Result<(String, u64), String>,
}

/// What a checkpoint is made of beside its weights.
const SMALL: [&str; 7] = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "adapter_config.json",
    "model.safetensors.index.json",
    Recipe::FILE,
];

impl Models {
    /// The name of the model inside the program; a folder called so comes first.
    pub const NANO: &str = "nano";

    /// The folder of the model that a user calls `name`: a folder, one of ours, or `ORG/NAME` in
    /// the hub's cache, with `@REVISION` after it where it is not `main`.
    ///
    /// # Errors
    /// [`ModelError::NotFound`] with all places.
    pub fn find(&self, name: impl AsRef<Path>) -> Result<PathBuf, ModelError> {
        let path = name.as_ref();
        if is_embedded(path) {
            return Ok(path.to_path_buf());
        }
        if path.is_dir() {
            return Ok(snapshot_of(path, None).unwrap_or_else(|| path.to_path_buf()));
        }
        let mut looked = vec![path.to_path_buf()];
        // Names are plain; a path need not be.
        let name = path.to_str().unwrap_or_default();
        if name == Self::NANO {
            return Ok(ColPali::NANO.into());
        }
        if let Some(folder) = self.own.as_ref().filter(|_| is_plain(name)).map(|own| own.join(name))
        {
            if folder.is_dir() {
                return Ok(folder);
            }
            looked.push(folder);
        }
        let (model, revision) = match name.split_once('@') {
            Some((model, revision)) => (model, Some(revision)),
            None => (name, None),
        };
        if let Some(hub) = self.hub.as_ref().filter(|_| HubCache::is_name(model)) {
            if let Some(folder) = hub.snapshot(model, revision) {
                return Ok(folder);
            }
            looked.push(hub.model_folder(model));
        }
        Err(ModelError::NotFound { name: path.display().to_string(), looked })
    }

    /// All checkpoints there are: the one inside the program, ours, those in the hub's cache; other
    /// models in that cache are left out.
    pub fn list(&self) -> Vec<ModelEntry> {
        let folder = PathBuf::from(ColPali::NANO);
        let (name, state) = (Self::NANO.into(), self.state(&folder));
        let mut entries = vec![ModelEntry { name, revision: None, folder, state }];
        for folder in self.own.iter().flat_map(|own| folders(own)) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                let state = self.state(&folder);
                entries.push(ModelEntry { name, revision: None, folder, state });
            }
        }
        for snapshot in self.hub.iter().flat_map(HubCache::snapshots) {
            let state = self.state(&snapshot.folder);
            // A ColPali by its files, or one that would be.
            if state.is_ok() || snapshot.name.to_lowercase().contains("colpali") {
                let (name, folder) = (snapshot.name, snapshot.folder);
                entries.push(ModelEntry { name, revision: Some(snapshot.revision), folder, state });
            }
        }
        entries
    }

    fn state(&self, folder: &Path) -> Result<(String, u64), String> {
        let places = BasePlaces { folder: None, hub: self.hub.as_ref() };
        let look = || -> Result<(String, u64), ModelError> {
            let checkpoint = Checkpoint::open(folder, places)?;
            let layout = Weights::open(&checkpoint)?.layout();
            let files = checkpoint.weight_files();
            let bytes = files.iter().filter_map(|file| length(file).ok());
            let kind = if checkpoint.base().is_some() { "adapter over " } else { "" };
            Ok((format!("{kind}{layout}"), bytes.sum()))
        };
        look().map_err(|error| error.to_string())
    }

    /// Copies the checkpoint in `from`, with the base of an adapter, into our folder as `name`;
    /// from then on it does not depend on where it came from. Its recipe is written beside it,
    /// and a checksum of each file. `tell` hears of each file.
    ///
    /// # Errors
    /// [`ModelError`] when it would not load, when the name is taken or none, or for the disk.
    pub fn import(
        &self,
        from: &Path,
        name: &str,
        options: &LoadOptions,
        tell: &mut dyn FnMut(&Path),
    ) -> Result<PathBuf, ModelError> {
        let own = self
            .own
            .as_deref()
            .ok_or_else(|| ModelError::NotFound { name: name.into(), looked: Vec::new() })?;
        let to = own.join(name);
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| ModelError::Io { path, source }
        };
        if !is_plain(name) {
            return Err(io(&to)(ErrorKind::InvalidFilename.into()));
        }
        if to.exists() || name == Self::NANO {
            return Err(io(&to)(ErrorKind::AlreadyExists.into()));
        }
        let info = ModelInfo::read(from, options)?;
        let places = BasePlaces { folder: options.base.as_deref(), hub: options.hub.as_ref() };
        let checkpoint = Checkpoint::open(from, places)?;
        let mut files: Vec<(PathBuf, PathBuf)> = Vec::new();
        let whole = [(Some(from), PathBuf::new()), (checkpoint.base(), Checkpoint::BASE.into())];
        for (folder, below) in whole {
            let Some(folder) = folder else { continue };
            let small = SMALL.iter().map(|file| folder.join(file)).filter(|path| is_there(path));
            let weights = checkpoint.weight_files().into_iter();
            let weights = weights.filter(|path| path.parent() == Some(folder));
            for path in small.chain(weights) {
                let file = below.join(path.file_name().unwrap_or_default());
                files.push((path, file));
            }
        }
        // Under another name until it is whole.
        let partial = own.join(format!(".{name}.{}", std::process::id()));
        let copy = || -> Result<(), ModelError> {
            let mut checksums = Checksums::new();
            for (path, file) in files {
                tell(&path);
                let target = partial.join(&file);
                let folder = target.parent().unwrap_or(&partial);
                fs::create_dir_all(folder).map_err(io(folder))?;
                copy_file(&path, &target).map_err(io(&target))?;
                checksums.insert(file, Digests::default().of(&target)?.0);
            }
            let recipe = partial.join(Recipe::FILE);
            fs::write(&recipe, json(&info.recipe)).map_err(io(&recipe))?;
            checksums.insert(Recipe::FILE.into(), Digests::default().of(&recipe)?.0);
            let list = partial.join(CHECKSUMS);
            fs::write(&list, json(&checksums)).map_err(io(&list))?;
            fs::rename(&partial, &to).map_err(io(&to))
        };
        let copied = copy();
        if copied.is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
        copied.map(|()| to)
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("plain data")
}

/// A name that is one folder below ours.
fn is_plain(name: &str) -> bool {
    Path::new(name).file_name() == Some(OsStr::new(name)) && !name.starts_with('.')
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}
