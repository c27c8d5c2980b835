//! The index: a handle that is cheap to clone and that threads, handlers and processes share.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "model")]
use pagesight_core::ModelSource;
use pagesight_core::seam::{Model, Ocr, PassageEncoder, PdfReader};
use pagesight_core::{EncodedPage, ModelRecord, PageId};
use pagesight_indexer::encode_path;
#[cfg(feature = "model")]
use pagesight_model::{Embedder, EmbedderOptions, LoadOptions};
#[cfg(feature = "ocr")]
use pagesight_ocr::WeightSearch;
#[cfg(feature = "pdf")]
use pagesight_pdf::RenderOptions;
use pagesight_query::Question;
use pagesight_store::{Address, Writer};

use crate::encoded::EncodedQuestion;
use crate::engine::{Engine, Meaning};
use crate::error::Error;
use crate::page::Page;
use crate::parts::PartsAt;
use crate::reference::{PageRef, document_digits};
use crate::search::Search;
use crate::sync;

pub use pagesight_core::{
    DocumentId, DocumentRecord, DocumentStatus, Failure, FailureKind, PageFailure, TextSource,
};
pub use pagesight_indexer::{
    AddError, BatchSize, Emptied, Event, FolderWatch, IndexError, Limits, Outcome, Progress,
    Summary, SyncOptions,
};
pub use pagesight_query::{PathFilter, PathFilterError};
pub use pagesight_store::{FORMAT, LocalCopy, Share, Snapshot, StoreError};

pub use crate::engine::{Content, REFRESH};

/// An index on disk: PDFs go in with [`sync`](Self::sync), ranked pages come out of
/// [`search`](Self::search).
///
/// A handle is cheap to clone, and all clones share what is loaded: give one to each thread or
/// handler. Every call takes `&self`; one may sync while others search. Calls block, and may be
/// made anywhere, also inside an async runtime; there `spawn_blocking` keeps other tasks running
/// meanwhile.
///
/// Each search sees one snapshot, whole. A search that begins more than [`REFRESH`] after any
/// process published a snapshot sees that one; [`snapshot`](Self::snapshot) and
/// [`documents`](Self::documents) show the one that was seen last.
#[derive(Clone)]
pub struct Index(Arc<Engine>);

/// Whatever comes to be inside, a handle goes where threads and handlers need it.
const _: () = {
    const fn goes_anywhere<T: Clone + Send + Sync + 'static>() {}
    goes_anywhere::<Index>();
};

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({})", self.folder().display())
    }
}

