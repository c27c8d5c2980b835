//! The pointer: one small file that joins the tables and the text index into a snapshot.
//!
//! Data files are written and synced first; then the pointer is replaced atomically (temporary
//! file, sync, rename, sync of the folder). What it does not name does not exist: a crash before
//! the rename leaves the former snapshot in force.
//!
//! The file has two lines: the [`Snapshot`] as JSON, and the BLAKE3 hash of the first line, so
//! that no flipped bit in it goes unseen. A copy of it lies in `snapshots/` under the number of
//! the snapshot: readers hold it (see `lease.rs`), and `repair` restores a damaged pointer from it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use pagesight_core::{ModelId, PatchGrid};
use serde::{Deserialize, Serialize, Serializer};

use crate::StoreError;

/// The format that this code writes; a writer migrates older ones as a new version, newer ones
/// are refused.
///
/// 1: no checksum, no copies, and `files` had all files of the folder. 2: all vectors of each page
/// are there. 3: vectors may be left out or merged, and say their places. 4: all vectors may be in the
/// codes alone.
pub const FORMAT: u32 = 4;

/// The first format whose pointer carries its own hash and names exactly the files it needs.
pub(crate) const HASHED: u32 = 2;

pub(crate) const POINTER: &str = "snapshot.json";

/// Folder of the copies.
pub(crate) const COPIES: &str = "snapshots";

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
    /// Segments of codes in `codes/`, the oldest first; `None` before the vectors of an index
    /// of an earlier pagesight are coded.
    #[serde(default)]
    pub codes: Option<Vec<String>>,
    /// How searches are shortened; `None` leaves it to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Tuning>,
    /// That the vectors are in the codes alone; `None` when the pages table has them whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact: Option<Compact>,
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
    /// Where the whole weights lie that an adapter was merged into, when they were named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
}

/// A setting of searches, and what it was measured to cost on the pages of the index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Pages that sketches choose for a comparison of codes; `None` for exact searches.
    pub compared: Option<usize>,
    /// Share of the exact ten best that are among its ten best.
    #[serde(serialize_with = "six_decimals")]
    pub overlap10: f64,
    /// nDCG@10 over that of exact MaxSim.
    #[serde(serialize_with = "six_decimals")]
    pub ndcg_ratio: f64,
    /// Questions that were asked.
    pub questions: usize,
    /// The snapshot that was measured.
    pub snapshot: u64,
}

/// What it was measured to cost that vectors are kept in residual codes alone, in 4 bits a number,
/// on the pages of the index while they were whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compact {
    /// Share of the ten best by whole vectors that are among the ten best by codes.
    #[serde(serialize_with = "six_decimals")]
    pub overlap10: f64,
    /// nDCG@10 over that of whole vectors.
    #[serde(serialize_with = "six_decimals")]
    pub ndcg_ratio: f64,
    /// Questions that were asked.
    pub questions: usize,
    /// The snapshot that was measured.
    pub snapshot: u64,
}

