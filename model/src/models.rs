//! The checkpoints of this machine: our own folder of models, and what Hugging Face's programs
//! fetched.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use pagesight_core::ModelSource;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::digest::Digests;
use crate::checkpoint::files::{CheckpointFile, Files, NANO};
use crate::checkpoint::hub_cache::{HubCache, HubSnapshot, snapshot_of};
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::{FAMILIES, family_of, inspect_checkpoint};
use crate::options::LoadOptions;
use crate::verify::{CHECKSUMS, Checksums};

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
#[non_exhaustive]
pub struct ModelEntry {
    /// The name that [`Models::find`] takes.
    pub name: String,
    /// The commit, for one in the hub's cache.
    pub revision: Option<String>,
    /// What [`load`](crate::load) takes.
    pub source: ModelSource,
    /// The folder with its files; `None` for nano, which is inside the program.
    pub folder: Option<PathBuf>,
    /// Its layout and the length of its weights in bytes, or why it would not load.
    pub state: Result<(String, u64), String>,
}

/// The file that a recipe has beside the weights.
const RECIPE: &str = "recipe.json";

/// The card of a model, where it states its licence.
const CARD: &str = "README.md";

/// What a checkpoint is made of beside its weights.
const SMALL: [&str; 8] = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "adapter_config.json",
    "model.safetensors.index.json",
    RECIPE,
    CARD,
];

impl Models {
    /// The name of the model inside the program; a folder called so comes first.
    pub const NANO: &str = NANO;

    /// The model that a user calls `name`: a folder, one of ours, or `ORG/NAME` in the hub's cache,
    /// with `@REVISION` after it where it is not `main`. A model of the hub is named with the
    /// commit that was found, so that the source stays the same when the hub has a newer one.
    ///
    /// # Errors
    /// [`ModelError::NotFound`] with all places where it was looked for.
    ///
    /// ```
    /// use pagesight_core::ModelSource;
    /// use pagesight_model::Models;
    /// let models = Models::default();
    /// assert_eq!(models.list()[0].source, ModelSource::Nano);
    /// assert!(models.find("vidore/no-such-model").is_err());
    /// ```
    pub fn find(&self, name: impl AsRef<Path>) -> Result<ModelSource, ModelError> {
        let path = name.as_ref();
        let folder = |folder: &Path| {
            let folder = std::path::absolute(folder);
            let io = |source| ModelError::Io { path: path.to_path_buf(), source };
            folder.map(ModelSource::Folder).map_err(io)
        };
        if path.is_dir() {
            return folder(snapshot_of(path, None).as_deref().unwrap_or(path));
        }
        let mut looked = vec![path.to_path_buf()];
        // Names are plain; a path need not be.
        let name = path.to_str().unwrap_or_default();
        if name == Self::NANO {
            return Ok(ModelSource::Nano);
        }
        if let Some(own) = self.own.as_ref().filter(|_| is_plain(name)).map(|own| own.join(name)) {
            if own.is_dir() {
                return folder(&own);
            }
            looked.push(own);
        }
        let (model, revision) = match name.split_once('@') {
            Some((model, revision)) => (model, Some(revision)),
            None => (name, None),
        };
        if let Some(hub) = self.hub.as_ref().filter(|_| HubCache::is_name(model)) {
            if let Some(found) = hub.snapshot(model, revision) {
                let commit = found.file_name().unwrap_or_default().to_string_lossy();
                let revision = Some(commit.into_owned());
                return Ok(ModelSource::Hub { name: model.into(), revision });
            }
            looked.push(hub.model_folder(model));
        }
        Err(ModelError::NotFound { name: path.display().to_string(), looked })
    }

    /// The folder with the files of `source`; `None` for nano, which is inside the program.
    ///
    /// # Errors
    /// [`ModelError::NotFound`] with the places where it was looked for.
    pub fn folder(&self, source: &ModelSource) -> Result<Option<PathBuf>, ModelError> {
        let files = Files::of(source, self.hub.as_ref())?;
        Ok(files.folder().map(Path::to_path_buf))
    }

