//! What all handles of one index share: its latest snapshot, its model, and what draws its pages.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pagesight_core::seam::{Model, Ocr, PassageEncoder, PdfDocument, PdfError, PdfReader};
use pagesight_core::{
    Channel, DocumentId, ModelId, ModelRecord, OcrChoice, PageId, PageRecord, PassageQuestion,
    QueryVectors,
};
use pagesight_indexer::{decode_path, read_attached};
use pagesight_maxsim::Neutral;
use pagesight_query::QueryError;
use pagesight_store::{Address, LocalCopy, Share};

use crate::encoded::{EncodedQuestion, KEPT, Remembering, RememberingPassages};
use crate::error::Error;
use crate::former::Former;
use crate::open::Opening;
use crate::parts::PartsAt;
use crate::placed::PlacedWords;
use crate::recent::Recent;
use crate::view::View;

/// A search looks for a newer snapshot when it last did so this long ago.
pub const REFRESH: Duration = Duration::from_secs(1);

/// Where the passages of a page begin and end in its text, bytes.
type Passages = Arc<[Range<usize>]>;

pub(crate) struct Engine {
    /// The index folder, absolute; of an index in a bucket its address.
    pub folder: PathBuf,
    /// What relative ledger paths begin at.
    pub base: PathBuf,
    latest: Mutex<Latest>,
    /// Of a part of an index: what routers may ask for still.
    pub former: Mutex<Former>,
    keeps_former: bool,
    parts: Mutex<Parts>,
    /// Of an index in a bucket: how often a newer snapshot was looked for in vain.
    refresh_failed: Option<AtomicU64>,
    /// Questions that were encoded lately.
    pub questions: Recent<(ModelId, String), Arc<QueryVectors>>,
    /// Those that were encoded for passages lately.
    pub meant: Recent<(ModelId, String), PassageQuestion>,
    /// Where the passages of pages that were shown lately begin and end, by their model.
    pub passages: Recent<(ModelId, PageId, usize), Passages>,
    /// Neutral questions as the model of the last run encoded them.
    pub neutral: Arc<Mutex<Option<Neutral>>>,
    /// Files whose bytes were found to be those of their document, by path, length and time.
    checked: Recent<(String, DocumentId, u64, Option<SystemTime>), ()>,
    /// Where words stand on pages that were asked for lately.
    pub words: Recent<PageId, Arc<PlacedWords>>,
}

/// Where a page is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The ledger path of its document that is tried first.
    pub path: &'a str,
    /// All of them.
    pub paths: &'a [String],
    pub id: PageId,
}

/// Pages whose words are kept with their places.
const PAGES_WITH_WORDS: usize = 256;

struct Latest {
    view: Arc<View>,
    looked: Instant,
}

/// What an index works with. Each is made when it is first needed, unless it was brought.
#[derive(Default)]
struct Parts {
    opening: Opening,
    model: Option<Arc<dyn Model>>,
    reader: Option<Arc<dyn PdfReader>>,
    ocr: Option<Arc<dyn Ocr>>,
    meaning: Meaning,
    /// The one that the index remembers, once it was loaded.
    embedder: Option<Arc<dyn PassageEncoder>>,
}

/// What an index does about the meaning of its pages' text.
#[derive(Clone, Default)]
pub(crate) enum Meaning {
    /// It goes on as it is.
    #[default]
    AsItIs,
    /// It has none from now on.
    Off,
    /// This model encodes the passages of all pages.
    By(Arc<dyn PassageEncoder>),
}

