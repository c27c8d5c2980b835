//! Workers kept warm, and documents kept open in them.
//!
//! Starting a worker takes about a tenth of a second, and opening a large document takes its bytes
//! through a pipe. A pool pays both once: a document that is done with leaves its worker in the
//! pool with the document still open, and whoever asks for that document next gets that worker.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::{Duration, Instant};

use pagesight_core::seam::{PdfDocument, PdfError, PdfReader};
use pagesight_core::{
    Area, Attachment, DocumentId, DrawSize, FailureKind, PageImage, PageText, PageWord,
};

use crate::error::{RendererError, StartError};
use crate::options::RenderOptions;
use crate::renderer::Renderer;
use crate::sandbox::{Confinement, Sandbox};

/// Workers that one document may wear out. A document with a bomb on every page would otherwise
/// take the limit on time for each of them.
const MAX_WORKERS: u32 = 4;

/// Reads PDFs in worker processes, which it starts when they are needed, keeps warm, hands out one
/// document at a time, and replaces when they end. A cheap handle: clones share the workers.
///
/// As many workers run as documents are in use at once, which is for the callers to bound. Of those
/// that have nothing to do it keeps up to [`RenderOptions::warm_workers`], each for
/// [`RenderOptions::idle_time`]. Nothing is started before the first document is opened.
///
/// Dropping it ends the idle workers and waits for nothing, so it may happen in async code. Opening
/// and reading documents blocks.
///
/// ```no_run
/// use std::sync::Arc;
/// use pagesight_core::seam::{PdfDocument, PdfReader};
/// use pagesight_core::{DocumentId, DrawSize};
/// use pagesight_pdf::{RenderOptions, RendererPool, serve_worker_if_asked};
///
/// serve_worker_if_asked(); // first in `main`: workers are this program, started again
/// let pool = RendererPool::new(RenderOptions::default());
/// let bytes = std::fs::read("report.pdf")?;
/// let mut report = pool.open(DocumentId::of(&bytes), Arc::new(bytes), &Arc::default())?;
/// for number in 1..=report.page_count() {
///     let page = report.text(number, 1_000_000)?;
///     let picture = report.draw(number, DrawSize::Width(1200))?;
///     println!("{number}: {} bytes of text, {} px high", page.text.len(), picture.height_px());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RendererPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: RenderOptions,
    idle: Mutex<Idle>,
    started: AtomicU64,
}

/// Workers that have nothing to do.
#[derive(Debug, Default)]
struct Idle {
    /// The longest idle ones first.
    workers: Vec<Warm>,
    /// A thread ends those whose time is over.
    watched: bool,
}

#[derive(Debug)]
struct Warm {
    renderer: Renderer,
    /// The document that it still has open.
    open: Option<Open>,
    since: Instant,
}

#[derive(Debug, Clone)]
struct Open {
    document: DocumentId,
    page_count: u32,
    title: Option<String>,
    notes: Vec<String>,
    attachments: Vec<Attachment>,
}

impl RendererPool {
    /// An empty pool. Mistakes in the options show when the first document is opened; see
    /// [`RenderOptions::check`].
    pub fn new(options: RenderOptions) -> Self {
        let (idle, started) = (Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(Shared { options, idle, started }))
    }

    /// How it reads.
    pub fn options(&self) -> &RenderOptions {
        &self.0.options
    }

    /// How many workers it has started so far.
    pub fn started(&self) -> u64 {
        self.0.started.load(Ordering::Relaxed)
    }

    /// The processes of the workers that have nothing to do, the longest idle first.
    pub fn idle_processes(&self) -> Vec<u32> {
        self.0.idle().workers.iter().map(|warm| warm.renderer.process_id()).collect()
    }

