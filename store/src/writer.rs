//! The one writer: batches in, snapshots out.
//!
//! A commit writes the Lance tables and the text index, syncs and hashes their new files, and
//! publishes the pointer. Whatever fails or dies before that leaves the former snapshot in force;
//! the next writer sweeps away what it left behind.
//!
//! Disk use is bounded: after every commit, files that no snapshot in use names are removed; small
//! files are joined when there are many, and rows of dropped pages go when they are a tenth of a
//! file.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use pagesight_core::seam::Batch;
use pagesight_core::{DocumentId, DocumentRecord, PageId, PageRecord};

use crate::StoreError;
use crate::analysis::ANALYSIS;
use crate::codes;
use crate::files::{DATA_FOLDERS, Swept, keep_copies, settle, sweep};
use crate::lock::WriterLock;
use crate::pointer::{
    COPIES, Compact, FORMAT, Snapshot, StoredModel, Tuning, replace, sync_folder,
};
use crate::reader::{TEXT_COLUMNS, read_ledger, read_pages_of, vectors_of};
use crate::schema::{
    Rows, documents_batch, documents_schema, pages_batch, pages_batches, pages_schema, places_field,
};
use crate::tables::{LanceTable, any_of, connect};
use crate::text::{PageWords, TextWriter};

/// Row length of the vectors column before a model is known.
const DEFAULT_DIM: usize = 128;

/// Small files of a table that are left alone at the end of a run, and while one goes on.
const FEW_FILES: usize = 8;
const MANY_FILES: usize = 64;

/// How often long work looks whether it should stop.
const TICK: Duration = Duration::from_millis(50);

/// Room for manifests and segment heads of one commit, bytes.
const COMMIT_BYTES: u64 = 256 << 10;

/// Writes to an index; there is one at a time.
pub struct Writer {
    pub(crate) folder: PathBuf,
    pub(crate) snapshot: Snapshot,
    pub(crate) open: Option<OpenTables>,
    pub(crate) ledger: BTreeMap<String, DocumentRecord>,
    /// What was removed since it was opened.
    swept: Swept,
    _lock: WriterLock,
}

/// Everything that a writer changes.
pub(crate) struct OpenTables {
    pub documents: LanceTable,
    pub pages: LanceTable,
    pub text: TextWriter,
}

