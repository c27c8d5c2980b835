//! A batch becomes a snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use pagesight_core::seam::Batch;
use pagesight_core::{DocumentId, DocumentRecord, PageId, PageRecord};

use super::ledger::{Before, Ledger};
use super::{AsyncWriter, OpenTables};
use crate::codes::neutral::LazyNeutral;
use crate::codes::write;
use crate::error::StoreError;
use crate::lance::schema::{Rows, documents_batch, pages_batches, pages_schema, read_pages_of};
use crate::lance::table::any_of;
use crate::snapshot::contents::{Passages, Snapshot};
use crate::snapshot::files::{keep_copies, keep_sums, sync_and_hash};
use crate::snapshot::names::{ADDRESSES, CODES, TEXT};
use crate::snapshot::pointer::FORMAT;
use crate::snapshot::publish;
use crate::text::writer::PageWords;

/// Room for manifests and segment heads of one commit, bytes.
const COMMIT_BYTES: u64 = 256 << 10;

/// About what the vectors of a page take that gets other words, bytes: those of nano.
const STORED_BYTES: usize = 512 << 10;

impl AsyncWriter {
    /// Makes `batch` durable as a whole; when it fails the index is as it was.
    ///
    /// # Errors
    /// [`StoreError::OtherDim`], [`StoreError::OtherModel`] and [`StoreError::Vectors`] when it
    /// does not fit the index; [`StoreError::DiskFull`] and whatever cannot be written.
    pub async fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.check(&batch)?;
        self.tables().await?;
        let passages = self.snapshot.passages.clone();
        let needed = self.bytes_needed(&batch);
        let (changes, pages, words) = self.change_ledger(batch);
        let before = changes.before.clone();
        match self.apply(changes, pages, words).await {
            Ok(()) => {
                let tables = self.open.as_ref().expect("a commit leaves them open");
                if tables.have_many_files().await {
                    // What cannot be joined now can be later: the commit holds.
                    let _ = self.maintain(&AtomicBool::new(false)).await;
                }
                Ok(())
            }
            Err(error) => {
                self.open = None;
                self.ledger.undo(before);
                self.snapshot.passages = passages;
                Err(self.with_space(error, needed))
            }
        }
    }

    /// Refuses vectors that are not of the index's model, or do not fit their layout.
    fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        let path = || self.folder.clone();
        if let Some(expected) = self.snapshot.model.as_ref().map(|model| &model.id) {
            let models = batch.documents.iter().filter_map(|record| record.model.as_ref());
            if let Some(got) = models.into_iter().find(|got| *got != expected) {
                let (expected, got) = (expected.clone(), got.clone());
                return Err(StoreError::OtherModel { path: path(), expected, got });
            }
        }
        let expected = self.snapshot.dim;
        for page in &batch.pages {
            let Some(vectors) = &page.vectors else { continue };
            if vectors.dim() != expected {
                let got = vectors.dim();
                return Err(StoreError::OtherDim { path: path(), expected, got });
            }
            let fits = page.layout.as_ref().map_or(Ok(()), |layout| layout.check(vectors));
            fits.map_err(|source| StoreError::Vectors { path: path(), page: page.id, source })?;
        }
        Ok(())
    }

    /// About what a commit of `batch` writes, bytes.
    fn bytes_needed(&self, batch: &Batch) -> u64 {
        let page = |page: &PageRecord| {
            let vectors = page.vectors.as_ref().map_or(0, |vectors| vectors.values().len() * 2);
            // The words are in the table and, as postings, in the text index.
            vectors + page.text.len() * 2 + 512
        };
        let pages: usize = batch.pages.iter().map(page).sum();
        let pointers = 2 * (self.snapshot.text_meta.len() + self.snapshot.files.len() * 160);
        let words = batch.words.iter().map(|page| page.text.len() * 2 + 512 + STORED_BYTES);
        (pages + words.sum::<usize>() + batch.documents.len() * 1024 + pointers) as u64
            + COMMIT_BYTES
    }

    /// Adds to the error of a full disk how much was needed, and how much is free now that the
    /// files of the failed attempt are removed.
    pub(super) fn with_space(&mut self, error: StoreError, needed: u64) -> StoreError {
        if !matches!(error, StoreError::DiskFull { .. }) {
            return error;
        }
        let _ = self.collect_garbage();
        error.needing(&self.folder, needed, fs4::available_space(&self.folder).ok())
    }

    /// Vectors are most of a batch: each page is moved to where it is written, and never copied
    /// together with all the others.
    async fn apply(
        &mut self,
        changes: Changes,
        mut pages: Vec<PageRecord>,
        words: BTreeMap<PageId, PageRecord>,
    ) -> Result<(), StoreError> {
        let Changes { touched, records, gone, mut replaced, renamed, names, before: _ } = changes;
        let dim = self.snapshot.dim;
        let tables = self.open.as_mut().expect("opened by commit");
        let reworded = tables.reworded(words).await?;
        for PageId { document, number } in reworded.iter().map(|page| page.id) {
            replaced.entry(document).or_default().push(number.to_string());
        }
        for filter in any_of("path", &touched) {
            tables.documents.delete(&filter).await?;
        }
        if !records.is_empty() {
            tables.documents.add(documents_batch(&records)).await?;
        }
        for filter in any_of("document", gone.iter().map(ToString::to_string)) {
            tables.pages.delete(&filter).await?;
        }
        let replaced_documents: Vec<DocumentId> = replaced.keys().copied().collect();
        for (document, numbers) in replaced {
            let numbers = numbers.join(", ");
            let filter = format!("document = '{document}' AND number IN ({numbers})");
            tables.pages.delete(&filter).await?;
        }
        // Pages that stay but whose document has other names now.
        let kept = read_pages_of(&tables.pages, &renamed).await?;
        let mut codes = self.snapshot.codes.clone();
        if let Some(codes) = &mut codes {
            // Without segments there is nothing to drop pages from.
            let gone = if codes.is_empty() { &[] } else { gone.as_slice() };
            let number = self.snapshot.number + 1;
            let compact = self.snapshot.compact.is_some();
            let is_seen = pages.iter().any(|page| page.vectors.is_some());
            let neutral = self.neutral.as_ref().filter(|_| is_seen);
            let coding = (dim, neutral.and_then(LazyNeutral::get), self.sketches.as_ref());
            let more = write::write(&self.folder, number, coding, codes, gone, &pages, compact)?;
            codes.extend(more);
            if compact {
                pages.iter_mut().for_each(|page| page.vectors = None);
            }
        }
        // Their codes stay with their vectors.
        pages.extend(reworded);
        // A page that is replaced has other words, and its document is encoded anew.
        let stale = gone.iter().chain(replaced_documents.iter()).copied().collect();
        self.drop_passages(&stale)?;
        let tables = self.open.as_mut().expect("opened by commit");
        let words: Vec<_> = pages
            .iter()
            .chain(&kept)
            .map(|page| PageWords {
                id: page.id,
                text: &page.text,
                names: names.get(&page.id.document).map_or(&[], Vec::as_slice),
            })
            .collect();
        if !words.is_empty() || !gone.is_empty() {
            tables.text.commit(gone, words)?;
        }
        if !pages.is_empty() {
            tables.pages.append(pages_schema(dim), pages_batches(dim, pages)).await?;
        }
        self.publish_with(codes).await
    }

    /// Applies `batch` to the ledger in memory; what the tables must change, the pages to add, each
    /// once and in order, and those that get other words.
    fn change_ledger(
        &mut self,
        batch: Batch,
    ) -> (Changes, Vec<PageRecord>, BTreeMap<PageId, PageRecord>) {
        let Batch { documents, dropped_paths, dropped_pages, pages, words } = batch;
        let mut touched: BTreeSet<String> = dropped_paths.into_iter().collect();
        let records: BTreeMap<String, DocumentRecord> =
            documents.into_iter().map(|record| (record.path.clone(), record)).collect();
        touched.extend(records.keys().cloned());
        // The documents that the batch is about; all others stay what they are.
        let of_paths = touched.iter().filter_map(|path| self.ledger.get(path)?.document);
        let of_records = records.values().filter_map(|record| record.document);
        let of_pages = pages.iter().chain(&words).map(|page| page.id.document);
        let of_batch: HashSet<DocumentId> = of_paths
            .chain(of_records)
            .chain(of_pages)
            .chain(dropped_pages.iter().copied())
            .collect();
        let names_of = |ledger: &Ledger| -> HashMap<DocumentId, Vec<String>> {
            of_batch.iter().filter_map(|&id| Some((id, ledger.names(id)?))).collect()
        };
        let known = names_of(&self.ledger);
        let mut before = Before::new();
        for path in &touched {
            before.push((path.clone(), self.ledger.remove(path)));
        }
        for record in records.values() {
            before.push((record.path.clone(), self.ledger.insert(record.clone())));
        }
        let names = names_of(&self.ledger);
        let mut gone: HashSet<DocumentId> = dropped_pages.into_iter().collect();
        gone.extend(known.keys().filter(|id| !names.contains_key(id)));
        gone.retain(|id| known.contains_key(id));
        let other_names = known.iter().filter(|(id, were)| names.get(id) != Some(were));
        let renamed = other_names.map(|(id, _)| *id).filter(|id| !gone.contains(id)).collect();
        // Within a batch the last of equal pages counts; a page of no document is not kept.
        let pages: BTreeMap<PageId, PageRecord> = pages
            .into_iter()
            .filter(|page| names.contains_key(&page.id.document))
            .map(|page| (page.id, page))
            .collect();
        let is_kept = |id: &DocumentId| known.contains_key(id) && !gone.contains(id);
        let words = words.into_iter().map(|page| (page.id, page));
        let words =
            words.filter(|(id, _)| is_kept(&id.document) && !pages.contains_key(id)).collect();
        let mut replaced: HashMap<DocumentId, Vec<String>> = HashMap::new();
        for id in pages.keys() {
            if is_kept(&id.document) {
                replaced.entry(id.document).or_default().push(id.number.to_string());
            }
        }
        let (records, gone) = (records.into_values().collect(), gone.into_iter().collect());
        let changes = Changes { touched, records, gone, replaced, renamed, names, before };
        (changes, pages.into_values().collect(), words)
    }

    /// Publishes what the tables hold, with the codes of the last snapshot.
    pub(crate) async fn publish(&mut self) -> Result<(), StoreError> {
        self.publish_with(self.snapshot.codes.clone()).await
    }

    /// Publishes what the tables hold, with `codes` as the segments that count.
    pub(super) async fn publish_with(
        &mut self,
        codes: Option<Vec<String>>,
    ) -> Result<(), StoreError> {
        let tables = self.open.as_ref().expect("publishing writers are open");
        let mut in_use = tables.files_in_use(&self.folder).await?;
        let passages = self.snapshot.passages.iter().flat_map(Passages::names);
        let codes_in_use = codes.iter().flatten().chain(passages);
        in_use.extend(codes_in_use.map(|name| format!("{CODES}/{name}")));
        in_use.extend(self.snapshot.addresses.as_ref().map(|name| format!("{ADDRESSES}/{name}")));
        let mut files = sync_and_hash(&self.folder, &in_use, &self.snapshot.files)?;
        keep_sums(&self.folder, &mut files, &self.snapshot.files)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let next = Snapshot {
            format: FORMAT,
            number: self.snapshot.number + 1,
            created_s: now.as_secs(),
            documents_version: tables.documents.version().await?,
            pages_version: tables.pages.version().await?,
            text_meta: tables.text.meta(),
            documents: self.ledger.len() as u64,
            pages: tables.pages.rows().await?,
            files,
            codes,
            ..self.snapshot.clone()
        };
        keep_copies(&self.folder, &next.files)?;
        publish::publish(&next, &self.folder)?;
        self.snapshot = next;
        // A file that cannot be removed now is tried again after the next commit.
        let _ = self.collect_garbage();
        Ok(())
    }
}

