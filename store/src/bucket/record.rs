//! What planners and workers lay down in a bucket: plans, their shards, and the parts of shards.
//!
//! ```text
//! plans/<id>/plan.json                what is to be done, and how
//! plans/<id>/shards/<i>.json          the documents of a shard
//! plans/<id>/parts/<shard>-<seq>.json what a worker has done of it: put where there is none, after
//!                                     the files that it names
//! ```
//!
//! A plan's id is the hash of all that it says, so that planning twice gives the same plan. A part
//! says where the next one of its shard begins: the records of its documents are the ledger from
//! which a worker goes on.

use std::collections::BTreeMap;

use pagesight_core::{DocumentId, DocumentRecord, DocumentStatus, ModelRecord};
use serde::{Deserialize, Serialize};

use super::objects::Objects;
use crate::error::StoreError;
use crate::lance::row_list::RowList;
use crate::snapshot::contents::FileMark;

/// Folder of the plans.
pub(crate) const PLANS: &str = "plans/";

/// A file of a document that is to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFile {
    /// Its path in the ledger.
    pub path: String,
    /// Size, bytes.
    pub bytes: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
}

/// A document that is to be read: once, whatever the number of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDocument {
    /// Hash of its bytes; `None` for a file that the planner could not read.
    pub document: Option<DocumentId>,
    /// Files with these bytes, at least one.
    pub files: Vec<PlannedFile>,
}

impl PlannedDocument {
    /// Size, bytes.
    pub fn bytes(&self) -> u64 {
        self.files.first().map_or(0, |file| file.bytes)
    }
}

/// A path whose file is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedPath {
    /// Its path in the ledger.
    pub path: String,
    /// What the ledger has there: a path that holds another document by the time of the commit stays.
    pub document: Option<DocumentId>,
}

/// How many documents a plan is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanCounts {
    /// To be read.
    pub to_read: u64,
    /// In the index as they are.
    pub unchanged: u64,
    /// With another path, or a further one.
    pub renamed: u64,
    /// Gone.
    pub dropped: u64,
}

/// What there is to do, as found by comparing folders with a snapshot.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Work {
    /// The snapshot that it was compared with.
    pub base: u64,
    /// The model that encodes pages; `None` indexes words alone.
    pub model: Option<ModelRecord>,
    /// How pages are read: whatever the program wants its workers to know.
    pub reading: serde_json::Value,
    /// The folder that paths are relative to, where it was planned.
    pub folder: String,
    /// To be read, in any order.
    pub documents: Vec<PlannedDocument>,
    /// Records of documents that are in the index and have another path now, or a further one.
    pub renamed: Vec<DocumentRecord>,
    /// Paths that are gone.
    pub dropped: Vec<DroppedPath>,
    /// Documents that are in the index as they are.
    pub unchanged: u64,
    /// Shards wanted; `None` for one each 256 MB.
    pub shards: Option<usize>,
}

/// A plan: the work on one snapshot, cut into shards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    v: u32,
    /// A hash of all that it says.
    pub id: String,
    /// The snapshot that it is made on.
    pub base: u64,
    /// The model that encodes pages; `None` indexes words alone.
    pub model: Option<ModelRecord>,
    /// How pages are read.
    pub reading: serde_json::Value,
    /// The folder that paths are relative to, where it was planned; other machines may say another.
    pub folder: String,
    /// How many shards it has.
    pub shards: usize,
    /// How many documents it is about.
    pub documents: PlanCounts,
    /// To be read, bytes.
    pub bytes: u64,
    /// Ledger paths of documents spread over the plan: whoever needs the coder of the index first makes
    /// it of their first pages, so that it does not depend on which shard was begun first. Empty for an
    /// index of words alone.
    #[serde(default)]
    pub sample: Vec<String>,
    pub(crate) renamed: Vec<DocumentRecord>,
    pub(crate) dropped: Vec<DroppedPath>,
}

/// A shard of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shard {
    v: u32,
    pub documents: Vec<PlannedDocument>,
}

/// Bytes of a shard, where nobody says how many there shall be.
const SHARD_BYTES: u64 = 256 << 20;

/// Shards of a plan at most.
const MOST_SHARDS: usize = 10_000;

