//! The pointer: one small file that joins the tables and the text index into a snapshot.
//!
//! Data files are written and synced first; then the pointer is replaced atomically (temporary
//! file, sync, rename, sync of the folder). What it does not name does not exist: a crash before
//! the rename leaves the former snapshot in force.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use pagesight_core::{ModelId, PatchGrid};
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// The format that this code writes; older ones would be migrated, newer ones are refused.
pub const FORMAT: u32 = 1;

const FILE: &str = "snapshot.json";

/// One consistent version of the whole index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of this format.
    pub format: u32,
    /// Counts commits, from 1 for the empty index.
    pub number: u64,
    /// When it was committed, seconds since 1970.
    pub created_s: u64,
    /// Version of the Lance table `documents`.
    pub documents_version: u64,
    /// Version of the Lance table `pages`.
    pub pages_version: u64,
    /// tantivy's `meta.json`, whole: the segments that belong to this snapshot.
    pub text_meta: String,
    /// The model of the stored vectors; `None` for an index of words only.
    pub model: Option<StoredModel>,
    /// Row length of the vectors column.
    pub dim: usize,
    /// Paths in the ledger.
    pub documents: u64,
    /// Pages stored.
    pub pages: u64,
    /// Segments of int8 codes in `codes/`, the oldest first; `None` before the vectors of an index
    /// of an earlier pagesight are coded.
    #[serde(default)]
    pub codes: Option<Vec<String>>,
    /// Every file that belongs to the snapshot, by its path below the index folder.
    pub files: BTreeMap<String, FileMark>,
}

/// The model that an index belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredModel {
    /// Hash of weights, tokenizer, config and recipe.
    pub id: ModelId,
    /// Where it was loaded from, so that a later run finds it.
    pub folder: PathBuf,
    /// How the vectors of a page are laid out.
    pub grid: PatchGrid,
    /// Its recipe as the model wrote it, so that a later run does the same around the weights.
    #[serde(default)]
    pub recipe: Option<String>,
}

/// Size and hash of a file that was synced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Bytes.
    pub bytes: u64,
    /// BLAKE3, hexadecimal.
    pub blake3: String,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Snapshot {
    /// Reads the pointer of the index in `folder`.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::NewerFormat`], [`StoreError::Pointer`].
    pub fn read(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        let bytes = fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => StoreError::Missing { path: folder.to_path_buf() },
            _ => StoreError::io("reading", &path)(source),
        })?;
        let damaged = |source| StoreError::Pointer { path: path.clone(), source };
        // The format first: a newer one may have other fields.
        let got = serde_json::from_slice::<FormatOnly>(&bytes).map_err(damaged)?.format;
        if got > FORMAT {
            return Err(StoreError::NewerFormat { path, expected: FORMAT, got });
        }
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    /// Whether `folder` has a pointer.
    pub fn exists(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// Publishes the snapshot: when this returns it survives power loss, when it fails the
    /// former one is in force.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::DiskFull`].
    pub fn publish(&self, folder: &Path) -> Result<(), StoreError> {
        let (path, temporary) = (folder.join(FILE), folder.join("snapshot.json.new"));
        let json = serde_json::to_vec(self).expect("a snapshot is plain data");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(&json)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(StoreError::io("writing", &path))?;
        sync_folder(folder)
    }
}

/// Makes the entries of `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    // Windows cannot open a folder as a file and needs no such call.
    if cfg!(unix) {
        // The parent of a bare name is the current folder.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let sync = File::open(folder).and_then(|f| f.sync_all());
        sync.map_err(StoreError::io("syncing", folder))?;
    }
    Ok(())
}

/// Syncs and hashes every file below `folders` that `known` does not name with the same size,
/// and syncs the folders that changed. Lance does not sync on local disks.
///
/// # Errors
/// When a file cannot be read or synced.
pub(crate) fn settle(
    index: &Path,
    folders: &[&str],
    known: &BTreeMap<String, FileMark>,
) -> Result<BTreeMap<String, FileMark>, StoreError> {
    let mut marks = BTreeMap::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|f| index.join(f)).collect();
    while let Some(folder) = open.pop() {
        let mut changed = false;
        let entries = fs::read_dir(&folder).map_err(StoreError::io("reading", &folder))?;
        for entry in entries {
            let path = entry.map_err(StoreError::io("reading", &folder))?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
            if path.file_name().is_some_and(hidden) {
                continue; // tantivy's lock files
            }
            let name = path.strip_prefix(index).expect("below the index").to_string_lossy();
            let name = name.replace('\\', "/");
            let reading = || StoreError::io("reading", &path);
            let bytes = match fs::metadata(&path) {
                Ok(meta) => meta.len(),
                // Compaction may remove a file that nothing names any more.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(reading()(e)),
            };
            let mark = match known.get(&name) {
                Some(mark) if mark.bytes == bytes => mark.clone(),
                _ => {
                    changed = true;
                    let file = File::open(&path).map_err(reading())?;
                    file.sync_all().map_err(StoreError::io("syncing", &path))?;
                    let mut hasher = blake3::Hasher::new();
                    hasher.update_reader(file).map_err(reading())?;
                    FileMark { bytes, blake3: hasher.finalize().to_hex().to_string() }
                }
            };
            marks.insert(name, mark);
        }
        if changed {
            sync_folder(&folder)?;
            // The folder itself may be new.
            folder.parent().map_or(Ok(()), sync_folder)?;
        }
    }
    Ok(marks)
}
