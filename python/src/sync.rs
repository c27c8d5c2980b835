//! Runs of indexing: in a thread of their own, so that the thread that called hears Ctrl-C and what
//! happens, and tells both to Python.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use pagesight::index::{Event, SyncOptions};
use pagesight::{Error, Index, records};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::errors::{internal, raised};
use crate::process::Run;
use crate::values::to_python;

/// How often Ctrl-C is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Between two lines that tell of progress.
const PROGRESS: Duration = Duration::from_millis(250);

/// Runs, tells `progress` each line, and returns the lines of the summary and of the documents that
/// failed. Ctrl-C, and what `progress` raises, stop the run after its batch and are raised then.
pub fn run<'py>(
    py: Python<'py>,
    index: Index,
    folders: Vec<PathBuf>,
    options: SyncOptions,
    progress: Option<Bound<'py, PyAny>>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let stop = Arc::clone(&options.stop);
    let (send, mut receive) = sync_channel(256);
    let heard = progress.is_some();
    let counted = Run::begin(&stop);
    let work = thread::Builder::new().name("pagesight sync".into()).spawn(move || {
        let _counted = counted;
        let mut teller = Teller::new(send, heard);
        let start = Instant::now();
        let summary = index.sync_all(&folders, &options, &mut |event| teller.hear(event))?;
        let line = records::summary_line(&index, &summary, start.elapsed());
        let failures = summary.failures.iter().map(|record| records::document(record, |_| None));
        let failures = Value::Array(failures.collect());
        teller.end(&line);
        Ok::<_, Error>((line, failures))
    });
    let work = work.map_err(|error| internal(py, &format!("starting a thread: {error}")))?;
    let mut trouble: Option<PyErr> = None;
    loop {
        let waiting = &mut receive;
        let line = py.detach(move || waiting.recv_timeout(TICK));
        let ended = match line {
            Ok(line) => match (&progress, &trouble) {
                (Some(progress), None) => {
                    to_python(py, &line).and_then(|line| progress.call1((line,))).err()
                }
                _ => None,
            },
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let ended = ended.or_else(|| py.check_signals().err());
        if let Some(error) = ended {
            stop.store(true, Ordering::Relaxed);
            trouble = trouble.or(Some(error));
        }
    }
    let done = py.detach(|| work.join());
    let done = done.map_err(|_| internal(py, "the run of indexing panicked"));
    match (done?, trouble) {
        // What was committed is there, whatever the run said at its end.
        (_, Some(error)) => Err(error),
        (Err(error), None) => Err(raised(py, error)),
        (Ok((line, failures)), None) => Ok((to_python(py, &line)?, to_python(py, &failures)?)),
    }
}

/// Turns what a run tells into lines.
struct Teller {
    send: SyncSender<Value>,
    heard: bool,
    start: Instant,
    last: Option<Instant>,
    documents: u64,
    pages: u64,
    bytes_planned: u64,
    bytes_done: u64,
    pages_planned: u64,
    pages_waiting: u64,
    left: Option<Duration>,
}

impl Teller {
    fn new(send: SyncSender<Value>, heard: bool) -> Self {
        let (start, last) = (Instant::now(), None);
        Self {
            send,
            heard,
            start,
            last,
            documents: 0,
            pages: 0,
            bytes_planned: 0,
            bytes_done: 0,
            pages_planned: 0,
            pages_waiting: 0,
            left: None,
        }
    }

    fn hear(&mut self, event: Event<'_>) {
        if !self.heard {
            return;
        }
        match event {
            Event::Planned { bytes, .. } => self.bytes_planned += bytes,
            Event::Page { bytes, .. } => {
                self.pages += 1;
                self.bytes_done += bytes;
            }
            Event::Progress(progress) => {
                (self.pages_planned, self.left) = (progress.pages, progress.left);
                self.pages_waiting = progress.pages_waiting;
            }
            Event::Document { record, outcome, bytes } => {
                self.documents += 1;
                self.bytes_done += bytes;
                self.tell(records::document_line(record, outcome, |_| None));
            }
            Event::Committed { pages } => {
                self.tell(json!({"v": 1, "type": "commit", "pages": pages}));
            }
            Event::Warning { text } => self.tell(json!({"v": 1, "type": "warning", "text": text})),
            _ => {}
        }
        if self.last.is_none_or(|last| last.elapsed() >= PROGRESS) {
            self.tell_progress();
        }
    }

    fn tell_progress(&mut self) {
        self.last = Some(Instant::now());
        let seconds = self.start.elapsed().as_secs_f64().max(1e-3);
        let left = self.left.map(|left| (left.as_secs_f64() * 10.0).round() / 10.0);
        self.tell(json!({
            "v": 1,
            "type": "progress",
            "documents": self.documents,
            "bytes_planned": self.bytes_planned,
            "bytes_done": self.bytes_done,
            "pages": self.pages,
            "pages_planned": self.pages_planned,
            "pages_waiting": self.pages_waiting,
            "pages_per_s": (self.pages as f64 / seconds * 100.0).round() / 100.0,
            "seconds_left": left,
        }));
    }

    fn end(&mut self, summary: &Value) {
        if self.heard {
            self.tell_progress();
            self.tell(summary.clone());
        }
    }

    /// Waits when the listener is slow; does nothing when it is gone.
    fn tell(&self, line: Value) {
        let _ = self.send.send(line);
    }
}

/// A flag for [`SyncOptions::stop`].
pub fn flag() -> Arc<AtomicBool> {
    Arc::default()
}