impl Writer {
    /// Makes an empty index in `folder`, which is made too.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::Locked`], or what the disk says.
    pub async fn create(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(StoreError::io("making", folder))?;
        let lock = WriterLock::take(folder)?;
        match Snapshot::read(folder) {
            Err(StoreError::Missing { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(StoreError::Exists { path: folder.to_path_buf() }),
        }
        // What a creation that was cut off left behind.
        for name in DATA_FOLDERS.iter().chain([&COPIES]) {
            let path = folder.join(name);
            if path.exists() {
                fs::remove_dir_all(&path).map_err(StoreError::io("removing", &path))?;
            }
        }
        let text_folder = folder.join("text");
        fs::create_dir_all(&text_folder).map_err(StoreError::io("making", &text_folder))?;
        // The index says of itself that it need not be under version control.
        let ignore = folder.join(".gitignore");
        fs::write(&ignore, "*\n").map_err(StoreError::io("writing", &ignore))?;
        let connection = connect(folder).await?;
        let documents =
            LanceTable::create(&connection, folder, "documents", documents_schema()).await?;
        let pages =
            LanceTable::create(&connection, folder, "pages", pages_schema(DEFAULT_DIM)).await?;
        let text = TextWriter::open(&text_folder, None)?;
        let snapshot = Snapshot {
            format: FORMAT,
            number: 0,
            created_s: 0,
            documents_version: documents.version().await?,
            pages_version: pages.version().await?,
            text_meta: text.meta(),
            analysis: ANALYSIS,
            model: None,
            dim: DEFAULT_DIM,
            documents: 0,
            pages: 0,
            codes: Some(Vec::new()),
            tuning: None,
            compact: None,
            files: BTreeMap::new(),
        };
        let mut writer = Self {
            folder: folder.to_path_buf(),
            snapshot,
            open: Some(OpenTables { documents, pages, text }),
            ledger: BTreeMap::new(),
            swept: Swept::default(),
            _lock: lock,
        };
        writer.publish().await?;
        folder.parent().map_or(Ok(()), sync_folder)?;
        Ok(writer)
    }

    /// Opens the index in `folder` for writing. Where an earlier pagesight analysed its words, they
    /// are analysed again first, from the texts that are stored: about a millisecond a page.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Locked`], [`StoreError::NewerFormat`], or what
    /// cannot be read.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        // Before a lock file is made for nothing.
        Snapshot::read(folder)?;
        let lock = WriterLock::take(folder)?;
        let mut writer = Self {
            folder: folder.to_path_buf(),
            snapshot: Snapshot::read(folder)?,
            open: None,
            ledger: BTreeMap::new(),
            swept: Swept::default(),
            _lock: lock,
        };
        writer.tables().await?;
        let copy = Snapshot::copy(folder, writer.snapshot.number);
        if writer.snapshot.analysis != ANALYSIS {
            // From the texts that are stored: no page is read or encoded for it.
            writer.rebuild_text().await?;
            writer.publish().await?;
        } else if writer.snapshot.format < FORMAT {
            // A new version; the old one stays what it was until this one is published.
            writer.publish().await?;
        } else if !copy.exists() {
            replace(&copy, &writer.snapshot.to_bytes())?;
        }
        Ok(writer)
    }

    /// A writer over parts that are open.
    pub(crate) fn over(
        folder: &Path,
        snapshot: Snapshot,
        open: OpenTables,
        ledger: BTreeMap<String, DocumentRecord>,
        lock: WriterLock,
    ) -> Self {
        let (folder, swept) = (folder.to_path_buf(), Swept::default());
        Self { folder, snapshot, open: Some(open), ledger, swept, _lock: lock }
    }

    /// The last published snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The ledger, by path.
    pub fn documents(&self) -> impl Iterator<Item = &DocumentRecord> {
        self.ledger.values()
    }

    /// Opens what is not open: at first, and after a commit that failed.
    async fn tables(&mut self) -> Result<&mut OpenTables, StoreError> {
        if self.open.is_none() {
            // First of all what a commit that was cut off left behind: the disk may be full.
            self.sweep()?;
            let coded = self.snapshot.codes.as_ref();
            let derived = self.snapshot.compact.is_none();
            if derived && coded.is_some_and(|names| codes::open(&self.folder, names).is_err()) {
                // Damaged, and derived: the next maintenance codes all vectors anew.
                self.snapshot.codes = None;
            }
            let (folder, snapshot) = (&self.folder, &self.snapshot);
            let connection = connect(folder).await?;
            let version = snapshot.documents_version;
            let documents = LanceTable::writable(&connection, folder, "documents", version).await?;
            let version = snapshot.pages_version;
            let pages = LanceTable::writable(&connection, folder, "pages", version).await?;
            // One of an earlier format lacks it.
            pages.add_column(places_field()).await?;
            // Words of another analysis are in another schema, and all of them are written again.
            let known = (snapshot.analysis == ANALYSIS).then_some(snapshot.text_meta.as_str());
            let text = TextWriter::open(&folder.join("text"), known)?;
            let records = read_ledger(&documents).await?;
            self.ledger = records.into_iter().map(|r| (r.path.clone(), r)).collect();
            self.open = Some(OpenTables { documents, pages, text });
        }
        Ok(self.open.as_mut().expect("opened above"))
    }

    /// Says which model the vectors to come are from. An index that has vectors keeps its model.
    ///
    /// # Errors
    /// [`StoreError::OtherModel`], [`StoreError::OtherDim`], or what cannot be written.
    pub async fn set_model(&mut self, model: StoredModel, dim: usize) -> Result<(), StoreError> {
        let path = || self.folder.clone();
        let encoded = self.ledger.values().find_map(|record| record.model.clone());
        if let Some(expected) = encoded {
            if expected != model.id {
                return Err(StoreError::OtherModel { path: path(), expected, got: model.id });
            }
            if self.snapshot.dim != dim {
                let expected = self.snapshot.dim;
                return Err(StoreError::OtherDim { path: path(), expected, got: dim });
            }
        }
        if self.snapshot.model.as_ref() == Some(&model) && self.snapshot.dim == dim {
            return Ok(());
        }
        let outcome = self.change_model(model, dim).await;
        if outcome.is_err() {
            self.open = None;
        }
        outcome
    }

    async fn change_model(&mut self, model: StoredModel, dim: usize) -> Result<(), StoreError> {
        if self.snapshot.dim != dim {
            // No page has vectors yet; their column takes another row length.
            let documents = self.ledger.values().filter_map(|r| r.document).collect();
            let pages = &self.tables().await?.pages;
            let kept = read_pages_of(pages, &documents).await?;
            let kept = futures::stream::iter([pages_batch(dim, &kept)]);
            pages.overwrite(pages_schema(dim), kept).await?;
        }
        let before = self.snapshot.clone();
        let other = self.snapshot.model.as_ref().is_none_or(|before| before.id != model.id);
        if self.snapshot.dim != dim || (other && self.snapshot.compact.is_some()) {
            // No page has vectors; those of another model lie around other centres.
            (self.snapshot.codes, self.snapshot.compact) = (Some(Vec::new()), None);
        }
        self.snapshot.model = Some(model);
        self.snapshot.dim = dim;
        let outcome = self.publish().await;
        if outcome.is_err() {
            self.snapshot = before;
        }
        outcome
    }

    /// Says how searches are shortened; `None` leaves it to them.
    ///
    /// # Errors
    /// What cannot be written.
    pub async fn set_tuning(&mut self, tuning: Option<Tuning>) -> Result<(), StoreError> {
        self.tables().await?;
        let before = std::mem::replace(&mut self.snapshot.tuning, tuning);
        let outcome = self.publish().await;
        if outcome.is_err() {
            (self.snapshot.tuning, self.open) = (before, None);
        }
        outcome
    }

    /// Puts residual codes in the place of all vectors, from now on for what is added too: a quarter
    /// of the bytes. `cost` is what that was measured to lose. Whole vectors do not come back unless the
    /// pages are encoded again. Returns false, and changes nothing, when the index is compact already
    /// or has no vectors.
    ///
    /// # Errors
    /// What cannot be read or written; the index is as it was.
    pub async fn compact(&mut self, cost: Compact) -> Result<bool, StoreError> {
        if self.snapshot.compact.is_some() {
            return Ok(false);
        }
        self.tables().await?;
        let before = self.snapshot.clone();
        let outcome = self.take_vectors_out(cost).await;
        if outcome.is_err() {
            (self.snapshot, self.open) = (before, None);
        }
        outcome
    }

    async fn take_vectors_out(&mut self, cost: Compact) -> Result<bool, StoreError> {
        let pages = &self.open.as_ref().expect("opened by compact").pages;
        let (once, again) = (vectors_of(pages, None).await?, vectors_of(pages, None).await?);
        let (number, count) = (self.snapshot.number + 1, self.snapshot.pages);
        let coded = codes::compact(&self.folder, number, count, once, again).await?;
        let Some(coded) = coded else { return Ok(false) };
        let (dim, path) = (self.snapshot.dim, pages.path.clone());
        let failed = Arc::new(Mutex::new(None));
        let (rows, tell) = (pages.read(&TEXT_COLUMNS, None).await?, Arc::clone(&failed));
        let words = rows.map(move |batch| {
            let batch = batch.map_err(StoreError::table("reading", &path));
            let read = batch.and_then(|batch| Rows { batch: &batch, path: &path }.pages());
            let read = read.map(|pages| pages_batch(dim, &pages));
            read.map_err(|error| *tell.lock().expect("no panic under the lock") = Some(error)).ok()
        });
        let words = words.take_while(|batch| ready(batch.is_some())).filter_map(ready);
        // A table needs a batch, be it empty.
        let first = futures::stream::iter([pages_batch(dim, &[])]);
        pages.overwrite(pages_schema(dim), first.chain(words)).await?;
        if let Some(error) = failed.lock().expect("no panic under the lock").take() {
            return Err(error);
        }
        self.snapshot.compact = Some(cost);
        self.publish_with(Some(vec![coded])).await?;
        codes::trust(&self.folder);
        Ok(true)
    }

    /// Makes `batch` durable as a whole; when it fails the index is as it was.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] and whatever cannot be written.
    pub async fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.tables().await?;
        let before = self.ledger.clone();
        let needed = self.bytes_needed(&batch);
        let outcome = self.apply(batch).await;
        match outcome {
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
                self.ledger = before;
                Err(self.with_space(error, needed))
            }
        }
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
        (pages + batch.documents.len() * 1024 + pointers) as u64 + COMMIT_BYTES
    }

    /// Adds to a full disk's error what was wanted and what is free now that the failed attempt
    /// is swept away.
    fn with_space(&mut self, error: StoreError, needed: u64) -> StoreError {
        if !matches!(error, StoreError::DiskFull { .. }) {
            return error;
        }
        let _ = self.sweep();
        error.needing(&self.folder, needed, fs4::available_space(&self.folder).ok())
    }

    /// Vectors are most of a batch: each page is moved to where it is written, and never copied
    /// together with all the others.
    async fn apply(&mut self, mut batch: Batch) -> Result<(), StoreError> {
        let dim = self.snapshot.dim;
        for page in &batch.pages {
            if let Some(got) = page.vectors.as_ref().map(|v| v.dim()).filter(|&got| got != dim) {
                let path = self.folder.clone();
                return Err(StoreError::OtherDim { path, expected: dim, got });
            }
        }
        let known: HashSet<DocumentId> =
            self.ledger.values().filter_map(|record| record.document).collect();
        let names_before = names(&self.ledger);
        let mut touched: BTreeSet<String> = batch.dropped_paths.iter().cloned().collect();
        for path in &batch.dropped_paths {
            self.ledger.remove(path);
        }
        for record in &batch.documents {
            touched.insert(record.path.clone());
            self.ledger.insert(record.path.clone(), record.clone());
        }
        let names_after = names(&self.ledger);
        let mut dropped: HashSet<DocumentId> = batch.dropped_pages.iter().copied().collect();
        dropped.extend(known.iter().filter(|id| !names_after.contains_key(id)));
        let renamed: HashSet<DocumentId> = known
            .iter()
            .filter(|id| !dropped.contains(id))
            .filter(|id| names_before.get(id) != names_after.get(id))
            .copied()
            .collect();
        // Within a batch the last of equal pages counts; a page of no document is not kept.
        let pages: BTreeMap<PageId, PageRecord> = std::mem::take(&mut batch.pages)
            .into_iter()
            .filter(|page| names_after.contains_key(&page.id.document))
            .map(|page| (page.id, page))
            .collect();
        let mut pages: Vec<PageRecord> = pages.into_values().collect();
        let mut replaced: HashMap<DocumentId, Vec<String>> = HashMap::new();
        for id in pages.iter().map(|page| page.id).filter(|id| known.contains(&id.document)) {
            if !dropped.contains(&id.document) {
                replaced.entry(id.document).or_default().push(id.number.to_string());
            }
        }

        let tables = self.open.as_mut().expect("opened by commit");
        for filter in any_of("path", &touched) {
            tables.documents.delete(&filter).await?;
        }
        if !batch.documents.is_empty() {
            let records: BTreeMap<_, _> = batch.documents.iter().map(|r| (&r.path, r)).collect();
            let records: Vec<DocumentRecord> = records.into_values().cloned().collect();
            tables.documents.add(documents_batch(&records)).await?;
        }
        let known_dropped = dropped.iter().filter(|id| known.contains(id));
        for filter in any_of("document", known_dropped.map(ToString::to_string)) {
            tables.pages.delete(&filter).await?;
        }
        for (document, numbers) in replaced {
            let numbers = numbers.join(", ");
            let filter = format!("document = '{document}' AND number IN ({numbers})");
            tables.pages.delete(&filter).await?;
        }
        // Pages that stay but whose document has other names now.
        let kept = read_pages_of(&tables.pages, &renamed).await?;
        let mut named = self.snapshot.codes.clone();
        if let Some(named) = &mut named {
            let gone: Vec<DocumentId> = match named.is_empty() {
                true => Vec::new(),
                false => dropped.iter().filter(|id| known.contains(id)).copied().collect(),
            };
            let number = self.snapshot.number + 1;
            let compact = self.snapshot.compact.is_some();
            let more = codes::write(&self.folder, number, dim, named, &gone, &pages, compact)?;
            named.extend(more);
            if compact {
                pages.iter_mut().for_each(|page| page.vectors = None);
            }
        }
        let words = pages
            .iter()
            .chain(&kept)
            .map(|page| PageWords {
                id: page.id,
                text: &page.text,
                names: names_after.get(&page.id.document).map_or(&[], Vec::as_slice),
            })
            .collect::<Vec<_>>();
        if !words.is_empty() || !dropped.is_empty() {
            tables.text.commit(dropped, words)?;
        }
        if !pages.is_empty() {
            tables.pages.append(pages_schema(dim), pages_batches(dim, pages)).await?;
        }
        self.publish_with(named).await
    }

    pub(crate) async fn publish(&mut self) -> Result<(), StoreError> {
        self.publish_with(self.snapshot.codes.clone()).await
    }

    /// Publishes what the tables hold, with `codes` as the segments that count.
    async fn publish_with(&mut self, codes: Option<Vec<String>>) -> Result<(), StoreError> {
        let tables = self.open.as_ref().expect("publishing writers are open");
        let mut living = tables.living_files(&self.folder).await?;
        let coded = codes.iter().flatten();
        living.extend(coded.map(|name| format!("{}/{name}", codes::FOLDER)));
        let files = settle(&self.folder, &living, &self.snapshot.files)?;
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
        next.publish(&self.folder)?;
        self.snapshot = next;
        // A file that cannot be removed now is tried again after the next commit.
        let _ = self.sweep();
        Ok(())
    }

    /// Joins small files and drops rows and words of pages that are gone, where there is enough
    /// of either; sweeps away what no snapshot in use names. Ends early when `stop` is set.
    ///
    /// # Errors
    /// [`StoreError::Interrupted`], and whatever cannot be written; the index is as it was.
    pub async fn maintain(&mut self, stop: &AtomicBool) -> Result<Swept, StoreError> {
        let doubted = codes::are_doubted(&self.folder) && self.snapshot.compact.is_none();
        let tables = self.tables().await?;
        let joining = tables.want_maintenance().await?;
        if doubted {
            self.snapshot.codes = None;
        }
        if joining || self.codes_want_tidying() {
            let outcome = self.join_all(joining, stop).await;
            if let Err(error) = outcome {
                self.open = None;
                let most = self.snapshot.files.values().map(|mark| mark.bytes).sum();
                return Err(self.with_space(error, most));
            }
            if doubted {
                codes::trust(&self.folder);
            }
        }
        self.sweep()
    }

    /// Whether the vectors are not coded yet, or in many segments.
    fn codes_want_tidying(&self) -> bool {
        self.snapshot.codes.as_ref().is_none_or(|names| names.len() > FEW_FILES)
    }

    async fn join_all(&mut self, tables_too: bool, stop: &AtomicBool) -> Result<(), StoreError> {
        if tables_too {
            let tables = self.open.as_mut().expect("opened by maintain");
            unless_stopped(stop, "joining files", tables.join_files()).await?;
        }
        let codes = self.tidy_codes().await?;
        self.publish_with(Some(codes)).await
    }

    /// Joins small segments of codes; derives all again from the tables when there are none yet
    /// or they cannot be read.
    async fn tidy_codes(&mut self) -> Result<Vec<String>, StoreError> {
        if let Some(named) = &self.snapshot.codes {
            let number = self.snapshot.number + 1;
            match codes::join(&self.folder, named, number) {
                Err(StoreError::Codes { .. }) if self.snapshot.compact.is_none() => {}
                joined => return joined.map_err(codes::all_there_is),
            }
        }
        self.derive_codes().await
    }

    /// Codes the vectors of all pages anew; the names of the segments.
    pub(crate) async fn derive_codes(&self) -> Result<Vec<String>, StoreError> {
        let tables = self.open.as_ref().expect("open for writing");
        let vectors = vectors_of(&tables.pages, None).await?;
        let number = self.snapshot.number + 1;
        codes::derive(&self.folder, number, self.snapshot.dim, vectors).await
    }

    /// Removes what no snapshot in use names. Says what was removed since the writer was opened.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn sweep(&mut self) -> Result<Swept, StoreError> {
        let swept = sweep(&self.folder, &self.snapshot)?;
        self.swept.files += swept.files;
        self.swept.bytes += swept.bytes;
        self.swept.held = swept.held;
        Ok(self.swept)
    }
}