/// Documents whose first pages the coder of an index is made of. The mean of the vectors of two pages
/// each is a mean of some ten thousand vectors; more documents would make the first worker of a plan
/// wait for longer than their digits are worth, above all where a page takes a minute to encode.
const SAMPLED: usize = 16;

impl Plan {
    /// Cuts `work` into shards of about equal bytes; `None` when there is nothing to do.
    pub(crate) fn of(mut work: Work) -> Option<(Self, Vec<Shard>)> {
        let is_empty =
            work.documents.is_empty() && work.renamed.is_empty() && work.dropped.is_empty();
        if is_empty {
            return None;
        }
        // By their hashes: planned twice, whatever the order of the walk, they are cut alike.
        let key = |planned: &PlannedDocument| {
            (planned.document, planned.files.first().map(|file| file.path.clone()))
        };
        work.documents.iter_mut().for_each(|d| d.files.sort_by(|a, b| a.path.cmp(&b.path)));
        work.documents.sort_by_cached_key(key);
        work.renamed.sort_by(|a, b| a.path.cmp(&b.path));
        work.dropped.sort_by(|a, b| a.path.cmp(&b.path));
        let bytes = work.documents.iter().map(PlannedDocument::bytes).sum();
        let count = work.documents.len();
        let by_size = || usize::try_from(u64::div_ceil(bytes, SHARD_BYTES)).unwrap_or(MOST_SHARDS);
        let shards = work.shards.unwrap_or_else(by_size).clamp(1, MOST_SHARDS);
        let documents = PlanCounts {
            to_read: count as u64,
            unchanged: work.unchanged,
            renamed: work.renamed.len() as u64,
            dropped: work.dropped.len() as u64,
        };
        let sample = if work.model.is_some() { sample(&work.documents) } else { Vec::new() };
        let mut plan = Self {
            v: 1,
            id: String::new(),
            base: work.base,
            model: work.model.map(super::entry::placeless),
            reading: work.reading,
            folder: String::new(),
            shards,
            documents,
            bytes,
            sample,
            renamed: work.renamed,
            dropped: work.dropped,
        };
        let shards = cut(work.documents, shards, bytes);
        // The folder is a place of one machine, and another planner may have another.
        let said = serde_json::to_vec(&(&plan, &shards)).expect("a plan is plain data");
        plan.id = blake3::hash(&said).to_hex()[..16].to_string();
        plan.folder = work.folder;
        Some((plan, shards))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plan is plain data")
    }
}

/// Paths of [`SAMPLED`] of `documents`, which are in the order of their hashes: evenly spread, so that
/// none of their folders or sizes counts more than the others.
fn sample(documents: &[PlannedDocument]) -> Vec<String> {
    let readable: Vec<&PlannedFile> = documents
        .iter()
        .filter(|planned| planned.document.is_some())
        .filter_map(|planned| planned.files.first())
        .collect();
    let count = readable.len().min(SAMPLED);
    (0..count).map(|n| readable[n * readable.len() / count].path.clone()).collect()
}

/// Cuts `documents`, in their order, into `count` shards of about equal bytes.
fn cut(documents: Vec<PlannedDocument>, count: usize, bytes: u64) -> Vec<Shard> {
    let mut shards = vec![Shard { v: 1, documents: Vec::new() }; count];
    let mut before = 0;
    for document in documents {
        // Where its middle lies decides; empty files go to the first shard.
        let middle = before + document.bytes() / 2;
        let at = u128::from(middle) * count as u128 / u128::from(bytes.max(1));
        before += document.bytes();
        shards[usize::try_from(at).unwrap_or(count).min(count - 1)].documents.push(document);
    }
    shards
}

/// What a worker has done of a shard since the part before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub v: u32,
    pub plan: String,
    pub shard: usize,
    pub seq: u64,
    /// Of the worker that put it.
    pub nonce: String,
    /// Nothing of the shard is left to do.
    pub done: bool,
    /// Everything that it brings, by name below the index.
    pub files: BTreeMap<String, FileMark>,
    /// The rows of its files of pages, as Lance describes them.
    pub fragments: Vec<serde_json::Value>,
    /// Which pages these rows are. Parts of before this was written down have none.
    #[serde(default)]
    pub rows: RowList,
    /// The segments of its words, as tantivy describes them.
    pub text_meta: Option<String>,
    /// The segment of its codes, in `codes/`.
    pub codes: Option<String>,
    /// Records of the ledger, each in place of the one of its path.
    pub documents: Vec<DocumentRecord>,
    pub dropped_paths: Vec<String>,
    /// Documents that are read anew: what earlier parts have of them does not count.
    pub dropped_pages: Vec<DocumentId>,
    /// Documents that it has pages of, and how many.
    pub pages: BTreeMap<DocumentId, u64>,
}

