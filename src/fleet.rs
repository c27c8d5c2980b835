//! An index in a bucket, written by many machines: each starts one of three calls, and none of them
//! waits for another.
//!
//! [`Fleet::plan`] compares folders with the newest snapshot and cuts what is to be read into shards;
//! [`Fleet::index_shard`] reads one, anywhere and any number of times; [`Fleet::commit`] makes one
//! snapshot of it, all or nothing. Whatever is killed is started again. Searches open the same
//! [`Address`] with [`Index::open`](crate::Index::open).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(feature = "model")]
use pagesight_core::ModelSource;
use pagesight_core::seam::{Model, Ocr, PageEncoder, PdfReader};
use pagesight_core::{DocumentRecord, ModelId, ModelRecord, OcrChoice};
use pagesight_indexer::{
    BatchSize, Engines, Event, IndexError, Limits, Summary, Survey, SurveyedFile, SyncOptions,
    read_files, survey, survey_listed,
};
use pagesight_maxsim::Neutral;
#[cfg(feature = "model")]
use pagesight_model::LoadOptions;
#[cfg(feature = "ocr")]
use pagesight_ocr::WeightSearch;
#[cfg(feature = "pdf")]
use pagesight_pdf::RenderOptions;
use pagesight_query::measure::tune::Setting;
use pagesight_store::{
    DroppedPath, Fleet as Store, Pdfs, PlannedDocument, PlannedFile, Repaired, StoreError, Tuning,
    Work, Worker, WorkerSummary,
};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::open::Opening;
use crate::sample;
use crate::sync::{neutral, neutral_by};

pub use pagesight_store::{Address, Committed, Keeping, OpenPlan, Plan, PlanCounts, Swept};

/// A part is laid down when it has so many pages, or bytes, or after so long.
const PART: BatchSize = BatchSize { pages: 2048, bytes: 512 << 20, time: Duration::from_secs(60) };

/// How pages are read. It stands in a plan and holds for all of its workers, so that an index does not
/// depend on who read what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reading {
    /// Which reader reads pages that are pictures: `auto`, `embedded`, `tesseract` or `off`.
    pub ocr: String,
    /// Languages of such pages as tesseract names them, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocr_languages: Option<String>,
    /// Size of a file that is read, bytes.
    pub file_bytes: u64,
    /// Pages read of a document.
    pub pages: u32,
    /// Text kept of a page, bytes.
    pub text_bytes: usize,
    /// Pixels that a page is drawn with at most.
    pub pixels: u64,
}

impl Reading {
    /// What `options` say, of pages drawn with at most `pixels`.
    pub fn of(options: &SyncOptions, pixels: u64) -> Self {
        let ocr = match options.ocr {
            OcrChoice::Embedded => "embedded",
            OcrChoice::Tesseract => "tesseract",
            OcrChoice::Off => "off",
            _ => "auto",
        };
        Self {
            ocr: ocr.into(),
            ocr_languages: options.ocr_languages.clone(),
            file_bytes: options.limits.file_bytes,
            pages: options.limits.pages,
            text_bytes: options.limits.text_bytes,
            pixels,
        }
    }

    /// What stands in `plan`; `None` for a plan that says nothing of it.
    pub fn in_plan(plan: &Plan) -> Option<Self> {
        serde_json::from_value(plan.reading.clone()).ok()
    }

    /// Puts it into `options`.
    pub fn apply(&self, options: &mut SyncOptions) {
        options.ocr = match &*self.ocr {
            "embedded" => OcrChoice::Embedded,
            "tesseract" => OcrChoice::Tesseract,
            "off" => OcrChoice::Off,
            _ => OcrChoice::Auto,
        };
        options.ocr_languages.clone_from(&self.ocr_languages);
        options.limits =
            Limits { file_bytes: self.file_bytes, pages: self.pages, text_bytes: self.text_bytes };
    }
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Planned {
    /// The plan; `None` when there is nothing to do.
    pub plan: Option<Plan>,
    /// The snapshot that it was made on.
    pub base: u64,
    /// What was found.
    pub survey: Survey,
}

/// What became of a shard.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Sharded {
    /// The plan is committed already: nothing was done.
    Committed,
    /// It was read, to its end unless the run was stopped.
    Read {
        /// What was read in this run.
        summary: Box<Summary>,
        /// The parts that were laid down.
        parts: WorkerSummary,
    },
}

