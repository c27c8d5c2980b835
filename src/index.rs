//! The index: the one place where the rooms meet, and where sync compute waits for async storage.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use pagesight_core::seam::PageEncoder;
use pagesight_core::{DocumentId, DocumentRecord, ModelId, Slices, composed};
use pagesight_indexer::{
    BatchSize, Confinement, Event, Limits, PdfiumPlace, Renderer, Sandbox, Settings, Summary,
    decode_path, encode_path, find_pdfium,
};
use pagesight_maxsim::Segments;
use pagesight_model::{ColPali, LoadOptions, ModelError, Recipe, is_embedded};
use pagesight_store::{
    ANALYSIS, BlockingReader, BlockingWriter, Snapshot, StoreError, StoredModel,
};
use tokio::runtime::Runtime;

use crate::{Error, Page, Search};

/// An index on disk: PDFs go in with [`sync`](Self::sync), ranked pages come out of
/// [`search`](Self::search). Calls block. Share it between threads for searching.
///
/// Each search sees one snapshot, whole. A search that begins more than [`REFRESH`] after another
/// process published a snapshot sees that one; [`snapshot`](Self::snapshot) and
/// [`documents`](Self::documents) show what was there at [`open`](Self::open) or the last
/// [`refresh`](Self::refresh).
pub struct Index {
    folder: PathBuf,
    base: PathBuf,
    runtime: Arc<Runtime>,
    /// As of the last call with `&mut self`.
    view: Arc<View>,
    /// What searches see.
    latest: Mutex<Latest>,
    renderer: RenderOptions,
    loading: LoadOptions,
    model: OnceLock<Arc<ColPali>>,
}

/// A search looks for a newer snapshot when it last did so this long ago.
pub const REFRESH: Duration = Duration::from_secs(1);

struct Latest {
    view: Arc<View>,
    looked: Instant,
}

/// One snapshot with its ledger.
pub(crate) struct View {
    pub reader: BlockingReader,
    /// By path.
    pub ledger: BTreeMap<String, DocumentRecord>,
    /// Paths of each document, in order.
    pub paths: HashMap<DocumentId, Vec<String>>,
    /// Mapped by the first search; why not, when they are damaged.
    codes: OnceLock<Result<Option<Segments>, String>>,
}

/// How pages are drawn.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// libpdfium, or its folder; looked up when `None`, see [`find_pdfium`].
    pub pdfium: Option<PathBuf>,
    /// The user's data folder, where libpdfium may lie.
    pub data_folder: Option<PathBuf>,
    /// A Python environment, where the pypdfium2 wheel may be.
    pub python: Option<PathBuf>,
    /// The program that serves as worker; this program when `None`. It calls
    /// [`serve_worker_if_asked`](crate::serve_worker_if_asked) first in `main`.
    pub worker_program: Option<PathBuf>,
    /// Tried in turn on encrypted documents.
    pub passwords: Vec<String>,
    /// Whether workers must be shut in.
    pub sandbox: Sandbox,
}

impl RenderOptions {
    /// Where libpdfium is looked for, in order; the first that is found counts.
    pub fn pdfium_places(&self) -> Vec<PdfiumPlace> {
        let program = std::env::current_exe().ok();
        find_pdfium(
            self.pdfium.as_deref(),
            program.as_deref(),
            self.data_folder.as_deref(),
            self.python.as_deref(),
        )
    }

    fn found_pdfium(&self) -> Result<PathBuf, Error> {
        let looked = self.pdfium_places();
        match looked.iter().find(|place| place.found) {
            // A worker's current folder may be another one.
            Some(place) => std::path::absolute(&place.path).map_err(|source| Error::Io {
                action: "finding",
                path: place.path.clone(),
                source,
            }),
            None => Err(Error::NoPdfium { looked }),
        }
    }

    fn program(&self) -> Result<PathBuf, Error> {
        match &self.worker_program {
            Some(program) => Ok(program.clone()),
            // What runs, by no name: a run goes on with its own workers when the program's file
            // is replaced meanwhile.
            None if cfg!(target_os = "linux") => Ok("/proc/self/exe".into()),
            None => std::env::current_exe().map_err(|source| Error::Io {
                action: "finding",
                path: "this program".into(),
                source,
            }),
        }
    }

