//! Garbage: files that no snapshot in use names.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::snapshot::contents::Snapshot;
use crate::snapshot::names::{COPIES, DATA_FOLDERS, POINTER, copy_of, name_below, pointer_copy};
use crate::snapshot::pointer;

/// What a collection of garbage removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Files removed.
    pub files: u64,
    /// Their sizes, bytes.
    pub bytes: u64,
    /// Older snapshots that readers hold, whose files therefore stay.
    pub held: u64,
}

/// Removes the files that neither `current` nor a snapshot that a reader holds names. Only under
/// the writer's lock, and only while no file is needed that is not published yet.
///
/// # Errors
/// When a folder cannot be read or a file cannot be removed.
pub(crate) fn collect(index: &Path, current: &Snapshot) -> Result<Collected, StoreError> {
    let mut collected = Collected::default();
    let mut in_use = current.files.clone();
    let (pointers, copies): (Vec<_>, Vec<_>) = files_below(&index.join(COPIES))?
        .into_iter()
        .partition(|path| path.extension().is_some_and(|e| e == "json"));
    for path in pointers {
        if path == pointer_copy(index, current.number) {
            continue;
        }
        let reading = || StoreError::io("reading", &path);
        let file = File::open(&path).map_err(reading())?;
        match file.try_lock() {
            Ok(()) => remove(&path, &mut collected)?,
            Err(TryLockError::WouldBlock) => {
                let held = pointer::parse(&path, &fs::read(&path).map_err(reading())?);
                // Nobody knows which files a damaged copy names: then nothing is removed.
                let Ok(held) = held else { return Ok(collected) };
                in_use.extend(held.files);
                collected.held += 1;
            }
            Err(TryLockError::Error(source)) => {
                return Err(StoreError::io("locking", &path)(source));
            }
        }
    }
    let hashes: HashSet<PathBuf> = in_use.values().map(|mark| copy_of(index, mark)).collect();
    for copy in copies.iter().filter(|copy| !hashes.contains(*copy)) {
        remove(copy, &mut collected)?;
    }
    for path in leftovers(index, &in_use.into_keys().collect())? {
        remove(&path, &mut collected)?;
    }
    let unfinished = index.join(POINTER).with_extension("json.new");
    if unfinished.is_file() {
        remove(&unfinished, &mut collected)?;
    }
    Ok(collected)
}

/// The files in the data folders that are not among those `in_use`.
pub(crate) fn leftovers(
    index: &Path,
    in_use: &HashSet<String>,
) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for folder in DATA_FOLDERS {
        for path in files_below(&index.join(folder))? {
            // tantivy's lock files are hidden.
            let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
            if !hidden && !in_use.contains(&name_below(index, &path)) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Every file below `folder`; none when it is not there.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let reading = || StoreError::io("reading", &folder);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(reading()(e)),
        };
        for entry in entries {
            let entry = entry.map_err(reading())?;
            if entry.file_type().map_err(reading())?.is_dir() {
                open.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

fn remove(path: &Path, collected: &mut Collected) -> Result<(), StoreError> {
    let bytes = fs::metadata(path).map_or(0, |meta| meta.len());
    match fs::remove_file(path) {
        Ok(()) => {
            collected.files += 1;
            collected.bytes += bytes;
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StoreError::io("removing", path)(e)),
    }
}
