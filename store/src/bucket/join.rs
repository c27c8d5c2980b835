//! Few segments of words and codes in the place of many small ones: an index that grows a little every
//! day would else have a few more files a day, each of which a replica asks for and a search looks into.
//!
//! It is a commit that changes nothing of what is in the index. What is large stays as it is: each page
//! is copied a few times in its life.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use pagesight_core::DocumentId;
use pagesight_maxsim::{Segment, SegmentWriter, Segments};

use super::commit::now_s;
use super::entry::{Entry, write_manifests};
use super::objects::Objects;
use super::{log, random, words};
use crate::codes::segments;
use crate::error::StoreError;
use crate::snapshot::contents::FileMark;
use crate::snapshot::names::CODES;

/// So many small segments are joined, and no fewer.
const MANY: usize = 8;

/// A segment of words with fewer bytes is small, and one of codes.
const SMALL_WORDS: u64 = 4 << 20;
const SMALL_CODES: u64 = 8 << 20;

/// What is joined at once has no more bytes.
const JOINED: u64 = 64 << 20;

/// Joins what is small in the snapshot `on` and publishes the one after it; `None` where there is
/// nothing to join, or another was first.
///
/// # Errors
/// What cannot be fetched, read or put.
pub(crate) async fn join(
    objects: &Objects,
    on: &Entry,
    scratch: &Path,
) -> Result<Option<Entry>, StoreError> {
    let before = on.files(objects).await?;
    let begin = format!("joined-{}", random());
    let scratch = scratch.join(format!("{begin}-{}", std::process::id()));
    let joined = join_in(objects, on, &before, &begin, &scratch).await;
    let _ = fs::remove_dir_all(&scratch);
    let Some((snapshot, wanted)) = joined? else { return Ok(None) };
    let number = snapshot.number;
    let manifests = write_manifests(objects, number, &on.manifests, &wanted).await?;
    let entry = Entry { snapshot, nonce: random(), plans: on.plans.clone(), manifests };
    Ok(log::publish(objects, &entry).await?.then_some(entry))
}

type Files = BTreeMap<String, FileMark>;

async fn join_in(
    objects: &Objects,
    on: &Entry,
    before: &Files,
    begin: &str,
    scratch: &Path,
) -> Result<Option<(crate::snapshot::contents::Snapshot, Files)>, StoreError> {
    let mut snapshot = on.snapshot.clone();
    let mut wanted = before.clone();
    let shown = objects.shown();
    let small = small_words(&words::segments(&shown, &snapshot.text_meta)?, before);
    if small.len() >= MANY {
        let folder = scratch.join("text");
        let put =
            words::merge(objects, &folder, &snapshot.text_meta, before, &small, begin).await?;
        snapshot.text_meta = put.0;
        for name in words::files_of(before, &small).into_keys() {
            wanted.remove(&name);
        }
        wanted.extend(put.1);
    }
    let names = segments::readable(&snapshot).unwrap_or_default().to_vec();
    let sizes: Vec<u64> = names
        .iter()
        .map(|name| before.get(&in_bucket(name)).map_or(0, |mark| mark.bytes))
        .collect();
    if let Some(run) = small_run(&sizes) {
        let name = format!("{begin}.codes");
        let mark = join_codes(objects, &names[run.clone()], before, &name, scratch).await?;
        for name in &names[run.clone()] {
            wanted.remove(&in_bucket(name));
        }
        wanted.insert(in_bucket(&name), mark);
        let mut after = names;
        after.splice(run, [name]);
        snapshot.codes = Some(after);
    }
    if wanted == *before {
        return Ok(None);
    }
    snapshot.number += 1;
    snapshot.created_s = now_s();
    Ok(Some((snapshot, wanted)))
}

fn in_bucket(codes: &str) -> String {
    format!("{CODES}/{codes}")
}

