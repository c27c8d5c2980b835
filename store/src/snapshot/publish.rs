//! The pointer on a local disk: where it lies, how it is read, and how it is replaced.
//!
//! Data files are written and synced first; then the pointer is replaced atomically (temporary
//! file, sync, rename, sync of the folder). What it does not name does not exist: a crash before
//! the rename leaves the former snapshot in force. A copy of each pointer lies in `snapshots/`
//! under its number: readers hold it (see [`lease`](crate::snapshot::lease)), and `repair` restores
//! a damaged pointer from it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::snapshot::contents::Snapshot;
use crate::snapshot::names::{COPIES, POINTER, pointer_copy};
use crate::snapshot::pointer;

/// Reads the pointer of the index in `folder`.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::NewerFormat`], [`StoreError::Pointer`].
pub(crate) fn read(folder: &Path) -> Result<Snapshot, StoreError> {
    let path = folder.join(POINTER);
    let bytes = fs::read(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => match copies(folder).last() {
            // Snapshot 1 may be of a creation that was cut off, and is empty.
            Some(&number) if number > 1 => {
                StoreError::Pointer { path: path.clone(), what: "it is missing" }
            }
            _ => StoreError::Missing { path: folder.to_path_buf() },
        },
        _ => StoreError::io("reading", &path)(source),
    })?;
    pointer::parse(&path, &bytes)
}

/// Publishes `snapshot` in `folder`: when this returns it survives power loss, when it fails the
/// former one is in force.
///
/// # Errors
/// [`StoreError::Io`] or [`StoreError::DiskFull`].
pub(crate) fn publish(snapshot: &Snapshot, folder: &Path) -> Result<(), StoreError> {
    let bytes = pointer::to_bytes(snapshot);
    replace(&pointer_copy(folder, snapshot.number), &bytes)?;
    replace(&folder.join(POINTER), &bytes)
}

/// The numbers of the snapshots that have a copy, in order.
pub(crate) fn copies(folder: &Path) -> Vec<u64> {
    let entries = fs::read_dir(folder.join(COPIES)).into_iter().flatten().flatten();
    let number = |path: PathBuf| {
        let number = path.file_stem()?.to_str()?.parse().ok()?;
        (path.extension()? == "json").then_some(number)
    };
    let mut numbers: Vec<u64> = entries.filter_map(|entry| number(entry.path())).collect();
    numbers.sort_unstable();
    numbers
}

/// Replaces the file at `path` atomically; durable when this returns.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = path.with_extension("json.new");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(StoreError::io("writing", path))?;
    sync_folder(path.parent().expect("a file lies in a folder"))
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