/// An index in a bucket, for those who write to it.
pub struct Fleet {
    store: Store,
    local: PathBuf,
    parts: Mutex<Parts>,
    /// The neutral questions of the model, once they were encoded.
    neutral: Arc<Mutex<Option<Neutral>>>,
}

/// PDFs of a bucket, as files of this machine while they are read.
struct Staged {
    folder: PathBuf,
}

impl Staged {
    /// Those at `paths`, in a folder of their own in `local`. What is larger than `most_bytes` is not read.
    fn of(pdfs: &Pdfs, paths: &[String], local: &Path, most_bytes: u64) -> Result<Self, Error> {
        static STAGED: AtomicU64 = AtomicU64::new(0);
        let number = STAGED.fetch_add(1, Ordering::Relaxed);
        let folder = local.join(format!("pdfs-{}-{number}", std::process::id()));
        let staged = Self { folder };
        // One that was killed had the same number.
        let _ = std::fs::remove_dir_all(&staged.folder);
        let made = std::fs::create_dir_all(&staged.folder);
        let path = staged.folder.clone();
        made.map_err(|source| Error::Io { action: "making", path, source })?;
        pdfs.fetch(paths, &staged.folder, most_bytes)?;
        Ok(staged)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Compares the PDFs of a bucket with the ledger, for the model with this id.
fn survey_pdfs(
    pdfs: &Pdfs,
    place: &Path,
    files: &[PlannedFile],
    (ledger, model): (Vec<DocumentRecord>, Option<&ModelId>),
    options: &SyncOptions,
) -> Result<Survey, Error> {
    let files: Vec<SurveyedFile> = files
        .iter()
        .map(|file| SurveyedFile {
            path: file.path.clone(),
            bytes: file.bytes,
            modified_ns: file.modified_ns,
        })
        .collect();
    let mut failed = None;
    let hash = &mut |path: &str| {
        if failed.is_some() || options.stop.load(Ordering::Relaxed) {
            return None;
        }
        pdfs.hash(path).unwrap_or_else(|error| {
            failed = Some(error);
            None
        })
    };
    let survey = survey_listed(ledger, place, &files, model, options, hash);
    // A bucket that cannot be read is no reason to plan what is there as unreadable.
    failed.map_or(Ok(survey), |error| Err(error.into()))
}

#[derive(Default)]
struct Parts {
    opening: Opening,
    model: Option<Arc<dyn Model>>,
    reader: Option<Arc<dyn PdfReader>>,
    ocr: Option<Arc<dyn Ocr>>,
}

impl Fleet {
    /// Opens the bucket of `address`. What is made on the way lies below `local` for a while: a part
    /// at most, about 0.9 GB.
    ///
    /// # Errors
    /// [`Error::Store`] for an address that this program was built without, or where credentials
    /// cannot be found.
    pub fn open(address: &Address, local: &Path) -> Result<Self, Error> {
        let folder = |source| Error::Io { action: "making", path: local.into(), source };
        std::fs::create_dir_all(local).map_err(folder)?;
        let store = Store::open(address, local)?;
        let local = local.to_path_buf();
        Ok(Self { store, local, parts: Mutex::default(), neutral: Arc::default() })
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address.
    pub fn address(&self) -> &Address {
        self.store.address()
    }

    /// Lets `model` encode pages.
    pub fn set_model(&self, model: Arc<dyn Model>) {
        self.parts().model = Some(model);
    }

    /// The record of the model that is loaded.
    pub fn model_record(&self) -> Option<ModelRecord> {
        self.parts().model.as_ref().map(|model| model.record())
    }

    /// Loads the model that `source` names. What `stored` says of it (its recipe, its slices) holds
    /// where `options` do not say otherwise.
    ///
    /// # Errors
    /// [`Error::Model`].
    #[cfg(feature = "model")]
    pub fn load_model(
        &self,
        source: &ModelSource,
        options: &LoadOptions,
        stored: Option<ModelRecord>,
    ) -> Result<(), Error> {
        let opening = self.parts().opening.clone();
        self.set_model(opening.model(source, options, stored)?);
        Ok(())
    }

    /// Says how pages are drawn.
    #[cfg(feature = "pdf")]
    pub fn set_renderer(&self, options: RenderOptions) {
        self.parts().opening.renderer = options;
    }

    /// Says where the weights of the embedded reader of pages may be.
    #[cfg(feature = "ocr")]
    pub fn set_ocr_weights(&self, search: WeightSearch) {
        self.parts().opening.weights = search;
    }

    /// Lets `reader` open the PDFs, in place of the worker processes with pdfium.
    pub fn set_reader(&self, reader: Arc<dyn PdfReader>) {
        self.parts().reader = Some(reader);
    }

    /// Lets `ocr` read pages that are pictures.
    pub fn set_ocr(&self, ocr: Arc<dyn Ocr>) {
        self.parts().ocr = Some(ocr);
    }

    /// The model of the index; `None` for one of words alone, and where there is no index yet.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn stored_model(&self) -> Result<Option<ModelRecord>, Error> {
        Ok(self.store.newest()?.and_then(|snapshot| snapshot.model().cloned()))
    }

    /// Whether there is an index.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn exists(&self) -> Result<bool, Error> {
        Ok(self.store.newest()?.is_some())
    }

    /// Plans to bring the index in step with the PDFs below `folders`, whose paths in the ledger begin
    /// at `base`; `None` for the nearest folder above all of them. There is an index afterwards. One
    /// [`Address`] may stand in the place of all folders: PDFs that lie in a bucket, whose paths begin there.
    ///
    /// # Errors
    /// [`Error::Store`] where the bucket cannot hold one, or it has another model; [`Error::Index`]
    /// for a folder that cannot be read.
    pub fn plan(
        &self,
        folders: &[PathBuf],
        base: Option<&Path>,
        shards: Option<usize>,
        (reading, options): (&Reading, &SyncOptions),
    ) -> Result<Planned, Error> {
        let model = self.model_record();
        let id = model.as_ref().map(|model| &model.id);
        let (base, snapshot, survey) = match self.pdfs_of(folders)? {
            None => {
                let base = base_of(folders, base)?;
                let (snapshot, ledger) = self.store.begin(model.as_ref())?;
                let survey = survey(ledger, &base, folders, id, options)?;
                (base, snapshot, survey)
            }
            Some(pdfs) => {
                let files = pdfs.list()?;
                let (snapshot, ledger) = self.store.begin(model.as_ref())?;
                let place = PathBuf::from(pdfs.address().to_string());
                let survey = survey_pdfs(&pdfs, &place, &files, (ledger, id), options)?;
                (place, snapshot, survey)
            }
        };
        let documents = survey.to_read.iter().map(|(document, files)| PlannedDocument {
            document: *document,
            files: files
                .iter()
                .map(|file| PlannedFile {
                    path: file.path.clone(),
                    bytes: file.bytes,
                    modified_ns: file.modified_ns,
                })
                .collect(),
        });
        let dropped = survey.dropped.iter();
        let mut work = Work::default();
        work.base = snapshot.number();
        work.model = model;
        work.reading = serde_json::to_value(reading).expect("plain data");
        work.folder = base.to_string_lossy().into_owned();
        work.documents = documents.collect();
        work.renamed.clone_from(&survey.renamed);
        work.dropped = dropped
            .map(|(path, document)| DroppedPath { path: path.clone(), document: *document })
            .collect();
        work.unchanged = survey.unchanged;
        work.shards = shards;
        let base = work.base;
        Ok(Planned { plan: self.store.plan(work)?, base, survey })
    }

    /// The PDFs at the address that stands in the place of a folder; `None` where there are folders.
    fn pdfs_of(&self, folders: &[PathBuf]) -> Result<Option<Pdfs>, Error> {
        let mut found = None;
        for folder in folders {
            if let Some(address) = Address::of(folder)? {
                if folders.len() > 1 {
                    let place = address.to_string();
                    let what = "PDFs are planned from one address, without others beside it";
                    return Err(StoreError::NotInBucket { place, what }.into());
                }
                found = Some(self.store.pdfs(address)?);
            }
        }
        Ok(found)
    }

    /// Reads plan `id`; `None` when there is none, or it was swept away after its commit.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn read_plan(&self, id: &str) -> Result<Option<Plan>, Error> {
        Ok(self.store.read_plan(id)?)
    }

