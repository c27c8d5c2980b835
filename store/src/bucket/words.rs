//! The words of an index in a bucket: tantivy segments of many workers under one list.
//!
//! Each part has its own segments. A snapshot's list is the last one's with those of its parts added:
//! nothing is merged, and one searcher reads all, with statistics over all. No deletion marks lie in
//! a bucket, since a word's frequency would go on to count marked pages: segments with pages that
//! are gone are written anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};
use pagesight_core::{DocumentId, PageRecord};
use serde_json::Value;

use super::objects::Objects;
use super::share::Share;
use crate::error::StoreError;
use crate::snapshot::contents::FileMark;
use crate::text::writer::{PageWords, TextWriter};

/// Files fetched at once.
const FETCHED: usize = 8;

/// The segments that a list, tantivy's `meta.json`, names: as their files are called.
///
/// # Errors
/// [`StoreError::Torn`] for what is no such list.
pub(crate) fn segments(path: &Path, meta: &str) -> Result<BTreeSet<String>, StoreError> {
    let list = read(path, meta)?;
    let id = |segment: &Value| Some(segment.get("segment_id")?.as_str()?.replace('-', ""));
    list["segments"]
        .as_array()
        .map(|all| all.iter().filter_map(id).collect())
        .ok_or_else(|| torn(path))
}

/// The list `base` with the segments of `more` added; one that is there already stays once.
///
/// # Errors
/// As [`segments`].
pub(crate) fn joined<'a>(
    path: &Path,
    base: &str,
    more: impl IntoIterator<Item = &'a str>,
) -> Result<String, StoreError> {
    let mut list = read(path, base)?;
    let mut opstamp = list["opstamp"].as_u64().unwrap_or(0);
    let mut known = segments(path, base)?;
    for meta in more {
        let other = read(path, meta)?;
        if other["schema"] != list["schema"] {
            let what = "the words of a part have other fields than those of the index".into();
            return Err(StoreError::Torn { path: path.into(), what });
        }
        opstamp = opstamp.max(other["opstamp"].as_u64().unwrap_or(0));
        for segment in other["segments"].as_array().ok_or_else(|| torn(path))? {
            if !segment["deletes"].is_null() {
                let what = "the words of a part have deletion marks".into();
                return Err(StoreError::Torn { path: path.into(), what });
            }
            let id = segment["segment_id"].as_str().unwrap_or_default().replace('-', "");
            if known.insert(id) {
                list["segments"].as_array_mut().ok_or_else(|| torn(path))?.push(segment.clone());
            }
        }
    }
    list["opstamp"] = opstamp.into();
    Ok(list.to_string())
}

/// What the list `meta` says of each of its segments.
///
/// # Errors
/// As [`segments`].
pub(crate) fn entries(path: &Path, meta: &str) -> Result<Vec<Value>, StoreError> {
    let list = read(path, meta)?;
    list["segments"].as_array().cloned().ok_or_else(|| torn(path))
}

/// The list `meta` without its segments; as it is where it makes no sense.
pub(crate) fn without_segments(meta: &str) -> String {
    let list = serde_json::from_str(meta);
    let emptied = list.map(|list: Value| in_list(list, Vec::new()));
    emptied.unwrap_or_else(|_| meta.into())
}

/// The list `meta` with these `segments`, and no others.
///
/// # Errors
/// As [`segments`].
pub(crate) fn with_segments(
    path: &Path,
    meta: &str,
    segments: Vec<Value>,
) -> Result<String, StoreError> {
    Ok(in_list(read(path, meta)?, segments))
}

fn in_list(mut list: Value, segments: Vec<Value>) -> String {
    list["segments"] = segments.into();
    list.to_string()
}

fn read(path: &Path, meta: &str) -> Result<Value, StoreError> {
    serde_json::from_str(meta).map_err(|_| torn(path))
}

fn torn(path: &Path) -> StoreError {
    StoreError::Torn { path: path.into(), what: "its list of words makes no sense".into() }
}