impl Engine {
    /// Opens the latest snapshot of the index in `folder`.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let view = View::open(folder)?;
        let canonical = folder.canonicalize().map_err(|source| Error::Io {
            action: "finding",
            path: folder.into(),
            source,
        })?;
        let base = canonical.parent().unwrap_or(&canonical).to_path_buf();
        Ok(Self::over(view, canonical, base, None))
    }

    /// Opens the newest snapshot of the index at `address`. Whoever holds the engine lets it look for
    /// newer ones: see [`refresh`](Self::refresh).
    pub fn open_bucket(
        address: &Address,
        local: &LocalCopy,
        parts: Option<&Arc<dyn PartsAt>>,
        base: PathBuf,
    ) -> Result<Self, Error> {
        let folder = &local.folder;
        let made = std::fs::create_dir_all(folder);
        made.map_err(|source| Error::Io { action: "making", path: folder.clone(), source })?;
        let view = View::open_bucket(address, local, parts)?;
        let keeps_former = matches!(local.share, Share::Part { .. });
        let folder = PathBuf::from(address.to_string());
        let engine = Self::over(view, folder, base, Some(AtomicU64::new(0)));
        Ok(Self { keeps_former, ..engine })
    }

    fn over(view: View, folder: PathBuf, base: PathBuf, refresh_failed: Option<AtomicU64>) -> Self {
        let latest = Latest { view: Arc::new(view), looked: Instant::now() };
        Self {
            folder,
            base,
            latest: Mutex::new(latest),
            former: Mutex::default(),
            keeps_former: false,
            parts: Mutex::default(),
            refresh_failed,
            questions: Recent::new(KEPT),
            meant: Recent::new(KEPT),
            passages: Recent::new(KEPT),
            neutral: Arc::default(),
            checked: Recent::new(PAGES_WITH_WORDS),
            words: Recent::new(PAGES_WITH_WORDS),
        }
    }

    /// Whether the index lies in a bucket.
    pub fn is_in_bucket(&self) -> bool {
        self.refresh_failed.is_some()
    }

    /// How often a newer snapshot was looked for in vain; 0 for an index in a folder.
    pub fn refresh_failures(&self) -> u64 {
        self.refresh_failed.as_ref().map_or(0, |failed| failed.load(Ordering::Relaxed))
    }

    /// Looks for a newer snapshot in the bucket now; what fails is counted, and what was seen stays.
    pub fn try_refresh(&self) {
        if let (Err(_), Some(failed)) = (self.refresh(), &self.refresh_failed) {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The snapshot that was seen last, without looking for a newer one.
    pub fn seen(&self) -> Arc<View> {
        Arc::clone(&locked(&self.latest).view)
    }

    /// What a search that begins now sees: at most [`REFRESH`] behind what is published.
    pub fn latest(&self) -> Result<Arc<View>, Error> {
        // A search waits for no bucket: somebody else looks there from time to time.
        if !self.is_in_bucket() && locked(&self.latest).looked.elapsed() >= REFRESH {
            self.refresh()?;
        }
        Ok(self.seen())
    }

    /// Looks for a newer snapshot now.
    pub fn refresh(&self) -> Result<(), Error> {
        // What is published while this looks is for the next one to see.
        let looked = Instant::now();
        let seen = self.seen();
        let newer = seen.newer()?;
        let mut latest = locked(&self.latest);
        latest.looked = latest.looked.max(looked);
        // Another thread may have seen a newer one meanwhile. Without that, a smaller number is
        // that of an index which was made anew in this folder: what was seen is gone.
        let alone = Arc::ptr_eq(&seen, &latest.view);
        if let Some(view) = newer.filter(|view| alone || view.number() > latest.view.number()) {
            let former = std::mem::replace(&mut latest.view, Arc::new(view));
            if self.keeps_former {
                locked(&self.former).keep(former);
            }
        }
        Ok(())
    }

    /// Changes how models are loaded and pages drawn; what was made the old way is dropped.
    #[cfg(any(feature = "model", feature = "pdf", feature = "ocr"))]
    pub fn set_opening(&self, change: impl FnOnce(&mut Opening)) {
        let mut parts = locked(&self.parts);
        change(&mut parts.opening);
        parts.reader = None;
    }

    /// How models are loaded and pages drawn.
    pub fn opening(&self) -> Opening {
        locked(&self.parts).opening.clone()
    }

    /// Lets the index use `model`.
    ///
    /// # Errors
    /// [`Error::ModelChanged`] when the index has vectors of another one.
    pub fn set_model(&self, model: Arc<dyn Model>) -> Result<(), Error> {
        let got = model.record();
        if let Some(expected) = self.encoded_with()?.filter(|expected| *expected != got.id) {
            return Err(Error::ModelChanged { source_of: got.source, expected, got: got.id });
        }
        locked(&self.parts).model = Some(model);
        Ok(())
    }

    /// Lets `reader` draw pages and read their text.
    pub fn set_reader(&self, reader: Arc<dyn PdfReader>) {
        locked(&self.parts).reader = Some(reader);
    }

    /// Lets `ocr` read pages without words.
    pub fn set_ocr(&self, ocr: Arc<dyn Ocr>) {
        locked(&self.parts).ocr = Some(ocr);
    }

    /// What reads pages that are pictures: the one that was brought, else what this machine has of
    /// what was chosen; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Ocr`].
    pub fn ocr(
        &self,
        choice: OcrChoice,
        languages: Option<&str>,
    ) -> Result<Option<Arc<dyn Ocr>>, Error> {
        if choice == OcrChoice::Off {
            return Ok(None);
        }
        let brought = locked(&self.parts).ocr.clone();
        brought.map_or_else(|| self.opening().ocr(choice, languages), |ocr| Ok(Some(ocr)))
    }

    /// What encodes queries: the model that was brought or loaded, or the one that the index
    /// remembers, without what only pages need.
    ///
    /// # Errors
    /// [`Error::ModelGone`], [`Error::ModelChanged`], [`Error::Model`].
    pub fn query_model(&self) -> Result<Option<Arc<dyn Model>>, Error> {
        self.model(true)
    }

    /// What encodes pages.
    ///
    /// # Errors
    /// As [`query_model`](Self::query_model).
    pub fn page_model(&self) -> Result<Option<Arc<dyn Model>>, Error> {
        self.model(false)
    }

    fn model(&self, query_only: bool) -> Result<Option<Arc<dyn Model>>, Error> {
        let mut parts = locked(&self.parts);
        if let Some(model) = parts.model.as_ref().filter(|m| query_only || m.encodes_pages()) {
            return Ok(Some(Arc::clone(model)));
        }
        let Some(record) = self.model_record() else { return Ok(None) };
        // Under the lock, so that two searches do not load it twice.
        // Indexes of format 1 keep the slices and no recipe.
        let slices = self.seen().reader.snapshot().slices().cloned();
        let model = parts.opening.remembered_model(&record, slices, query_only)?;
        parts.model = Some(Arc::clone(&model));
        Ok(Some(model))
    }

    /// Says what is done about the meaning of the text in the next run.
    pub fn set_meaning(&self, meaning: Meaning) {
        locked(&self.parts).meaning = meaning;
    }

    /// What is done about the meaning of the text.
    pub fn meaning(&self) -> Meaning {
        locked(&self.parts).meaning.clone()
    }

    /// What encodes the passages of pages: the model that was given, else the one that the index
    /// remembers; `None` for an index without passages.
    ///
    /// # Errors
    /// [`Error::ModelGone`], [`Error::ModelChanged`], [`Error::Model`].
    pub fn page_embedder(&self) -> Result<Option<Arc<dyn PassageEncoder>>, Error> {
        match self.meaning() {
            Meaning::Off => Ok(None),
            Meaning::By(encoder) => Ok(Some(encoder)),
            Meaning::AsItIs => self.query_embedder(),
        }
    }

    /// What encodes questions for the passages of the snapshot that was seen last: the model that
    /// encoded them, be it the one that was given.
    ///
    /// # Errors
    /// As [`page_embedder`](Self::page_embedder).
    pub fn query_embedder(&self) -> Result<Option<Arc<dyn PassageEncoder>>, Error> {
        let seen = self.seen();
        let Some(record) = seen.reader.snapshot().embedder() else { return Ok(None) };
        let mut parts = locked(&self.parts);
        let given = match &parts.meaning {
            Meaning::By(encoder) => Some(encoder),
            _ => None,
        };
        let mut loaded = given.into_iter().chain(&parts.embedder);
        if let Some(encoder) = loaded.find(|known| known.record().id == record.id) {
            return Ok(Some(Arc::clone(encoder)));
        }
        // Under the lock, so that two searches do not load it twice.
        let encoder = parts.opening.remembered_embedder(record)?;
        parts.embedder = Some(Arc::clone(&encoder));
        Ok(Some(encoder))
    }

    /// What the index remembers of its model.
    pub fn model_record(&self) -> Option<ModelRecord> {
        self.seen().reader.snapshot().model().cloned()
    }

    /// The model of the stored vectors, if there are any.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn encoded_with(&self) -> Result<Option<ModelId>, Error> {
        Ok(self.seen().ledger()?.records().find_map(|record| record.model.clone()))
    }

    /// What draws pages, made when it is first asked for.
    ///
    /// # Errors
    /// [`Error::Pdf`] when libpdfium is nowhere, [`Error::NoReader`].
    pub fn reader(&self) -> Result<Arc<dyn PdfReader>, Error> {
        let mut parts = locked(&self.parts);
        if let Some(reader) = &parts.reader {
            return Ok(Arc::clone(reader));
        }
        let reader = parts.opening.pdf_reader()?;
        parts.reader = Some(Arc::clone(&reader));
        Ok(reader)
    }

    /// The file that the ledger calls `path`.
    pub fn file(&self, path: &str) -> PathBuf {
        decode_path(&self.base, path)
    }

    /// The vectors of a question, from the model of the index.
    ///
    /// # Errors
    /// [`Error::NoModel`], and as [`query_model`](Self::query_model).
    pub fn encode(&self, question: &str) -> Result<EncodedQuestion, Error> {
        let model = self.query_model()?.ok_or(Error::NoModel)?;
        let id = model.record().id;
        let encoder = Remembering { encoder: &*model, model: &id, kept: &self.questions };
        let vectors = encoder.encode(question).map_err(QueryError::Encode)?;
        Ok(EncodedQuestion::new(Channel::Patches, question.into(), vectors, Some(id)))
    }

    /// The vectors of a question's tokens, from the model of meaning of the index.
    ///
    /// # Errors
    /// [`Error::NoMeaning`], and as [`query_embedder`](Self::query_embedder).
    pub fn encode_meaning(&self, question: &str) -> Result<EncodedQuestion, Error> {
        let encoder = self.query_embedder()?.ok_or(Error::NoMeaning)?;
        let id = encoder.record().id;
        let (encoder, model) = (&*encoder, id.clone());
        let encoder = RememberingPassages { encoder, model, kept: &self.meant };
        let asked = encoder.encode_question(question).map_err(QueryError::Encode)?;
        let vectors = Arc::new(asked.tokens);
        Ok(EncodedQuestion::new(Channel::Passages, question.into(), vectors, Some(id)))
    }

    /// Where the passages of `page` begin and end in its text, as `encoder` cuts it.
    ///
    /// # Errors
    /// What the model says.
    pub fn passages_of(
        &self,
        encoder: &dyn PassageEncoder,
        page: &PageRecord,
    ) -> Result<Passages, Error> {
        // A page that is read anew has another text.
        let key = (encoder.record().id, page.id, page.text.len());
        if let Some(known) = self.passages.get(&key) {
            return Ok(known);
        }
        let ranges: Passages = encoder.passages(&page.text).map_err(QueryError::Encode)?.into();
        self.passages.keep(key, Arc::clone(&ranges));
        Ok(ranges)
    }

    /// Asks the document of `page` something. `stop`, set from elsewhere, ends it early.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::FileChanged`], [`Error::Draw`].
    pub fn with_document<T>(
        &self,
        page: Place<'_>,
        stop: &Arc<AtomicBool>,
        ask: impl FnOnce(&mut dyn PdfDocument) -> Result<T, PdfError>,
    ) -> Result<T, Error> {
        let reader = self.reader()?;
        let Place { path, paths, id } = page;
        let failed = |source| Error::Draw { path: path.into(), page: id.number, source };
        let mut document = match reader.opened(id.document) {
            Some(document) => document,
            None => {
                let bytes = Arc::new(self.bytes(&*reader, path, paths, id.document, failed)?);
                reader.open(id.document, bytes, stop).map_err(failed)?
            }
        };
        ask(&mut *document).map_err(failed)
    }

    /// Opens what lies at `path`, whose bytes must be those of `document`. A file that was checked
    /// lately, and has the same length and time since, is not read again; a PDF that another one
    /// carries is taken out of it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::FileChanged`], [`Error::Draw`].
    pub fn open_file(&self, path: &str, document: DocumentId) -> Result<Content, Error> {
        let name = self.file(path);
        let failed = |source| Error::Io { action: "reading", path: name.clone(), source };
        let mut file = match fs::File::open(&name) {
            Ok(file) => file,
            Err(_) => {
                let reader = self.reader()?;
                let failed = |source| Error::Draw { path: path.into(), page: 1, source };
                let bytes = self.bytes(&*reader, path, &[], document, failed)?;
                return Ok(Content::Bytes(bytes.into()));
            }
        };
        let known = file.metadata().map_err(failed)?;
        let changed = known.modified().ok();
        let key = (path.to_string(), document, known.len(), changed);
        if self.checked.get(&key).is_none() {
            let mut hash = blake3::Hasher::new();
            hash.update_reader(&mut file).map_err(failed)?;
            if DocumentId(*hash.finalize().as_bytes()) != document {
                return Err(Error::FileChanged { path: path.into() });
            }
            self.checked.keep(key, ());
        }
        Ok(Content::File { file, length: known.len() })
    }

    /// The bytes of the document that the ledger calls `path`, or one of `paths`, which must be
    /// `document` still.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::FileChanged`], of `path`.
    fn bytes(
        &self,
        reader: &dyn PdfReader,
        path: &str,
        paths: &[String],
        document: DocumentId,
        failed: impl Fn(PdfError) -> Error,
    ) -> Result<Vec<u8>, Error> {
        let at = |path: &str| {
            let file = self.file(path);
            let bytes = match fs::read(&file) {
                Ok(bytes) => bytes,
                // No limit: what is larger than a run takes out is not in the ledger.
                Err(source) => match read_attached(reader, &self.base, path, u64::MAX) {
                    Some(bytes) => bytes.map_err(&failed)?,
                    None => return Err(Error::Io { action: "reading", path: file, source }),
                },
            };
            if DocumentId::of(&bytes) != document {
                return Err(Error::FileChanged { path: path.into() });
            }
            Ok(bytes)
        };
        let first = at(path);
        if first.is_ok() {
            return first;
        }
        let others = paths.iter().filter(|other| *other != path);
        others.map(|other| at(other)).find(Result::is_ok).unwrap_or(first)
    }
}

/// What lies where the ledger says that a document is: a file, or the bytes of a PDF that another
/// PDF carries.
#[derive(Debug)]
pub enum Content {
    /// A file of its own, open, of this many bytes.
    File {
        /// To be read from anywhere in it.
        file: fs::File,
        /// Bytes.
        length: u64,
    },
    /// Taken out of the PDF that carries it.
    Bytes(Arc<[u8]>),
}

/// A thread that panicked under one of our locks left plain values in a sound state.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
