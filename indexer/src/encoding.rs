//! Pages on their way through the encoder, which has a thread of its own: while it works, pages are
//! read and batches are committed.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use pagesight_core::seam::{BoxError, PageEncoder};
use pagesight_core::{EncodedPage, PageFailure, PageImage, PageRecord, Turn};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::discover::Found;
use crate::error::IndexError;
use crate::estimate::Kind;
use crate::reading::Visit;

/// Pages that wait for the encoder at most, on few cores and on many. A picture of a page takes some
/// megabytes, so they are no more than keep it busy while other threads do something else.
const WAITING: (usize, usize) = (4, 8);

/// A model that takes longer for a page is given one at a time, so that a run shows how far it is
/// and commits what is done.
const SLOW_PAGE: Duration = Duration::from_millis(200);

/// A page that was read.
pub(crate) struct Waiting {
    pub found: Arc<Found>,
    pub page: PageRecord,
    pub kind: Kind,
    pub visit: Visit,
}

/// What goes through the encoder, in the order in which it was read.
enum Step {
    /// A page, its picture, and how that was turned.
    Page(Waiting, PageImage, Turn),
    /// A page that could not be read. It is told behind the pages before it.
    Failed(Arc<Found>, PageFailure),
}

/// What comes out of it.
pub(crate) enum Encoded {
    /// Pages with their vectors, and what they took.
    Pages(Vec<Waiting>, Duration),
    Failed(Arc<Found>, PageFailure),
    /// The run cannot go on.
    Error(IndexError),
}

/// Pages that wait for the encoder, and those that it is done with.
pub(crate) struct Encoding {
    shared: Arc<Shared>,
    /// Pages that wait at most.
    most: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was added, or is done.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Step>,
    done: Vec<Encoded>,
    /// The encoder has some pages, which are in neither.
    is_encoding: bool,
    /// Nothing is added any more, and nobody asks for what is done.
    is_over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }
}

impl Encoding {
    /// Starts the thread of `encoder`; `most` pages wait for it, and are encoded at once, at most.
    pub fn start(encoder: Arc<dyn PageEncoder>, most: usize) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let most = cores.clamp(WAITING.0, WAITING.1).min(most).max(1);
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        // It is not waited for: a large model takes minutes for a page, and nobody should wait for
        // that after Ctrl-C.
        thread::spawn(move || encode_all(&of_thread, &*encoder, most));
        Self { shared, most }
    }

    /// Adds a page; gives it back when there is no room. Then [`wait`](Self::wait) helps.
    pub fn add(
        &self,
        page: Waiting,
        image: PageImage,
        turn: Turn,
    ) -> Result<(), Box<(Waiting, PageImage, Turn)>> {
        let mut state = self.shared.state();
        if state.waiting.len() >= self.most {
            return Err(Box::new((page, image, turn)));
        }
        state.waiting.push_back(Step::Page(page, image, turn));
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Adds a page that could not be read.
    pub fn add_failed(&self, found: Arc<Found>, failure: PageFailure) {
        self.shared.state().waiting.push_back(Step::Failed(found, failure));
        self.shared.changed.notify_all();
    }

    /// What is done since it was asked last, in order.
    pub fn done(&self) -> Vec<Encoded> {
        std::mem::take(&mut self.shared.state().done)
    }

    /// Whether everything that was added has been given out.
    pub fn is_empty(&self) -> bool {
        let state = self.shared.state();
        state.waiting.is_empty() && state.done.is_empty() && !state.is_encoding
    }

    /// Waits until something changes, or for `most`.
    pub fn wait(&self, most: Duration) {
        let state = self.shared.state();
        if state.done.is_empty() {
            drop(self.shared.changed.wait_timeout(state, most));
        }
    }
}

impl Drop for Encoding {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_over = true;
        state.waiting.clear();
        self.shared.changed.notify_all();
    }
}

/// Encodes what waits, at most `most` pages at once, until the run is over.
fn encode_all(shared: &Shared, encoder: &dyn PageEncoder, most: usize) {
    // What a page of the last ones took.
    let mut page_time = None;
    loop {
        let together = if page_time.is_some_and(|time| time < SLOW_PAGE) { most } else { 1 };
        let mut state = shared.state();
        while state.waiting.is_empty() && !state.is_over {
            state = shared.changed.wait(state).expect("no panic under the lock");
        }
        if state.is_over {
            return;
        }
        let (mut pages, mut images, mut turns) = (Vec::new(), Vec::new(), Vec::new());
        while pages.len() < together {
            match state.waiting.pop_front() {
                Some(Step::Page(page, image, turn)) => {
                    pages.push(page);
                    images.push(image);
                    turns.push(turn);
                }
                Some(Step::Failed(found, failure)) if pages.is_empty() => {
                    state.done.push(Encoded::Failed(found, failure));
                }
                Some(failed) => {
                    state.waiting.push_front(failed);
                    break;
                }
                None => break,
            }
        }
        state.is_encoding = !pages.is_empty();
        shared.changed.notify_all();
        drop(state);
        if pages.is_empty() {
            continue;
        }
        let start = Instant::now();
        let result = encode(encoder, pages, &images, &turns);
        drop(images);
        let took = start.elapsed();
        let done = match result {
            Ok(pages) => {
                page_time = Some(took / pages.len() as u32);
                Encoded::Pages(pages, took)
            }
            Err(error) => Encoded::Error(error),
        };
        let mut state = shared.state();
        state.is_encoding = false;
        state.done.push(done);
        shared.changed.notify_all();
    }
}

/// Gives `pages` their vectors.
fn encode(
    encoder: &dyn PageEncoder,
    mut pages: Vec<Waiting>,
    images: &[PageImage],
    turns: &[Turn],
) -> Result<Vec<Waiting>, IndexError> {
    let encoded = catch_unwind(AssertUnwindSafe(|| apart(|| encoder.encode_pages(images))));
    let source: BoxError = match encoded.unwrap_or_else(|panic| Err(panicked(&*panic))) {
        Ok(encoded) if encoded.len() == pages.len() => {
            for ((waiting, encoded), turn) in pages.iter_mut().zip(encoded).zip(turns) {
                // Vectors stand where their part of the page is displayed.
                let (vectors, layout) = EncodedPage::turned(encoded, turn.back()).into_parts();
                (waiting.page.vectors, waiting.page.layout) = (Some(vectors), Some(layout));
            }
            return Ok(pages);
        }
        Ok(encoded) => format!("{} pages gave {} multi-vectors", pages.len(), encoded.len()).into(),
        Err(source) => source,
    };
    let first = &pages[0];
    Err(IndexError::Encode { path: first.found.path.clone(), page: first.page.id.number, source })
}

fn panicked(panic: &(dyn Any + Send)) -> BoxError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    match text {
        Some(text) => format!("the encoder panicked: {text}").into(),
        None => "the encoder panicked".into(),
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
