//! JSON files of a checkpoint.

use serde::de::DeserializeOwned;

use crate::checkpoint::files::CheckpointFile;
use crate::error::ModelError;

/// Reads `file` as a `T`.
///
/// # Errors
/// [`ModelError::Io`] when it cannot be read, [`ModelError::Config`] when it does not parse.
pub fn read_json<T: DeserializeOwned>(file: &CheckpointFile) -> Result<T, ModelError> {
    let text = file.read()?;
    serde_json::from_slice(&text)
        .map_err(|source| ModelError::Config { path: file.shown(), source })
}
