//! The one writer: batches in, snapshots out.
//!
//! A commit writes the Lance tables, the codes and the text index, syncs and hashes their new
//! files, and publishes the pointer. Whatever fails or dies before that leaves the former snapshot
//! in force, and the next writer removes the files that it left behind.
//!
//! Disk use is bounded: after every commit, files that no snapshot in use names are removed; small
//! files are joined when there are many, and rows of dropped pages go when they are a tenth of a
//! file.
//!
//! * this file: a writer is made and opened, and its model and tuning are set.
//! * [`commit`]: a batch becomes a snapshot.
//! * [`ledger`]: what became of each path, in memory.
//! * [`compact`]: residual codes take the place of full-precision vectors.
//! * [`meaning`]: the passages of pages, brought in step with their texts.
//! * [`maintain`]: small files are joined, codes derived, garbage removed.

mod commit;
mod compact;
mod ledger;
mod maintain;
mod meaning;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pagesight_core::ModelRecord;
use pagesight_maxsim::SketchCoder;

use crate::codes::neutral::LazyNeutral;
use crate::codes::segments;
use crate::error::StoreError;
use crate::lance::schema::{
    documents_schema, new_document_columns, new_page_columns, pages_batch, pages_schema,
    read_ledger, read_pages_of,
};
use crate::lance::table::{LanceTable, connect};
use crate::snapshot::contents::{Snapshot, Tuning};
use crate::snapshot::garbage::Collected;
use crate::snapshot::lock::WriterLock;
use crate::snapshot::names::{COPIES, DATA_FOLDERS, TEXT, pointer_copy};
use crate::snapshot::pointer::{self, FORMAT};
use crate::snapshot::publish::{self, replace, sync_folder};
use crate::text::analysis::ANALYSIS;
use crate::text::writer::TextWriter;

pub(crate) use ledger::{Ledger, names_of_documents};

/// Row length of the vectors column before a model is known.
const DEFAULT_DIM: usize = 128;

/// Small files of a table that are left alone at the end of a run.
const FEW_FILES: usize = 8;

/// Writes to an index; there is one at a time.
pub(crate) struct AsyncWriter {
    pub folder: PathBuf,
    pub snapshot: Snapshot,
    pub open: Option<OpenTables>,
    pub ledger: Ledger,
    /// Questions that pages are measured with.
    pub neutral: Option<LazyNeutral>,
    /// What makes sketches, where all who write to an index make them alike.
    pub sketches: Option<SketchCoder>,
    /// What was removed since it was opened.
    collected: Collected,
    _lock: WriterLock,
}

/// Everything that a writer changes.
pub(crate) struct OpenTables {
    pub documents: LanceTable,
    pub pages: LanceTable,
    pub text: TextWriter,
}

impl AsyncWriter {
    /// Makes an empty index in `folder`, which is made too.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::Locked`], or what the disk says.
    pub async fn create(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(StoreError::io("making", folder))?;
        let lock = WriterLock::take(folder)?;
        match publish::read(folder) {
            Err(StoreError::Missing { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(StoreError::Exists { path: folder.to_path_buf() }),
        }
        // Files that a creation left behind that was cut off.
        for name in DATA_FOLDERS.iter().chain([&COPIES]) {
            let path = folder.join(name);
            if path.exists() {
                fs::remove_dir_all(&path).map_err(StoreError::io("removing", &path))?;
            }
        }
        let text_folder = folder.join(TEXT);
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
            grid: None,
            dim: DEFAULT_DIM,
            documents: 0,
            pages: 0,
            codes: Some(Vec::new()),
            passages: None,
            no_passages: false,
            tuning: None,
            compact: None,
            addresses: None,
            files: BTreeMap::new(),
        };
        let mut writer = Self {
            folder: folder.to_path_buf(),
            snapshot,
            open: Some(OpenTables { documents, pages, text }),
            ledger: Ledger::default(),
            neutral: None,
            sketches: None,
            collected: Collected::default(),
            _lock: lock,
        };
        writer.publish().await?;
        folder.parent().map_or(Ok(()), sync_folder)?;
        Ok(writer)
    }

    /// Opens the index in `folder` for writing. Where an earlier version analysed its words, they
    /// are analysed again first, from the texts that are stored: about a millisecond a page.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Locked`], [`StoreError::NewerFormat`], or what
    /// cannot be read.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        // Before a lock file is made for nothing.
        publish::read(folder)?;
        let lock = WriterLock::take(folder)?;
        let mut writer = Self {
            folder: folder.to_path_buf(),
            snapshot: publish::read(folder)?,
            open: None,
            ledger: Ledger::default(),
            neutral: None,
            sketches: None,
            collected: Collected::default(),
            _lock: lock,
        };
        writer.tables().await?;
        let copy = pointer_copy(folder, writer.snapshot.number);
        if writer.snapshot.analysis != ANALYSIS {
            // From the texts that are stored: no page is read or encoded for it.
            writer.rebuild_text().await?;
            writer.publish().await?;
        } else if writer.snapshot.format < FORMAT {
            // A new version; the old one stays what it was until this one is published.
            writer.publish().await?;
        } else if !copy.exists() {
            replace(&copy, &pointer::to_bytes(&writer.snapshot))?;
        }
        Ok(writer)
    }