    /// Starts a worker.
    pub(crate) fn start(&self, path: &str, page: u32) -> Result<Renderer, Error> {
        let (program, pdfium) = (self.program()?, self.found_pdfium()?);
        let renderer = Renderer::start(&program, &pdfium, &Limits::default(), self.sandbox);
        renderer.map_err(|source| Error::Draw { path: path.into(), page, source })
    }

    /// Starts a worker: the libpdfium that it loads, and what shuts it in.
    ///
    /// # Errors
    /// [`Error::NoPdfium`] and [`Error::Draw`].
    pub fn check(&self) -> Result<(PathBuf, Confinement), Error> {
        let confinement = self.start("nothing", 0)?.confinement().clone();
        Ok((self.found_pdfium()?, confinement))
    }
}

/// How a folder is read.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Worker processes; one a core when `None`.
    pub workers: Option<usize>,
    /// Languages for tesseract on pages without words, `+` between them; `None` reads no such
    /// page.
    pub ocr_languages: Option<String>,
    /// Reads documents again that failed before and have not changed.
    pub retry_failed: bool,
    /// What a file, a page and a worker may cost.
    pub limits: Limits,
    /// When what was read is committed.
    pub batch: BatchSize,
    /// Set from elsewhere, it ends the run after a commit; the next run goes on.
    pub stop: Arc<AtomicBool>,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            workers: None,
            ocr_languages: Some("eng".into()),
            retry_failed: false,
            limits: Limits::default(),
            batch: BatchSize::default(),
            stop: Arc::default(),
        }
    }
}