/// What a batch changes in the tables.
struct Changes {
    /// Paths whose rows in the ledger go.
    touched: BTreeSet<String>,
    /// Rows that the ledger gets, one a path.
    records: Vec<DocumentRecord>,
    /// Known documents all of whose pages go.
    gone: Vec<DocumentId>,
    /// Numbers of the pages of a known document that are replaced.
    replaced: HashMap<DocumentId, Vec<String>>,
    /// Documents whose pages stay and have other names now.
    renamed: HashSet<DocumentId>,
    /// The names of every document that the batch is about.
    names: HashMap<DocumentId, Vec<String>>,
    /// What the ledger was.
    before: Before,
}

impl OpenTables {
    /// Those of the pages in `words` that are there, with these words and the vectors that they have.
    async fn reworded(
        &self,
        mut words: BTreeMap<PageId, PageRecord>,
    ) -> Result<Vec<PageRecord>, StoreError> {
        let mut pages = Vec::with_capacity(words.len());
        let mut numbers: BTreeMap<DocumentId, Vec<String>> = BTreeMap::new();
        for id in words.keys() {
            numbers.entry(id.document).or_default().push(id.number.to_string());
        }
        for (document, numbers) in numbers {
            let filter = format!("document = '{document}' AND number IN ({})", numbers.join(", "));
            for batch in self.pages.read_all(&[], Some(filter)).await? {
                for stored in (Rows { batch: &batch, path: &self.pages.path }).every_page() {
                    let PageRecord { id, vectors, layout, .. } = stored?;
                    let page = words.remove(&id);
                    pages.extend(page.map(|page| PageRecord { vectors, layout, ..page }));
                }
            }
        }
        Ok(pages)
    }

    /// The files that the open versions need, by their path below the index at `folder`.
    async fn files_in_use(&self, folder: &Path) -> Result<BTreeSet<String>, StoreError> {
        let mut in_use = self.documents.files_in_use().await?;
        in_use.extend(self.pages.files_in_use().await?);
        let text = self.text.files_in_use()?;
        let named = text.iter().map(|file| format!("{TEXT}/{}", file.display()));
        // tantivy names every file that a segment may have.
        in_use.extend(named.filter(|name| folder.join(name).exists()));
        Ok(in_use)
    }
}
