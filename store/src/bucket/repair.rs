//! Mends an index in a bucket: what of its newest snapshot is gone or damaged is made again from what is
//! left, and what nothing has a second time is marked, so that the next plan reads it again.
//!
//! It is a commit that adds nothing. All that is made again is put under names that nobody else gives, and
//! one snapshot names it, put where there is none: of two that repair, or one that repairs and one that
//! commits, the second begins again on what the first published. Killed at any moment, the index is as it
//! was or mended.
//!
//! * [`rows`]: the ledger and the table of pages, without the files that are gone.
//! * [`words`]: words from the texts of the pages.
//! * [`codes`]: codes from the vectors of the pages, around the coder of the index.

mod codes;
mod rows;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use futures::{StreamExt, TryStreamExt};
use pagesight_core::{DocumentId, PageId};

use super::commit::{mark_of, now_s, put_marked};
use super::entry::{Entry, write_manifests};
use super::mirror::{LocalCopy, Mirror};
use super::objects::Objects;
use super::words as segments_of_words;
use super::{log, random};
use crate::codes::neutral::LazyNeutral;
use crate::error::StoreError;
use crate::lance::row_list::RowList;
use crate::lance::table::LanceTable;
use crate::snapshot::contents::{FileMark, Snapshot};
use crate::snapshot::names::{CODES, ROWS};
use crate::text::analysis::ANALYSIS;
use crate::upkeep::repair::Repaired;

/// How often a repair begins again when others were first.
const ATTEMPTS: u64 = 100;

/// Files compared with their hashes at once.
const COMPARED: usize = 8;

/// Mends the newest snapshot. Copies of words and codes, and what is made on the way, lie below `local`.
/// Pages that are coded again are measured with the `neutral` questions.
///
/// # Errors
/// [`StoreError::Irreplaceable`], [`StoreError::NotInBucket`] for a compact index whose codes are damaged;
/// [`StoreError::Conditions`]; what cannot be read or put. The index is as it was then.
pub(crate) async fn repair(
    objects: &Objects,
    local: &Path,
    neutral: Option<&LazyNeutral>,
) -> Result<Repaired, StoreError> {
    let missing = || StoreError::Missing { path: objects.shown() };
    // Nothing is left behind where there is no index.
    newest(objects).await?.ok_or_else(missing)?;
    objects.try_conditions().await?;
    let mut retries = 0;
    loop {
        let newest = newest(objects).await?.ok_or_else(missing)?;
        let begin = format!("repaired-{}", random());
        let scratch = local.join(format!("{begin}-{}", std::process::id()));
        let attempt = attempt(objects, &newest, neutral, (local, &scratch), begin).await;
        let _ = fs::remove_dir_all(&scratch);
        retries += 1;
        match attempt {
            Ok(Some(repaired)) => return Ok(repaired),
            Ok(None) if retries < ATTEMPTS => {}
            Ok(None) => {
                let what = "others publish faster than it can be repaired: try again";
                return Err(StoreError::Pointer { path: objects.shown(), what });
            }
            Err(error) => {
                // What another published meanwhile may have what this one lacked, swept away since.
                let moved_on = log::newest_from(objects, newest.snapshot.number + 1).await?;
                if moved_on.is_none() || retries >= ATTEMPTS {
                    return Err(error);
                }
            }
        }
    }
}

/// The newest snapshot. One that is damaged is all that says what is in the index.
async fn newest(objects: &Objects) -> Result<Option<Entry>, StoreError> {
    log::newest(objects).await.map_err(|error| match error {
        StoreError::DamagedFile { path, what } => StoreError::Irreplaceable { path, what },
        StoreError::Pointer { path, what } => StoreError::Irreplaceable { path, what: what.into() },
        other => other,
    })
}

/// What is known of a snapshot while it is mended.
struct Mending<'a> {
    objects: &'a Objects,
    mirror: Mirror,
    on: &'a Entry,
    scratch: &'a Path,
    /// How the names of new files begin.
    begin: String,
    /// The files that are gone or damaged, or that are derived and of which a lost manifest said how they
    /// were.
    damaged: HashSet<String>,
    /// The manifests that are gone or damaged.
    lost: BTreeSet<String>,
    /// The files that are as they were written, and those that were put since.
    known: BTreeMap<String, FileMark>,
    repaired: Repaired,
}

