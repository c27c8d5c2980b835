//! A commit: every part of a plan becomes one snapshot, all of it or nothing.
//!
//! Nobody waits for anybody. A commit builds on the newest snapshot that it saw, writes what it
//! writes under names that nobody else gives, and puts the next number where there is none. Who
//! comes second begins again on what the first published.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use pagesight_core::{DocumentId, DocumentRecord, DocumentStatus};
use pagesight_maxsim::SegmentWriter;

use super::changes::changes;
use super::entry::{BUCKET_FORMAT, Closed, Entry, placeless, write_manifests};
use super::objects::Objects;
use super::parts::Parts;
use super::record::{self, Plan};
use super::{coder, log, random, words};
use crate::error::StoreError;
use crate::lance::detached::{Detached, TablePlace};
use crate::lance::row_list::RowList;
use crate::lance::schema::{documents_batch, read_ledger, read_pages_of};
use crate::lance::table::any_of;
use crate::snapshot::contents::{FileMark, Snapshot};
use crate::snapshot::names::ROWS;

/// How often a commit begins again when others were first.
const ATTEMPTS: u64 = 100;

/// What a commit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The snapshot that holds the plan.
    pub snapshot: u64,
    /// It was committed before.
    pub already: bool,
    /// Documents that the plan read.
    pub documents: u64,
    /// Pages that it brought.
    pub pages: u64,
    /// Parts that it was made of.
    pub parts: u64,
    /// How often it began again.
    pub retries: u64,
    /// Documents of the plan that failed, or have pages that did.
    pub failed: u64,
    /// Shards that are not done: of a commit of what is there.
    pub open: Vec<usize>,
}

/// Commits plan `id`; with `partial` what is there of it.
///
/// # Errors
/// [`StoreError::Plan`] for one that is not whole or not there; [`StoreError::Conditions`]; what
/// cannot be read or written. The index is as it was then.
pub(crate) async fn commit(
    objects: &Objects,
    tables: &TablePlace,
    id: &str,
    partial: bool,
    scratch: &Path,
) -> Result<Committed, StoreError> {
    objects.try_conditions().await?;
    // The manifests are read to know the files, and again to be shared.
    let objects = &objects.clone().remembering();
    let mut retries = 0;
    loop {
        let missing = || StoreError::Missing { path: objects.shown() };
        let newest = log::newest(objects).await?.ok_or_else(missing)?;
        if let Some(closed) = newest.plans.get(id) {
            return already(objects, tables, id, closed, &newest, retries).await;
        }
        let scratch = scratch.join(format!("commit-{}-{}", std::process::id(), random()));
        let attempt = attempt(objects, tables, id, partial, &newest, &scratch).await;
        let _ = fs::remove_dir_all(&scratch);
        match attempt {
            Ok(Some(committed)) => return Ok(Committed { retries, ..committed }),
            Ok(None) if retries + 1 < ATTEMPTS => retries += 1,
            Ok(None) => {
                let what = format!("could not be committed: others were first {ATTEMPTS} times");
                return Err(StoreError::Plan { plan: id.into(), what });
            }
            Err(error) => {
                // Another committer may have brought it in, and its files may be swept away since.
                let moved_on = log::newest_from(objects, newest.snapshot.number + 1).await?;
                if moved_on.is_none() || retries + 1 >= ATTEMPTS {
                    return Err(error);
                }
                retries += 1;
            }
        }
    }
}

/// The answer for a plan that ended before.
async fn already(
    objects: &Objects,
    tables: &TablePlace,
    id: &str,
    closed: &Closed,
    newest: &Entry,
    retries: u64,
) -> Result<Committed, StoreError> {
    let Closed::Committed(snapshot) = closed else {
        return Err(StoreError::Plan { plan: id.into(), what: "was abandoned".into() });
    };
    let version = newest.snapshot.documents_version;
    let ledger = read_ledger(&tables.open("documents", Some(version)).await?).await?;
    // Swept away once it is committed: then it is not known any more which documents were its.
    let parts = match record::read_plan(objects, id).await? {
        Some(plan) => Parts::read(objects, &plan).await.ok(),
        None => None,
    };
    let of_plan: Option<BTreeSet<&str>> = parts.as_ref().map(Parts::paths);
    let is_of_plan = |record: &&DocumentRecord| {
        of_plan.as_ref().is_none_or(|paths| paths.contains(&*record.path))
    };
    let failed = ledger.iter().filter(is_of_plan).filter(|record| has_failed(record)).count();
    Ok(Committed {
        snapshot: *snapshot,
        already: true,
        documents: parts.as_ref().map_or(0, Parts::documents),
        pages: parts.as_ref().map_or(0, Parts::pages),
        parts: parts.as_ref().map_or(0, |parts| parts.all.len() as u64),
        retries,
        failed: failed as u64,
        open: Vec::new(),
    })
}

