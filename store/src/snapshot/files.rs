//! The files of a snapshot: synced and hashed before it is published, checked when it is opened,
//! and swept away when no snapshot in use names them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::StoreError;
use crate::codes;
use crate::pointer::{COPIES, FileMark, POINTER, Snapshot, replace, sync_folder};

/// Folders whose files belong to snapshots. Derived data may add its own: a name here, and its
/// living files where the writer publishes.
pub(crate) const DATA_FOLDERS: [&str; 4] =
    ["documents.lance", "pages.lance", "text", codes::FOLDER];

/// Syncs and hashes those of the `living` files, by their path below the index, that `known` does
/// not have, and syncs the folders that changed. Lance does not sync on local disks. A data file
/// is never written twice, so a known one of the same size is the same.
///
/// # Errors
/// When a file cannot be read or synced.
pub(crate) fn settle(
    index: &Path,
    living: &BTreeSet<String>,
    known: &BTreeMap<String, FileMark>,
) -> Result<BTreeMap<String, FileMark>, StoreError> {
    let mut marks = BTreeMap::new();
    let mut changed: BTreeSet<PathBuf> = BTreeSet::new();
    for name in living {
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

/// How a file differs from its mark; `None` when it does not.
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
/// hash of those whose content nothing else checks. Rows of pages carry their own checksums; codes
/// do too, and a search that finds them damaged does without, unless they are all that there is.
/// What `sound` has was compared before and is not read again; what passes is added.
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
        .filter(|(name, _)| !is_code(name) || snapshot.compact.is_some())
        .filter(|(name, mark)| !sound.contains(&key(name, mark)))
        .collect();
    open.clone().into_par_iter().try_for_each(|(name, mark)| {
        match difference(index, name, mark, !has_row_checksums(name) && !is_code(name))? {
            None => Ok(()),
            Some(what) => Err(StoreError::DamagedFile { path: index.join(name), what }),
        }
    })?;
    sound.extend(open.into_iter().map(|(name, mark)| key(name, mark)));
    Ok(())
}

/// Whether what is read from the file is checked row by row.
fn has_row_checksums(name: &str) -> bool {
    name.starts_with("pages.lance/data/")
}

/// Whether the file has codes. They carry checksums, page by page.
pub(crate) fn is_code(name: &str) -> bool {
    name.split('/').next() == Some(codes::FOLDER)
}

/// Whether a copy is kept: the ledger and what says which rows there are. All else is far larger
/// and can be made again, words from pages and pages from their PDFs.
pub(crate) fn has_copy(name: &str) -> bool {
    let table = name.starts_with("documents.lance/") || name.starts_with("pages.lance/");
    table && !has_row_checksums(name)
}

/// Where the copy of a file lies: under its hash, so that it is written once.
pub(crate) fn copy_of(index: &Path, mark: &FileMark) -> PathBuf {
    index.join(COPIES).join(&mark.blake3)
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

/// What a sweep came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files removed.
    pub files: u64,
    /// Their sizes, bytes.
    pub bytes: u64,
    /// Older snapshots that readers hold; their files stay.
    pub held: u64,
}

/// Removes what neither `current` nor a snapshot that a reader holds names. Only under the
/// writer's lock, and only while nothing unpublished is wanted.
///
/// # Errors
/// When a folder cannot be read or a file cannot be removed.
pub(crate) fn sweep(index: &Path, current: &Snapshot) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    let mut living = current.files.clone();
    let (pointers, copies): (Vec<_>, Vec<_>) = files_below(&index.join(COPIES))?
        .into_iter()
        .partition(|path| path.extension().is_some_and(|e| e == "json"));
    for pointer in pointers {
        if pointer == Snapshot::copy(index, current.number) {
            continue;
        }
        let reading = || StoreError::io("reading", &pointer);
        let file = File::open(&pointer).map_err(reading())?;
        match file.try_lock() {
            Ok(()) => remove(&pointer, &mut swept)?,
            Err(TryLockError::WouldBlock) => {
                let held = Snapshot::parse(&pointer, &fs::read(&pointer).map_err(reading())?);
                // What a damaged copy stands for is not known: then nothing is removed.
                let Ok(held) = held else { return Ok(swept) };
                living.extend(held.files);
                swept.held += 1;
            }
            Err(TryLockError::Error(source)) => {
                return Err(StoreError::io("locking", &pointer)(source));
            }
        }
    }
    let hashes: HashSet<PathBuf> = living.values().map(|mark| copy_of(index, mark)).collect();
    for copy in copies.iter().filter(|copy| !hashes.contains(*copy)) {
        remove(copy, &mut swept)?;
    }
    for path in leftovers(index, &living.into_keys().collect())? {
        remove(&path, &mut swept)?;
    }
    let unfinished = index.join(POINTER).with_extension("json.new");
    if unfinished.is_file() {
        remove(&unfinished, &mut swept)?;
    }
    Ok(swept)
}

/// The files in the data folders that `living` does not name.
pub(crate) fn leftovers(
    index: &Path,
    living: &HashSet<String>,
) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for folder in DATA_FOLDERS {
        for path in files_below(&index.join(folder))? {
            // tantivy's lock files are hidden.
            let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
            if !hidden && !living.contains(&name_below(index, &path)) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// How a manifest writes `path`.
pub(crate) fn name_below(index: &Path, path: &Path) -> String {
    let name = path.strip_prefix(index).expect("below the index").to_string_lossy();
    name.replace('\\', "/")
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
            match entry.file_type().map_err(reading())?.is_dir() {
                true => open.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    Ok(files)
}

fn remove(path: &Path, swept: &mut Swept) -> Result<(), StoreError> {
    let bytes = fs::metadata(path).map_or(0, |meta| meta.len());
    match fs::remove_file(path) {
        Ok(()) => {
            swept.files += 1;
            swept.bytes += bytes;
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StoreError::io("removing", path)(e)),
    }
}
