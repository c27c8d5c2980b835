//! Hashes of weights files, remembered between runs: gigabytes are read once, not at each start.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::checkpoint::files::CheckpointFile;
use crate::error::ModelError;

/// Hashes files, and remembers what it hashed in a file of its own where it has one.
#[derive(Debug, Clone, Default)]
pub struct Digests {
    file: Option<PathBuf>,
}

/// What a file was when it was hashed. Who changes it changes at least one of the marks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    bytes: u64,
    modified_ns: u128,
    /// Inode and time of its last change, which no program sets; 0 where there are none.
    inode: u64,
    changed_ns: i128,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    mark: Mark,
    blake3: String,
}

/// A file written this short a time ago may be written again without another time of change.
const SETTLED: Duration = Duration::from_secs(1);

impl Digests {
    /// Remembers in `file`, which need not exist; nothing is remembered when `None`.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// The BLAKE3 of `file`, hexadecimal, and its length, bytes.
    ///
    /// # Errors
    /// [`ModelError::Io`]. That the memory cannot be read or written is no error.
    pub fn of(&self, file: &CheckpointFile) -> Result<(String, u64), ModelError> {
        let Some(path) = file.on_disk() else {
            let bytes = file.read()?;
            return Ok((blake3::hash(&bytes).to_hex().to_string(), bytes.len() as u64));
        };
        let io = |source| ModelError::Io { path: path.to_path_buf(), source };
        // The same file under two names is one; a hub cache is made of links.
        let real = path.canonicalize().map_err(io)?;
        let key = real.to_string_lossy().into_owned();
        let file = File::open(&real).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let mark = Mark::of(&metadata);
        if let Some(known) = self.known().remove(&key).filter(|known| known.mark == mark) {
            return Ok((known.blake3, mark.bytes));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&file).map_err(io)?;
        let blake3 = hasher.finalize().to_hex().to_string();
        let after = Mark::of(&file.metadata().map_err(io)?);
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        let bytes = mark.bytes;
        if after == mark && age.is_some_and(|age| age >= SETTLED) {
            self.remember(key, Known { mark, blake3: blake3.clone() });
        }
        Ok((blake3, bytes))
    }

    fn known(&self) -> BTreeMap<String, Known> {
        let text = self.file.as_ref().and_then(|file| fs::read(file).ok());
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Two programs at once may lose each other's; then one hashes again.
    fn remember(&self, key: String, known: Known) {
        let Some(file) = &self.file else { return };
        let mut all = self.known();
        all.retain(|path, _| Path::new(path).exists());
        all.insert(key, known);
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
            let temporary = file.with_extension(format!("{}.new", std::process::id()));
            fs::write(&temporary, serde_json::to_vec(&all)?)?;
            fs::rename(&temporary, file)
        };
        // A folder that cannot be written costs time, nothing else.
        let _ = write();
    }
}

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified_ns = metadata.modified().map(since).unwrap_or_default().as_nanos();
        #[cfg(unix)]
        let (inode, changed_ns) = {
            use std::os::unix::fs::MetadataExt;
            let changed = i128::from(metadata.ctime()) * 1_000_000_000;
            (metadata.ino(), changed + i128::from(metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let (inode, changed_ns) = (0, 0);
        Self { bytes: metadata.len(), modified_ns, inode, changed_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_hashed_again_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("model.safetensors");
        let memory = folder.path().join("cache/digests.json");
        let file = CheckpointFile::Disk(weights.clone());
        let digests = Digests::new(Some(memory.clone()));
        let write = |content: &[u8]| {
            fs::write(&weights, content).unwrap();
            let old = SystemTime::now() - Duration::from_secs(60);
            File::options().write(true).open(&weights).unwrap().set_modified(old).unwrap();
        };
        let hash = |content: &[u8]| blake3::hash(content).to_hex().to_string();
        write(b"one");
        assert_eq!(digests.of(&file).unwrap(), (hash(b"one"), 3));
        // What is remembered is believed: a marked memory shows where the answer comes from.
        let text = fs::read_to_string(&memory).unwrap();
        fs::write(&memory, text.replace(&hash(b"one"), "remembered")).unwrap();
        assert_eq!(digests.of(&file).unwrap().0, "remembered");
        assert_eq!(Digests::default().of(&file).unwrap().0, hash(b"one"));
        write(b"two");
        assert_eq!(digests.of(&file).unwrap().0, hash(b"two"));
        // A file that is still being written is not remembered, and a spoilt memory is no memory.
        fs::write(&weights, b"six").unwrap();
        assert_eq!(digests.of(&file).unwrap().0, hash(b"six"));
        assert!(!fs::read_to_string(&memory).unwrap().contains(&hash(b"six")));
        fs::write(&memory, b"{").unwrap();
        assert_eq!(digests.of(&file).unwrap().0, hash(b"six"));
        assert!(digests.of(&folder.path().join("none").as_path().into()).is_err());
    }
}
