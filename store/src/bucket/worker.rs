//! A worker: what it reads of a shard becomes parts, each laid down whole or not at all.
//!
//! A part is first an index of its own in a folder of this machine, made by the same writer as any
//! other; then its files are put into the bucket under names of the plan, and last its record, where
//! there is none. A worker that is killed leaves files that no record names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};
use pagesight_core::seam::{Batch, BoxError, PageSink};
use pagesight_core::{DocumentId, DocumentRecord, ModelId, PageId, PageVectors};
use pagesight_maxsim::SketchCoder;

use super::entry::Closed;
use super::objects::{Objects, Put};
use super::record::{self, Part, Plan, PlannedDocument};
use super::{coder, log, random};
use crate::codes::neutral::LazyNeutral;
use crate::error::StoreError;
use crate::lance::detached::fragments_of;
use crate::lance::row_list::RowList;
use crate::runtime::wait;
use crate::writer::AsyncWriter;

/// Files of a part put at once.
const UPLOADED: usize = 4;

/// What a worker did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerSummary {
    /// Parts that this worker laid down.
    pub parts: u64,
    /// Parts that were there when it began.
    pub resumed: u64,
    /// Nothing of the shard is left to do.
    pub done: bool,
}

/// Reads one shard of a plan: a [`PageSink`] whose commits are parts.
pub struct Worker {
    objects: Objects,
    plan: Plan,
    shard: usize,
    documents: Vec<PlannedDocument>,
    /// Paths of the same bytes, of each file that is read for them.
    copies: BTreeMap<String, usize>,
    /// The next part.
    seq: u64,
    /// What the parts say, by path.
    ledger: BTreeMap<String, DocumentRecord>,
    scratch: PathBuf,
    neutral: Option<LazyNeutral>,
    sketches: Option<SketchCoder>,
    summary: WorkerSummary,
}