impl Index {
    /// Makes an empty index in `folder`, which is made too.
    ///
    /// # Errors
    /// [`Error::Store`], e.g. when there is one already.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self, Error> {
        Writer::create(folder.as_ref())?;
        Self::open(folder)
    }

    /// As [`create`](Self::create), for vectors that are made elsewhere, with the model that `model`
    /// names: they come with [`add`](Self::add).
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_for(folder: impl AsRef<Path>, model: ModelRecord) -> Result<Self, Error> {
        let mut writer = Writer::create(folder.as_ref())?;
        writer.set_model(model)?;
        drop(writer);
        Self::open(folder)
    }

    /// Opens the latest snapshot of the index in `folder`, or at an address such as
    /// `s3://BUCKET/PREFIX`, as [`open_bucket`](Self::open_bucket) does by default.
    ///
    /// # Errors
    /// [`Error::Store`], e.g. when there is none or a newer pagesight made it.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let folder = folder.as_ref();
        match Address::of(folder)? {
            Some(address) => Self::open_bucket(&address, &BucketOptions::default()),
            None => Ok(Self(Arc::new(Engine::open(folder)?))),
        }
    }

    /// Opens the newest snapshot of the index at `address` for searches. Its words and the sketches of
    /// its pages are copied to this machine; codes of pages that are compared are fetched when they are
    /// not here, and kept as far as there is room. Newer snapshots are looked for in the background, and
    /// a search never waits for that. The texts of hits, and full-precision vectors where a ranking is
    /// exact, are read in the bucket.
    ///
    /// # Errors
    /// [`Error::Store`], e.g. when there is none, or this library was built without that cloud.
    pub fn open_bucket(address: &Address, options: &BucketOptions) -> Result<Self, Error> {
        let base = options.base.clone();
        let parts = options.parts.as_ref();
        let engine = Arc::new(Engine::open_bucket(address, &options.local, parts, base)?);
        let (weak, every) = (Arc::downgrade(&engine), options.refresh);
        let refreshing = move || {
            let mut waited = Duration::ZERO;
            // In short steps, so that the thread ends soon after the index.
            while let Some(engine) = weak.upgrade() {
                if waited >= every {
                    engine.try_refresh();
                    waited = Duration::ZERO;
                }
                drop(engine);
                std::thread::sleep(STEP.min(every));
                waited += STEP.min(every);
            }
        };
        let thread = std::thread::Builder::new().name("pagesight-refresh".into());
        thread.spawn(refreshing).map_err(|source| StoreError::Threads { source })?;
        Ok(Self(engine))
    }

    /// Whether the index lies in a bucket.
    pub fn is_in_bucket(&self) -> bool {
        self.0.is_in_bucket()
    }

    /// Of an index in a bucket, how often a newer snapshot was looked for in vain.
    pub fn refresh_failures(&self) -> u64 {
        self.0.refresh_failures()
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

    /// Lets this index, in all its handles, encode pages and questions with `model`. Two indexes
    /// may share one. An index that has vectors keeps their model.
    ///
    /// # Errors
    /// [`Error::ModelChanged`] when the index has vectors of another model.
    pub fn with_model(self, model: Arc<dyn Model>) -> Result<Self, Error> {
        self.0.set_model(model)?;
        Ok(self)
    }

    /// Loads the model that `source` names for this index, in all its handles. An index that has
    /// vectors keeps their model, its recipe and its slices.
    ///
    /// # Errors
    /// [`Error::Model`] when it cannot be loaded, [`Error::ModelChanged`] when the index has
    /// vectors of another one.
    #[cfg(feature = "model")]
    pub fn load_model(&self, source: &ModelSource, options: &LoadOptions) -> Result<(), Error> {
        let model = self.0.opening().model(source, options, self.0.model_record())?;
        self.0.set_model(model)
    }

    /// Says how the model that the index remembers is loaded: where it runs, where its hashes are
    /// kept, and where its base lies if not where it was. Its recipe and slices are the index's own.
    #[cfg(feature = "model")]
    pub fn set_loading(&self, options: LoadOptions) {
        self.0.set_opening(|opening| opening.loading = options);
    }

    /// Lets `encoder` give the meaning of the pages' text: the next [`sync`](Self::sync) encodes the
    /// passages of all pages with it, those that are there from their stored text, and searches find
    /// pages by it. Passages of another model are replaced.
    #[must_use]
    pub fn with_embedder(self, encoder: Arc<dyn PassageEncoder>) -> Self {
        self.0.set_meaning(Meaning::By(encoder));
        self
    }

    /// As [`with_embedder`](Self::with_embedder), with the model of meaning that `source` names.
    ///
    /// # Errors
    /// [`Error::Model`] when it cannot be loaded.
    #[cfg(feature = "model")]
    pub fn load_embedder(
        &self,
        source: &ModelSource,
        options: &EmbedderOptions,
    ) -> Result<(), Error> {
        self.0.set_meaning(Meaning::By(Arc::new(Embedder::load(source, options)?)));
        Ok(())
    }

    /// Says how the model of meaning that the index remembers is loaded: where the one is that comes
    /// with the program, and where its hashes are kept.
    #[cfg(feature = "model")]
    pub fn set_embedding(&self, options: EmbedderOptions) {
        self.0.set_opening(|opening| opening.embedding = options);
    }

    /// Lets the next [`sync`](Self::sync) take the meaning of the text out of the index, and keep it
    /// out.
    #[must_use]
    pub fn without_meaning(self) -> Self {
        self.0.set_meaning(Meaning::Off);
        self
    }

    /// Says how pages are drawn.
    #[cfg(feature = "pdf")]
    pub fn set_renderer(&self, options: RenderOptions) {
        self.0.set_opening(|opening| opening.renderer = options);
    }

    /// Says where the weights of the embedded reader of pages may be.
    #[cfg(feature = "ocr")]
    pub fn set_ocr_weights(&self, search: WeightSearch) {
        self.0.set_opening(|opening| opening.weights = search);
    }

    /// Lets `reader` open the PDFs, in place of the worker processes with pdfium.
    #[must_use]
    pub fn with_reader(self, reader: Arc<dyn PdfReader>) -> Self {
        self.0.set_reader(reader);
        self
    }

    /// Lets `ocr` read pages that are pictures, in place of the readers of this machine, unless
    /// [`SyncOptions::ocr`] is off.
    #[must_use]
    pub fn with_ocr(self, ocr: Arc<dyn Ocr>) -> Self {
        self.0.set_ocr(ocr);
        self
    }

    /// Brings the index in step with the PDFs below `folder`: new and changed ones are read,
    /// renamed ones kept, missing ones dropped; what other folders brought in stays.
    ///
    /// # Errors
    /// [`Error`] for what ends a run. One bad file does not: see [`Summary::failures`].
    pub fn sync(&self, folder: impl AsRef<Path>, options: &SyncOptions) -> Result<Summary, Error> {
        self.sync_all(&[folder.as_ref().to_path_buf()], options, &mut |_| {})
    }

    /// As [`sync`](Self::sync) for several folders or files; `tell` hears what happens.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub fn sync_all(
        &self,
        folders: &[PathBuf],
        options: &SyncOptions,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Summary, Error> {
        sync::sync(&self.0, folders, options, tell)
    }

    /// Takes in one PDF with vectors that were made elsewhere: one [`EncodedPage`] a page. Its
    /// words are read from the PDF. The index's model, brought by
    /// [`with_model`](Self::with_model) or named when it was made
    /// ([`create_for`](Self::create_for)), says whose vectors they are. The PDF's pages of before
    /// are replaced.
    ///
    /// # Errors
    /// [`Error::NoModel`] without a model; [`Error::Add`] when the vectors are not those of its
    /// pages: another number of pages, another row length, rows that are not of length 1.
    pub fn add(&self, pdf: impl AsRef<Path>, pages: Vec<EncodedPage>) -> Result<(), Error> {
        sync::add(&self.0, pdf.as_ref(), pages)
    }

    /// A search, to be refined and [run](Search::run). A question is text, or vectors of your own,
    /// or a page to which others shall be alike.
    pub fn search(&self, question: impl Into<Question>) -> Search {
        Search::new(Arc::clone(&self.0), question.into())
    }

    /// Page `number` (1-based) of the document at `path`: a ledger path, or the end of one.
    ///
    /// # Errors
    /// [`Error::NoSuchDocument`], [`Error::AmbiguousPath`], [`Error::NoSuchPage`].
    pub fn page(&self, path: &str, number: u32) -> Result<Page, Error> {
        let view = self.0.latest()?;
        let record = view.resolve(path)?;
        let path = record.path.clone();
        let found = match record.document {
            Some(document) => view.reader.pages(&[PageId { document, number }])?.pop(),
            None => None,
        };
        if let Some(page) = found {
            let document = page.id.document;
            let mut documents = view.documents_of(&HashSet::from([document]))?;
            let of_document = documents.remove(&document).unwrap_or_default();
            let engine = Arc::clone(&self.0);
            return Ok(Page::new(engine, view.number(), path, &of_document, page));
        }
        let page = record.failed_pages.iter().find(|failed| failed.page == number);
        let failure = page.map(|failed| failed.failure.clone()).or(record.failure.clone());
        Err(Error::NoSuchPage { path, page: number, failure, page_count: record.page_count })
    }

    /// The page that `reference` names.
    ///
    /// # Errors
    /// As [`page`](Self::page), and [`Error::AmbiguousDocument`].
    pub fn page_by_ref(&self, reference: &PageRef) -> Result<Page, Error> {
        let document = self.document(reference.document())?;
        let of_document = self.0.seen().documents_of(&HashSet::from([document]))?;
        match of_document.get(&document).and_then(|records| records.first()) {
            Some(record) => self.page(&record.path, reference.page()),
            None => Err(Error::NoSuchDocument { path: reference.document().into() }),
        }
    }

    /// The document whose id begins with `digits`, 8 to 64 of them.
    ///
    /// # Errors
    /// [`Error::NoSuchDocument`], [`Error::AmbiguousDocument`].
    pub fn document(&self, digits: &str) -> Result<DocumentId, Error> {
        let none = || Error::NoSuchDocument { path: digits.chars().take(100).collect() };
        let wanted = document_digits(digits).ok_or_else(none)?;
        let found = self.0.latest()?.documents_beginning(&wanted)?;
        match found[..] {
            [] => Err(none()),
            [document] => Ok(document),
            _ => {
                let candidates = found.iter().map(ToString::to_string).collect();
                Err(Error::AmbiguousDocument { digits: digits.into(), candidates })
            }
        }
    }

    /// The model that encodes questions, brought or loaded; `None` for an index of words alone.
    ///
    /// # Errors
    /// What loading it says.
    pub fn model(&self) -> Result<Option<Arc<dyn Model>>, Error> {
        self.0.query_model()
    }

    /// Encodes a question with the model of the index, for heat maps and regions. Questions that
    /// were asked lately are not encoded again, here or in a search.
    ///
    /// # Errors
    /// [`Error::NoModel`] for an index of words alone, and what loading its model says.
    pub fn encode(&self, question: &str) -> Result<EncodedQuestion, Error> {
        self.0.encode(question)
    }

    /// Encodes a question with the model of meaning of the index, for heat maps and regions of what
    /// the text of a page means.
    ///
    /// # Errors
    /// [`Error::NoMeaning`] for an index without the meaning of its text, and what loading the model
    /// says.
    pub fn encode_meaning(&self, question: &str) -> Result<EncodedQuestion, Error> {
        self.0.encode_meaning(question)
    }

    /// Opens `document`, whose bytes are checked to be those that were indexed: the ledger path at
    /// which it lies, and its content.
    ///
    /// # Errors
    /// [`Error::NoSuchDocument`], [`Error::Io`], [`Error::FileChanged`].
    pub fn open_document(&self, document: DocumentId) -> Result<(String, Content), Error> {
        let mut records = self.0.latest()?.documents_of(&HashSet::from([document]))?;
        let mut first = None;
        for path in records.remove(&document).into_iter().flatten().map(|record| record.path) {
            match self.0.open_file(&path, document) {
                Ok(content) => return Ok((path, content)),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or(Error::NoSuchDocument { path: document.to_string() }))
    }

    /// Drops `paths` from the ledger, and the pages of documents that have no other path. Their
    /// files are left alone.
    ///
    /// # Errors
    /// [`Error::Store`], e.g. when another process writes.
    pub fn remove(&self, paths: &[String]) -> Result<(), Error> {
        sync::remove(&self.0, paths)
    }

    /// The stored vectors of a page with their layout; `None` for a page without vectors.
    ///
    /// # Errors
    /// [`Error::Store`], e.g. when the page is damaged.
    pub fn vectors(&self, page: PageId) -> Result<Option<EncodedPage>, Error> {
        let mut pages = self.0.latest()?.reader.pages_with_vectors(&[page])?;
        let parts = pages.pop().and_then(|page| Some((page.vectors?, page.layout?)));
        Ok(match parts {
            Some((vectors, layout)) => Some(EncodedPage::new(vectors, layout)?),
            None => None,
        })
    }

    /// The ledger path of `file`: relative to the folder that holds the index when below it.
    pub fn ledger_path(&self, file: &Path) -> String {
        // A file that is gone has no canonical path; the ledger may know it still.
        let file = file.canonicalize().unwrap_or_else(|_| file.to_path_buf());
        encode_path(&self.0.base, &file)
    }

    /// The ledger: what became of each file, by path.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be read.
    pub fn documents(&self) -> Result<Vec<DocumentRecord>, Error> {
        Ok(self.0.seen().ledger()?.records().cloned().collect())
    }

    /// The snapshot that was seen last.
    pub fn snapshot(&self) -> Snapshot {
        self.0.seen().reader.snapshot().clone()
    }

    /// Looks for a newer snapshot now, which another process may have published.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn refresh(&self) -> Result<(), Error> {
        self.0.refresh()
    }

    /// Says at once whether another process writes to the index.
    ///
    /// # Errors
    /// [`StoreError::Locked`] names that process.
    pub fn check_writable(&self) -> Result<(), Error> {
        Ok(pagesight_store::check_lock(&self.0.folder)?)
    }

    /// Starts what draws pages, where it is not started, so that the first page that is drawn need
    /// not wait for it. What stands in the way is said of that page.
    #[cfg(feature = "pdf")]
    pub fn start_renderer(&self) {
        if let Ok(reader) = self.0.reader() {
            let _ = reader.ready();
        }
    }

    /// A name for the index: that of the folder that holds it, made to fit into 1 to 64 of a-z, 0-9,
    /// dot, underscore and dash.
    pub fn name(&self) -> String {
        name_of(self.folder())
    }

    /// The index folder, absolute; of an index in a bucket its address.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// The file that the ledger calls `path`.
    pub fn file(&self, path: &str) -> PathBuf {
        self.0.file(path)
    }

    /// What all handles of this index share.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.0
    }
}