fn has_failed(record: &DocumentRecord) -> bool {
    record.status == DocumentStatus::Failed
        || record.status == DocumentStatus::Partial
        || record.stale.is_some()
}

/// One attempt on the snapshot `on`; `None` when another took its number.
pub(super) async fn attempt(
    objects: &Objects,
    tables: &TablePlace,
    id: &str,
    partial: bool,
    on: &Entry,
    scratch: &Path,
) -> Result<Option<Committed>, StoreError> {
    let wrong = |what: String| StoreError::Plan { plan: id.into(), what };
    let plan = record::read_plan(objects, id).await?;
    let plan = plan.ok_or_else(|| wrong("is not in this index".into()))?;
    check_model(objects, &plan, on)?;
    let parts = Parts::read(objects, &plan).await?;
    if !parts.open.is_empty() && !partial {
        let open: Vec<String> =
            parts.open.iter().take(20).map(|shard| format!("{shard}/{}", plan.shards)).collect();
        let more = parts.open.len().saturating_sub(20);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(wrong(format!("is not done: shards {}{more} are open", open.join(", "))));
    }
    parts.check_files(objects, id).await?;
    let mut documents =
        Detached::of(&tables.open("documents", Some(on.snapshot.documents_version)).await?).await?;
    let mut pages =
        Detached::of(&tables.open("pages", Some(on.snapshot.pages_version)).await?).await?;
    let base = tables.open("documents", Some(on.snapshot.documents_version)).await?;
    let base: BTreeMap<String, DocumentRecord> =
        read_ledger(&base).await?.into_iter().map(|record| (record.path.clone(), record)).collect();
    let changes = changes(&plan, &parts.all, &base, partial);
    if let Some(document) = changes.torn.first() {
        let what = format!(
            "cannot be committed in part: another plan has brought in document {document}, of which \
             this one has read some pages; let its workers end"
        );
        return Err(wrong(what));
    }
    let files_before = on.files(objects).await?;

    for filter in any_of("path", &changes.touched) {
        documents.delete(&filter).await?;
    }
    if !changes.records.is_empty() {
        documents.add(documents_batch(&changes.records)).await?;
    }
    delete_documents(&mut pages, &changes.before).await?;
    let mut fragments: Vec<serde_json::Value> = Vec::new();
    for &at in &changes.added {
        if let Some(again) = changes.between.get(&at) {
            pages.append(&std::mem::take(&mut fragments)).await?;
            delete_documents(&mut pages, again).await?;
        }
        fragments.extend(parts.all[at].fragments.iter().cloned());
    }
    pages.append(&fragments).await?;
    delete_documents(&mut pages, &changes.after).await?;

    let mut known = files_before;
    let added = || changes.added.iter().map(|&at| &parts.all[at]);
    added().for_each(|part| known.extend(part.files.clone()));
    let begin = format!("{id}-commit-{}", random());
    // Words.
    let shown = objects.shown();
    let metas = added().filter_map(|part| part.text_meta.as_deref());
    let mut text_meta = words::joined(&shown, &on.snapshot.text_meta, metas)?;
    if !changes.stale.is_empty() {
        let table = tables.open("pages", Some(pages.version())).await?;
        let stale: HashSet<DocumentId> =
            changes.stale.iter().filter(|id| changes.names.contains_key(id)).copied().collect();
        let kept = read_pages_of(&table, &stale).await?;
        let folder = scratch.join("text");
        let words = (&kept[..], &changes.names);
        let rewritten =
            words::rewrite(objects, &folder, &text_meta, &known, &changes.stale, words, &begin);
        let (meta, put) = rewritten.await?;
        text_meta = meta;
        known.extend(put);
    }
    // Codes.
    let mut codes = on.snapshot.codes.clone().unwrap_or_default();
    if !changes.before.is_empty() && !codes.is_empty() {
        let name = format!("{begin}-0.codes");
        let mark = put_drops(objects, on, &name, &changes.before, scratch).await?;
        known.insert(format!("codes/{name}"), mark);
        codes.push(name);
    }
    codes.extend(added().filter_map(|part| part.codes.clone()));
    if !changes.after.is_empty() && !codes.is_empty() {
        let name = format!("{begin}-1.codes");
        let mark = put_drops(objects, on, &name, &changes.after, scratch).await?;
        known.insert(format!("codes/{name}"), mark);
        codes.push(name);
    }

    // Which pages the rows are.
    let mut rows = RowList::default();
    added().for_each(|part| rows.extend(part.rows.clone()));
    if !rows.is_empty() {
        let name = format!("{ROWS}/{begin}.json");
        known.insert(name.clone(), put_marked(objects, &name, rows.to_bytes()).await?);
    }

    // Which files the snapshot needs.
    let mut wanted: BTreeMap<String, FileMark> =
        words::files_of(&known, &words::segments(&shown, &text_meta)?);
    let lists = known.iter().filter(|(name, _)| name.starts_with(ROWS));
    wanted.extend(lists.map(|(name, mark)| (name.clone(), mark.clone())));
    let in_use = documents.files_in_use().into_iter().chain(pages.files_in_use());
    for name in in_use.chain(codes.iter().map(|name| format!("codes/{name}"))) {
        let mark = match known.get(&name) {
            Some(mark) => mark.clone(),
            None => mark_of(objects, &name).await?,
        };
        wanted.insert(name, mark);
    }
    let number = on.snapshot.number + 1;
    let manifests = write_manifests(objects, number, &on.manifests, &wanted).await?;
    let mut plans = on.plans.clone();
    if parts.open.is_empty() {
        plans.insert(id.into(), Closed::Committed(number));
    }
    let rows = pages.rows().await?;
    let next = Entry {
        snapshot: Snapshot {
            format: BUCKET_FORMAT,
            number,
            created_s: now_s(),
            documents_version: documents.version(),
            pages_version: pages.version(),
            text_meta,
            documents: changes.ledger.len() as u64,
            pages: rows,
            codes: Some(codes),
            model: on.snapshot.model.clone().or_else(|| plan.model.clone().map(placeless)),
            ..on.snapshot.clone()
        },
        nonce: random(),
        plans,
        manifests,
        lists: on.lists.clone(),
    };
    if !log::publish(objects, &next).await? {
        return Ok(None);
    }
    // What others of Lance's clients see. Not a part of the commit: the next one does it again.
    let _ = documents.bring_up().await;
    let _ = pages.bring_up().await;
    let failed = parts.paths().into_iter().filter_map(|path| changes.ledger.get(path));
    Ok(Some(Committed {
        snapshot: number,
        already: false,
        documents: parts.documents(),
        pages: added().flat_map(|part| part.pages.values()).sum(),
        parts: parts.all.len() as u64,
        retries: 0,
        failed: failed.filter(|record| has_failed(record)).count() as u64,
        open: parts.open,
    }))
}