/// The segment that the file `name`, below the index, belongs to.
pub(crate) fn segment_of(name: &str) -> Option<&str> {
    name.strip_prefix("text/")?.rsplit('/').next()?.split('.').next()
}

/// Those of `files` that belong to one of `segments`.
pub(crate) fn files_of(
    files: &BTreeMap<String, FileMark>,
    segments: &BTreeSet<String>,
) -> BTreeMap<String, FileMark> {
    let is_wanted = |name: &str| segment_of(name).is_some_and(|id| segments.contains(id));
    let wanted = files.iter().filter(|(name, _)| is_wanted(name));
    wanted.map(|(name, mark)| (name.clone(), mark.clone())).collect()
}

/// Writes the words anew of all that is not as `meta` has it: those of the documents `stale` go, and
/// `pages`, with the `names` of their documents, come. `files` are those of the segments. New files
/// are put into the bucket under names that begin with `begin`. The list after, and the new files.
///
/// # Errors
/// What cannot be fetched, written or put.
pub(crate) async fn rewrite(
    objects: &Objects,
    scratch: &Path,
    meta: &str,
    files: &BTreeMap<String, FileMark>,
    stale: &BTreeSet<DocumentId>,
    (pages, names): (&[PageRecord], &HashMap<DocumentId, Vec<String>>),
    begin: &str,
) -> Result<(String, BTreeMap<String, FileMark>), StoreError> {
    let mut rewriting = Rewriting::open(objects, scratch, meta, files).await?;
    rewriting.replace(stale.iter().copied(), pages, names)?;
    rewriting.finish(begin).await
}

/// Words that are being written anew, some documents at a time.
pub(crate) struct Rewriting<'a> {
    objects: &'a Objects,
    scratch: &'a Path,
    before: BTreeSet<String>,
    writer: TextWriter,
}

impl<'a> Rewriting<'a> {
    /// Fetches the segments of the list `meta`, whose files are among `files`, to `scratch`.
    ///
    /// # Errors
    /// What cannot be fetched or opened.
    pub async fn open(
        objects: &'a Objects,
        scratch: &'a Path,
        meta: &str,
        files: &BTreeMap<String, FileMark>,
    ) -> Result<Self, StoreError> {
        let before = segments(scratch, meta)?;
        fetch_all(objects, scratch, &files_of(files, &before)).await?;
        let writer = TextWriter::open(scratch, Some(meta))?;
        Ok(Self { objects, scratch, before, writer })
    }

    /// Takes out the words of the documents `stale`, and adds those of `pages`, with the `names` of their
    /// documents.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn replace(
        &mut self,
        stale: impl IntoIterator<Item = DocumentId>,
        pages: &[PageRecord],
        names: &HashMap<DocumentId, Vec<String>>,
    ) -> Result<(), StoreError> {
        let words = pages.iter().map(|page| PageWords {
            id: page.id,
            text: &page.text,
            names: names.get(&page.id.document).map_or(&[], Vec::as_slice),
        });
        self.writer.commit(stale, words)
    }

    /// Puts what is new under names that begin with `begin`: the list after, and the new files.
    ///
    /// # Errors
    /// What cannot be written or put.
    pub async fn finish(
        mut self,
        begin: &str,
    ) -> Result<(String, BTreeMap<String, FileMark>), StoreError> {
        // Only those with deletion marks are written anew.
        self.writer.merge(usize::MAX).await?;
        let after = self.writer.meta();
        let new: BTreeSet<String> =
            segments(self.scratch, &after)?.difference(&self.before).cloned().collect();
        let put = put_all(self.objects, self.scratch, &new, begin).await?;
        Ok((after, put))
    }
}