/// Between two looks whether an index is still used.
const STEP: Duration = Duration::from_millis(250);

/// How an index in a bucket is read.
#[derive(Debug, Clone)]
pub struct BucketOptions {
    /// Where copies of its words and codes are kept, and how much of them.
    pub local: LocalCopy,
    /// How often a newer snapshot is looked for.
    pub refresh: Duration,
    /// The folder that paths of the ledger begin at on this machine: pictures of pages are drawn from
    /// the PDFs there.
    pub base: PathBuf,
    /// The machines that have the words and codes, each a part of them: this one is their router. Its
    /// [`LocalCopy::share`] is then nothing.
    pub parts: Option<Arc<dyn PartsAt>>,
}

impl Default for BucketOptions {
    /// A folder among the temporary ones, every 5 s, and paths that begin at the current folder.
    fn default() -> Self {
        let local = LocalCopy::in_folder(std::env::temp_dir().join("pagesight"));
        let base = PathBuf::from(".");
        Self { local, refresh: Duration::from_secs(5), base, parts: None }
    }
}

/// The name of the folder that holds the index in `folder`, an absolute path, or the last part of an
/// address, made to fit: see
/// [`Index::name`].
pub fn name_of(folder: &Path) -> String {
    // What an address ends with says what it is of.
    let of_bucket = matches!(Address::of(folder), Ok(Some(_)));
    let holder = if of_bucket { Some(folder) } else { folder.parent() };
    let holder = holder.and_then(Path::file_name).unwrap_or_default();
    let mut name = String::new();
    for c in holder.to_string_lossy().to_lowercase().chars() {
        let fits = c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        name.push(if fits { c } else { '-' });
    }
    let name: String = name.trim_start_matches(['.', '_', '-']).chars().take(64).collect();
    if name.is_empty() { "index".into() } else { name }
}
