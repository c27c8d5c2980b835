//! A snapshot of an index in a bucket, as its object has it: two lines, JSON and the BLAKE3 of the
//! first line.
//!
//! It is what the pointer of a folder is, but for the list of its files, which may be long: that
//! lies in manifests, each of which is shared by all snapshots that need the same files. Where its lists
//! of words and codes are long too, they lie in objects of their own: see [`lists`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pagesight_core::{ModelRecord, ModelSource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lists::{self, INLINE, Kind, ListMark};
use super::objects::Objects;
use super::words;
use crate::error::StoreError;
use crate::snapshot::contents::{Compact, FileMark, Snapshot, Tuning};
use crate::snapshot::pointer::{hash_line, split};

/// The format of an index in a bucket. Formats of folders end below it; see
/// `store/src/snapshot/pointer.rs`.
pub const BUCKET_FORMAT: u32 = 7;

/// The format of a snapshot whose lists lie in objects of their own. Others are written in the one before,
/// which programs of before read.
const LISTED_FORMAT: u32 = 8;

/// Folder of the manifests.
pub(crate) const MANIFESTS: &str = "manifests/";

/// Files of one manifest; a manifest of so many is about 10 MB.
pub(super) const MOST_FILES: usize = 50_000;

/// Manifests of one snapshot; more are written anew as few.
const MOST_MANIFESTS: usize = 32;

/// How a plan ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Closed {
    /// It is in the index since this snapshot.
    Committed(u64),
    /// It was given up: the word `abandoned`.
    Abandoned(String),
}

impl Closed {
    pub fn abandoned() -> Self {
        Self::Abandoned("abandoned".into())
    }
}

/// A manifest, and how it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestMark {
    /// The object, below the prefix.
    pub name: String,
    pub bytes: u64,
    pub blake3: String,
    /// Files that it names.
    pub files: usize,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Its files are in the manifests.
    pub snapshot: Snapshot,
    /// Of the program that put it.
    pub nonce: String,
    /// Plans that ended.
    pub plans: BTreeMap<String, Closed>,
    pub manifests: Vec<ManifestMark>,
    /// Where its lists of words and codes lie when they are long; none when they stand in it.
    pub lists: Vec<ListMark>,
}

/// Line 1.
#[derive(Serialize, Deserialize)]
struct Line {
    format: u32,
    number: u64,
    nonce: String,
    created_s: u64,
    /// Decimal: versions that stand beside Lance's own line pass 2^63, and readers of JSON that keep
    /// numbers in floating point would change them.
    documents_version: String,
    pages_version: String,
    text_meta: String,
    analysis: u32,
    codes: Vec<String>,
    model: Option<ModelRecord>,
    dim: usize,
    documents: u64,
    pages: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tuning: Option<Tuning>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compact: Option<Compact>,
    plans: BTreeMap<String, Closed>,
    manifests: Vec<ManifestMark>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lists: Vec<ListMark>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    files: BTreeMap<String, FileMark>,
}

/// The record of a model as a bucket keeps it: without a folder of one machine.
pub(crate) fn placeless(mut model: ModelRecord) -> ModelRecord {
    let is_named = |source: &ModelSource| !matches!(source, ModelSource::Folder(_));
    model.source = model.source.filter(is_named);
    model.base = model.base.filter(is_named);
    model
}