impl Part {
    /// The record of `documents` without pages yet.
    pub fn new(plan: &str, shard: usize, seq: u64) -> Self {
        Self {
            v: 1,
            plan: plan.into(),
            shard,
            seq,
            nonce: super::random(),
            done: false,
            files: BTreeMap::new(),
            fragments: Vec::new(),
            rows: RowList::default(),
            text_meta: None,
            codes: None,
            documents: Vec::new(),
            dropped_paths: Vec::new(),
            dropped_pages: Vec::new(),
            pages: BTreeMap::new(),
        }
    }

    /// Its object.
    pub fn name(&self) -> String {
        part_name(&self.plan, self.shard, self.seq)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a part is plain data")
    }

    /// Reads the part `seq` of `shard`; `None` when there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Bucket`], [`StoreError::Plan`] for one that is not what was written.
    pub async fn read(
        objects: &Objects,
        plan: &str,
        shard: usize,
        seq: u64,
    ) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = objects.get(&part_name(plan, shard, seq)).await? else {
            return Ok(None);
        };
        let part: Option<Self> = serde_json::from_slice(&bytes).ok();
        let is_it = |part: &Self| (&*part.plan, part.shard, part.seq) == (plan, shard, seq);
        match part.filter(is_it) {
            Some(part) => Ok(Some(part)),
            None => {
                let what = format!("has a damaged part {seq} of shard {shard}");
                Err(StoreError::Plan { plan: plan.into(), what })
            }
        }
    }
}

/// The object of plan `id`.
pub(crate) fn plan_name(id: &str) -> String {
    format!("{PLANS}{id}/plan.json")
}

/// The object of a shard.
pub(crate) fn shard_name(id: &str, shard: usize) -> String {
    format!("{PLANS}{id}/shards/{shard}.json")
}

/// The object of a part.
pub(crate) fn part_name(id: &str, shard: usize, seq: u64) -> String {
    format!("{PLANS}{id}/parts/{shard}-{seq}.json")
}

/// The plan that the object or file `name` belongs to, if it is of one.
pub(crate) fn plan_of(name: &str) -> Option<&str> {
    let begin = match name.split_once('/')? {
        ("plans", rest) => return rest.split('/').next(),
        ("codes" | "text" | "rows", rest) => rest,
        ("pages.lance", rest) => rest.strip_prefix("data/")?,
        _ => return None,
    };
    let id = begin.split('-').next()?;
    is_id(id).then_some(id)
}

