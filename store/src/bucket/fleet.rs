//! An index in a bucket, for those who write to it: planners, workers, committers, sweepers.

use std::path::{Path, PathBuf};

use pagesight_core::{DocumentRecord, ModelId, ModelRecord};

use super::address::Address;
use super::commit::{self, Committed, now_s};
use super::entry::{BUCKET_FORMAT, Closed, Entry, placeless, write_manifests};
use super::gc::{self, Keeping, OpenPlan, Swept};
use super::objects::{Objects, Put};
use super::pdfs::Pdfs;
use super::record::{self, Plan, Work};
use super::worker::{Worker, lay_out};
use super::{coder, log, random, repair};
use crate::codes::neutral::LazyNeutral;
use crate::codes::segments;
use crate::error::StoreError;
use crate::lance::detached::{Detached, TablePlace};
use crate::lance::schema::{documents_schema, pages_schema, read_ledger};
use crate::runtime::wait;
use crate::snapshot::contents::{Snapshot, Tuning};
use crate::text::analysis::ANALYSIS;
use crate::text::writer::TextWriter;
use crate::upkeep::repair::Repaired;
use crate::upkeep::transfer::import as import_into_folder;
use crate::writer::AsyncWriter;

/// Row length of vectors in an index without a model.
const NO_MODEL_DIM: usize = 128;

/// How often making an index begins again when others make it too.
const ATTEMPTS: u32 = 10;

/// An index in a bucket, to be written. Any number of programs may do so at once.
///
/// Calls block, and may be made in async code of any runtime, as all of this crate.
pub struct Fleet {
    objects: Objects,
    tables: TablePlace,
    scratch: PathBuf,
}

impl Fleet {
    /// Opens the bucket of `address`; nothing is asked of it yet. What is made on the way lies below
    /// `local` for a while.
    ///
    /// # Errors
    /// [`StoreError::NotBuilt`], [`StoreError::Bucket`].
    pub fn open(address: &Address, local: &Path) -> Result<Self, StoreError> {
        let objects = wait(Objects::open(address))?;
        Ok(Self::over(objects, local))
    }

    pub(super) fn over(objects: Objects, local: &Path) -> Self {
        let tables = objects.tables();
        Self { objects, tables, scratch: local.to_path_buf() }
    }

    /// The address.
    pub fn address(&self) -> &Address {
        &self.objects.address
    }

    /// The PDFs that lie at `address`, spoken to as the bucket of the index is.
    ///
    /// # Errors
    /// [`StoreError::NotBuilt`], [`StoreError::Bucket`].
    pub fn pdfs(&self, address: Address) -> Result<Pdfs, StoreError> {
        let clear_http = self.objects.address.allows_clear_http();
        Pdfs::open(&address.with_clear_http(clear_http))
    }