impl Worker {
    /// Goes to work at `shard` of plan `id`; `None` when the plan is committed. Parts are made below
    /// `scratch`.
    pub(crate) async fn open(
        objects: Objects,
        id: &str,
        (shard, of): (usize, usize),
        model: Option<&ModelId>,
        scratch: &Path,
    ) -> Result<Option<Self>, StoreError> {
        let wrong = |what: String| StoreError::Plan { plan: id.into(), what };
        let missing = || StoreError::Missing { path: objects.shown() };
        // Looked for first: a plan that is committed may have been swept away.
        let plan = record::read_plan(&objects, id).await?;
        let newest = log::newest(&objects).await?.ok_or_else(missing)?;
        match newest.plans.get(id) {
            Some(Closed::Committed(_)) => return Ok(None),
            Some(Closed::Abandoned(_)) => return Err(wrong("was abandoned".into())),
            None => {}
        }
        let Some(plan) = plan else { return Err(wrong("is not in this index".into())) };
        if plan.shards != of || shard >= of {
            let what = format!(
                "has shards 0/{0} to {1}/{0}, and not {shard}/{of}",
                plan.shards,
                plan.shards - 1
            );
            return Err(wrong(what));
        }
        let expected = plan.model.as_ref().map(|model| &model.id);
        if expected != model {
            let name = |id: Option<&ModelId>| id.map_or("none".into(), |id| id.0.clone());
            let what = format!(
                "is for model {}, and this worker has model {}",
                name(expected),
                name(model)
            );
            return Err(wrong(what));
        }
        let documents = record::read_shard(&objects, id, shard).await?.documents;
        let first = |(n, planned): (usize, &PlannedDocument)| {
            Some((planned.files.first()?.path.clone(), n))
        };
        let copies = documents.iter().enumerate().filter_map(first).collect();
        let mut worker = Self {
            objects,
            plan,
            shard,
            documents,
            copies,
            seq: 0,
            ledger: BTreeMap::new(),
            scratch: scratch.to_path_buf(),
            neutral: None,
            sketches: None,
            summary: WorkerSummary::default(),
        };
        worker.catch_up().await?;
        worker.summary.resumed = worker.seq;
        Ok(Some(worker))
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The ledger paths of the files that this shard reads, one a document.
    pub fn paths(&self) -> Vec<String> {
        let first = |planned: &PlannedDocument| Some(planned.files.first()?.path.clone());
        self.documents.iter().filter_map(first).collect()
    }

    /// The documents whose first pages the coder of the index is to be made of; empty where it has one
    /// already, or this shard has nothing left that needs it. [`fit_coder`](Self::fit_coder) takes
    /// their vectors.
    ///
    /// # Errors
    /// [`StoreError`] when the bucket cannot be read.
    pub fn sample(&mut self) -> Result<&[String], StoreError> {
        let is_needed = !self.summary.done && !self.documents.is_empty() && self.sketches.is_none();
        if let Some(model) = self.plan.model.as_ref().filter(|_| is_needed) {
            self.sketches = wait(coder::there(&self.objects, model))?;
        }
        let is_needed = is_needed && self.sketches.is_none();
        Ok(if is_needed { &self.plan.sample } else { &[] })
    }

    /// Makes the coder of the index of `pages`, in any order, and takes the one that another worker
    /// was first with. Without pages nothing happens: the first part that has some makes it.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be put.
    pub fn fit_coder(&mut self, mut pages: Vec<(PageId, PageVectors)>) -> Result<(), StoreError> {
        let Some(model) = &self.plan.model else { return Ok(()) };
        // The last digit of a mean depends on the order.
        pages.sort_unstable_by_key(|(page, _)| *page);
        let vectors: Vec<&PageVectors> = pages.iter().map(|(_, vectors)| vectors).collect();
        self.sketches = wait(coder::agreed(&self.objects, model, &vectors))?;
        Ok(())
    }

    /// Gives the neutral questions that pages are measured with.
    pub fn set_neutral(&mut self, neutral: Option<LazyNeutral>) {
        self.neutral = neutral;
    }

    /// What was done so far.
    pub fn summary(&self) -> WorkerSummary {
        self.summary
    }

    /// Reads the parts that were laid down since: this worker goes on after them.
    ///
    /// # Errors
    /// [`StoreError`] when the bucket cannot be read.
    pub fn go_on(&mut self) -> Result<(), StoreError> {
        wait(self.catch_up())
    }

    async fn catch_up(&mut self) -> Result<(), StoreError> {
        while let Some(part) =
            Part::read(&self.objects, &self.plan.id, self.shard, self.seq).await?
        {
            self.take(&part);
        }
        Ok(())
    }

    fn take(&mut self, part: &Part) {
        for path in &part.dropped_paths {
            self.ledger.remove(path);
        }
        let records = part.documents.iter().cloned();
        self.ledger.extend(records.map(|record| (record.path.clone(), record)));
        self.summary.done |= part.done;
        self.seq = part.seq + 1;
    }

    /// Says that nothing of the shard is left to do.
    ///
    /// # Errors
    /// As [`PageSink::commit`].
    pub fn finish(&mut self) -> Result<(), StoreError> {
        if self.summary.done {
            return Ok(());
        }
        wait(async {
            let mut part = Part::new(&self.plan.id, self.shard, self.seq);
            part.done = true;
            self.put(part).await
        })
    }

    async fn put(&mut self, part: Part) -> Result<(), StoreError> {
        match self.objects.put_new(&part.name(), &part.to_bytes()).await? {
            Put::Done => {
                self.summary.parts += 1;
                self.take(&part);
                Ok(())
            }
            Put::Taken(_) => {
                // Its files are garbage, which names the plan and goes with it.
                Err(StoreError::PartTaken { shard: self.shard, part: part.seq })
            }
        }
    }

    async fn lay_down(&mut self, mut batch: Batch) -> Result<(), StoreError> {
        if !batch.words.is_empty() {
            return Err(StoreError::WordsOfPart { shard: self.shard, pages: batch.words.len() });
        }
        self.add_copies(&mut batch);
        let mut part = Part::new(&self.plan.id, self.shard, self.seq);
        part.documents.clone_from(&batch.documents);
        part.dropped_paths.clone_from(&batch.dropped_paths);
        part.dropped_pages.clone_from(&batch.dropped_pages);
        // The writer keeps pages of documents that have a record.
        let named: BTreeSet<DocumentId> =
            batch.documents.iter().filter_map(|record| record.document).collect();
        batch.pages.retain(|page| named.contains(&page.id.document));
        for page in &batch.pages {
            *part.pages.entry(page.id.document).or_default() += 1;
        }
        if !batch.pages.is_empty() {
            self.write_pages(&mut part, batch).await?;
        }
        self.put(part).await
    }

    /// Adds a record for each further file with the same bytes.
    fn add_copies(&self, batch: &mut Batch) {
        let mut more = Vec::new();
        for record in &mut batch.documents {
            let Some(&at) = self.copies.get(&record.path) else { continue };
            let planned = &self.documents[at];
            if planned.document != record.document || record.document.is_none() {
                // It is another file by now: its copies are looked at by the next plan.
                continue;
            }
            // As the planner saw it: another machine may count its time otherwise.
            let first = &planned.files[0];
            (record.bytes, record.modified_ns) = (first.bytes, first.modified_ns);
            more.extend(planned.files[1..].iter().map(|file| DocumentRecord {
                path: file.path.clone(),
                bytes: file.bytes,
                modified_ns: file.modified_ns,
                ..record.clone()
            }));
        }
        batch.documents.extend(more);
    }

    /// Makes the files of `batch` and puts them into the bucket.
    async fn write_pages(&mut self, part: &mut Part, batch: Batch) -> Result<(), StoreError> {
        let folder = self.scratch.join(format!("part-{}-{}", std::process::id(), random()));
        let outcome = self.write_pages_in(&folder, part, batch).await;
        let _ = fs::remove_dir_all(&folder);
        outcome
    }

    async fn write_pages_in(
        &mut self,
        folder: &Path,
        part: &mut Part,
        mut batch: Batch,
    ) -> Result<(), StoreError> {
        let mut writer = AsyncWriter::create(folder).await?;
        if let Some(model) = &self.plan.model {
            if self.sketches.is_none() {
                let vectors: Vec<&PageVectors> =
                    batch.pages.iter().filter_map(|page| page.vectors.as_ref()).collect();
                self.sketches = coder::agreed(&self.objects, model, &vectors).await?;
            }
            writer.set_model(model.clone()).await?;
        }
        writer.sketches.clone_from(&self.sketches);
        batch.dropped_paths.clear();
        batch.dropped_pages.clear();
        // Lent for the part: once encoded they are for all.
        writer.neutral = self.neutral.take();
        let committed = writer.commit(batch).await;
        self.neutral = writer.neutral.take();
        committed?;
        let begin = format!("{}-{}-{}-{}", part.plan, part.shard, part.seq, random());
        lay_out(&self.objects, folder, &writer, &begin, part).await
    }
}

/// Puts the pages, words and codes of the index in `folder`, open in `writer`, into the bucket, under
/// names that begin with `begin`, and says in `part` what they are.
pub(super) async fn lay_out(
    objects: &Objects,
    folder: &Path,
    writer: &AsyncWriter,
    begin: &str,
    part: &mut Part,
) -> Result<(), StoreError> {
    let mut number = 0;
    let mut data_names: BTreeMap<String, String> = BTreeMap::new();
    let mut uploads: Vec<(String, PathBuf)> = Vec::new();
    for (name, mark) in &writer.snapshot.files {
        let new = if let Some(file) = name.strip_prefix("pages.lance/data/") {
            let new = match number {
                0 => format!("{begin}.lance"),
                n => format!("{begin}-{n}.lance"),
            };
            number += 1;
            data_names.insert(file.into(), new.clone());
            format!("pages.lance/data/{new}")
        } else if let Some(file) = name.strip_prefix("text/") {
            format!("text/{begin}/{file}")
        } else if name.strip_prefix("codes/").is_some_and(|file| file.ends_with(".codes")) {
            format!("codes/{begin}.codes")
        } else {
            // The tables' own lists of files, the ledger, the pointer: of this machine.
            continue;
        };
        uploads.push((new.clone(), folder.join(name)));
        if let Some(codes) = new.strip_prefix("codes/") {
            part.codes = Some(codes.to_string());
        }
        part.files.insert(new, mark.clone());
    }
    let mut uploading = Vec::with_capacity(uploads.len());
    for (name, path) in &uploads {
        uploading.push(objects.upload(name, path));
    }
    futures::stream::iter(uploading).buffer_unordered(UPLOADED).try_collect::<()>().await?;
    let open = writer.open.as_ref().expect("a writer is open after its commit");
    let renamed = |file: &str| data_names.get(file).cloned().unwrap_or_default();
    part.fragments = fragments_of(&open.pages, renamed).await?;
    part.rows = RowList::of(&open.pages, renamed).await?;
    part.text_meta = Some(writer.snapshot.text_meta.clone());
    Ok(())
}

impl PageSink for Worker {
    fn documents(&mut self) -> Result<Vec<DocumentRecord>, BoxError> {
        Ok(self.ledger.values().cloned().collect())
    }

    /// # Errors
    /// [`StoreError::PartTaken`] when another worker was first: [`go_on`](Worker::go_on) and read
    /// again. [`StoreError::WordsOfPart`] for a batch that gives pages of before other words.
    fn commit(&mut self, batch: Batch) -> Result<(), BoxError> {
        Ok(wait(self.lay_down(batch))?)
    }
}