/// Whether `id` looks like the id of a plan.
pub(crate) fn is_id(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Reads plan `id`; `None` when there is none.
///
/// # Errors
/// [`StoreError::Bucket`], [`StoreError::Plan`].
pub(crate) async fn read_plan(objects: &Objects, id: &str) -> Result<Option<Plan>, StoreError> {
    if !is_id(id) {
        let what = "is none: an id has 16 hexadecimal digits, as `plan` prints them".into();
        return Err(StoreError::Plan { plan: id.chars().take(64).collect(), what });
    }
    let Some(bytes) = objects.get(&plan_name(id)).await? else { return Ok(None) };
    let plan: Option<Plan> = serde_json::from_slice(&bytes).ok();
    let damaged = || StoreError::Plan { plan: id.into(), what: "is damaged".into() };
    plan.filter(|plan| plan.id == id).ok_or_else(damaged).map(Some)
}

/// Reads a shard.
///
/// # Errors
/// [`StoreError::Bucket`], [`StoreError::Plan`].
pub(crate) async fn read_shard(
    objects: &Objects,
    id: &str,
    shard: usize,
) -> Result<Shard, StoreError> {
    let bytes = objects.get_required(&shard_name(id, shard)).await?;
    let damaged =
        |_| StoreError::Plan { plan: id.into(), what: format!("has a damaged shard {shard}") };
    serde_json::from_slice(&bytes).map_err(damaged)
}

/// Whether all that a run wants of the document of `record` is in the index.
pub(crate) fn is_whole(record: &DocumentRecord) -> bool {
    matches!(record.status, DocumentStatus::Ok | DocumentStatus::Partial)
}

/// Puts a shard.
pub(crate) fn shard_bytes(shard: &Shard) -> Vec<u8> {
    serde_json::to_vec(shard).expect("a shard is plain data")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(n: u64) -> PlannedDocument {
        let path = format!("{n}.pdf");
        let file = PlannedFile { path: path.clone(), bytes: 100 + n, modified_ns: 7 };
        PlannedDocument { document: Some(DocumentId::of(path.as_bytes())), files: vec![file] }
    }

    fn work(count: u64) -> Work {
        let documents = (0..count).map(document).collect();
        Work { base: 3, documents, shards: Some(4), ..Work::default() }
    }

    #[test]
    fn the_same_work_is_the_same_plan_in_any_order_and_on_any_machine() {
        let (plan, shards) = Plan::of(work(50)).unwrap();
        let mut other = work(50);
        other.documents.reverse();
        other.folder = "/mnt/elsewhere".into();
        let (again, same) = Plan::of(other).unwrap();
        assert_eq!((again.id, same), (plan.id.clone(), shards));
        for change in [
            |work: &mut Work| work.base = 4,
            |work: &mut Work| work.shards = Some(5),
            |work: &mut Work| work.reading = serde_json::json!({"ocr": false}),
            |work: &mut Work| _ = work.documents.pop(),
        ] {
            let mut other = work(50);
            change(&mut other);
            assert_ne!(Plan::of(other).unwrap().0.id, plan.id);
        }
        assert!(is_id(&plan.id) && Plan::of(work(0)).is_none());
    }

    #[test]
    fn shards_have_about_the_same_bytes_and_every_document_once() {
        for (count, shards) in [(1000, 7), (3, 10), (10_000, 64)] {
            let mut work = work(count);
            work.shards = Some(shards);
            let all: u64 = work.documents.iter().map(PlannedDocument::bytes).sum();
            let (plan, cut) = Plan::of(work).unwrap();
            assert_eq!((plan.shards, cut.len()), (shards, shards));
            assert_eq!(cut.iter().map(|shard| shard.documents.len() as u64).sum::<u64>(), count);
            for shard in cut.iter().filter(|_| count > 100) {
                let bytes: u64 = shard.documents.iter().map(PlannedDocument::bytes).sum();
                let fair = all / shards as u64;
                assert!(bytes.abs_diff(fair) < 100 + count, "{bytes} of {fair}");
            }
        }
    }

    #[test]
    fn the_sample_of_a_plan_is_spread_over_all_of_it() {
        let with_model = |count| Work {
            model: Some(ModelRecord::new(pagesight_core::ModelId("m".into()), 2)),
            ..work(count)
        };
        assert!(Plan::of(work(50)).unwrap().0.sample.is_empty(), "there is nothing to encode");
        assert_eq!(Plan::of(with_model(3)).unwrap().0.sample.len(), 3);
        let (plan, shards) = Plan::of(with_model(200)).unwrap();
        assert_eq!(plan.sample.len(), SAMPLED);
        let paths = |shard: &Shard| -> Vec<String> {
            shard.documents.iter().map(|document| document.files[0].path.clone()).collect()
        };
        for shard in &shards {
            let paths = paths(shard);
            let of_shard = plan.sample.iter().filter(|path| paths.contains(path)).count();
            assert!((3..=5).contains(&of_shard), "{of_shard} of {SAMPLED} in one of 4 shards");
        }
    }

    #[test]
    fn files_say_which_plan_they_are_of() {
        let id = "0123456789abcdef";
        for name in [
            format!("plans/{id}/plan.json"),
            format!("plans/{id}/parts/0-1.json"),
            format!("codes/{id}-3-0-aa.codes"),
            format!("text/{id}-3-0-aa/ff.term"),
            format!("pages.lance/data/{id}-3-0-aa.lance"),
        ] {
            assert_eq!(plan_of(&name), Some(id), "{name}");
        }
        for name in ["snapshots/1.json", "codes/7.codes", "pages.lance/data/abc.lance", "x"] {
            assert_eq!(plan_of(name), None, "{name}");
        }
    }
}
