//! The files of a checkpoint: in a folder, or, for nano, inside this program. Everything that reads
//! a checkpoint's files reads them through here, so nano loads as any folder does.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pagesight_core::ModelSource;

use crate::checkpoint::hub_cache::HubCache;
use crate::error::ModelError;

/// What the model inside this program is called.
pub const NANO: &str = "nano";

/// The SHA-256 of nano's weights. An adapter of nano names it as the `revision` of its base: its factors
/// fit these weights and no others.
pub const NANO_SHA256: &str = "6cb83611c495ea7ce25f0f42bf04169690d4952c3c11abbe272b33ad0113ddce";

const NANO_FILES: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../../nano/config.json")),
    ("model.safetensors", include_bytes!("../../nano/model.safetensors")),
    ("preprocessor_config.json", include_bytes!("../../nano/preprocessor_config.json")),
    ("recipe.json", include_bytes!("../../nano/recipe.json")),
    ("tokenizer.json", include_bytes!("../../nano/tokenizer.json")),
];

/// Where the files of a checkpoint lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// Inside this program.
    Nano,
    /// In a folder.
    Folder(PathBuf),
}

impl Files {
    /// The files of `source`; those of a hub's model are looked up in its local cache, `hub`.
    ///
    /// # Errors
    /// [`ModelError::NotFound`] with the places where a folder was looked for.
    pub fn of(source: &ModelSource, hub: Option<&HubCache>) -> Result<Self, ModelError> {
        let not_found = |looked| ModelError::NotFound { name: source.to_string(), looked };
        match source {
            ModelSource::Nano => Ok(Self::Nano),
            ModelSource::Folder(folder) if folder.is_dir() => Ok(Self::Folder(folder.clone())),
            ModelSource::Folder(folder) => Err(not_found(vec![folder.clone()])),
            ModelSource::Hub { name, revision } => {
                let found = hub.and_then(|hub| hub.snapshot(name, revision.as_deref()));
                let looked = || hub.map(|hub| hub.model_folder(name)).into_iter().collect();
                found.map(Self::Folder).ok_or_else(|| not_found(looked()))
            }
            other => Err(ModelError::NotFound { name: other.to_string(), looked: Vec::new() }),
        }
    }

    /// The folder; `None` for nano, which is on no disk.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Nano => None,
            Self::Folder(folder) => Some(folder),
        }
    }

    /// File `name`, whether there or not.
    pub fn file(&self, name: &str) -> CheckpointFile {
        match self {
            Self::Nano => CheckpointFile::Nano(name.into()),
            Self::Folder(folder) => CheckpointFile::Disk(folder.join(name)),
        }
    }

    /// For messages: the folder, or `nano`.
    pub fn shown(&self) -> PathBuf {
        self.folder().unwrap_or(Path::new(NANO)).to_path_buf()
    }
}

/// A file of a checkpoint, whether there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointFile {
    /// A file of nano, by its name.
    Nano(String),
    /// A file on disk.
    Disk(PathBuf),
}

impl From<&Path> for CheckpointFile {
    fn from(path: &Path) -> Self {
        Self::Disk(path.to_path_buf())
    }
}

impl CheckpointFile {
    /// Its name without folders.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Nano(name) => name.into(),
            Self::Disk(path) => path.file_name().unwrap_or_default().to_string_lossy(),
        }
    }

    /// Its path on disk; `None` for a file of nano.
    pub fn on_disk(&self) -> Option<&Path> {
        match self {
            Self::Nano(_) => None,
            Self::Disk(path) => Some(path),
        }
    }

    /// For messages: its path, or `nano/NAME`.
    pub fn shown(&self) -> PathBuf {
        match self {
            Self::Nano(name) => Path::new(NANO).join(name),
            Self::Disk(path) => path.clone(),
        }
    }

    /// Its bytes when it is inside this program.
    pub fn embedded(&self) -> Option<&'static [u8]> {
        let Self::Nano(name) = self else { return None };
        NANO_FILES.iter().find(|(known, _)| known == name).map(|(_, bytes)| *bytes)
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        match self {
            Self::Nano(_) => self.embedded().is_some(),
            Self::Disk(path) => path.exists(),
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub fn read(&self) -> Result<Cow<'static, [u8]>, ModelError> {
        match self {
            Self::Nano(_) => self.embedded().map(Cow::Borrowed).ok_or_else(|| self.missing()),
            Self::Disk(path) => fs::read(path).map(Cow::Owned).map_err(|error| self.failed(error)),
        }
    }

    /// Its length, bytes.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub fn length(&self) -> Result<u64, ModelError> {
        match self {
            Self::Nano(_) => {
                self.embedded().map(|bytes| bytes.len() as u64).ok_or_else(|| self.missing())
            }
            Self::Disk(path) => {
                let metadata = fs::metadata(path).map_err(|error| self.failed(error))?;
                Ok(metadata.len())
            }
        }
    }

    /// Copies it to `target`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn copy_to(&self, target: &Path) -> io::Result<()> {
        match self {
            Self::Nano(_) => {
                let bytes = self.embedded().ok_or(io::ErrorKind::NotFound)?;
                fs::write(target, bytes)
            }
            Self::Disk(path) => fs::copy(path, target).map(drop),
        }
    }

    fn failed(&self, source: io::Error) -> ModelError {
        ModelError::Io { path: self.shown(), source }
    }

    /// The error of a file that is not there.
    pub fn missing(&self) -> ModelError {
        self.failed(io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::{Files, NANO_SHA256};

    #[test]
    fn nano_is_known_by_the_hash_of_its_weights() {
        let weights = Files::Nano.file("model.safetensors").read().unwrap();
        let digest = Sha256::digest(&*weights);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, NANO_SHA256);
    }
}
