//! Hashes of weights files, remembered between runs, so that gigabytes are not read at each start.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::remembered::Remembered;
use crate::error::ModelError;

/// Hashes files and, where it was given a file to remember in, keeps the hashes there.
#[derive(Debug, Clone, Default)]
pub struct Digests(Remembered<Known>);

/// The state of a file when it was hashed. A change of the file changes at least one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    bytes: u64,
    modified_ns: u128,
    /// Inode, and the time of its last change, which no program can set; 0 on systems without them.
    inode: u64,
    changed_ns: i128,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    mark: Mark,
    blake3: String,
}

/// The hash of a file younger than this is not remembered: the file could be written again within
/// the resolution of its time stamps.
const SETTLED: Duration = Duration::from_secs(1);

impl Digests {
    /// Remembers in `file`, which need not exist. With `None` nothing is remembered.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self(Remembered::new(file))
    }

    /// The BLAKE3 of `file`, hexadecimal, and its length, bytes.
    ///
    /// # Errors
    /// [`ModelError::Io`] for `file`. When the remembered hashes cannot be read or written, the
    /// file is hashed again.
    pub fn of(&self, file: &CheckpointFile) -> Result<(String, u64), ModelError> {
        let Some(path) = file.on_disk() else {
            let bytes = file.read()?;
            return Ok((blake3::hash(&bytes).to_hex().to_string(), bytes.len() as u64));
        };
        let io = |source| ModelError::Io { path: path.to_path_buf(), source };
        // A hub cache is made of links: the same file under two names is hashed once.
        let real = path.canonicalize().map_err(io)?;
        let key = real.to_string_lossy().into_owned();
        let file = File::open(&real).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let mark = Mark::of(&metadata);
        if let Some(known) = self.0.all().remove(&key).filter(|known| known.mark == mark) {
            return Ok((known.blake3, mark.bytes));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&file).map_err(io)?;
        let blake3 = hasher.finalize().to_hex().to_string();
        let after = Mark::of(&file.metadata().map_err(io)?);
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        let bytes = mark.bytes;
        if after == mark && age.is_some_and(|age| age >= SETTLED) {
            let known = Known { mark, blake3: blake3.clone() };
            self.0.change(|all| {
                all.retain(|path, _| Path::new(path).exists());
                all.insert(key, known);
            });
        }
        Ok((blake3, bytes))
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
    use std::fs;

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
        // A marked entry in the file shows that the answer comes from there.
        let text = fs::read_to_string(&memory).unwrap();
        fs::write(&memory, text.replace(&hash(b"one"), "remembered")).unwrap();
        assert_eq!(digests.of(&file).unwrap().0, "remembered");
        assert_eq!(Digests::default().of(&file).unwrap().0, hash(b"one"));
        write(b"two");
        assert_eq!(digests.of(&file).unwrap().0, hash(b"two"));
        // The hash of a fresh file is not remembered, and a damaged file of hashes is ignored.
        fs::write(&weights, b"six").unwrap();
        assert_eq!(digests.of(&file).unwrap().0, hash(b"six"));
        assert!(!fs::read_to_string(&memory).unwrap().contains(&hash(b"six")));
        fs::write(&memory, b"{").unwrap();
        assert_eq!(digests.of(&file).unwrap().0, hash(b"six"));
        assert!(digests.of(&folder.path().join("none").as_path().into()).is_err());
    }
}