impl Entry {
    /// The bytes of its object.
    pub fn to_bytes(&self) -> Vec<u8> {
        let snapshot = &self.snapshot;
        let is_listed = !self.lists.is_empty();
        let (text_meta, codes) = if is_listed {
            (words::without_segments(&snapshot.text_meta), Vec::new())
        } else {
            (snapshot.text_meta.clone(), snapshot.codes.clone().unwrap_or_default())
        };
        let line = Line {
            format: if is_listed { LISTED_FORMAT } else { BUCKET_FORMAT },
            number: snapshot.number,
            nonce: self.nonce.clone(),
            created_s: snapshot.created_s,
            documents_version: snapshot.documents_version.to_string(),
            pages_version: snapshot.pages_version.to_string(),
            text_meta,
            analysis: snapshot.analysis,
            codes,
            model: snapshot.model.clone().map(placeless),
            dim: snapshot.dim,
            documents: snapshot.documents,
            pages: snapshot.pages,
            tuning: snapshot.tuning.clone(),
            compact: snapshot.compact.clone(),
            plans: self.plans.clone(),
            manifests: self.manifests.clone(),
            lists: self.lists.clone(),
        };
        let mut bytes = serde_json::to_vec(&line).expect("a snapshot is plain data");
        bytes.push(b'\n');
        let hash = hash_line(&bytes);
        bytes.extend(hash.bytes());
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote, but for its [lists](Self::with_lists); `path` is for
    /// errors.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::Pointer`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct FormatOnly {
            format: u32,
        }
        let damaged = |what: &'static str| StoreError::Pointer { path: path.into(), what };
        let (json, hash) = split(bytes).ok_or_else(|| damaged("its hash is missing"))?;
        if hash_line(json) != hash {
            return Err(damaged("its hash is wrong"));
        }
        let got = serde_json::from_slice::<FormatOnly>(json);
        let got = got.map_err(|_| damaged("it does not parse"))?.format;
        if ![BUCKET_FORMAT, LISTED_FORMAT].contains(&got) {
            let (path, expected) = (path.to_path_buf(), LISTED_FORMAT);
            return Err(StoreError::NewerFormat { path, expected, got });
        }
        let line: Line = serde_json::from_slice(json).map_err(|_| damaged("it does not parse"))?;
        let version = |text: &str| text.parse().map_err(|_| damaged("it has no version"));
        Ok(Self {
            snapshot: Snapshot {
                format: line.format,
                number: line.number,
                created_s: line.created_s,
                documents_version: version(&line.documents_version)?,
                pages_version: version(&line.pages_version)?,
                text_meta: line.text_meta,
                analysis: line.analysis,
                model: line.model,
                grid: None,
                dim: line.dim,
                documents: line.documents,
                pages: line.pages,
                codes: Some(line.codes),
                passages: None,
                no_passages: false,
                tuning: line.tuning,
                compact: line.compact,
                addresses: None,
                files: BTreeMap::new(),
            },
            nonce: line.nonce,
            plans: line.plans,
            manifests: line.manifests,
            lists: line.lists,
        })
    }

    /// With the entries of its lists, where they lie in objects of their own.
    ///
    /// # Errors
    /// [`StoreError::Bucket`], and [`StoreError::DamagedFile`] for a list that is not as it was written.
    pub async fn with_lists(mut self, objects: &Objects) -> Result<Self, StoreError> {
        if self.lists.is_empty() {
            return Ok(self);
        }
        let segments = lists::read(objects, &self.lists, Kind::Words).await?;
        let text_meta = &self.snapshot.text_meta;
        self.snapshot.text_meta = words::with_segments(&objects.shown(), text_meta, segments)?;
        let codes = lists::read(objects, &self.lists, Kind::Codes).await?;
        let codes = codes.iter().map(|name| name.as_str().unwrap_or_default().into());
        self.snapshot.codes = Some(codes.collect());
        Ok(self)
    }

    /// With its lists in objects of their own, which are put, where they are long. Those that it has from
    /// the snapshot before are shared as far as the entries are the same.
    ///
    /// # Errors
    /// As [`with_lists`](Self::with_lists).
    pub async fn laid_out(&self, objects: &Objects) -> Result<Self, StoreError> {
        let snapshot = &self.snapshot;
        let codes = snapshot.codes.as_deref().unwrap_or_default();
        let inline = snapshot.text_meta.len() + codes.iter().map(String::len).sum::<usize>();
        if inline <= INLINE {
            return Ok(Self { lists: Vec::new(), ..self.clone() });
        }
        let segments = words::entries(&objects.shown(), &snapshot.text_meta)?;
        let codes: Vec<Value> = codes.iter().map(|name| name.as_str().into()).collect();
        let mut written = Vec::new();
        for list in [(Kind::Words, &*segments), (Kind::Codes, &*codes)] {
            written.extend(lists::write(objects, snapshot.number, &self.lists, list).await?);
        }
        Ok(Self { lists: written, ..self.clone() })
    }

    /// Reads the manifests: every file that the snapshot needs.
    ///
    /// # Errors
    /// [`StoreError::Bucket`], and [`StoreError::DamagedFile`] for a manifest that is not as it was
    /// written or names a file outside the index.
    pub async fn files(&self, objects: &Objects) -> Result<BTreeMap<String, FileMark>, StoreError> {
        let mut files = BTreeMap::new();
        for mark in &self.manifests {
            files.extend(read_manifest(objects, mark).await?);
        }
        Ok(files)
    }

    /// The files that its manifests name, but for those manifests that are gone or damaged, whose names
    /// come too.
    ///
    /// # Errors
    /// [`StoreError::Bucket`].
    pub async fn files_left(
        &self,
        objects: &Objects,
    ) -> Result<(BTreeMap<String, FileMark>, BTreeSet<String>), StoreError> {
        let (mut files, mut lost) = (BTreeMap::new(), BTreeSet::new());
        for mark in &self.manifests {
            match read_manifest(objects, mark).await {
                Err(StoreError::DamagedFile { .. }) => _ = lost.insert(mark.name.clone()),
                read => files.extend(read?),
            }
        }
        Ok((files, lost))
    }
}