    /// All checkpoints there are: the one inside the program, ours, those in the hub's cache. Other
    /// models in that cache are left out.
    pub fn list(&self) -> Vec<ModelEntry> {
        let entry = |name: String, revision, source: ModelSource, folder| {
            let state = self.state(&source);
            ModelEntry { name, revision, source, folder, state }
        };
        let mut entries = vec![entry(Self::NANO.into(), None, ModelSource::Nano, None)];
        for folder in self.own.iter().flat_map(|own| folders(own)) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                let source = ModelSource::Folder(folder.clone());
                entries.push(entry(name, None, source, Some(folder)));
            }
        }
        for snapshot in self.hub.iter().flat_map(HubCache::snapshots) {
            let HubSnapshot { name, revision, folder } = snapshot;
            let source = ModelSource::Hub { name: name.clone(), revision: Some(revision.clone()) };
            let found = entry(name, Some(revision), source, Some(folder));
            // One of ours by its files, or by its name one that is damaged.
            let name = found.name.to_lowercase();
            if found.state.is_ok() || FAMILIES.iter().any(|family| name.contains(family.name)) {
                entries.push(found);
            }
        }
        entries
    }

    fn state(&self, source: &ModelSource) -> Result<(String, u64), String> {
        let look = || -> Result<(String, u64), ModelError> {
            let options = LoadOptions { hub: self.hub.clone(), ..LoadOptions::default() };
            let checkpoint = Checkpoint::open(source, &options)?;
            let layout = Weights::open(&checkpoint, family_of(&checkpoint)?.names)?.layout();
            let files = checkpoint.weight_files();
            let bytes = files.iter().filter_map(|file| file.length().ok());
            let kind = if checkpoint.base().is_some() { "adapter over " } else { "" };
            Ok((format!("{kind}{layout}"), bytes.sum()))
        };
        look().map_err(|error| error.to_string())
    }

    /// Copies the checkpoint of `from`, with the base of an adapter, into our folder as `name`;
    /// from then on it does not depend on where it came from. Its recipe is written beside it,
    /// and a checksum of each file. `progress` is called with each file. Returns the new folder.
    ///
    /// # Errors
    /// [`ModelError`] when it would not load, when the name is taken or none, or for the disk.
    pub fn import(
        &self,
        from: &ModelSource,
        name: &str,
        options: &LoadOptions,
        progress: &mut dyn FnMut(&Path),
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
        let info = inspect_checkpoint(from, options)?;
        let files = files_of(&Checkpoint::open(from, options)?);
        // Under another name until it is whole.
        let partial = own.join(format!(".{name}.{}", std::process::id()));
        let copy = || -> Result<(), ModelError> {
            let mut checksums = Checksums::new();
            let mut note = |name: PathBuf| -> Result<(), ModelError> {
                let (hash, _) =
                    Digests::default().of(&CheckpointFile::Disk(partial.join(&name)))?;
                checksums.insert(name, hash);
                Ok(())
            };
            for (file, name) in files {
                progress(&file.shown());
                let target = partial.join(&name);
                let folder = target.parent().unwrap_or(&partial);
                fs::create_dir_all(folder).map_err(io(folder))?;
                file.copy_to(&target).map_err(io(&target))?;
                note(name)?;
            }
            let recipe = partial.join(RECIPE);
            fs::write(&recipe, json(&info.recipe)).map_err(io(&recipe))?;
            note(RECIPE.into())?;
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

/// The files of a checkpoint, each with its path in a folder that holds all of them: those of the
/// base of an adapter in a folder of their own.
fn files_of(checkpoint: &Checkpoint) -> Vec<(CheckpointFile, PathBuf)> {
    let own = (Some(checkpoint.files()), PathBuf::new());
    let base = (checkpoint.base(), Checkpoint::BASE.into());
    let mut all = Vec::new();
    for (files, below) in [own, base] {
        let Some(files) = files else { continue };
        let small = SMALL.map(|name| files.file(name)).into_iter().filter(|file| file.exists());
        let weights = checkpoint.weight_files().into_iter();
        let weights = weights.filter(|file| *file == files.file(&file.name()));
        all.extend(small.chain(weights).map(|file| {
            let name = below.join(&*file.name());
            (file, name)
        }));
    }
    all
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