impl Index {
    /// Makes an empty index in `folder`, which is made too.
    ///
    /// # Errors
    /// [`Error::Store`], e.g. when there is one already.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let runtime = runtime(folder.as_ref())?;
        BlockingWriter::create(folder.as_ref(), runtime.handle().clone())?;
        Self::over(folder.as_ref(), runtime)
    }

    /// Opens the latest snapshot of the index in `folder`.
    ///
    /// # Errors
    /// [`Error::Store`], e.g. when there is none or a newer pagesight made it.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, Error> {
        Self::over(folder.as_ref(), runtime(folder.as_ref())?)
    }

    /// Opens the index in `folder`, or makes it.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`create`](Self::create).
    pub fn open_or_create(folder: impl AsRef<Path>) -> Result<Self, Error> {
        match Self::open(&folder) {
            Err(Error::Store(StoreError::Missing { .. })) => Self::create(folder),
            other => other,
        }
    }

    fn over(folder: &Path, runtime: Arc<Runtime>) -> Result<Self, Error> {
        let view = Arc::new(View::open(folder, &runtime)?);
        let canonical = folder.canonicalize().map_err(|source| Error::Io {
            action: "finding",
            path: folder.into(),
            source,
        })?;
        let base = canonical.parent().unwrap_or(&canonical).to_path_buf();
        Ok(Self {
            folder: canonical,
            base,
            runtime,
            latest: Mutex::new(Latest { view: Arc::clone(&view), looked: Instant::now() }),
            view,
            renderer: RenderOptions::default(),
            loading: LoadOptions::default(),
            model: OnceLock::new(),
        })
    }

    /// Says how pages are drawn.
    pub fn set_renderer(&mut self, options: RenderOptions) {
        self.renderer = options;
    }

    /// Says where the model that the index remembers runs and finds its hashes, and where its base
    /// lies if not where it was; its recipe and grid are the index's own.
    pub fn set_loading(&mut self, options: LoadOptions) {
        self.loading = options;
    }

    /// Loads the model in `folder`, which may be [`ColPali::NANO`], for this index. An index that has
    /// vectors keeps their model.
    ///
    /// # Errors
    /// [`Error::Model`] when it cannot be loaded, [`Error::ModelChanged`] when the index has
    /// vectors of another one.
    pub fn load_model(&mut self, folder: &Path, options: &LoadOptions) -> Result<(), Error> {
        let absolute = match is_embedded(folder) {
            true => folder.to_path_buf(),
            false => std::path::absolute(folder).map_err(|source| Error::Io {
                action: "finding",
                path: folder.into(),
                source,
            })?,
        };
        let mut options = options.clone();
        let stored = self.snapshot().model.as_ref();
        let kept = stored.is_some_and(|stored| stored.folder == absolute);
        if (kept || self.encoded_with().is_some())
            && let Some((slices, recipe)) = self.stored_recipe()?
        {
            // The recipe and the grid are parts of the model that the index was made with.
            options.slices = options.slices.or(Some(slices));
            options.recipe = options.recipe.or(recipe);
        }
        if kept && options.base.is_none() {
            options.base = stored.and_then(|stored| stored.base.clone());
        }
        let model = ColPali::load(&absolute, &options)?;
        let got = PageEncoder::model_id(&model).clone();
        if let Some(expected) = self.encoded_with().filter(|&expected| *expected != got) {
            let expected = expected.clone();
            return Err(Error::ModelChanged { folder: absolute, expected, got });
        }
        self.model = OnceLock::from(Arc::new(model));
        Ok(())
    }

    /// What encodes queries: the model loaded, or the one that the index remembers without its
    /// vision tower.
    ///
    /// # Errors
    /// [`Error::ModelGone`], [`Error::ModelChanged`], [`Error::Model`].
    pub(crate) fn query_model(&self) -> Result<Option<Arc<ColPali>>, Error> {
        if let Some(model) = self.model.get() {
            return Ok(Some(Arc::clone(model)));
        }
        let model = self.remembered(true)?;
        Ok(model.map(|model| Arc::clone(self.model.get_or_init(|| Arc::new(model)))))
    }

    /// What encodes pages.
    fn page_model(&mut self) -> Result<Option<Arc<ColPali>>, Error> {
        if let Some(model) = self.model.get().filter(|model| !model.is_query_only()) {
            return Ok(Some(Arc::clone(model)));
        }
        if let Some(model) = self.remembered(false)? {
            self.model = OnceLock::from(Arc::new(model));
        }
        Ok(self.model.get().map(Arc::clone))
    }

    /// The model that the index was made with, from where it was.
    fn remembered(&self, query_only: bool) -> Result<Option<ColPali>, Error> {
        let Some(stored) = &self.snapshot().model else { return Ok(None) };
        if !is_embedded(&stored.folder) && !stored.folder.is_dir() {
            return Err(Error::ModelGone { folder: stored.folder.clone() });
        }
        let (slices, recipe) = self.stored_recipe()?.expect("there is a model");
        let slices = Some(slices);
        let base = self.loading.base.clone().or_else(|| stored.base.clone());
        let options = LoadOptions { slices, recipe, query_only, base, ..self.loading.clone() };
        let model = ColPali::load(&stored.folder, &options)?;
        let got = PageEncoder::model_id(&model).clone();
        if got != stored.id {
            let (folder, expected) = (stored.folder.clone(), stored.id.clone());
            return Err(Error::ModelChanged { folder, expected, got });
        }
        Ok(Some(model))
    }

    /// The grid and the recipe of the stored model.
    fn stored_recipe(&self) -> Result<Option<(Slices, Option<Recipe>)>, Error> {
        let Some(stored) = &self.snapshot().model else { return Ok(None) };
        let recipe = stored.recipe.as_deref().map(Recipe::from_json).transpose();
        let recipe = recipe.map_err(|source| {
            let path = self.folder.clone();
            ModelError::Config { path, source }
        })?;
        Ok(Some((stored.grid.slices.clone(), recipe)))
    }

    /// The model of the stored vectors, if there are any.
    fn encoded_with(&self) -> Option<&ModelId> {
        self.view.ledger.values().find_map(|record| record.model.as_ref())
    }

    /// Brings the index in step with the PDFs below `folder`: new and changed ones are read,
    /// renamed ones kept, missing ones dropped; what other folders brought in stays.
    ///
    /// # Errors
    /// [`Error`] for what ends a run. One bad file does not: see [`Summary::failures`].
    pub fn sync(
        &mut self,
        folder: impl AsRef<Path>,
        options: &SyncOptions,
    ) -> Result<Summary, Error> {
        self.sync_all(&[folder.as_ref().to_path_buf()], options, &mut |_| {})
    }

    /// As [`sync`](Self::sync) for several folders or files; `tell` hears what happens.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub fn sync_all(
        &mut self,
        folders: &[PathBuf],
        options: &SyncOptions,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Summary, Error> {
        let model = self.page_model()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let settings = Settings {
            base: self.base.clone(),
            roots: folders.to_vec(),
            workers: options.workers.unwrap_or(cores),
            worker_program: self.renderer.program()?,
            pdfium: self.renderer.found_pdfium()?,
            passwords: self.renderer.passwords.clone(),
            retry_failed: options.retry_failed,
            ocr_languages: options.ocr_languages.clone(),
            limits: options.limits.clone(),
            sandbox: self.renderer.sandbox,
            batch: options.batch.clone(),
        };
        if self.snapshot().analysis != ANALYSIS {
            let pages = self.snapshot().pages;
            let text = format!(
                "an earlier pagesight analysed the words of this index: those of {pages} pages are \
                 analysed anew, from the texts that are stored"
            );
            tell(Event::Warning { text });
        }
        let mut writer = BlockingWriter::open(&self.folder, self.runtime.handle().clone())?;
        if let Some(model) = &model {
            let stored = StoredModel {
                id: PageEncoder::model_id(&**model).clone(),
                folder: model.folder().to_path_buf(),
                grid: model.patch_grid(),
                recipe: Some(model.recipe().to_json()),
                base: model.base().map(Path::to_path_buf),
            };
            writer.set_model(stored, model.dim())?;
        }
        let encoder = model.map(|model| model as Arc<dyn PageEncoder>);
        let outcome = pagesight_indexer::sync(&mut writer, encoder, &settings, &options.stop, tell);
        // A run that was asked to stop does not start to tidy up.
        let tidied = match &outcome {
            Ok(summary) if !summary.interrupted => writer.maintain(&options.stop).map(drop),
            _ => Ok(()),
        };
        self.refresh()?;
        // This index held the snapshot from before the run.
        let _ = writer.sweep();
        drop(writer);
        let mut summary = outcome?;
        match tidied {
            Err(StoreError::Interrupted { .. }) => summary.interrupted = true,
            // All is committed; the next run joins the files.
            Err(error @ StoreError::DiskFull { .. }) => {
                tell(Event::Warning { text: format!("small files are not joined: {error}") });
            }
            tidied => tidied?,
        }
        Ok(summary)
    }

    /// Says at once whether another process writes to the index.
    ///
    /// # Errors
    /// [`StoreError::Locked`] names that process.
    pub fn check_writable(&self) -> Result<(), Error> {
        Ok(pagesight_store::check_lock(&self.folder)?)
    }

    /// Opens the latest snapshot, which a sync in another process may have published.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn refresh(&mut self) -> Result<(), Error> {
        self.view = self.view.newer()?.map_or_else(|| Arc::clone(&self.view), Arc::new);
        let latest = Latest { view: Arc::clone(&self.view), looked: Instant::now() };
        self.latest = Mutex::new(latest);
        Ok(())
    }

    /// A search for `query`, to be refined and [run](Search::run).
    pub fn search<'a>(&'a self, query: &'a str) -> Search<'a> {
        Search::new(self, query)
    }

    /// Page `number` (1-based) of the document at `path`: a ledger path, a path relative to
    /// `here`, or the end of a ledger path.
    ///
    /// # Errors
    /// [`Error::NoSuchDocument`], [`Error::AmbiguousPath`], [`Error::NoSuchPage`].
    pub fn page(&self, here: &Path, path: &str, number: u32) -> Result<Page<'_>, Error> {
        let view = self.latest()?;
        let path = self.resolve(&view, here, path)?;
        let record = &view.ledger[&path];
        let missing = |reason: Option<String>| {
            Err(Error::NoSuchPage { path: path.clone(), page: number, reason })
        };
        let Some(document) = record.document else { return missing(record.reason.clone()) };
        let id = pagesight_core::PageId { document, number };
        match view.reader.pages(&[id])?.pop() {
            Some(page) => {
                let view = Arc::clone(&view);
                let joined = OnceLock::new();
                Ok(Page { index: self, view, path, record: page, joined })
            }
            None => {
                let failure = record.failed_pages.iter().find(|failure| failure.page == number);
                let pages = match record.page_count {
                    0 => None,
                    count => Some(format!("it has {count} pages")),
                };
                missing(failure.map(|f| f.reason.clone()).or(record.reason.clone()).or(pages))
            }
        }
    }

    fn resolve(&self, view: &View, here: &Path, path: &str) -> Result<String, Error> {
        let ledger = &view.ledger;
        if ledger.contains_key(path) {
            return Ok(path.into());
        }
        // A file that is gone has no canonical path; the ledger still knows its page.
        let file = here.join(path);
        let file = file.canonicalize().unwrap_or(file);
        let from_here = encode_path(&self.base, &file);
        if ledger.contains_key(&from_here) {
            return Ok(from_here);
        }
        // A Mac writes the letters of names and their marks apart; what is typed has them composed.
        let (path, from_here) = (composed(path), composed(&from_here));
        let same = |known: &&String| composed(known) == path || composed(known) == from_here;
        if let Some(known) = ledger.keys().find(same) {
            return Ok(known.clone());
        }
        let end = format!("/{path}");
        let mut found: Vec<String> =
            ledger.keys().filter(|known| composed(known).ends_with(&end)).cloned().collect();
        match found.len() {
            0 => Err(Error::NoSuchDocument { path: path.into_owned() }),
            1 => Ok(found.remove(0)),
            _ => Err(Error::AmbiguousPath { path: path.into_owned(), candidates: found }),
        }
    }

    /// The ledger, by path.
    pub fn documents(&self) -> impl Iterator<Item = &DocumentRecord> {
        self.view.ledger.values()
    }

    /// The snapshot that this index shows.
    pub fn snapshot(&self) -> &Snapshot {
        self.view.reader.snapshot()
    }

    /// The index folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that the ledger calls `path`.
    pub fn file(&self, path: &str) -> PathBuf {
        decode_path(&self.base, path)
    }

    /// What a search that begins now sees: at most [`REFRESH`] behind the pointer.
    pub(crate) fn latest(&self) -> Result<Arc<View>, Error> {
        let mut latest = self.latest.lock().expect("no panic under the lock");
        if latest.looked.elapsed() >= REFRESH {
            if let Some(view) = latest.view.newer()? {
                latest.view = Arc::new(view);
            }
            latest.looked = Instant::now();
        }
        Ok(Arc::clone(&latest.view))
    }

    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.runtime.handle().clone()
    }

    pub(crate) fn renderer(&self) -> &RenderOptions {
        &self.renderer
    }
}