/// Makes one of the segments `small` of the list `meta`, none of which has deletion marks. `files` are
/// those of the segments, and new ones are put as [`rewrite`] does.
///
/// # Errors
/// As [`rewrite`].
pub(crate) async fn merge(
    objects: &Objects,
    scratch: &Path,
    meta: &str,
    files: &BTreeMap<String, FileMark>,
    small: &BTreeSet<String>,
    begin: &str,
) -> Result<(String, BTreeMap<String, FileMark>), StoreError> {
    fetch_all(objects, scratch, &files_of(files, small)).await?;
    let (others, of_small) = parted(scratch, meta, small)?;
    let mut writer = TextWriter::open(scratch, Some(&of_small))?;
    writer.merge(1).await?;
    let merged = writer.meta();
    let new: BTreeSet<String> = segments(scratch, &merged)?.difference(small).cloned().collect();
    let put = put_all(objects, scratch, &new, begin).await?;
    Ok((joined(scratch, &others, [&*merged])?, put))
}

/// The list `meta` with those segments alone that are searched in `share`.
///
/// # Errors
/// As [`segments`].
pub(crate) fn of_share(path: &Path, meta: &str, share: Share) -> Result<String, StoreError> {
    let mut mine = segments(path, meta)?;
    mine.retain(|segment| share.has(segment));
    Ok(parted(path, meta, &mine)?.1)
}

/// The list `meta` without the segments `small`, and with these alone.
///
/// # Errors
/// As [`segments`].
pub(crate) fn parted(
    path: &Path,
    meta: &str,
    small: &BTreeSet<String>,
) -> Result<(String, String), StoreError> {
    let list = read(path, meta)?;
    let all = list["segments"].as_array().ok_or_else(|| torn(path))?.clone();
    let is_small = |segment: &Value| {
        let id = segment["segment_id"].as_str().unwrap_or_default().replace('-', "");
        small.contains(&id)
    };
    let (of_small, others): (Vec<Value>, Vec<Value>) = all.into_iter().partition(is_small);
    let with = |segments: Vec<Value>| {
        let mut list = list.clone();
        list["segments"] = segments.into();
        list.to_string()
    };
    Ok((with(others), with(of_small)))
}

async fn fetch_all(
    objects: &Objects,
    scratch: &Path,
    wanted: &BTreeMap<String, FileMark>,
) -> Result<(), StoreError> {
    fs::create_dir_all(scratch).map_err(StoreError::io("making", scratch))?;
    let mut fetching = Vec::with_capacity(wanted.len());
    for (name, mark) in wanted {
        fetching.push(fetch(objects, scratch, name, mark));
    }
    let fetched = futures::stream::iter(fetching).buffer_unordered(FETCHED);
    fetched.try_collect::<Vec<PathBuf>>().await.map(drop)
}

/// Puts the files of the segments `new` under names that begin with `begin`.
async fn put_all(
    objects: &Objects,
    scratch: &Path,
    new: &BTreeSet<String>,
    begin: &str,
) -> Result<BTreeMap<String, FileMark>, StoreError> {
    let mut put = BTreeMap::new();
    for entry in fs::read_dir(scratch).map_err(StoreError::io("reading", scratch))? {
        let path = entry.map_err(StoreError::io("reading", scratch))?.path();
        let Some(file) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !file.split('.').next().is_some_and(|id| new.contains(id)) {
            continue;
        }
        let bytes = fs::read(&path).map_err(StoreError::io("reading", &path))?;
        let mark = FileMark {
            bytes: bytes.len() as u64,
            blake3: blake3::hash(&bytes).to_hex().to_string(),
        };
        let name = format!("text/{begin}/{file}");
        objects.upload(&name, &path).await?;
        put.insert(name, mark);
    }
    Ok(put)
}

async fn fetch(
    objects: &Objects,
    folder: &Path,
    name: &str,
    mark: &FileMark,
) -> Result<PathBuf, StoreError> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let path = folder.join(file);
    if objects.fetch(name, &path).await? != mark.blake3 {
        let what = "its hash is not the one that was written".into();
        return Err(StoreError::DamagedFile { path: objects.path_of(name), what });
    }
    Ok(path)
}