    /// A writer over parts that are open.
    pub(crate) fn over(
        folder: &Path,
        snapshot: Snapshot,
        open: OpenTables,
        ledger: Ledger,
        lock: WriterLock,
    ) -> Self {
        let (folder, collected) = (folder.to_path_buf(), Collected::default());
        Self {
            folder,
            snapshot,
            open: Some(open),
            ledger,
            neutral: None,
            sketches: None,
            collected,
            _lock: lock,
        }
    }

    /// Opens what is not open: at first, and after a commit that failed.
    async fn tables(&mut self) -> Result<&mut OpenTables, StoreError> {
        if self.open.is_none() {
            // First remove the files of a commit that was cut off: the disk may be full.
            self.collect_garbage()?;
            let coded = self.snapshot.codes.as_ref();
            let derived = self.snapshot.compact.is_none();
            if derived && coded.is_some_and(|names| segments::open(&self.folder, names).is_err()) {
                // They are derived: the next maintenance derives them again.
                self.snapshot.codes = None;
            }
            let (folder, snapshot) = (&self.folder, &self.snapshot);
            let connection = connect(folder).await?;
            let version = snapshot.documents_version;
            let documents = LanceTable::writable(&connection, folder, "documents", version).await?;
            let version = snapshot.pages_version;
            let pages = LanceTable::writable(&connection, folder, "pages", version).await?;
            documents.add_missing_columns(&new_document_columns()).await?;
            pages.add_missing_columns(&new_page_columns()).await?;
            // Words of another analysis are in another schema, and all of them are written again.
            let known = (snapshot.analysis == ANALYSIS).then_some(snapshot.text_meta.as_str());
            let text = TextWriter::open(&folder.join(TEXT), known)?;
            self.ledger = read_ledger(&documents).await?.into_iter().collect();
            self.open = Some(OpenTables { documents, pages, text });
        }
        Ok(self.open.as_mut().expect("opened above"))
    }

    /// Says which model the vectors to come are from. An index that has vectors keeps its model.
    ///
    /// # Errors
    /// [`StoreError::OtherModel`], [`StoreError::OtherDim`], or what cannot be written.
    pub async fn set_model(&mut self, model: ModelRecord) -> Result<(), StoreError> {
        let path = || self.folder.clone();
        let encoded = self.ledger.records().find_map(|record| record.model.clone());
        if let Some(expected) = encoded {
            if expected != model.id {
                return Err(StoreError::OtherModel { path: path(), expected, got: model.id });
            }
            if self.snapshot.dim != model.dim {
                let (expected, got) = (self.snapshot.dim, model.dim);
                return Err(StoreError::OtherDim { path: path(), expected, got });
            }
        }
        if self.snapshot.model.as_ref() == Some(&model) && self.snapshot.dim == model.dim {
            return Ok(());
        }
        let outcome = self.change_model(model).await;
        if outcome.is_err() {
            self.open = None;
        }
        outcome
    }

    async fn change_model(&mut self, model: ModelRecord) -> Result<(), StoreError> {
        let dim = model.dim;
        if self.snapshot.dim != dim {
            // No page has vectors yet; their column takes another row length.
            let documents = self.ledger.documents().collect();
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
        if other {
            // It was that of the other model's pages, which are gone.
            self.snapshot.grid = None;
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
}
