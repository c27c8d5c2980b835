//! Few segments of words and codes in the place of many small ones, and few files of the ledger and of what
//! says where rows lie: an index that grows a little every day would else have a few more files a day, each
//! of which a replica asks for and a search looks into.
//!
//! It is a commit that changes nothing of what is in the index. What is large stays as it is: each page
//! is copied a few times in its life.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use pagesight_core::DocumentId;
use pagesight_maxsim::{Segment, SegmentWriter, Segments};

use super::commit::{mark_of, now_s, put_marked};
use super::entry::{Entry, write_manifests};
use super::objects::Objects;
use super::{log, random, words};
use crate::codes::segments;
use crate::error::StoreError;
use crate::lance::detached::{Detached, TablePlace};
use crate::lance::row_list::RowList;
use crate::lance::schema::{documents_batch, read_ledger_of};
use crate::snapshot::contents::{FileMark, Snapshot};
use crate::snapshot::names::{CODES, ROWS};

/// So many small segments are joined, and no fewer.
const MANY: usize = 8;

/// A segment of words with fewer bytes is small, and one of codes, and a list of rows.
const SMALL_WORDS: u64 = 4 << 20;
const SMALL_CODES: u64 = 8 << 20;
const SMALL_LIST: u64 = 4 << 20;

/// A file of the ledger with fewer rows is small.
const SMALL_LEDGER: usize = 20_000;

/// What is joined at once has no more bytes.
const JOINED: u64 = 64 << 20;

/// Joins what is small in the snapshot `on` and publishes the one after it; `None` where there is
/// nothing to join, or another was first.
///
/// # Errors
/// What cannot be fetched, read or put.
pub(crate) async fn join(
    (objects, tables): (&Objects, &TablePlace),
    on: &Entry,
    scratch: &Path,
) -> Result<Option<Entry>, StoreError> {
    let before = on.files(objects).await?;
    let begin = format!("joined-{}", random());
    let scratch = scratch.join(format!("{begin}-{}", std::process::id()));
    let joined = join_in((objects, tables), on, &before, &begin, &scratch).await;
    let _ = fs::remove_dir_all(&scratch);
    let Some((snapshot, wanted, ledger)) = joined? else { return Ok(None) };
    let number = snapshot.number;
    let manifests = write_manifests(objects, number, &on.manifests, &wanted).await?;
    let (plans, lists) = (on.plans.clone(), on.lists.clone());
    let entry = Entry { snapshot, nonce: random(), plans, manifests, lists };
    if !log::publish(objects, &entry).await? {
        return Ok(None);
    }
    if let Some(ledger) = ledger {
        // Not a part of it, as with a commit.
        let _ = ledger.bring_up().await;
    }
    Ok(Some(entry))
}

type Files = BTreeMap<String, FileMark>;

async fn join_in(
    (objects, tables): (&Objects, &TablePlace),
    on: &Entry,
    before: &Files,
    begin: &str,
    scratch: &Path,
) -> Result<Option<(Snapshot, Files, Option<Detached>)>, StoreError> {
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
    let lists = small_lists(before);
    if lists.len() >= MANY {
        let name = format!("{ROWS}/{begin}.json");
        let mark = join_lists(objects, &lists, before, &name).await?;
        lists.iter().for_each(|name| _ = wanted.remove(*name));
        wanted.extend(mark.map(|mark| (name, mark)));
    }
    let ledger = join_ledger(tables, &snapshot).await?;
    if let Some(ledger) = &ledger {
        snapshot.documents_version = ledger.version();
        let of_ledger = |name: &String| name.starts_with("documents.lance/");
        wanted.retain(|name, _| !of_ledger(name));
        for name in ledger.files_in_use() {
            let mark = match before.get(&name) {
                Some(mark) => mark.clone(),
                None => mark_of(objects, &name).await?,
            };
            wanted.insert(name, mark);
        }
    }
    if wanted == *before {
        return Ok(None);
    }
    snapshot.number += 1;
    snapshot.created_s = now_s();
    Ok(Some((snapshot, wanted, ledger)))
}

/// The lists of rows among `files` that are small, as far as they are joined at once.
fn small_lists(files: &Files) -> Vec<&String> {
    let lists = files.iter().filter(|(name, mark)| {
        name.strip_prefix(ROWS).is_some_and(|rest| rest.starts_with('/')) && mark.bytes < SMALL_LIST
    });
    let mut all = 0;
    let fits = lists.take_while(|(_, mark)| {
        all += mark.bytes;
        all <= JOINED
    });
    fits.map(|(name, _)| name).collect()
}

/// Puts one list of the rows that the `lists` have together, as far as their files are among `files`;
/// `None` where none of them is.
async fn join_lists(
    objects: &Objects,
    lists: &[&String],
    files: &Files,
    name: &str,
) -> Result<Option<FileMark>, StoreError> {
    let mut joined = RowList::default();
    for list in lists {
        let bytes = objects.get_required(list).await?;
        let is_sound = files
            .get(*list)
            .is_some_and(|mark| blake3::hash(&bytes).to_hex().as_str() == mark.blake3);
        // One that is damaged is left out: where these rows lie is read from the table.
        joined.extend(RowList::parse(&bytes).filter(|_| is_sound).unwrap_or_default());
    }
    joined.retain(|file| files.contains_key(&format!("pages.lance/data/{file}")));
    if joined.is_empty() {
        return Ok(None);
    }
    put_marked(objects, name, joined.to_bytes()).await.map(Some)
}

/// The ledger with its small files written as one; `None` where there are few.
async fn join_ledger(
    tables: &TablePlace,
    snapshot: &Snapshot,
) -> Result<Option<Detached>, StoreError> {
    let table = tables.open("documents", Some(snapshot.documents_version)).await?;
    let mut ledger = Detached::of(&table).await?;
    let small = ledger.small(SMALL_LEDGER);
    if small.len() < MANY {
        return Ok(None);
    }
    let mut records = read_ledger_of(&table, small.clone()).await?;
    records.sort_by(|a, b| a.path.cmp(&b.path));
    ledger.replace(&small, documents_batch(&records)).await?;
    Ok(Some(ledger))
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
        let files = Files::from([
            ("rows/a.json".into(), mark(10)),
            ("rows/b.json".into(), mark(SMALL_LIST)),
            ("rowsome/c.json".into(), mark(10)),
        ]);
        assert_eq!(small_lists(&files), ["rows/a.json"]);
    }
}
