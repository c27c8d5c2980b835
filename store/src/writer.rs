//! The one writer: batches in, snapshots out.
//!
//! A commit writes the Lance tables, syncs and hashes their new files, commits the text index,
//! and publishes the pointer. Whatever fails or dies before that leaves the former snapshot in
//! force; the next writer undoes what it left in the tables.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pagesight_core::seam::Batch;
use pagesight_core::{DocumentId, DocumentRecord, PageRecord};

use crate::StoreError;
use crate::codes;
use crate::lock::WriterLock;
use crate::pointer::{FORMAT, Snapshot, StoredModel, settle, sync_folder};
use crate::reader::{read_ledger, read_pages_of, vectors_of};
use crate::schema::{documents_batch, documents_schema, pages_batch, pages_schema};
use crate::tables::{LanceTable, any_of, connect};
use crate::text::{PageWords, TextWriter};

/// Row length of the vectors column before a model is known.
const DEFAULT_DIM: usize = 128;

/// How long a reader may hold a snapshot that newer ones have replaced.
const KEEP: Duration = Duration::from_secs(3600);

const DATA_FOLDERS: [&str; 4] = ["documents.lance", "pages.lance", "text", codes::FOLDER];

/// Writes to an index; there is one at a time.
pub struct Writer {
    folder: PathBuf,
    snapshot: Snapshot,
    open: Option<OpenTables>,
    ledger: BTreeMap<String, DocumentRecord>,
    _lock: WriterLock,
}

struct OpenTables {
    documents: LanceTable,
    pages: LanceTable,
    text: TextWriter,
}