/// The error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

pub(crate) fn runtime(folder: &Path) -> Result<Arc<Runtime>, Error> {
    let runtime = Runtime::new();
    let failed = |source| Error::Io { action: "starting threads for", path: folder.into(), source };
    Ok(Arc::new(runtime.map_err(failed)?))
}

impl View {
    fn open(folder: &Path, runtime: &Runtime) -> Result<Self, Error> {
        Self::over(BlockingReader::open(folder, runtime.handle().clone())?)
    }

    /// The latest snapshot, when it is another one.
    fn newer(&self) -> Result<Option<Self>, Error> {
        self.reader.newer()?.map(Self::over).transpose()
    }

    fn over(reader: BlockingReader) -> Result<Self, Error> {
        let records = reader.documents()?;
        let mut paths: HashMap<DocumentId, Vec<String>> = HashMap::new();
        for record in &records {
            if let Some(document) = record.document {
                paths.entry(document).or_default().push(record.path.clone());
            }
        }
        let ledger = records.into_iter().map(|record| (record.path.clone(), record)).collect();
        Ok(Self { reader, ledger, paths, codes: OnceLock::new() })
    }

    /// The codes that searches scan. They are derived, so damage to them is no error: it is the
    /// second value, and the vectors themselves are scanned.
    pub fn codes(&self) -> (Option<&Segments>, Option<&str>) {
        let open = || self.reader.codes().map_err(|error| chain(&error));
        match self.codes.get_or_init(open) {
            Ok(codes) => (codes.as_ref(), None),
            Err(why) => (None, Some(why)),
        }
    }

    /// Documents with a path that passes `keep`.
    /// Whether a path of the ledger is `path`, whose letters are composed.
    pub fn has_path(&self, path: &str) -> bool {
        self.ledger.contains_key(path) || self.ledger.keys().any(|known| composed(known) == path)
    }

    pub fn documents_where(&self, keep: impl Fn(&str) -> bool) -> HashSet<DocumentId> {
        let kept = self.paths.iter().filter(|(_, paths)| paths.iter().any(|path| keep(path)));
        kept.map(|(document, _)| *document).collect()
    }
}