    /// The snapshot that plan `id` was committed in; `None` for an open one.
    ///
    /// # Errors
    /// [`Error::Store`], also for a plan that was abandoned.
    pub fn committed_in(&self, id: &str) -> Result<Option<u64>, Error> {
        Ok(self.store.committed_in(id)?)
    }

    /// Reads shard `shard` of plan `id`, which has `of`. Paths begin at `base`; `None` where the
    /// planner had them. What the plan says of reading goes before what `options` say. A part is laid
    /// down every `every` pages, every minute at the latest.
    ///
    /// # Errors
    /// [`Error::Store`] for a plan that is not there, was abandoned, or is for another model;
    /// [`Error::Index`] for what ends a run. What was laid down before is safe.
    pub fn index_shard(
        &self,
        id: &str,
        (shard, of): (usize, usize),
        base: Option<&Path>,
        every: Option<usize>,
        options: &SyncOptions,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Sharded, Error> {
        let model = self.parts().model.clone();
        let record = model.as_ref().map(|model| model.record());
        let id_of_model = record.as_ref().map(|record| &record.id);
        let Some(mut worker) = self.store.worker(id, shard, of, id_of_model)? else {
            return Ok(Sharded::Committed);
        };
        let mut options = options.clone();
        if let Some(reading) = Reading::in_plan(worker.plan()) {
            reading.apply(&mut options);
            #[cfg(feature = "pdf")]
            {
                self.parts().opening.renderer.limits.pixels = reading.pixels;
            }
        }
        options.batch = BatchSize { pages: every.unwrap_or(PART.pages), ..PART };
        options.links_out = true;
        if let Some(record) = &record {
            worker.set_neutral(neutral(&self.neutral, model.clone(), record));
        }
        let folder = base.map_or_else(|| PathBuf::from(&worker.plan().folder), Path::to_path_buf);
        let engines = self.engines(&options, model)?;
        let paths = worker.paths();
        let named = worker.sample()?.to_vec();
        let pdfs = self.pdfs_of(std::slice::from_ref(&folder))?;
        // What lies in a bucket is on this machine while its shard is read.
        let staged = pdfs.map(|pdfs| {
            let all: BTreeSet<&String> = paths.iter().chain(&named).collect();
            let all: Vec<String> = all.into_iter().cloned().collect();
            Staged::of(&pdfs, &all, &self.local, options.limits.file_bytes)
        });
        let staged = staged.transpose()?;
        let folder = staged.as_ref().map_or(folder, |staged| staged.folder.clone());
        let missing = |source| Error::Io { action: "finding", path: folder.clone(), source };
        let base = folder.canonicalize().map_err(missing)?;
        if engines.encoder.is_some() && !named.is_empty() {
            let sampled = sample::vectors(&engines, &base, &named, &options).map_err(of_store)?;
            sampled.map_or(Ok(()), |pages| worker.fit_coder(pages))?;
        }
        let summary = loop {
            match read_files(&mut worker, &engines, &base, &paths, &options, tell) {
                Ok(summary) => break summary,
                Err(IndexError::Store(error)) if was_first(&error) => worker.go_on()?,
                Err(error) => return Err(of_store(error)),
            }
        };
        if !summary.interrupted {
            self.finish(&mut worker)?;
        }
        let parts = worker.summary();
        Ok(Sharded::Read { summary: Box::new(summary), parts })
    }

    /// Says that the shard is done, unless another worker says so first.
    fn finish(&self, worker: &mut Worker) -> Result<(), Error> {
        loop {
            match worker.finish() {
                Err(StoreError::PartTaken { .. }) => worker.go_on()?,
                other => return Ok(other?),
            }
        }
    }

    /// What a run reads with.
    fn engines(
        &self,
        options: &SyncOptions,
        model: Option<Arc<dyn Model>>,
    ) -> Result<Engines, Error> {
        let (opening, brought, reader) = {
            let parts = self.parts();
            (parts.opening.clone(), parts.ocr.clone(), parts.reader.clone())
        };
        let ocr = match (options.ocr, brought) {
            (OcrChoice::Off, _) => None,
            (_, Some(ocr)) => Some(ocr),
            (choice, None) => opening.ocr(choice, options.ocr_languages.as_deref())?,
        };
        let pdf = reader.map_or_else(|| opening.pdf_reader(), Ok)?;
        Ok(Engines { pdf, ocr, encoder: model.map(|model| model as Arc<dyn PageEncoder>) })
    }

    /// Commits plan `id`: all of it or nothing; with `partial` whole documents of what is there, and
    /// the plan stays open.
    ///
    /// # Errors
    /// [`Error::Store`] for a plan with open shards, or whose files are not there; nothing changed.
    pub fn commit(&self, id: &str, partial: bool) -> Result<Committed, Error> {
        Ok(self.store.commit(id, partial)?)
    }

    /// Removes what neither the newest snapshot needs, nor a young one, nor a reader, nor an open plan.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn collect_garbage(&self, keeping: &Keeping) -> Result<Swept, Error> {
        Ok(self.store.collect_garbage(keeping)?)
    }