impl Writer {
    /// Makes an empty index in `folder`, which is made too.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::Locked`], or what the disk says.
    pub async fn create(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder.join("text")).map_err(StoreError::io("making", folder))?;
        let lock = WriterLock::take(folder)?;
        if Snapshot::exists(folder) {
            return Err(StoreError::Exists { path: folder.to_path_buf() });
        }
        // What a creation that was cut off left behind.
        for name in DATA_FOLDERS {
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
            model: None,
            dim: DEFAULT_DIM,
            documents: 0,
            pages: 0,
            codes: Some(Vec::new()),
            files: BTreeMap::new(),
        };
        let mut writer = Self {
            folder: folder.to_path_buf(),
            snapshot,
            open: Some(OpenTables { documents, pages, text }),
            ledger: BTreeMap::new(),
            _lock: lock,
        };
        writer.publish().await?;
        folder.parent().map_or(Ok(()), sync_folder)?;
        Ok(writer)
    }

    /// Opens the index in `folder` for writing.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Locked`], [`StoreError::NewerFormat`], or what
    /// cannot be read.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        if !Snapshot::exists(folder) {
            return Err(StoreError::Missing { path: folder.to_path_buf() });
        }
        let lock = WriterLock::take(folder)?;
        let mut writer = Self {
            folder: folder.to_path_buf(),
            snapshot: Snapshot::read(folder)?,
            open: None,
            ledger: BTreeMap::new(),
            _lock: lock,
        };
        writer.tables().await?;
        Ok(writer)
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
            let (folder, snapshot) = (&self.folder, &self.snapshot);
            let connection = connect(folder).await?;
            let version = snapshot.documents_version;
            let documents = LanceTable::writable(&connection, folder, "documents", version).await?;
            let version = snapshot.pages_version;
            let pages = LanceTable::writable(&connection, folder, "pages", version).await?;
            let text = TextWriter::open(&folder.join("text"), Some(&snapshot.text_meta))?;
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
            pages.overwrite(pages_schema(dim), vec![pages_batch(dim, &kept)]).await?;
        }
        let before = self.snapshot.clone();
        if self.snapshot.dim != dim {
            self.snapshot.codes = Some(Vec::new());
        }
        self.snapshot.model = Some(model);
        self.snapshot.dim = dim;
        let outcome = self.publish().await;
        if outcome.is_err() {
            self.snapshot = before;
        }
        outcome
    }

    /// Makes `batch` durable as a whole; when it fails the index is as it was.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] and whatever cannot be written.
    pub async fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.tables().await?;
        let before = self.ledger.clone();
        let outcome = self.apply(batch).await;
        if outcome.is_err() {
            self.open = None;
            self.ledger = before;
        }
        outcome
    }

    async fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
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
        let pages: BTreeMap<_, &PageRecord> = batch
            .pages
            .iter()
            .filter(|page| names_after.contains_key(&page.id.document))
            .map(|page| (page.id, page))
            .collect();
        let mut replaced: HashMap<DocumentId, Vec<String>> = HashMap::new();
        for id in pages.keys().filter(|id| known.contains(&id.document)) {
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
        let rows: Vec<PageRecord> = pages.values().map(|&page| page.clone()).collect();
        if !rows.is_empty() {
            tables.pages.add(pages_batch(dim, &rows)).await?;
        }
        let mut named = self.snapshot.codes.clone();
        if let Some(named) = &mut named {
            let gone: Vec<DocumentId> = match named.is_empty() {
                true => Vec::new(),
                false => dropped.iter().filter(|id| known.contains(id)).copied().collect(),
            };
            let number = self.snapshot.number + 1;
            named.extend(codes::write(&self.folder, number, dim, &gone, &rows)?);
        }
        drop(rows);
        let words = pages
            .into_values()
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
        self.publish_with(named).await
    }

    async fn publish(&mut self) -> Result<(), StoreError> {
        self.publish_with(self.snapshot.codes.clone()).await
    }

    /// Publishes what the tables hold, with `codes` as the segments that count.
    async fn publish_with(&mut self, codes: Option<Vec<String>>) -> Result<(), StoreError> {
        let folder = self.folder.join(codes::FOLDER);
        fs::create_dir_all(&folder).map_err(StoreError::io("making", &folder))?;
        let files = settle(&self.folder, &DATA_FOLDERS, &self.snapshot.files)?;
        let tables = self.open.as_ref().expect("publishing writers are open");
        let living = tables.text.living_files()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let next = Snapshot {
            number: self.snapshot.number + 1,
            created_s: now.as_secs(),
            documents_version: tables.documents.version().await?,
            pages_version: tables.pages.version().await?,
            text_meta: tables.text.meta(),
            documents: self.ledger.len() as u64,
            pages: tables.pages.rows().await?,
            files: files
                .into_iter()
                .filter(|(name, _)| match name.split_once('/') {
                    Some(("text", name)) => living.contains(Path::new(name)),
                    Some((codes::FOLDER, name)) => codes.iter().flatten().any(|c| c == name),
                    _ => true,
                })
                .collect(),
            codes,
            ..self.snapshot.clone()
        };
        next.publish(&self.folder)?;
        self.snapshot = next;
        Ok(())
    }

    /// Joins small files, and collects what no snapshot of the last hour names.
    ///
    /// # Errors
    /// Whatever cannot be written; the index is as it was.
    pub async fn maintain(&mut self) -> Result<(), StoreError> {
        let tables = self.tables().await?;
        let outcome = async {
            tables.documents.compact(KEEP).await?;
            tables.pages.compact(KEEP).await?;
            tables.text.merge()
        };
        let mut outcome = outcome.await;
        if outcome.is_ok() {
            outcome = match self.tidy_codes().await {
                Ok(codes) => self.publish_with(Some(codes)).await,
                Err(error) => Err(error),
            };
        }
        match outcome {
            Ok(()) => {
                self.collect("text")?;
                self.collect(codes::FOLDER)
            }
            Err(error) => {
                self.open = None;
                Err(error)
            }
        }
    }

    /// Joins small segments of codes; derives all again from the tables when there are none yet
    /// or they cannot be read.
    async fn tidy_codes(&mut self) -> Result<Vec<String>, StoreError> {
        let number = self.snapshot.number + 1;
        if let Some(named) = &self.snapshot.codes {
            match codes::join(&self.folder, named, number) {
                Err(StoreError::Codes { .. }) => {}
                joined => return joined,
            }
        }
        let tables = self.open.as_ref().expect("opened by maintain");
        let dim = self.snapshot.dim;
        let stream = vectors_of(&tables.pages, None).await?;
        codes::derive(&self.folder, number, dim, stream).await
    }

    /// Removes segments in `folder` that no snapshot of the last hour names.
    fn collect(&self, kind: &str) -> Result<(), StoreError> {
        let folder = self.folder.join(kind);
        let reading = || StoreError::io("reading", &folder);
        for entry in fs::read_dir(&folder).map_err(reading())? {
            let entry = entry.map_err(reading())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let named = self.snapshot.files.contains_key(&format!("{kind}/{name}"));
            let modified = entry.metadata().and_then(|meta| meta.modified());
            let age = modified.ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
            if !named && !name.starts_with('.') && age > KEEP {
                let path = entry.path();
                fs::remove_file(&path).map_err(StoreError::io("removing", &path))?;
            }
        }
        Ok(())
    }
}

/// Paths and titles of each document, sorted.
fn names(ledger: &BTreeMap<String, DocumentRecord>) -> HashMap<DocumentId, Vec<String>> {
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
