//! The files of a snapshot: synced and hashed before it is published, compared with their hashes
//! when it is opened, and, where they are small and matter, kept as copies.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::error::StoreError;
use crate::snapshot::contents::{FileMark, Snapshot};
use crate::snapshot::names::{COPIES, copy_of, has_copy, has_row_checksums, is_addresses, is_code};
use crate::snapshot::publish::{replace, sync_folder};
use crate::snapshot::sums::{self, has_sums, sums_name};

/// Syncs and hashes those of the files in `in_use`, by their path below the index, that `known`
/// does not have, and syncs the folders that changed. Lance does not sync on local disks. A data
/// file is never written twice, so a known one of the same size is the same.
///
/// # Errors
/// When a file cannot be read or synced.
pub(crate) fn sync_and_hash(
    index: &Path,
    in_use: &BTreeSet<String>,
    known: &BTreeMap<String, FileMark>,
) -> Result<BTreeMap<String, FileMark>, StoreError> {
    let mut marks = BTreeMap::new();
    let mut changed: BTreeSet<PathBuf> = BTreeSet::new();
    for name in in_use {
        let path = index.join(name);
        let reading = || StoreError::io("reading", &path);
        let bytes = fs::metadata(&path).map_err(reading())?.len();
        let mark = match known.get(name) {
            Some(mark) if mark.bytes == bytes => mark.clone(),
            _ => {
                let file = File::open(&path).map_err(reading())?;
                file.sync_all().map_err(StoreError::io("syncing", &path))?;
                // The folders may be new too.
                let parents = path.ancestors().skip(1).take_while(|folder| *folder != index);
                changed.extend(parents.map(Path::to_path_buf));
                FileMark { bytes, blake3: hash(&path)? }
            }
        };
        marks.insert(name.clone(), mark);
    }
    if !changed.is_empty() {
        // Deepest first: an entry counts once its folder does.
        for folder in changed.iter().rev() {
            sync_folder(folder)?;
        }
        sync_folder(index)?;
    }
    Ok(marks)
}

fn hash(path: &Path) -> Result<String, StoreError> {
    let reading = || StoreError::io("reading", path);
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).map_err(reading())?).map_err(reading())?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// How a file differs from what was written, its size and, with `content`, its hash; `None` when
/// it does not.
///
/// # Errors
/// When it is there and cannot be read.
pub(crate) fn difference(
    index: &Path,
    name: &str,
    mark: &FileMark,
    content: bool,
) -> Result<Option<String>, StoreError> {
    let path = index.join(name);
    let bytes = match fs::metadata(&path) {
        Ok(meta) => meta.len(),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Some("it is missing".into()));
        }
        Err(e) => return Err(StoreError::io("reading", &path)(e)),
    };
    if bytes != mark.bytes {
        return Ok(Some(format!("it has {bytes} bytes, {} were written", mark.bytes)));
    }
    if content && hash(&path)? != mark.blake3 {
        return Ok(Some("its hash is not the one that was written".into()));
    }
    Ok(None)
}

/// Refuses a snapshot with a damaged file, by name: the size of every file is compared, and the
/// hash of those whose content nothing else checks. Rows of pages carry their own checksums, and large
/// files of words have theirs beside them. Codes do too, and a search that finds them damaged does
/// without them, unless the index is compact and they are all that there is; so do addresses of rows.
/// Files in `sound` were compared before and are not read again; those
/// that pass are added to it.
///
/// # Errors
/// [`StoreError::DamagedFile`].
pub(crate) fn check(
    index: &Path,
    snapshot: &Snapshot,
    sound: &mut HashSet<(String, String)>,
) -> Result<(), StoreError> {
    let key = |name: &String, mark: &FileMark| (name.clone(), mark.blake3.clone());
    let open: Vec<(&String, &FileMark)> = snapshot
        .files
        .iter()
        .filter(|(name, _)| !is_addresses(name))
        .filter(|(name, _)| !is_code(name) || snapshot.compact.is_some())
        .filter(|(name, mark)| !sound.contains(&key(name, mark)))
        .collect();
    let is_checked_later = |name: &str, mark: &FileMark| {
        let by_block = has_sums(name, mark) && snapshot.files.contains_key(&sums_name(mark));
        has_row_checksums(name) || is_code(name) || by_block
    };
    open.clone().into_par_iter().try_for_each(|(name, mark)| {
        match difference(index, name, mark, !is_checked_later(name, mark))? {
            None => Ok(()),
            Some(what) => Err(StoreError::DamagedFile { path: index.join(name), what }),
        }
    })?;
    sound.extend(open.into_iter().map(|(name, mark)| key(name, mark)));
    Ok(())
}

/// Writes the checksums by block that are missing of the large ones of `files`, durably, and adds their
/// own marks.
///
/// # Errors
/// When a file cannot be read or its checksums not be written.
pub(crate) fn keep_sums(
    index: &Path,
    files: &mut BTreeMap<String, FileMark>,
    known: &BTreeMap<String, FileMark>,
) -> Result<(), StoreError> {
    let large: Vec<(&String, &FileMark)> =
        files.iter().filter(|(name, mark)| has_sums(name, mark)).collect();
    for (name, mark) in &large {
        sums::keep(index, name, mark)?;
    }
    let names = large.into_iter().map(|(_, mark)| sums_name(mark)).collect();
    files.extend(sync_and_hash(index, &names, known)?);
    Ok(())
}

/// Makes the copies that are missing, durably.
///
/// # Errors
/// When a file cannot be read or its copy not be written.
pub(crate) fn keep_copies(
    index: &Path,
    files: &BTreeMap<String, FileMark>,
) -> Result<(), StoreError> {
    let copies = index.join(COPIES);
    fs::create_dir_all(&copies).map_err(StoreError::io("making", &copies))?;
    for (name, mark) in files.iter().filter(|(name, _)| has_copy(name)) {
        let (path, copy) = (index.join(name), copy_of(index, mark));
        if !copy.exists() {
            replace(&copy, &fs::read(&path).map_err(StoreError::io("reading", &path))?)?;
        }
    }
    Ok(())
}
