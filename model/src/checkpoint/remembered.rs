//! A file that remembers what would take long to find out again, an entry a name, between runs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A JSON file with a `T` for each of some names; without a file nothing is remembered. What cannot be
/// read or written is found out again, so neither is an error.
#[derive(Debug, Clone)]
pub struct Remembered<T> {
    file: Option<PathBuf>,
    of: PhantomData<T>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self::new(None)
    }
}

impl<T> Remembered<T> {
    /// What is in `file`, which need not exist.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, of: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Remembered<T> {
    /// All entries; none where the file is not there or damaged.
    pub fn all(&self) -> BTreeMap<String, T> {
        let text = self.file.as_ref().and_then(|file| fs::read(file).ok());
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Lets `change` change the entries and writes them. Of two programs that do so at once one may
    /// lose the other's entry.
    pub fn change(&self, change: impl FnOnce(&mut BTreeMap<String, T>)) {
        let Some(file) = &self.file else { return };
        let mut all = self.all();
        change(&mut all);
        let write = || -> io::Result<()> {
            fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
            let temporary = file.with_extension(format!("{}.new", std::process::id()));
            fs::write(&temporary, serde_json::to_vec(&all)?)?;
            fs::rename(&temporary, file)
        };
        // When the folder cannot be written, it is found out anew; nothing else is lost.
        let _ = write();
    }
}