async fn read_manifest(
    objects: &Objects,
    mark: &ManifestMark,
) -> Result<BTreeMap<String, FileMark>, StoreError> {
    let path = objects.path_of(&mark.name);
    let damaged = |what: &str| StoreError::DamagedFile { path: path.clone(), what: what.into() };
    if !mark.name.starts_with(MANIFESTS) || !is_plain(&mark.name) {
        return Err(damaged("a manifest has another name"));
    }
    let bytes = objects.get_marked(&mark.name, mark.bytes, &mark.blake3).await?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|_| damaged("it does not parse"))?;
    if let Some(name) = manifest.files.keys().find(|name| !is_plain(name)) {
        return Err(damaged(&format!("it names {name:?}, which no file of an index is called")));
    }
    Ok(manifest.files)
}

/// Whether `name` is that of an object below the prefix, and of nothing else.
fn is_plain(name: &str) -> bool {
    let sound = |part: &str| !part.is_empty() && part != "." && part != "..";
    let printable = |c: char| !c.is_control() && !"\\%?#:".contains(c);
    name.split('/').all(sound) && name.chars().all(printable)
}

/// Writes manifests for a snapshot `number` that needs `wanted`. Those `before` whose files are all
/// needed still are taken over; the files of the others, and those that none names, get new ones.
///
/// # Errors
/// [`StoreError::Bucket`], and as [`Entry::files`].
pub(crate) async fn write_manifests(
    objects: &Objects,
    number: u64,
    before: &[ManifestMark],
    wanted: &BTreeMap<String, FileMark>,
) -> Result<Vec<ManifestMark>, StoreError> {
    let mut kept = Vec::new();
    let mut rest: BTreeSet<&String> = wanted.keys().collect();
    if before.len() < MOST_MANIFESTS {
        for mark in before {
            let files = read_manifest(objects, mark).await?;
            let same = |(name, file): (&String, &FileMark)| wanted.get(name) == Some(file);
            if !files.is_empty() && files.iter().all(same) {
                files.keys().for_each(|name| _ = rest.remove(name));
                kept.push(mark.clone());
            }
        }
    }
    let rest: Vec<&String> = rest.into_iter().collect();
    for names in rest.chunks(MOST_FILES) {
        let files: BTreeMap<String, FileMark> =
            names.iter().map(|name| ((*name).clone(), wanted[*name].clone())).collect();
        let count = files.len();
        let bytes = serde_json::to_vec(&Manifest { files }).expect("names and hashes");
        let mark = ManifestMark {
            name: format!("{MANIFESTS}{number}-{}.json", super::random()),
            bytes: bytes.len() as u64,
            blake3: blake3::hash(&bytes).to_hex().to_string(),
            files: count,
        };
        objects.put(&mark.name, bytes).await?;
        kept.push(mark);
    }
    Ok(kept)
}