    /// Makes sure that there is a worker, and says what shuts it in.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn confinement(&self) -> Result<Confinement, StartError> {
        let renderer = self.0.take()?;
        let confinement = renderer.confinement().clone();
        Shared::put_back(&self.0, renderer, None);
        Ok(confinement)
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().expect("no panic under the lock")
    }

    /// A worker for another document: the one that has been idle for longest, since the others are
    /// more likely to be asked for what they have open, or a new one.
    fn take(&self) -> Result<Renderer, StartError> {
        loop {
            let mut idle = self.idle();
            if idle.workers.is_empty() {
                break;
            }
            let warm = idle.workers.remove(0);
            drop(idle);
            if warm.renderer.is_alive() && !warm.renderer.has_served() {
                return Ok(warm.renderer);
            }
        }
        let renderer = Renderer::start(&self.options)?;
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(renderer)
    }

    /// The worker that has `document` open.
    fn take_with(&self, document: DocumentId) -> Option<(Renderer, Open)> {
        loop {
            let mut idle = self.idle();
            let has_it = |warm: &Warm| warm.open.as_ref().is_some_and(|o| o.document == document);
            let at = idle.workers.iter().position(has_it)?;
            let warm = idle.workers.remove(at);
            drop(idle);
            if warm.renderer.is_alive() {
                return warm.open.map(|open| (warm.renderer, open));
            }
        }
    }

    fn put_back(this: &Arc<Self>, mut renderer: Renderer, open: Option<Open>) {
        renderer.stop_when(None);
        let mut idle = this.idle();
        idle.workers.push(Warm { renderer, open, since: Instant::now() });
        let surplus = idle.workers.len().saturating_sub(this.options.warm_workers);
        let ended: Vec<Warm> = idle.workers.drain(..surplus).collect();
        if !idle.watched && !idle.workers.is_empty() {
            let (pool, time) = (Arc::downgrade(this), this.options.idle_time);
            let watch = thread::Builder::new().name("idle PDF workers".into());
            // Without the thread they end with the pool.
            idle.watched = watch.spawn(move || end_idle(&pool, time)).is_ok();
        }
        drop(idle);
        drop(ended);
    }
}

/// Ends workers that have been idle for `time`, until there are none.
fn end_idle(pool: &Weak<Shared>, time: Duration) {
    let mut pause = time;
    loop {
        thread::sleep(pause);
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        let fresh = idle.workers.iter().position(|warm| warm.since.elapsed() < time);
        let ended: Vec<Warm> = match fresh {
            Some(first) => idle.workers.drain(..first).collect(),
            None => idle.workers.drain(..).collect(),
        };
        let next = idle.workers.first().map(|warm| time.saturating_sub(warm.since.elapsed()));
        idle.watched = next.is_some();
        drop(idle);
        drop(ended);
        match next {
            Some(next) => pause = next,
            None => return,
        }
    }
}

impl PdfReader for RendererPool {
    fn ready(&self) -> Result<Option<String>, PdfError> {
        let confinement = self.confinement()?;
        let is_fine = self.0.options.sandbox == Sandbox::Off || confinement.is_whole();
        let warn = || format!("the sandbox of the PDF reader is not whole: {confinement}");
        Ok((!is_fine).then(warn))
    }

    fn has_passwords(&self) -> bool {
        !self.0.options.passwords.is_empty()
    }

