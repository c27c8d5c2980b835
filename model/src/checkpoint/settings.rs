//! Checks of single settings in a file.

use std::path::PathBuf;

use crate::checkpoint::files::CheckpointFile;
use crate::error::ModelError;

/// No width or number of rows of a published model is larger; products of two stay in 64 bits.
pub const WIDEST: usize = 1 << 24;

/// No published model has more layers.
pub const MOST_LAYERS: usize = 512;

/// Edge of the largest patch, px.
pub const LARGEST_PATCH: usize = 256;

/// Makes errors about the settings in one file.
#[derive(Debug, Clone)]
pub struct Settings(PathBuf);

impl Settings {
    /// Those in `file`.
    pub fn of(file: &CheckpointFile) -> Self {
        Self(file.shown())
    }

    /// Fails, since `key` is not as expected.
    ///
    /// # Errors
    /// [`ModelError::Setting`].
    pub fn wrong<T>(&self, key: &str, expected: &str, got: String) -> Result<T, ModelError> {
        let (path, key, expected) = (self.0.clone(), key.into(), expected.into());
        Err(ModelError::Setting { path, key, expected, got })
    }

    /// Checks a number.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for 0, and for more than `most`.
    pub fn within(&self, key: &str, most: usize, got: usize) -> Result<(), ModelError> {
        if (1..=most).contains(&got) {
            return Ok(());
        }
        self.wrong(key, &format!("1 to {most}"), got.to_string())
    }

    /// Checks a field that may be left out.
    ///
    /// # Errors
    /// [`ModelError::Setting`].
    pub fn is<T: ToString>(
        &self,
        key: &str,
        expected: &str,
        got: Option<T>,
    ) -> Result<(), ModelError> {
        match got.map(|got| got.to_string()).filter(|got| got != expected) {
            Some(got) => self.wrong(key, expected, got),
            None => Ok(()),
        }
    }

    /// Checks a number that must be above 0.
    ///
    /// # Errors
    /// [`ModelError::Setting`].
    pub fn positive(&self, key: &str, got: f64) -> Result<(), ModelError> {
        if got > 0.0 && got.is_finite() {
            return Ok(());
        }
        self.wrong(key, "a positive number", got.to_string())
    }

    /// Checks that `part` divides `whole`.
    ///
    /// # Errors
    /// [`ModelError::Setting`].
    pub fn divides(&self, key: &str, part: usize, whole: usize) -> Result<(), ModelError> {
        if part > 0 && whole.is_multiple_of(part) {
            return Ok(());
        }
        self.wrong(key, &format!("a divisor of {whole}"), part.to_string())
    }
}