impl OpenTables {
    /// The files that the open versions need, by their path below the index at `folder`.
    async fn living_files(&self, folder: &Path) -> Result<BTreeSet<String>, StoreError> {
        let mut living = self.documents.living_files().await?;
        living.extend(self.pages.living_files().await?);
        let text = self.text.living_files()?;
        let named = text.iter().map(|file| format!("text/{}", file.display()));
        // tantivy names every file that a segment may have.
        living.extend(named.filter(|name| folder.join(name).exists()));
        Ok(living)
    }

    /// Whether a run goes on so long that its small files should be joined before its end.
    async fn have_many_files(&self) -> bool {
        let pages = self.pages.shape().await.map_or(0, |shape| shape.small_files);
        let documents = self.documents.shape().await.map_or(0, |shape| shape.small_files);
        pages.max(documents).max(self.text.segments().unwrap_or(0)) > MANY_FILES
    }

    async fn want_maintenance(&self) -> Result<bool, StoreError> {
        let (documents, pages) = (self.documents.shape().await?, self.pages.shape().await?);
        Ok(documents.wants_compaction(FEW_FILES)
            || pages.wants_compaction(FEW_FILES)
            || self.text.wants_merge(FEW_FILES)?)
    }

    async fn join_files(&mut self) -> Result<(), StoreError> {
        // The ledger is small, and changes most.
        if self.documents.shape().await?.wants_compaction(1) {
            self.documents.compact().await?;
        }
        if self.pages.shape().await?.wants_compaction(FEW_FILES) {
            self.pages.compact().await?;
        }
        self.text.merge(FEW_FILES).await
    }
}

/// Waits for `work`, or gives it up when `stop` is set.
async fn unless_stopped<T>(
    stop: &AtomicBool,
    action: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut work = pin!(work);
    loop {
        match tokio::time::timeout(TICK, &mut work).await {
            Ok(outcome) => return outcome,
            Err(_) if stop.load(Ordering::Relaxed) => {
                return Err(StoreError::Interrupted { action });
            }
            Err(_) => {}
        }
    }
}

/// Paths and titles of each document, sorted.
pub(crate) fn names(ledger: &BTreeMap<String, DocumentRecord>) -> HashMap<DocumentId, Vec<String>> {
    let mut names: HashMap<DocumentId, BTreeSet<String>> = HashMap::new();
    for record in ledger.values() {
        if let Some(document) = record.document {
            let names = names.entry(document).or_default();
            names.insert(record.path.clone());
            names.extend(record.title.clone());
        }
    }
    names.into_iter().map(|(id, names)| (id, names.into_iter().collect())).collect()
}