    /// Mends the newest snapshot: words and codes that are gone or damaged are made again from the pages,
    /// and pages that are lost are marked, so that the next plan reads their documents again. Others may
    /// write meanwhile. The model of the index is loaded where pages are coded again and it can be found;
    /// without it searches measure by themselves what pages give to any question.
    ///
    /// # Errors
    /// [`Error::Store`], above all [`StoreError::Irreplaceable`] for what nothing has a second time;
    /// nothing changed.
    pub fn repair(&self) -> Result<Repaired, Error> {
        // What cannot be read is named by the repair.
        let record = self.stored_model().ok().flatten();
        let neutral = record.and_then(|record| {
            let (loaded, opening) = {
                let parts = self.parts();
                (parts.model.clone(), parts.opening.clone())
            };
            let loaded = loaded.filter(|model| model.record().id == record.id);
            let stored = record.clone();
            let load =
                move || loaded.or_else(|| opening.remembered_model(&stored, None, true).ok());
            neutral_by(&self.neutral, &record, load)
        });
        Ok(self.store.repair(neutral.as_ref())?)
    }

    /// Lets all searches of the index rank as `setting` says from now on; `None` leaves it to them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn apply(&self, setting: Option<&Setting>) -> Result<(), Error> {
        let measured = self.store.newest()?.map_or(0, |snapshot| snapshot.number());
        let tuning =
            setting.map(|setting| Tuning::new(setting.compared, setting.quality, measured));
        self.store.set_tuning(tuning.as_ref())?;
        Ok(())
    }

    /// The open plans, and how many readers say that they are there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn plans(&self) -> Result<(Vec<OpenPlan>, u64), Error> {
        Ok(self.store.plans()?)
    }
}