/// One attempt on the snapshot `on`; `None` when another took the next number.
async fn attempt(
    objects: &Objects,
    on: &Entry,
    neutral: Option<&LazyNeutral>,
    (local, scratch): (&Path, &Path),
    begin: String,
) -> Result<Option<Repaired>, StoreError> {
    let (mut files, lost) = on.files_left(objects).await?;
    let mut found = differences(objects, &files).await?;
    if !lost.is_empty() {
        let (tables, derived) = unmarked(objects, on, &files).await?;
        for (name, mark) in tables {
            match mark {
                Some(mark) => _ = files.insert(name, mark),
                None => _ = found.insert(name, "it is missing".into()),
            }
        }
        found.extend(derived.into_iter().map(|name| (name, "its manifest is lost".into())));
    }
    check(objects, on, &found)?;
    let damaged: HashSet<String> = found.into_keys().collect();
    let mut known = files;
    known.retain(|name, _| !damaged.contains(name));
    let mirror = Mirror::new(&LocalCopy::in_folder(local), objects);
    mirror.bring(&known).await?;
    fs::create_dir_all(scratch).map_err(StoreError::io("making", scratch))?;
    let repaired = Repaired { snapshot: on.snapshot.number, ..Repaired::default() };
    let mut mending =
        Mending { objects, mirror, on, scratch, begin, damaged, lost, known, repaired };
    for name in mending.lost.clone() {
        mending.say(format!("{name}: it is made again"));
    }

    let rows = mending.rows().await?;
    let table = objects.tables().open("pages", Some(rows.pages.version())).await?;
    let text_meta = mending.words(&rows, &table).await?;
    let codes = mending.codes(&rows, &table, neutral).await?;
    mending.row_lists(&table).await?;
    let Mending { mut known, mut repaired, lost, .. } = mending;
    if repaired.mended.is_empty() {
        return Ok(Some(repaired));
    }

    // Which files the snapshot needs.
    let segments = segments_of_words::segments(&objects.shown(), &text_meta)?;
    let mut wanted = segments_of_words::files_of(&known, &segments);
    let in_use = rows.documents.files_in_use().into_iter().chain(rows.pages.files_in_use());
    let lists: Vec<String> = known.keys().filter(|name| name.starts_with(ROWS)).cloned().collect();
    let in_use = in_use.chain(lists).chain(codes.iter().map(|name| in_bucket(name)));
    for name in in_use {
        let mark = match known.remove(&name) {
            Some(mark) => mark,
            None => mark_of(objects, &name).await?,
        };
        wanted.insert(name, mark);
    }
    let number = on.snapshot.number + 1;
    let mut manifests = on.manifests.clone();
    manifests.retain(|manifest| !lost.contains(&manifest.name));
    let manifests = write_manifests(objects, number, &manifests, &wanted).await?;
    let snapshot = Snapshot {
        number,
        created_s: now_s(),
        documents_version: rows.documents.version(),
        pages_version: rows.pages.version(),
        text_meta,
        analysis: ANALYSIS,
        documents: rows.ledger.len() as u64,
        pages: rows.pages.rows().await?,
        codes: Some(codes),
        ..on.snapshot.clone()
    };
    let (plans, lists) = (on.plans.clone(), on.lists.clone());
    let next = Entry { snapshot, nonce: random(), plans, manifests, lists };
    if !log::publish(objects, &next).await? {
        return Ok(None);
    }
    // Not a part of it, as with a commit.
    let _ = rows.documents.bring_up().await;
    let _ = rows.pages.bring_up().await;
    repaired.snapshot = number;
    Ok(Some(repaired))
}

/// The files of the snapshot `on` that are not among `files`, since the manifests that named them are lost.
/// Those of its tables come as they are, or without a mark where they are gone: their rows have checksums of
/// their own. Of what is derived nothing says how it was.
async fn unmarked(
    objects: &Objects,
    on: &Entry,
    files: &BTreeMap<String, FileMark>,
) -> Result<(BTreeMap<String, Option<FileMark>>, BTreeSet<String>), StoreError> {
    let snapshot = &on.snapshot;
    let mut tables = BTreeMap::new();
    let versions = [("documents", snapshot.documents_version), ("pages", snapshot.pages_version)];
    for (name, version) in versions {
        let table = objects.tables().open(name, Some(version)).await?;
        for name in table.files_in_use().await? {
            if !files.contains_key(&name) {
                let bytes = objects.get(&name).await?;
                let mark = bytes.map(|bytes| FileMark {
                    bytes: bytes.len() as u64,
                    blake3: blake3::hash(&bytes).to_hex().to_string(),
                });
                tables.insert(name, mark);
            }
        }
    }
    let segments = segments_of_words::segments(&objects.shown(), &snapshot.text_meta)?;
    let words = objects.list("text/").await?.into_iter().map(|object| object.name);
    let is_of = |name: &String| {
        segments_of_words::segment_of(name).is_some_and(|segment| segments.contains(segment))
    };
    let codes = snapshot.codes.iter().flatten().map(|name| in_bucket(name));
    let derived = words.filter(is_of).chain(codes);
    Ok((tables, derived.filter(|name| !files.contains_key(name)).collect()))
}