/// Vectors of two models are not comparable.
fn check_model(objects: &Objects, plan: &Plan, on: &Entry) -> Result<(), StoreError> {
    let (Some(expected), Some(got)) = (&on.snapshot.model, &plan.model) else { return Ok(()) };
    if expected.id != got.id {
        let (path, expected, got) = (objects.shown(), expected.id.clone(), got.id.clone());
        return Err(StoreError::OtherModel { path, expected, got });
    }
    Ok(())
}

async fn delete_documents(
    pages: &mut Detached,
    documents: &BTreeSet<DocumentId>,
) -> Result<(), StoreError> {
    for filter in any_of("document", documents.iter().map(ToString::to_string)) {
        pages.delete(&filter).await?;
    }
    Ok(())
}

/// Puts a segment of codes that only drops `documents`.
async fn put_drops(
    objects: &Objects,
    on: &Entry,
    name: &str,
    documents: &BTreeSet<DocumentId>,
    scratch: &Path,
) -> Result<FileMark, StoreError> {
    let model = on.snapshot.model.as_ref();
    let coder = match model {
        Some(model) => coder::there(objects, model).await?,
        None => None,
    };
    let Some(coder) = coder else {
        let what = "it has codes and nothing that says around what".into();
        return Err(StoreError::Torn { path: objects.shown(), what });
    };
    fs::create_dir_all(scratch).map_err(StoreError::io("making", scratch))?;
    let path = scratch.join(name);
    let writing = || StoreError::io("writing", &path);
    let file = fs::File::create(&path).map_err(writing())?;
    let mut writer = SegmentWriter::new(file, &coder);
    documents.iter().for_each(|document| writer.drop_document(*document));
    writer.finish().map_err(writing())?;
    let bytes = fs::read(&path).map_err(StoreError::io("reading", &path))?;
    put_marked(objects, &format!("codes/{name}"), bytes).await
}

/// Puts `bytes` under `name`, which nobody else gives, and says how they must be.
pub(super) async fn put_marked(
    objects: &Objects,
    name: &str,
    bytes: Vec<u8>,
) -> Result<FileMark, StoreError> {
    let blake3 = blake3::hash(&bytes).to_hex().to_string();
    let mark = FileMark { bytes: bytes.len() as u64, blake3 };
    objects.put(name, bytes).await?;
    Ok(mark)
}

/// Size and hash of an object that was just put.
pub(super) async fn mark_of(objects: &Objects, name: &str) -> Result<FileMark, StoreError> {
    let bytes = objects.get_required(name).await?;
    let blake3 = blake3::hash(&bytes).to_hex().to_string();
    Ok(FileMark { bytes: bytes.len() as u64, blake3 })
}

pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