/// Those of `segments` that are small, as far as they are joined at once.
fn small_words(segments: &BTreeSet<String>, files: &Files) -> BTreeSet<String> {
    let mut bytes: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, mark) in files {
        if let Some(segment) = words::segment_of(name) {
            *bytes.entry(segment).or_default() += mark.bytes;
        }
    }
    let mut small: Vec<(u64, &String)> = segments
        .iter()
        .map(|id| (bytes.get(&**id).copied().unwrap_or(u64::MAX), id))
        .filter(|(bytes, _)| *bytes < SMALL_WORDS)
        .collect();
    small.sort();
    let mut all = 0;
    let fits = small.into_iter().take_while(|(bytes, _)| {
        all += bytes;
        all <= JOINED
    });
    fits.map(|(_, id)| id.clone()).collect()
}

/// The first files that follow each other, are small, and many enough: of files with these `sizes`.
fn small_run(sizes: &[u64]) -> Option<Range<usize>> {
    let mut start = 0;
    while start < sizes.len() {
        let (mut end, mut all) = (start, 0);
        while end < sizes.len() && sizes[end] < SMALL_CODES && all + sizes[end] <= JOINED {
            all += sizes[end];
            end += 1;
        }
        if end - start >= MANY {
            return Some(start..end);
        }
        start = end.max(start + 1);
    }
    None
}

/// Puts one file with the pages that the files `names` have together.
async fn join_codes(
    objects: &Objects,
    names: &[String],
    files: &Files,
    name: &str,
    scratch: &Path,
) -> Result<FileMark, StoreError> {
    let folder = scratch.join(CODES);
    fs::create_dir_all(&folder).map_err(StoreError::io("making", &folder))?;
    for name in names {
        let object = in_bucket(name);
        let hash = objects.fetch(&object, &folder.join(name)).await?;
        if files.get(&object).is_none_or(|mark| mark.blake3 != hash) {
            let what = "its hash is not the one that was written".into();
            return Err(StoreError::DamagedFile { path: objects.path_of(&object), what });
        }
    }
    let path = folder.join(name);
    write_joined(&segments::open(scratch, names)?, &path)?;
    let bytes = fs::read(&path).map_err(StoreError::io("reading", &path))?;
    let blake3 = blake3::hash(&bytes).to_hex().to_string();
    let mark = FileMark { bytes: bytes.len() as u64, blake3 };
    objects.put(&in_bucket(name), bytes).await?;
    Ok(mark)
}

/// Writes the living pages of `joined` into one file, which drops from earlier ones what they drop.
fn write_joined(joined: &Segments, path: &Path) -> Result<(), StoreError> {
    let write = || {
        let file = std::io::BufWriter::new(fs::File::create(path)?);
        let mut writer = SegmentWriter::like(file, &joined.segments()[0]);
        let dropped: BTreeSet<DocumentId> =
            joined.segments().iter().flat_map(Segment::dropped).collect();
        dropped.into_iter().for_each(|document| writer.drop_document(document));
        for slot in joined.living() {
            writer.copy(&joined.segments()[slot.segment as usize], slot.index as usize)?;
        }
        writer.finish().map(drop)
    };
    write().map_err(StoreError::io("writing", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_files_side_by_side_are_joined_and_large_ones_are_left() {
        let (small, large) = (1000, SMALL_CODES);
        assert_eq!(small_run(&[small; 7]), None);
        assert_eq!(small_run(&[small; 9]), Some(0..9));
        let mut sizes = vec![small; 5];
        sizes.push(large);
        sizes.extend([small; 8]);
        assert_eq!(small_run(&sizes), Some(6..14));
        assert_eq!(small_run(&[]), None);
        // No more at once than may be.
        assert_eq!(small_run(&[SMALL_CODES - 1; 20]), Some(0..8));
        let mark = |bytes| FileMark { bytes, blake3: String::new() };
        let files = Files::from([
            ("text/p/aa.idx".into(), mark(10)),
            ("text/p/aa.term".into(), mark(SMALL_WORDS)),
            ("text/p/bb.idx".into(), mark(10)),
        ]);
        let segments = BTreeSet::from(["aa".to_string(), "bb".into(), "cc".into()]);
        assert_eq!(small_words(&segments, &files), BTreeSet::from(["bb".to_string()]));
    }
}