    /// The newest snapshot; `None` where there is no index yet.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn newest(&self) -> Result<Option<Snapshot>, StoreError> {
        Ok(wait(log::newest(&self.objects))?.map(|entry| entry.snapshot))
    }

    /// Makes sure of an index for `model`, and says its newest snapshot with its ledger: what a plan
    /// is made on. Tries the store's conditions first.
    ///
    /// # Errors
    /// [`StoreError::Conditions`], [`StoreError::OtherModel`], [`StoreError::NotInBucket`] for a
    /// compact one; what cannot be read or put.
    pub fn begin(
        &self,
        model: Option<&ModelRecord>,
    ) -> Result<(Snapshot, Vec<DocumentRecord>), StoreError> {
        wait(async {
            self.objects.try_conditions().await?;
            let entry = self.made(model).await?;
            let snapshot = entry.snapshot;
            if snapshot.compact.is_some() {
                let place = self.objects.address.to_string();
                let what = "a compact index can be read, and no pages be added to it";
                return Err(StoreError::NotInBucket { place, what });
            }
            let version = Some(snapshot.documents_version);
            let ledger = read_ledger(&self.tables.open("documents", version).await?).await?;
            if let (Some(expected), Some(got)) = (&snapshot.model, model)
                && expected.id != got.id
            {
                let (path, expected, got) =
                    (self.objects.shown(), expected.id.clone(), got.id.clone());
                return Err(StoreError::OtherModel { path, expected, got });
            }
            Ok((snapshot, ledger))
        })
    }

    async fn made(&self, model: Option<&ModelRecord>) -> Result<Entry, StoreError> {
        for _ in 0..ATTEMPTS {
            if let Some(entry) = log::newest(&self.objects).await? {
                return Ok(entry);
            }
            let entry = self.first(model).await?;
            if log::publish(&self.objects, &entry).await? {
                return Ok(entry);
            }
        }
        Err(StoreError::Missing { path: self.objects.shown() })
    }

    /// Snapshot 1: an empty index.
    async fn first(&self, model: Option<&ModelRecord>) -> Result<Entry, StoreError> {
        let dim = model.map_or(NO_MODEL_DIM, |model| model.dim);
        let (documents, pages) = (documents_schema(), pages_schema(dim));
        self.tables.make("documents", documents.clone()).await?;
        self.tables.make("pages", pages.clone()).await?;
        // What is there may be of one who began with another model: a version of our own, empty.
        let mut tables = Vec::new();
        for (name, schema) in [("documents", documents), ("pages", pages)] {
            let mut table = Detached::of(&self.tables.open(name, None).await?).await?;
            table.overwrite(&schema).await?;
            tables.push(table);
        }
        let folder = self.scratch.join(format!("first-{}-{}", std::process::id(), random()));
        std::fs::create_dir_all(&folder).map_err(StoreError::io("making", &folder))?;
        let text = TextWriter::open(&folder, None).map(|text| text.meta());
        let _ = std::fs::remove_dir_all(&folder);
        let text_meta = text?;
        let mut wanted = std::collections::BTreeMap::new();
        for name in tables.iter().flat_map(Detached::files_in_use) {
            let mark = commit::mark_of(&self.objects, &name).await?;
            wanted.insert(name, mark);
        }
        let manifests = write_manifests(&self.objects, 1, &[], &wanted).await?;
        Ok(Entry {
            snapshot: Snapshot {
                format: BUCKET_FORMAT,
                number: 1,
                created_s: now_s(),
                documents_version: tables[0].version(),
                pages_version: tables[1].version(),
                text_meta,
                analysis: ANALYSIS,
                model: model.cloned().map(placeless),
                grid: None,
                dim,
                documents: 0,
                pages: 0,
                codes: Some(Vec::new()),
                passages: None,
                no_passages: false,
                tuning: None,
                compact: None,
                addresses: None,
                files: std::collections::BTreeMap::new(),
            },
            nonce: random(),
            plans: std::collections::BTreeMap::new(),
            manifests,
            lists: Vec::new(),
        })
    }

    /// Puts the plan of `work`; `None` when there is nothing to do. The same work is the same plan,
    /// and is put once.
    ///
    /// # Errors
    /// [`StoreError::Plan`] for one that was abandoned; what cannot be put.
    pub fn plan(&self, work: Work) -> Result<Option<Plan>, StoreError> {
        wait(self.put_plan(work))
    }

    async fn put_plan(&self, work: Work) -> Result<Option<Plan>, StoreError> {
        let Some((plan, shards)) = Plan::of(work) else { return Ok(None) };
        let name = record::plan_name(&plan.id);
        if self.objects.get(&name).await?.is_none() {
            // The shards first: what has a plan is whole.
            for (number, shard) in shards.iter().enumerate() {
                let bytes = record::shard_bytes(shard);
                self.objects.put(&record::shard_name(&plan.id, number), bytes).await?;
            }
            let newest = log::newest(&self.objects).await?;
            if let Some(Closed::Abandoned(_)) = newest.and_then(|e| e.plans.get(&plan.id).cloned())
            {
                let what = "was abandoned and cannot be planned again on the same snapshot".into();
                return Err(StoreError::Plan { plan: plan.id, what });
            }
            // Another planner may be first, with another folder: it is the same plan.
            if let Put::Taken(bytes) = self.objects.put_new(&name, &plan.to_bytes()).await? {
                return Ok(serde_json::from_slice(&bytes).ok().or(Some(plan)));
            }
        }
        Ok(Some(plan))
    }

    /// Reads plan `id`; `None` when there is none, or none any more.
    ///
    /// # Errors
    /// [`StoreError::Plan`] for what is no id; what cannot be read.
    pub fn read_plan(&self, id: &str) -> Result<Option<Plan>, StoreError> {
        wait(record::read_plan(&self.objects, id))
    }

    /// The snapshot that plan `id` was committed in; `None` for an open one.
    ///
    /// # Errors
    /// [`StoreError::Plan`] for one that was abandoned; what cannot be read.
    pub fn committed_in(&self, id: &str) -> Result<Option<u64>, StoreError> {
        let newest = wait(log::newest(&self.objects))?;
        match newest.and_then(|entry| entry.plans.get(id).cloned()) {
            Some(Closed::Committed(number)) => Ok(Some(number)),
            Some(Closed::Abandoned(_)) => {
                Err(StoreError::Plan { plan: id.into(), what: "was abandoned".into() })
            }
            None => Ok(None),
        }
    }

    /// Goes to work at shard `shard` of the plan `id`, which has `of`, with `model`; `None` when the
    /// plan is committed already.
    ///
    /// # Errors
    /// [`StoreError::Plan`] for a plan that is not there or does not fit; what cannot be read.
    pub fn worker(
        &self,
        id: &str,
        shard: usize,
        of: usize,
        model: Option<&ModelId>,
    ) -> Result<Option<Worker>, StoreError> {
        wait(Worker::open(self.objects.clone(), id, (shard, of), model, &self.scratch))
    }

    /// Commits plan `id`: all of it or nothing; with `partial`, whole documents of what is there.
    ///
    /// # Errors
    /// [`StoreError::Plan`] for one with open shards, or whose files are not there;
    /// [`StoreError::Conditions`]; what cannot be read or put. The index is as it was.
    pub fn commit(&self, id: &str, partial: bool) -> Result<Committed, StoreError> {
        wait(commit::commit(&self.objects, &self.tables, id, partial, &self.scratch))
    }

    /// Joins small files of words and codes, and removes what nothing needs.
    ///
    /// # Errors
    /// [`StoreError::Plan`] for one that cannot be abandoned; what cannot be read, put or removed.
    pub fn collect_garbage(&self, keeping: &Keeping) -> Result<Swept, StoreError> {
        wait(gc::collect(&self.objects, &self.tables, keeping, &self.scratch))
    }

    /// Mends the newest snapshot: words and codes that are gone or damaged are made again from the pages,
    /// and pages that are lost are marked, so that the next plan reads their documents again. It is a
    /// snapshot of its own. Pages that are coded again are measured with the `neutral` questions of the
    /// model; without, the first search measures all pages.
    ///
    /// # Errors
    /// [`StoreError::Irreplaceable`] for what cannot be made again; [`StoreError::Conditions`]; what cannot
    /// be read or put. The index is as it was then.
    pub fn repair(&self, neutral: Option<&LazyNeutral>) -> Result<Repaired, StoreError> {
        wait(repair::repair(&self.objects, &self.scratch, neutral))
    }

    /// Puts what searches are tuned to, or that they are left to themselves: a snapshot with the same
    /// pages as the one before.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there is no index, [`StoreError::Conditions`]; what cannot be read
    /// or put.
    pub fn set_tuning(&self, tuning: Option<&Tuning>) -> Result<Snapshot, StoreError> {
        wait(async {
            self.objects.try_conditions().await?;
            loop {
                let missing = || StoreError::Missing { path: self.objects.shown() };
                let newest = log::newest(&self.objects).await?.ok_or_else(missing)?;
                let snapshot = Snapshot {
                    number: newest.snapshot.number + 1,
                    created_s: now_s(),
                    tuning: tuning.cloned(),
                    ..newest.snapshot.clone()
                };
                let next = Entry { snapshot, nonce: random(), ..newest };
                // Who comes second begins again on what the first published.
                if log::publish(&self.objects, &next).await? {
                    return Ok(next.snapshot);
                }
            }
        })
    }

    /// The open plans, and how many readers say that they are there.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn plans(&self) -> Result<(Vec<OpenPlan>, u64), StoreError> {
        wait(gc::plans(&self.objects))
    }

    /// Makes the index from an export. It appears whole or not at all.
    ///
    /// # Errors
    /// [`StoreError::Exists`] where there is one with documents; as [`import`](crate::import).
    pub fn import(&self, from: &Path) -> Result<Snapshot, StoreError> {
        let folder = self.scratch.join(format!("import-{}-{}", std::process::id(), random()));
        let outcome = wait(self.import_by(from, &folder));
        let _ = std::fs::remove_dir_all(&folder);
        outcome
    }

    async fn import_by(&self, from: &Path, folder: &Path) -> Result<Snapshot, StoreError> {
        self.objects.try_conditions().await?;
        if log::newest(&self.objects).await?.is_some_and(|entry| entry.snapshot.documents > 0) {
            return Err(StoreError::Exists { path: self.objects.shown() });
        }
        // By the same way as into a folder, with all of its checks; then as one part of a plan.
        let snapshot = import_into_folder(folder, from).await?;
        let writer = AsyncWriter::open(folder).await?;
        let model = snapshot.model.clone();
        let entry = self.made(model.as_ref()).await?;
        let ledger: Vec<DocumentRecord> = writer.ledger.records().cloned().collect();
        if ledger.is_empty() {
            return Ok(entry.snapshot);
        }
        if let Some(model) = &model
            && let Some(names) = segments::readable(&snapshot).filter(|names| !names.is_empty())
        {
            let codes = segments::open(folder, names)?;
            if let Some(first) = codes.segments().first() {
                let mean = pagesight_maxsim::SketchCoder::around(first.mean().to_vec());
                coder::offer(&self.objects, model, &mean).await?;
            }
        }
        let documents = ledger.iter().map(|record| record::PlannedDocument {
            document: record.document,
            files: vec![record::PlannedFile {
                path: record.path.clone(),
                bytes: record.bytes,
                modified_ns: record.modified_ns,
            }],
        });
        let work = Work {
            base: entry.snapshot.number,
            model,
            reading: serde_json::json!({"import": random()}),
            documents: documents.collect(),
            shards: Some(1),
            ..Work::default()
        };
        let plan = self.put_plan(work).await?.expect("there are documents");
        let mut part = record::Part::new(&plan.id, 0, 0);
        part.done = true;
        part.documents = ledger;
        let begin = format!("{}-0-0-{}", plan.id, random());
        lay_out(&self.objects, folder, &writer, &begin, &mut part).await?;
        part.pages = pages_of(&writer).await?;
        drop(writer);
        self.objects.put_new(&part.name(), &part.to_bytes()).await?;
        commit::commit(&self.objects, &self.tables, &plan.id, false, &self.scratch).await?;
        let missing = || StoreError::Missing { path: self.objects.shown() };
        Ok(log::newest(&self.objects).await?.ok_or_else(missing)?.snapshot)
    }
}

/// How many pages the open index of `writer` has of each document.
async fn pages_of(
    writer: &AsyncWriter,
) -> Result<std::collections::BTreeMap<pagesight_core::DocumentId, u64>, StoreError> {
    let mut pages = std::collections::BTreeMap::new();
    let table = &writer.open.as_ref().expect("a writer is open").pages;
    for batch in table.read_row_ids(&["document", "number"], None).await? {
        let rows = crate::lance::schema::Rows { batch: &batch, path: &table.path };
        for (page, _) in rows.row_ids()? {
            *pages.entry(page.document).or_default() += 1;
        }
    }
    Ok(pages)
}
