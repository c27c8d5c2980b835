//! tantivy pinned to a snapshot: its `meta.json` lives in our pointer, not on disk.
//!
//! A reader sees the segments that its pointer names, whatever a writer does; a writer's commit
//! stays invisible until the pointer with the new meta is published; a crash in between leaves
//! nothing but files that no pointer names. tantivy deletes no segment file here; the store removes
//! those that no snapshot in use names.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, Lock, META_LOCK, MmapDirectory, WatchCallback,
    WatchHandle, WritePtr,
};

use super::checked::CheckedFile;
use crate::snapshot::sums::Sums;

const META: &str = "meta.json";

/// The checksums of those files of a text index that are compared block by block, by their names.
pub(crate) type TextSums = HashMap<PathBuf, Sums>;

/// An [`MmapDirectory`] whose small atomic files are kept in memory.
#[derive(Debug, Clone)]
pub(super) struct PinnedDirectory {
    files: MmapDirectory,
    folder: PathBuf,
    atomic: Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>,
    sums: Arc<TextSums>,
}

impl PinnedDirectory {
    /// Pins the files in `folder` to `meta`, tantivy's `meta.json`; `None` for a new index.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub fn open(folder: &Path, meta: Option<&str>) -> tantivy::Result<Self> {
        Self::checked(folder, meta, TextSums::new())
    }

    /// The same, and what is read of the files that have `sums` is compared with them.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub fn checked(folder: &Path, meta: Option<&str>, sums: TextSums) -> tantivy::Result<Self> {
        let mut atomic = BTreeMap::new();
        if let Some(meta) = meta {
            atomic.insert(PathBuf::from(META), meta.as_bytes().to_vec());
        }
        let files = MmapDirectory::open(folder)?;
        let (atomic, sums) = (Arc::new(Mutex::new(atomic)), Arc::new(sums));
        Ok(Self { files, folder: folder.to_path_buf(), atomic, sums })
    }

    /// The meta as of the last commit of a writer on this directory.
    pub fn meta(&self) -> String {
        let atomic = self.atomic.lock().expect("no panic under the lock");
        let meta = atomic.get(Path::new(META)).cloned().unwrap_or_default();
        String::from_utf8(meta).expect("tantivy writes JSON")
    }
}

impl Directory for PinnedDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        let file = self.files.get_file_handle(path)?;
        let Some(sums) = self.sums.get(path) else { return Ok(file) };
        let bytes = file.read_bytes(0..file.len());
        let bytes = bytes.map_err(|error| OpenReadError::wrap_io_error(error, path.into()))?;
        Ok(Arc::new(CheckedFile::new(self.folder.join(path), bytes, sums.clone())))
    }

    fn delete(&self, _path: &Path) -> Result<(), DeleteError> {
        Ok(())
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        if self.atomic.lock().expect("no panic under the lock").contains_key(path) {
            return Ok(true);
        }
        if path == Path::new(META) {
            return Ok(false);
        }
        self.files.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        self.files.open_write(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let atomic = self.atomic.lock().expect("no panic under the lock");
        let missing = || OpenReadError::FileDoesNotExist(path.to_path_buf());
        atomic.get(path).cloned().ok_or_else(missing)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let mut atomic = self.atomic.lock().expect("no panic under the lock");
        atomic.insert(path.to_path_buf(), data.to_vec());
        Ok(())
    }

    /// tantivy's lock on `meta.json` keeps its garbage collector from files that a reader is about
    /// to open. Nothing is collected here, so no file stands for it: an index that may only be
    /// read, by its rights or on its medium, is searched like any other.
    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        if lock.filepath == META_LOCK.filepath {
            return Ok(DirectoryLock::from(Box::new(())));
        }
        self.files.acquire_lock(lock)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.files.sync_directory()
    }

    /// A pinned index never changes under its reader.
    fn watch(&self, _callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}
