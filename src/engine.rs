//! What all handles of one index share: its latest snapshot, its model, and what draws its pages.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pagesight_core::seam::{Model, Ocr, PdfError, PdfReader};
use pagesight_core::{DocumentId, DrawSize, ModelId, ModelRecord, PageId, PageImage};
use pagesight_indexer::{decode_path, read_attached};

use crate::error::Error;
use crate::open::{self, Opening};
use crate::view::View;

/// A search looks for a newer snapshot when it last did so this long ago.
pub const REFRESH: Duration = Duration::from_secs(1);

pub(crate) struct Engine {
    /// The index folder, absolute.
    pub folder: PathBuf,
    /// What relative ledger paths begin at.
    pub base: PathBuf,
    latest: Mutex<Latest>,
    parts: Mutex<Parts>,
}

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
}

impl Engine {
    /// Opens the latest snapshot of the index in `folder`.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let view = Arc::new(View::open(folder)?);
        let canonical = folder.canonicalize().map_err(|source| Error::Io {
            action: "finding",
            path: folder.into(),
            source,
        })?;
        let base = canonical.parent().unwrap_or(&canonical).to_path_buf();
        Ok(Self {
            folder: canonical,
            base,
            latest: Mutex::new(Latest { view, looked: Instant::now() }),
            parts: Mutex::default(),
        })
    }

    /// The snapshot that was seen last, without looking for a newer one.
    pub fn seen(&self) -> Arc<View> {
        Arc::clone(&locked(&self.latest).view)
    }

    /// What a search that begins now sees: at most [`REFRESH`] behind what is published.
    pub fn latest(&self) -> Result<Arc<View>, Error> {
        if locked(&self.latest).looked.elapsed() >= REFRESH {
            self.refresh()?;
        }
        Ok(self.seen())
    }

    /// Looks for a newer snapshot now.
    pub fn refresh(&self) -> Result<(), Error> {
        let newer = self.seen().newer()?;
        let mut latest = locked(&self.latest);
        latest.looked = Instant::now();
        // Another thread may have seen a newer one meanwhile.
        if let Some(view) = newer.filter(|view| view.number() > latest.view.number()) {
            latest.view = Arc::new(view);
        }
        Ok(())
    }

    /// Changes how models are loaded and pages drawn; what was made the old way is dropped.
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
        if let Some(expected) = self.encoded_with().filter(|expected| *expected != got.id) {
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

    /// What reads pages without words: the one that was brought, else one of this machine that
    /// reads `languages`; `None` where there is none.
    pub fn ocr(&self, languages: &str) -> Option<Arc<dyn Ocr>> {
        let brought = locked(&self.parts).ocr.clone();
        brought.or_else(|| open::ocr(languages))
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

    /// What the index remembers of its model.
    pub fn model_record(&self) -> Option<ModelRecord> {
        self.seen().reader.snapshot().model().cloned()
    }

    /// The model of the stored vectors, if there are any.
    pub fn encoded_with(&self) -> Option<ModelId> {
        self.seen().ledger.values().find_map(|record| record.model.clone())
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

    /// Draws a page, `width_px` wide.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::FileChanged`], [`Error::Draw`].
    pub fn draw(&self, path: &str, page: PageId, width_px: u32) -> Result<PageImage, Error> {
        let reader = self.reader()?;
        let failed = |source| Error::Draw { path: path.into(), page: page.number, source };
        let mut document = match reader.opened(page.document) {
            Some(document) => document,
            None => {
                let bytes = Arc::new(self.bytes(&*reader, path, page.document, failed)?);
                reader.open(page.document, bytes, &Arc::default()).map_err(failed)?
            }
        };
        document.draw(page.number, DrawSize::Width(width_px)).map_err(failed)
    }

    /// The bytes of the document that the ledger calls `path`, which must be `document` still.
    fn bytes(
        &self,
        reader: &dyn PdfReader,
        path: &str,
        document: DocumentId,
        failed: impl Fn(PdfError) -> Error,
    ) -> Result<Vec<u8>, Error> {
        let file = self.file(path);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            // No limit: what is larger than a run takes out is not in the ledger.
            Err(source) => match read_attached(reader, &self.base, path, u64::MAX) {
                Some(bytes) => bytes.map_err(failed)?,
                None => return Err(Error::Io { action: "reading", path: file, source }),
            },
        };
        if DocumentId::of(&bytes) != document {
            return Err(Error::FileChanged { path: path.into() });
        }
        Ok(bytes)
    }
}

/// A thread that panicked under one of our locks left plain values in a sound state.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
