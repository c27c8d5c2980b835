//! The copy of an index in a bucket that a machine searches: its words and codes as files. Masters
//! and the ledger stay in the bucket.
//!
//! The files of a snapshot are never written twice, so that what is here by name and hash is not
//! fetched again. A file comes under another name first and is renamed when its hash is right; what
//! was here before this process is compared with its hash once.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt};

use super::objects::Objects;
use super::random;
use crate::error::StoreError;
use crate::snapshot::contents::FileMark;
use crate::snapshot::names::{CODES, TEXT};

/// Files fetched at once.
const FETCHED: usize = 8;

/// A file that a snapshot does not need is left for so long: another process may be about to open it.
const LEFT: Duration = Duration::from_secs(3600);

/// Files that this process has compared with their hashes.
static SOUND: LazyLock<Mutex<HashSet<(PathBuf, String)>>> = LazyLock::new(Mutex::default);

/// The local copy of one index.
#[derive(Clone)]
pub(crate) struct Mirror {
    folder: PathBuf,
    objects: Objects,
}

impl Mirror {
    /// The copy of `objects` below `local`.
    pub fn new(local: &Path, objects: &Objects) -> Self {
        let name = blake3::hash(objects.address.to_string().as_bytes()).to_hex();
        let name = format!("{}-{}", objects.address.name(), &name[..16]);
        Self { folder: local.join(name), objects: objects.clone() }
    }

    /// Where it lies: a folder with the words and the codes where those of an index lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the file that is called `name` in the bucket lies here; `None` for one that stays there.
    fn place(&self, name: &str) -> Option<PathBuf> {
        let (folder, rest) = name.split_once('/')?;
        let file = rest.rsplit('/').next()?;
        [TEXT, CODES].contains(&folder).then(|| self.folder.join(folder).join(file))
    }

    /// Brings the words and codes among `files` here.
    ///
    /// # Errors
    /// What cannot be fetched or written, and [`StoreError::DamagedFile`] for an object that is not
    /// what was put.
    pub async fn bring(&self, files: &BTreeMap<String, FileMark>) -> Result<(), StoreError> {
        for folder in [TEXT, CODES] {
            let folder = self.folder.join(folder);
            fs::create_dir_all(&folder).map_err(StoreError::io("making", &folder))?;
        }
        let wanted: Vec<(&String, &FileMark, PathBuf)> =
            files.iter().filter_map(|(name, mark)| Some((name, mark, self.place(name)?))).collect();
        let mut bringing = Vec::with_capacity(wanted.len());
        for (name, mark, path) in wanted {
            bringing.push(self.bring_one(name, mark, path));
        }
        futures::stream::iter(bringing).buffer_unordered(FETCHED).try_collect().await
    }

    async fn bring_one(
        &self,
        name: &str,
        mark: &FileMark,
        path: PathBuf,
    ) -> Result<(), StoreError> {
        let key = (path.clone(), mark.blake3.clone());
        let known = SOUND.lock().expect("no panic under the lock").contains(&key);
        let is_there = fs::metadata(&path).is_ok_and(|meta| meta.len() == mark.bytes);
        if is_there && (known || is_sound(&path, mark)) {
            SOUND.lock().expect("no panic under the lock").insert(key);
            return Ok(());
        }
        let part = path.with_extension(format!("{}.part", random()));
        let fetched = self.objects.fetch(name, &part).await;
        let fetched = fetched.and_then(|hash| {
            if hash != mark.blake3 {
                let what = "its hash is not the one that was written".into();
                return Err(StoreError::DamagedFile { path: self.objects.path_of(name), what });
            }
            fs::rename(&part, &path).map_err(StoreError::io("writing", &path))
        });
        if fetched.is_err() {
            let _ = fs::remove_file(&part);
        }
        fetched?;
        SOUND.lock().expect("no panic under the lock").insert(key);
        Ok(())
    }

    /// Forgets that the codes here were compared with their hashes: a search found them damaged.
    pub fn doubt(&self) {
        let codes = self.folder.join(CODES);
        SOUND
            .lock()
            .expect("no panic under the lock")
            .retain(|(path, _)| !path.starts_with(&codes));
    }

    /// Removes what is not among `files` and was not written lately.
    pub fn tidy(&self, files: &BTreeMap<String, FileMark>) {
        let wanted: HashSet<PathBuf> = files.keys().filter_map(|name| self.place(name)).collect();
        for folder in [TEXT, CODES] {
            for entry in fs::read_dir(self.folder.join(folder)).into_iter().flatten().flatten() {
                let old = entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|modified| {
                    SystemTime::now().duration_since(modified).is_ok_and(|age| age > LEFT)
                });
                let path = entry.path();
                if old && !wanted.contains(&path) && fs::remove_file(&path).is_ok() {
                    let mut sound = SOUND.lock().expect("no panic under the lock");
                    sound.retain(|(known, _)| *known != path);
                }
            }
        }
    }
}

fn is_sound(path: &Path, mark: &FileMark) -> bool {
    let mut hash = blake3::Hasher::new();
    let read = fs::File::open(path).and_then(|file| hash.update_reader(file).map(drop));
    read.is_ok() && hash.finalize().to_hex().as_str() == mark.blake3
}

/// Forgets what was compared, as a new process has.
#[cfg(test)]
pub(super) fn forget() {
    SOUND.lock().expect("no panic under the lock").clear();
}
