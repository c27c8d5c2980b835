//! Pages on their way through the encoder.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use pagesight_core::seam::{BoxError, PageEncoder};
use pagesight_core::{EncodedPage, PageImage, PageRecord, Turn};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::discover::Found;
use crate::error::IndexError;
use crate::estimate::Kind;

/// Pages that the model encodes at once, where it is quick.
const ENCODE_PAGES: usize = 8;

/// A model that takes longer for a page is given one at a time, so that a run shows how far it is
/// and commits what is done.
const SLOW_PAGE: Duration = Duration::from_millis(200);

/// How often a waiting run looks whether it should stop.
const TICK: Duration = Duration::from_millis(100);

/// A page that was read.
pub(crate) struct Waiting {
    pub found: Arc<Found>,
    pub page: PageRecord,
    pub kind: Kind,
}

/// Pages that wait for the encoder.
#[derive(Default)]
pub(crate) struct Encoding {
    pages: Vec<Waiting>,
    /// How the picture of each was turned.
    turns: Vec<Turn>,
    images: Vec<PageImage>,
    /// What a page of the last ones took.
    page_time: Option<Duration>,
}

/// Pages with their vectors, or nothing because the run is to stop.
pub(crate) enum Encoded {
    Pages { pages: Vec<Waiting>, took: Duration },
    Stopped,
}

impl Encoding {
    /// Adds a page. Returns whether enough wait to be encoded, at most `most`.
    pub fn add(&mut self, page: Waiting, (image, turn): (PageImage, Turn), most: usize) -> bool {
        self.pages.push(page);
        self.images.push(image);
        self.turns.push(turn);
        let together = match self.page_time {
            Some(time) if time < SLOW_PAGE => ENCODE_PAGES.min(most),
            _ => 1,
        };
        self.pages.len() >= together
    }

    /// Encodes the pages that wait.
    pub fn run(
        &mut self,
        encoder: Option<&Arc<dyn PageEncoder>>,
        stop: &AtomicBool,
    ) -> Result<Encoded, IndexError> {
        let mut pages = std::mem::take(&mut self.pages);
        let images = std::mem::take(&mut self.images);
        let turns = std::mem::take(&mut self.turns);
        let (Some(encoder), Some(first)) = (encoder, pages.first()) else {
            return Ok(Encoded::Pages { pages, took: Duration::ZERO });
        };
        let (path, page) = (first.found.path.clone(), first.page.id.number);
        let start = Instant::now();
        let encoded = match encode(Arc::clone(encoder), images, stop) {
            Some(Ok(encoded)) if encoded.len() == pages.len() => encoded,
            Some(Ok(encoded)) => {
                let text = format!("{} pages gave {} multi-vectors", pages.len(), encoded.len());
                return Err(IndexError::Encode { path, page, source: text.into() });
            }
            Some(Err(source)) => return Err(IndexError::Encode { path, page, source }),
            None => return Ok(Encoded::Stopped),
        };
        let took = start.elapsed();
        self.page_time = Some(took / pages.len() as u32);
        for ((waiting, encoded), turn) in pages.iter_mut().zip(encoded).zip(turns) {
            // Vectors stand where their part of the page is displayed.
            let (vectors, layout) = encoded.turned(turn.back()).into_parts();
            (waiting.page.vectors, waiting.page.layout) = (Some(vectors), Some(layout));
        }
        Ok(Encoded::Pages { pages, took })
    }
}

/// Runs `work` on threads of its own. On the shared ones a search in the same process would wait for
/// its turn behind whole pages; so the system shares the cores between both.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static THREADS: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let threads = THREADS.get_or_init(|| {
        ThreadPoolBuilder::new().thread_name(|n| format!("encode-{n}")).build().ok()
    });
    match threads {
        Some(threads) => threads.install(work),
        None => work(),
    }
}

/// Encodes on a thread of its own; `None` when the run is to stop before it is done. A large model
/// takes minutes for a batch, and nobody should wait for that after Ctrl-C.
fn encode(
    encoder: Arc<dyn PageEncoder>,
    images: Vec<PageImage>,
    stop: &AtomicBool,
) -> Option<Result<Vec<EncodedPage>, BoxError>> {
    let (send, receive) = sync_channel(1);
    thread::spawn(move || send.send(apart(|| encoder.encode_pages(&images))));
    loop {
        match receive.recv_timeout(TICK) {
            Ok(encoded) => return Some(encoded),
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => return None,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Some(Err("the encoder panicked".into()));
            }
        }
    }
}