/// Whether a run ended because another worker was first with a part.
fn was_first(error: &pagesight_core::seam::BoxError) -> bool {
    error.downcast_ref().is_some_and(|error| matches!(error, StoreError::PartTaken { .. }))
}

/// An error of the store as such, where a run ended with it.
fn of_store(error: IndexError) -> Error {
    match error {
        IndexError::Store(error) => match error.downcast::<StoreError>() {
            Ok(error) => Error::Store(*error),
            Err(error) => Error::Index(IndexError::Store(error)),
        },
        error => Error::Index(error),
    }
}

/// The folder at which paths begin: `base`, else the one folder, else the nearest one above all.
fn base_of(folders: &[PathBuf], base: Option<&Path>) -> Result<PathBuf, Error> {
    let real = |path: &Path| {
        let missing = |source| Error::Io { action: "finding", path: path.into(), source };
        path.canonicalize().map_err(missing)
    };
    if let Some(base) = base {
        return real(base);
    }
    let mut common: Option<PathBuf> = None;
    for folder in folders {
        let folder = real(folder)?;
        let folder = if folder.is_dir() {
            folder
        } else {
            folder.parent().map_or(folder.clone(), Path::to_path_buf)
        };
        common = Some(match common {
            None => folder,
            Some(before) => before
                .ancestors()
                .find(|above| folder.starts_with(above))
                .unwrap_or(Path::new("/"))
                .to_path_buf(),
        });
    }
    Ok(common.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_nearest_folder_above_all() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        for folder in ["a/b/c", "a/b/d", "e"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::fs::write(root.join("a/b/c/x.pdf"), "x").unwrap();
        let base = |folders: &[&str]| {
            let folders: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
            base_of(&folders, None).unwrap().strip_prefix(&root).unwrap().to_path_buf()
        };
        assert_eq!(base(&["a/b"]), Path::new("a/b"));
        assert_eq!(base(&["a/b/c", "a/b/d"]), Path::new("a/b"));
        assert_eq!(base(&["a/b/c", "e"]), Path::new(""));
        assert_eq!(base(&["a/b/c/x.pdf"]), Path::new("a/b/c"));
        assert_eq!(base_of(&[], Some(&root)).unwrap(), root);
        assert!(base_of(&[root.join("gone")], None).is_err());
    }
}