    fn open(
        &self,
        document: DocumentId,
        bytes: Arc<Vec<u8>>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Box<dyn PdfDocument>, PdfError> {
        if let Some((mut renderer, open)) = self.0.take_with(document) {
            renderer.stop_when(Some(Arc::clone(stop)));
            let (pool, bytes) = (Arc::clone(&self.0), Some((bytes, Arc::clone(stop))));
            let renderer = Some(renderer);
            return Ok(Box::new(PooledDocument { pool, renderer, open, bytes, worn_out: 0 }));
        }
        let open = Open {
            document,
            page_count: 0,
            title: None,
            notes: Vec::new(),
            attachments: Vec::new(),
        };
        let (pool, bytes) = (Arc::clone(&self.0), Some((bytes, Arc::clone(stop))));
        let mut pooled = PooledDocument { pool, renderer: None, open, bytes, worn_out: 0 };
        pooled.open()?;
        Ok(Box::new(pooled))
    }

    fn opened(&self, document: DocumentId) -> Option<Box<dyn PdfDocument>> {
        let (renderer, open) = self.0.take_with(document)?;
        let (pool, renderer) = (Arc::clone(&self.0), Some(renderer));
        Some(Box::new(PooledDocument { pool, renderer, open, bytes: None, worn_out: 0 }))
    }
}

/// A document in use, with a worker of its own. It gets a new one when that ends.
#[derive(Debug)]
struct PooledDocument {
    pool: Arc<Shared>,
    renderer: Option<Renderer>,
    open: Open,
    /// Its bytes, to open it again, and what ends the reading. `None` for a document that was
    /// found open.
    bytes: Option<(Arc<Vec<u8>>, Arc<AtomicBool>)>,
    /// Workers that ended while they read this document.
    worn_out: u32,
}

impl PooledDocument {
    /// Opens the document in a worker that has another one open, or none.
    fn open(&mut self) -> Result<&mut Renderer, PdfError> {
        let crashed = |reason: String| PdfError::failed(FailureKind::Crashed, reason);
        let Some((bytes, stop)) = &self.bytes else {
            return Err(crashed("the worker that had the document open has ended".into()));
        };
        if stop.load(Ordering::Relaxed) {
            return Err(PdfError::Failed(RendererError::Stopped.into_failure()));
        }
        if self.worn_out >= MAX_WORKERS {
            let worn_out = self.worn_out;
            return Err(crashed(format!(
                "not tried: {worn_out} workers ended on earlier pages of the document"
            )));
        }
        let mut renderer = self.pool.take()?;
        renderer.stop_when(Some(Arc::clone(stop)));
        match renderer.open(bytes, &self.pool.options.passwords) {
            Ok((page_count, title)) => {
                let (notes, attachments) =
                    (renderer.notes().to_vec(), renderer.attachments().to_vec());
                let document = self.open.document;
                self.open = Open { document, page_count, title, notes, attachments };
                Ok(self.renderer.insert(renderer))
            }
            Err(error) => {
                if error.is_fatal() {
                    self.worn_out += 1;
                } else {
                    Shared::put_back(&self.pool, renderer, None);
                }
                Err(PdfError::Failed(error.into_failure()))
            }
        }
    }

    fn ask<T>(
        &mut self,
        ask: impl FnOnce(&mut Renderer) -> Result<T, RendererError>,
    ) -> Result<T, PdfError> {
        let renderer = match self.renderer.take() {
            Some(renderer) => self.renderer.insert(renderer),
            None => self.open()?,
        };
        ask(renderer).map_err(|error| {
            if error.is_fatal() {
                self.worn_out += 1;
                self.renderer = None;
            }
            PdfError::Failed(error.into_failure())
        })
    }
}

impl PdfDocument for PooledDocument {
    fn page_count(&self) -> u32 {
        self.open.page_count
    }

    fn title(&self) -> Option<&str> {
        self.open.title.as_deref()
    }

    fn notes(&self) -> &[String] {
        &self.open.notes
    }

    fn attachments(&self) -> &[Attachment] {
        &self.open.attachments
    }

    fn attached(&mut self, attachment: &Attachment, most_bytes: u64) -> Result<Vec<u8>, PdfError> {
        self.ask(|renderer| renderer.attached(attachment, most_bytes))
    }

    fn text(&mut self, number: u32, most_bytes: usize) -> Result<PageText, PdfError> {
        self.ask(|renderer| renderer.text(number, most_bytes))
    }

    fn draw(&mut self, number: u32, size: DrawSize) -> Result<PageImage, PdfError> {
        self.ask(|renderer| renderer.draw(number, size))
    }

    fn text_areas(&mut self, number: u32) -> Result<Vec<Area>, PdfError> {
        self.ask(|renderer| renderer.text_areas(number))
    }

    fn words(&mut self, number: u32) -> Result<Vec<PageWord>, PdfError> {
        self.ask(|renderer| renderer.words(number))
    }
}

impl Drop for PooledDocument {
    fn drop(&mut self) {
        if let Some(renderer) = self.renderer.take() {
            Shared::put_back(&self.pool, renderer, Some(self.open.clone()));
        }
    }
}

impl From<StartError> for PdfError {
    fn from(error: StartError) -> Self {
        Self::Reader(error.into())
    }
}