/// serde_json reads numbers of more digits back with another last bit: the pointer would differ from
/// its copy.
fn six_decimals<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((value * 1e6).round() / 1e6)
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
        let path = folder.join(POINTER);
        let bytes = fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => match copies(folder).last() {
                // The first one may be of a creation that was cut off, and is empty.
                Some(&number) if number > 1 => {
                    StoreError::Pointer { path: path.clone(), what: "it is missing" }
                }
                _ => StoreError::Missing { path: folder.to_path_buf() },
            },
            _ => StoreError::io("reading", &path)(source),
        })?;
        Self::parse(&path, &bytes)
    }

    /// The copy of snapshot `number`.
    pub(crate) fn copy(folder: &Path, number: u64) -> PathBuf {
        folder.join(COPIES).join(format!("{number}.json"))
    }

    /// Reads a pointer or a copy of one.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |what: &'static str| StoreError::Pointer { path: path.to_path_buf(), what };
        let (json, hashed) = match split(bytes) {
            Some((json, hash)) if hash_line(json) == hash => (json, true),
            Some(_) => return Err(damaged("its hash is wrong")),
            None => (bytes, false),
        };
        // The format first: a newer one may have other fields.
        let format = serde_json::from_slice::<FormatOnly>(json);
        let got = format.map_err(|_| damaged("it does not parse"))?.format;
        if got > FORMAT {
            let path = path.to_path_buf();
            return Err(StoreError::NewerFormat { path, expected: FORMAT, got });
        }
        if got >= HASHED && !hashed {
            return Err(damaged("its hash is missing"));
        }
        let mut snapshot: Self =
            serde_json::from_slice(json).map_err(|_| damaged("it does not parse"))?;
        if got < HASHED {
            // Lance writes this one again and again; no snapshot needs it.
            snapshot.files.retain(|name, _| !name.ends_with("/latest_version_hint.json"));
        }
        Ok(snapshot)
    }

    /// The bytes of the pointer file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("a snapshot is plain data");
        bytes.push(b'\n');
        let hash = hash_line(&bytes);
        bytes.extend(hash.bytes());
        bytes
    }

    /// Publishes the snapshot: when this returns it survives power loss, when it fails the
    /// former one is in force.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::DiskFull`].
    pub fn publish(&self, folder: &Path) -> Result<(), StoreError> {
        let bytes = self.to_bytes();
        replace(&Self::copy(folder, self.number), &bytes)?;
        replace(&folder.join(POINTER), &bytes)
    }
}

/// The numbers of the snapshots that have a copy, in order.
pub(crate) fn copies(folder: &Path) -> Vec<u64> {
    let entries = fs::read_dir(folder.join(COPIES)).into_iter().flatten().flatten();
    let number = |path: PathBuf| match path.extension()? == "json" {
        true => path.file_stem()?.to_str()?.parse().ok(),
        false => None,
    };
    let mut numbers: Vec<u64> = entries.filter_map(|entry| number(entry.path())).collect();
    numbers.sort_unstable();
    numbers
}

/// Line 2 of a pointer, for line 1 with its line end.
fn hash_line(json: &[u8]) -> String {
    format!("{{\"blake3\":\"{}\"}}\n", blake3::hash(json).to_hex())
}

/// The two lines of a pointer; `None` for one of format 1, which has one.
fn split(bytes: &[u8]) -> Option<(&[u8], &str)> {
    let at = bytes.strip_suffix(b"\n")?.iter().rposition(|&b| b == b'\n')? + 1;
    let hash = std::str::from_utf8(&bytes[at..]).ok()?;
    hash.starts_with("{\"blake3\":").then_some((&bytes[..at], hash))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            format: FORMAT,
            number: 7,
            created_s: 1,
            documents_version: 2,
            pages_version: 3,
            text_meta: "{\n}".into(),
            model: None,
            dim: 128,
            documents: 0,
            pages: 0,
            codes: Some(Vec::new()),
            tuning: None,
            compact: None,
            files: BTreeMap::new(),
        }
    }

    #[test]
    fn no_flipped_bit_of_a_pointer_goes_unseen() {
        let path = Path::new(POINTER);
        let bytes = snapshot().to_bytes();
        assert_eq!(Snapshot::parse(path, &bytes).unwrap(), snapshot());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Snapshot::parse(path, &flipped).is_err(), "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert!(Snapshot::parse(path, &bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn measured_figures_come_back_as_they_were_written() {
        for questions in 1..200 {
            for hits in 0..=10 * questions {
                let share = f64::from(hits) / f64::from(10 * questions);
                let (overlap10, ndcg_ratio, snapshot) = (share, 1.0 + share / 3.0, 7);
                let questions = questions as usize;
                let cost = Compact { overlap10, ndcg_ratio, questions, snapshot };
                let written = Snapshot { compact: Some(cost), ..self::snapshot() }.to_bytes();
                let read = Snapshot::parse(Path::new(POINTER), &written).unwrap();
                assert_eq!(read.to_bytes(), written, "{share}");
            }
        }
    }

    #[test]
    fn a_pointer_of_format_1_has_no_hash_and_is_read() {
        let mut old = snapshot();
        old.format = 1;
        let bytes = serde_json::to_vec(&old).unwrap();
        assert_eq!(Snapshot::parse(Path::new(POINTER), &bytes).unwrap(), old);
    }
}