/// Those of `files` that are not as they were written, and what is wrong with each.
async fn differences(
    objects: &Objects,
    files: &BTreeMap<String, FileMark>,
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut comparing = Vec::with_capacity(files.len());
    for (name, mark) in files {
        comparing.push(async move {
            let what = objects.difference(name, mark).await?;
            Ok::<_, StoreError>(what.map(|what| (name.clone(), what)))
        });
    }
    let compared = futures::stream::iter(comparing).buffer_unordered(COMPARED);
    let compared: Vec<Option<(String, String)>> = compared.try_collect().await?;
    Ok(compared.into_iter().flatten().collect())
}

/// Refuses what cannot be mended: the lists of the tables, which say what rows there are, and codes that
/// are the only copy of vectors.
fn check(
    objects: &Objects,
    on: &Entry,
    damaged: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    if let Some((name, what)) = damaged.iter().find(|(name, _)| name.contains(".lance/_versions/"))
    {
        let (path, what) = (objects.path_of(name), what.clone());
        return Err(StoreError::Irreplaceable { path, what });
    }
    if on.snapshot.compact.is_some() && !damaged.is_empty() {
        let place = objects.address.to_string();
        let what =
            "a compact index is not repaired: its codes are all that there is of its vectors";
        return Err(StoreError::NotInBucket { place, what });
    }
    Ok(())
}

fn in_bucket(codes: &str) -> String {
    format!("{CODES}/{codes}")
}

impl Mending<'_> {
    fn say(&mut self, what: String) {
        self.repaired.mended.push(what);
    }

    /// The damaged files below `folder`, in order.
    fn damaged_in(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .damaged
            .iter()
            .filter(|name| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
            .cloned()
            .collect();
        names.sort();
        names
    }

    /// Writes down again which pages the rows of `table` are, where a list of that may be damaged.
    async fn row_lists(&mut self, table: &LanceTable) -> Result<(), StoreError> {
        let damaged = self.damaged_in(ROWS);
        if damaged.is_empty() && self.lost.is_empty() {
            return Ok(());
        }
        let mut list = RowList::default();
        for name in self.known.keys().filter(|name| name.starts_with(ROWS)) {
            let bytes = self.objects.get_required(name).await?;
            list.extend(RowList::parse(&bytes).unwrap_or_default());
        }
        let rest = list.rest_of(table).await?;
        if !rest.is_empty() {
            let name = format!("{ROWS}/{}.json", self.begin);
            let mark = put_marked(self.objects, &name, rest.to_bytes()).await?;
            self.known.insert(name, mark);
        }
        damaged.iter().for_each(|name| self.say(format!("{name}: it is made again")));
        Ok(())
    }
}

/// Cuts `documents` into groups with about `most` of `pages` each; a larger document is a group of its own.
fn grouped(
    documents: &BTreeSet<DocumentId>,
    pages: impl Iterator<Item = PageId>,
    most: usize,
) -> Vec<(BTreeSet<DocumentId>, Vec<PageId>)> {
    let mut of_documents: BTreeMap<DocumentId, Vec<PageId>> =
        documents.iter().map(|document| (*document, Vec::new())).collect();
    for page in pages {
        if let Some(pages) = of_documents.get_mut(&page.document) {
            pages.push(page);
        }
    }
    let mut groups: Vec<(BTreeSet<DocumentId>, Vec<PageId>)> = Vec::new();
    for (document, pages) in of_documents {
        match groups.last_mut() {
            Some((documents, there)) if there.len() + pages.len() <= most => {
                documents.insert(document);
                there.extend(pages);
            }
            _ => groups.push((BTreeSet::from([document]), pages)),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_grouped_whole_and_none_is_left_out() {
        let id = |n: u8| DocumentId([n; 32]);
        let pages =
            |n: u8, count: u32| (1..=count).map(move |number| PageId { document: id(n), number });
        let documents = (1..=5).map(id).collect();
        let all = pages(1, 2).chain(pages(2, 2)).chain(pages(3, 9)).chain(pages(5, 1));
        let groups = grouped(&documents, all.chain(pages(9, 1)), 4);
        let counts: Vec<(usize, usize)> =
            groups.iter().map(|(documents, pages)| (documents.len(), pages.len())).collect();
        assert_eq!(counts, [(2, 4), (1, 9), (2, 1)]);
        assert!(groups.iter().all(|(documents, pages)| {
            pages.iter().all(|page| documents.contains(&page.document))
        }));
    }
}
