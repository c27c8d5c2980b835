//! nano, the model inside the program: its files, as if they lay in a folder that no disk has. All
//! that reads a checkpoint's files reads them through here, so nano loads as any folder does.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use crate::ModelError;

/// What the folder is called.
pub const NANO: &str = "embedded:nano";

const FILES: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../nano/config.json")),
    ("model.safetensors", include_bytes!("../nano/model.safetensors")),
    ("preprocessor_config.json", include_bytes!("../nano/preprocessor_config.json")),
    ("recipe.json", include_bytes!("../nano/recipe.json")),
    ("tokenizer.json", include_bytes!("../nano/tokenizer.json")),
];

/// Whether `folder` is the one of nano.
pub fn is_embedded(folder: &Path) -> bool {
    folder == Path::new(NANO)
}

/// The bytes of the file at `path`, when it is one of nano's.
pub fn embedded(path: &Path) -> Option<&'static [u8]> {
    let name = path.strip_prefix(NANO).ok()?;
    FILES.iter().find(|(known, _)| Path::new(known) == name).map(|(_, bytes)| *bytes)
}

/// Whether there is a file at `path`.
pub fn is_there(path: &Path) -> bool {
    embedded(path).is_some() || path.exists()
}

/// The bytes of the file at `path`.
pub fn read(path: &Path) -> Result<Cow<'static, [u8]>, ModelError> {
    match embedded(path) {
        Some(bytes) => Ok(bytes.into()),
        None => fs::read(path)
            .map(Cow::Owned)
            .map_err(|source| ModelError::Io { path: path.to_path_buf(), source }),
    }
}

/// Copies the file at `path`.
pub fn copy_file(path: &Path, to: &Path) -> std::io::Result<()> {
    match embedded(path) {
        Some(bytes) => fs::write(to, bytes),
        None => fs::copy(path, to).map(drop),
    }
}

/// The length of the file at `path`, bytes.
pub fn length(path: &Path) -> Result<u64, ModelError> {
    match embedded(path) {
        Some(bytes) => Ok(bytes.len() as u64),
        None => fs::metadata(path)
            .map(|metadata| metadata.len())
            .map_err(|source| ModelError::Io { path: path.to_path_buf(), source }),
    }
}