#[cfg(test)]
pub(super) mod tests {
    use pagesight_core::ModelId;

    use super::super::faults::{Faults, objects};
    use super::*;

    pub(in super::super) fn entry(number: u64, nonce: &str) -> Entry {
        let model = ModelRecord::new(ModelId("m".into()), 2);
        Entry {
            snapshot: Snapshot {
                format: BUCKET_FORMAT,
                number,
                created_s: 1,
                documents_version: (1 << 63) + 5,
                pages_version: u64::MAX,
                text_meta: "{\n}".into(),
                analysis: 1,
                model: Some(model),
                grid: None,
                dim: 2,
                documents: 3,
                pages: 4,
                codes: Some(vec!["a.codes".into()]),
                passages: None,
                no_passages: false,
                tuning: None,
                compact: None,
                addresses: None,
                files: BTreeMap::new(),
            },
            nonce: nonce.into(),
            plans: BTreeMap::from([
                ("p".into(), Closed::Committed(2)),
                ("q".into(), Closed::abandoned()),
            ]),
            manifests: Vec::new(),
            lists: Vec::new(),
        }
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let bytes = entry(7, "n").to_bytes();
        let path = Path::new("s3://b/p/snapshots/7.json");
        assert_eq!(Entry::parse(path, &bytes).unwrap(), entry(7, "n"));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Entry::parse(path, &flipped).is_err(), "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert!(Entry::parse(path, &bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn versions_are_written_as_text_and_folders_of_models_are_not() {
        let mut entry = entry(1, "n");
        let folder = ModelSource::of_old_folder("/home/ann/model".into());
        entry.snapshot.model.as_mut().unwrap().source = Some(folder);
        let text = String::from_utf8(entry.to_bytes()).unwrap();
        assert!(text.contains(r#""documents_version":"9223372036854775813""#), "{text}");
        assert!(text.contains(r#""p":2"#) && text.contains(r#""q":"abandoned""#), "{text}");
        assert!(!text.contains("ann"), "{text}");
    }

    #[tokio::test]
    async fn manifests_are_shared_while_their_files_are_needed() {
        let objects = objects("manifests", &Faults::default()).await;
        let mark = |n: u64| FileMark { bytes: n, blake3: format!("{n}") };
        let files = |names: &[(&str, u64)]| -> BTreeMap<String, FileMark> {
            names.iter().map(|&(name, n)| (name.to_string(), mark(n))).collect()
        };
        let one = files(&[("codes/a", 1), ("codes/b", 2)]);
        let first = write_manifests(&objects, 1, &[], &one).await.unwrap();
        let two = files(&[("codes/a", 1), ("codes/b", 2), ("text/c/d.term", 3)]);
        let second = write_manifests(&objects, 2, &first, &two).await.unwrap();
        assert_eq!(second[0], first[0]);
        assert_eq!((second.len(), second[1].files), (2, 1));
        // A file is gone, another has other bytes: what is left of both manifests is in one.
        let three = files(&[("codes/b", 2), ("text/c/d.term", 4)]);
        let third = write_manifests(&objects, 3, &second, &three).await.unwrap();
        assert_eq!(third.len(), 1);
        let mut last = entry(3, "n");
        last.manifests = third;
        assert_eq!(last.files(&objects).await.unwrap(), three);
        let name = last.manifests[0].name.clone();
        objects.put(&name, b"{\"files\":{}}".to_vec()).await.unwrap();
        assert!(matches!(last.files(&objects).await, Err(StoreError::DamagedFile { .. })));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["codes/a.codes", "pages.lance/data/x.lance", "text/p-0-1-r/0a.term"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", "/etc/passwd", "a//b", "../a", "a/../b", "a\\b", "C:/x", "a/./b", "a%2e"] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
