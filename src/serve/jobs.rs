//! Jobs that write to an index: syncs of folders, uploads, deletions. One an index at a time, in
//! order; each tells what happens as numbered events.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pagesight::Error;
use pagesight::index::{Event, IndexError, StoreError, Summary, SyncOptions};
use pagesight::pdf::OcrChoice;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::problem::{Code, Problem};
use super::served::{Served, rfc3339};
use crate::cli::report;

/// Jobs of an index that may wait.
const WAITING: usize = 16;

/// Jobs that are remembered.
const KEPT: usize = 100;

/// Events of a job that are kept.
const EVENTS: usize = 10_000;

/// Between two events that tell of progress.
const PROGRESS: Duration = Duration::from_millis(250);

/// Uploads within this time share a job.
const GATHER: Duration = Duration::from_secs(1);

/// Between two looks at whether another process still writes.
const LOCKED: Duration = Duration::from_millis(500);

/// What a job does.
#[derive(Debug, Clone)]
pub enum Work {
    /// Brings an index in step with a folder.
    Sync {
        folder: PathBuf,
        /// The root's own folder, which messages must not name, and its name.
        root: (PathBuf, String),
        retry_failed: bool,
        /// Found from the script of each page where they are not said; none are read where they are
        /// empty.
        ocr_languages: Option<String>,
    },
    /// Indexes files that were uploaded, which are added while it waits.
    Upload,
    /// Removes files that were uploaded, and their pages.
    Delete { paths: Vec<String>, files: Vec<PathBuf> },
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for others.
    Queued,
    /// It works.
    Running,
    /// It was asked to stop, and does after its batch.
    Stopping,
    /// All was done.
    Done,
    /// It ended early; what it committed stays.
    Failed,
    /// It was asked to stop and has; what it committed stays.
    Cancelled,
}

impl State {
    /// Whether nothing more happens.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How far a job has come.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Progress {
    /// Documents finished.
    pub documents: u64,
    /// Bytes of the files to read.
    pub bytes_planned: u64,
    /// Bytes of them that are read.
    pub bytes_done: u64,
    /// Pages read.
    pub pages: u64,
    /// Pages that are found by their looks, and whose words OCR is still to read; they are none of
    /// `pages`.
    pub pages_waiting: u64,
    /// Pages to read in all; about, until all files have been opened.
    pub pages_planned: u64,
    /// Pages a second, of the whole run.
    pub pages_per_s: f64,
    /// Seconds until all pages are read, about; null before anything is known. The meaning of their
    /// words is encoded after that.
    pub seconds_left: Option<f64>,
}

/// A job as it is answered.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct JobInfo {
    /// Its id.
    pub id: String,
    /// The index that it writes to.
    pub index: String,
    /// `sync`, `upload` or `delete`.
    pub kind: &'static str,
    /// How far it is.
    pub state: State,
    /// What it waits for, one line; null when it does not wait.
    pub waiting_for: Option<String>,
    /// When it was asked for, RFC 3339.
    pub created: String,
    /// When it began to work; null before.
    pub started: Option<String>,
    /// When it ended; null before.
    pub ended: Option<String>,
    /// How far it has come.
    pub progress: Progress,
    /// What it came to, as the command line says it; null before its end.
    pub summary: Option<Value>,
    /// Why it failed; null when it has not.
    pub error: Option<Problem>,
}

/// A job.
#[derive(Debug)]
pub struct Job {
    pub id: String,
    pub index: String,
    work: Work,
    /// Set from elsewhere, it ends the job after its batch.
    stop: Arc<AtomicBool>,
    inside: Mutex<Inside>,
    /// The number of the last event.
    told: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inside {
    state: State,
    waiting_for: Option<String>,
    created: SystemTime,
    asked: Instant,
    started: Option<SystemTime>,
    ended: Option<SystemTime>,
    progress: Progress,
    summary: Option<Value>,
    error: Option<Problem>,
    /// Of an upload, until it begins.
    files: Vec<PathBuf>,
    events: VecDeque<(u64, Value)>,
    last_event: u64,
}

impl Job {
    fn new(id: String, index: String, work: Work) -> Self {
        let inside = Inside {
            state: State::Queued,
            waiting_for: None,
            created: SystemTime::now(),
            asked: Instant::now(),
            started: None,
            ended: None,
            progress: Progress::default(),
            summary: None,
            error: None,
            files: Vec::new(),
            events: VecDeque::new(),
            last_event: 0,
        };
        let (stop, told) = (Arc::default(), watch::Sender::new(0));
        Self { id, index, work, stop, inside: Mutex::new(inside), told }
    }

    /// What is known of it now.
    pub fn info(&self) -> JobInfo {
        let inside = locked(&self.inside);
        JobInfo {
            id: self.id.clone(),
            index: self.index.clone(),
            kind: match self.work {
                Work::Sync { .. } => "sync",
                Work::Upload => "upload",
                Work::Delete { .. } => "delete",
            },
            state: inside.state,
            waiting_for: inside.waiting_for.clone(),
            created: rfc3339(inside.created),
            started: inside.started.map(rfc3339),
            ended: inside.ended.map(rfc3339),
            progress: inside.progress.clone(),
            summary: inside.summary.clone(),
            error: inside.error.clone(),
        }
    }

    /// How far it is.
    pub fn state(&self) -> State {
        locked(&self.inside).state
    }

    /// Hears of each new event.
    pub fn hear(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// The events after number `after`, and whether there will be no more.
    pub fn events_after(&self, after: u64) -> (Vec<(u64, Value)>, bool) {
        let inside = locked(&self.inside);
        let events = inside.events.iter().filter(|(seq, _)| *seq > after).cloned().collect();
        (events, inside.state.is_over())
    }

    /// The number that the next event has.
    pub fn next_event(&self) -> u64 {
        locked(&self.inside).last_event + 1
    }

    fn tell(&self, mut event: Value) {
        let mut inside = locked(&self.inside);
        inside.last_event += 1;
        let seq = inside.last_event;
        if let Value::Object(fields) = &mut event {
            fields.insert("seq".into(), json!(seq));
        }
        inside.events.push_back((seq, event));
        if inside.events.len() > EVENTS {
            inside.events.pop_front();
        }
        drop(inside);
        self.told.send_replace(seq);
    }

    fn change(&self, change: impl FnOnce(&mut Inside)) {
        change(&mut locked(&self.inside));
    }

    /// Ends it in `state`; the last event says so.
    fn end(&self, state: State, summary: Option<Value>, error: Option<Problem>) {
        if let Some(summary) = &summary {
            self.tell(summary.clone());
        }
        {
            let mut inside = locked(&self.inside);
            inside.ended = Some(SystemTime::now());
            inside.waiting_for = None;
            (inside.summary, inside.error) = (summary, error);
            inside.last_event += 1;
            let seq = inside.last_event;
            let end = json!({"v": 1, "type": "end", "state": state.as_str(), "seq": seq});
            inside.events.push_back((seq, end));
            // In one step with the event, so that whoever sees the state has all events.
            inside.state = state;
        }
        let seq = locked(&self.inside).last_event;
        self.told.send_replace(seq);
    }
}

/// The jobs of a server.
#[derive(Debug, Default)]
pub struct Jobs {
    inside: Mutex<Queues>,
}

#[derive(Debug, Default)]
struct Queues {
    /// The ones that were asked for last come last.
    all: VecDeque<Arc<Job>>,
    /// By index: those that have not begun.
    waiting: HashMap<String, VecDeque<Arc<Job>>>,
    /// Indexes that a job writes to.
    busy: HashMap<String, Arc<Job>>,
    last: u64,
    closed: bool,
}

impl Jobs {
    /// Takes a job in.
    ///
    /// # Errors
    /// [`Code::TooBusy`] when too many wait, [`Code::Stopping`].
    pub fn add(self: &Arc<Self>, served: &Served, work: Work) -> Result<Arc<Job>, Problem> {
        let mut queues = locked(&self.inside);
        self.add_to(&mut queues, served, work)
    }

    /// Takes an uploaded file in: into the upload job that waits, or a new one.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn upload(self: &Arc<Self>, served: &Served, file: PathBuf) -> Result<Arc<Job>, Problem> {
        let mut queues = locked(&self.inside);
        let waiting = queues.waiting.get(&served.name).into_iter().flatten();
        let open = waiting
            .filter(|job| matches!(job.work, Work::Upload))
            .find(|job| locked(&job.inside).asked.elapsed() < GATHER);
        let job = match open {
            Some(job) => Arc::clone(job),
            None => self.add_to(&mut queues, served, Work::Upload)?,
        };
        job.change(|inside| inside.files.push(file));
        Ok(job)
    }

    /// Whether a job may wait for `index`.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn check_room(&self, index: &str) -> Result<(), Problem> {
        locked(&self.inside).check_room(index)
    }

    fn add_to(
        self: &Arc<Self>,
        queues: &mut Queues,
        served: &Served,
        work: Work,
    ) -> Result<Arc<Job>, Problem> {
        queues.check_room(&served.name)?;
        queues.last += 1;
        let job = Arc::new(Job::new(queues.last.to_string(), served.name.clone(), work));
        queues.all.push_back(Arc::clone(&job));
        while queues.all.len() > KEPT {
            // Those that have not ended are kept: they can still be asked for and stopped.
            let Some(over) = queues.all.iter().position(|job| job.state().is_over()) else { break };
            queues.all.remove(over);
        }
        queues.waiting.entry(served.name.clone()).or_default().push_back(Arc::clone(&job));
        self.begin_next(queues, served);
        Ok(job)
    }

    /// Begins the job of an index that waits longest, when none works.
    fn begin_next(self: &Arc<Self>, queues: &mut Queues, served: &Served) {
        if queues.busy.contains_key(&served.name) {
            return;
        }
        let Some(next) = queues.waiting.get_mut(&served.name).and_then(VecDeque::pop_front) else {
            return;
        };
        if let Work::Upload = next.work {
            // It gathers files for a moment before it begins.
            let left = GATHER.saturating_sub(locked(&next.inside).asked.elapsed());
            if !left.is_zero() && !next.stop.load(Ordering::Relaxed) {
                queues.waiting.entry(served.name.clone()).or_default().push_front(next);
                let (jobs, served) = (Arc::clone(self), served.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(left).await;
                    let mut queues = locked(&jobs.inside);
                    jobs.begin_next(&mut queues, &served);
                });
                return;
            }
        }
        queues.busy.insert(served.name.clone(), Arc::clone(&next));
        let (jobs, served) = (Arc::clone(self), served.clone());
        tokio::task::spawn_blocking(move || {
            let work = std::panic::AssertUnwindSafe(|| run(&next, &served));
            if std::panic::catch_unwind(work).is_err() {
                let problem = Problem::internal("a panic in a job");
                next.end(State::Failed, None, Some(problem));
            }
            let mut queues = locked(&jobs.inside);
            queues.busy.remove(&served.name);
            jobs.begin_next(&mut queues, &served);
        });
    }

    /// The jobs, the newest first.
    pub fn all(&self) -> Vec<Arc<Job>> {
        locked(&self.inside).all.iter().rev().cloned().collect()
    }

    /// The job with this id.
    ///
    /// # Errors
    /// [`Code::JobNotFound`].
    pub fn get(&self, id: &str) -> Result<Arc<Job>, Problem> {
        let queues = locked(&self.inside);
        let found = queues.all.iter().find(|job| job.id == id).cloned();
        found.ok_or_else(|| {
            let detail = "there is no such job: the last 100 are kept, and none over a restart";
            Problem::new(Code::JobNotFound, detail)
        })
    }

    /// Asks a job to stop.
    ///
    /// # Errors
    /// [`Code::JobEnded`].
    pub fn stop(&self, job: &Arc<Job>) -> Result<(), Problem> {
        let mut queues = locked(&self.inside);
        let waiting = queues.waiting.get_mut(&job.index);
        let waits = waiting.and_then(|waiting| {
            let at = waiting.iter().position(|other| other.id == job.id)?;
            waiting.remove(at)
        });
        if waits.is_some() {
            drop(queues);
            job.end(State::Cancelled, None, None);
            return Ok(());
        }
        let mut inside = locked(&job.inside);
        if inside.state.is_over() {
            let detail = format!("the job has ended: it is {}", inside.state.as_str());
            return Err(Problem::new(Code::JobEnded, detail));
        }
        job.stop.store(true, Ordering::Relaxed);
        inside.state = State::Stopping;
        Ok(())
    }

    /// Takes no more jobs in and stops those that work, each after its batch; waits for their ends
    /// for as long as `most`.
    pub async fn close(&self, most: Duration) {
        let (waiting, busy): (Vec<_>, Vec<_>) = {
            let mut queues = locked(&self.inside);
            queues.closed = true;
            let waiting = queues.waiting.drain().flat_map(|(_, jobs)| jobs).collect();
            (waiting, queues.busy.values().cloned().collect())
        };
        for job in waiting {
            job.end(State::Cancelled, None, None);
        }
        for job in &busy {
            job.stop.store(true, Ordering::Relaxed);
            job.change(|inside| {
                if !inside.state.is_over() {
                    inside.state = State::Stopping;
                }
            });
        }
        let ended = async {
            for job in &busy {
                let mut heard = job.hear();
                while !job.state().is_over() && heard.changed().await.is_ok() {}
            }
        };
        let _ = tokio::time::timeout(most, ended).await;
    }

    /// How many jobs are in each state.
    pub fn by_state(&self) -> HashMap<&'static str, usize> {
        let mut counts = HashMap::new();
        for job in self.all() {
            *counts.entry(job.state().as_str()).or_default() += 1;
        }
        counts
    }
}

impl Queues {
    fn check_room(&self, index: &str) -> Result<(), Problem> {
        if self.closed {
            return Err(Problem::new(Code::Stopping, "the server is stopping"));
        }
        match self.waiting.get(index) {
            Some(waiting) if waiting.len() >= WAITING => {
                Err(Problem::too_busy("too many jobs wait for this index"))
            }
            _ => Ok(()),
        }
    }
}

/// Does the work of a job.
fn run(job: &Job, served: &Served) {
    job.change(|inside| {
        inside.started = Some(SystemTime::now());
        if inside.state == State::Queued {
            inside.state = State::Running;
        }
    });
    let start = Instant::now();
    let done = loop {
        if job.stop.load(Ordering::Relaxed) {
            job.end(State::Cancelled, None, None);
            return;
        }
        match attempt(job, served) {
            Err(error) if is_locked(&error) => {
                let who = "another process writes to the index";
                job.change(|inside| inside.waiting_for = Some(who.into()));
                std::thread::sleep(LOCKED);
            }
            done => break done,
        }
    };
    job.change(|inside| inside.waiting_for = None);
    match done {
        Ok(summary) => {
            let stopped = summary.as_ref().is_some_and(|summary| summary.interrupted);
            let line = summary.map(|summary| {
                let mut line = report::summary_json(&served.index, &summary, start.elapsed());
                // The place of the index on this machine is nobody's business.
                line["index"] = json!(served.name);
                line
            });
            job.end(if stopped { State::Cancelled } else { State::Done }, line, None);
        }
        Err(error) => {
            let mut problem = problem_of(&job.work, error);
            problem.detail = without_folders(&job.work, &problem.detail);
            job.end(State::Failed, None, Some(problem));
        }
    }
}

/// One try; another process may hold the index.
fn attempt(job: &Job, served: &Served) -> Result<Option<Summary>, Error> {
    served.index.check_writable()?;
    let (roots, options) = match &job.work {
        Work::Delete { paths, files } => {
            for file in files {
                match std::fs::remove_file(file) {
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::Io { action: "removing", path: file.clone(), source });
                    }
                    _ => {}
                }
            }
            served.index.remove(paths)?;
            for path in paths {
                job.tell(json!({"v": 1, "type": "dropped", "path": path}));
            }
            return Ok(None);
        }
        Work::Upload => {
            let files = locked(&job.inside).files.clone();
            // One that was deleted again before the job began is no error.
            let files: Vec<PathBuf> = files.into_iter().filter(|file| file.exists()).collect();
            if files.is_empty() {
                return Ok(None);
            }
            (files, SyncOptions::default())
        }
        Work::Sync { folder, retry_failed, ocr_languages, .. } => {
            let options = SyncOptions {
                retry_failed: *retry_failed,
                ocr: match ocr_languages.as_deref() {
                    Some("") => OcrChoice::Off,
                    _ => OcrChoice::Auto,
                },
                ocr_languages: ocr_languages.clone().filter(|languages| !languages.is_empty()),
                ..SyncOptions::default()
            };
            (vec![folder.clone()], options)
        }
    };
    // A link may not lead to a file that the root does not hold.
    let options = SyncOptions { stop: Arc::clone(&job.stop), links_out: false, ..options };
    let mut teller = Teller::new(job, &served.name);
    let summary = served.index.sync_all(&roots, &options, &mut |event| teller.hear(event))?;
    teller.tell_progress();
    Ok(Some(summary))
}

fn is_locked(error: &Error) -> bool {
    matches!(error, Error::Store(StoreError::Locked { .. }))
}

fn problem_of(work: &Work, error: Error) -> Problem {
    match (&error, work) {
        (Error::Index(IndexError::Root { .. }), Work::Sync { root, .. }) => {
            let detail = format!("the folder cannot be read below the root `{}`", root.1);
            Problem {
                cause: Some(pagesight_core::chain(&error)),
                ..Problem::new(Code::InvalidValue, detail)
            }
        }
        _ => error.into(),
    }
}

/// `text` with the name of the root in place of where it is.
fn without_folders(work: &Work, text: &str) -> String {
    match work {
        Work::Sync { root: (folder, name), .. } => {
            text.replace(&folder.display().to_string(), name)
        }
        _ => text.into(),
    }
}

/// Turns what a run tells into events.
struct Teller<'a> {
    job: &'a Job,
    index: &'a str,
    progress: Progress,
    start: Instant,
    last: Option<Instant>,
}

impl<'a> Teller<'a> {
    fn new(job: &'a Job, index: &'a str) -> Self {
        Self { job, index, progress: Progress::default(), start: Instant::now(), last: None }
    }

    fn hear(&mut self, event: Event<'_>) {
        match event {
            Event::Planned { bytes, .. } => self.progress.bytes_planned += bytes,
            Event::Page { bytes, .. } => {
                self.progress.pages += 1;
                self.progress.bytes_done += bytes;
            }
            Event::Progress(progress) => {
                self.progress.pages_planned = progress.pages;
                self.progress.pages_waiting = progress.pages_waiting;
                let left = progress.left.map(|left| (left.as_secs_f64() * 10.0).round() / 10.0);
                self.progress.seconds_left = left;
            }
            Event::Document { record, outcome, bytes } => {
                self.progress.documents += 1;
                self.progress.bytes_done += bytes;
                self.job.tell(report::document_json(record, outcome));
                if outcome == pagesight::index::Outcome::Indexed {
                    let count = |outcome: &'static str, pages: u64| {
                        let name = "pagesight_pages_indexed_total";
                        let index = self.index.to_string();
                        metrics::counter!(name, "index" => index, "outcome" => outcome)
                            .increment(pages);
                    };
                    count("ok", u64::from(record.pages_indexed));
                    count("failed", record.failed_pages.len() as u64);
                }
            }
            Event::Committed { pages } => {
                self.job.tell(json!({"v": 1, "type": "commit", "pages": pages}));
            }
            Event::Warning { text } => {
                let text = without_folders(&self.job.work, &text);
                self.job.tell(json!({"v": 1, "type": "warning", "text": text}));
            }
            _ => {}
        }
        self.update();
        if self.last.is_none_or(|last| last.elapsed() >= PROGRESS) {
            self.tell_progress();
        }
    }

    fn update(&mut self) {
        let seconds = self.start.elapsed().as_secs_f64().max(1e-3);
        let progress = &mut self.progress;
        progress.pages_per_s = (progress.pages as f64 / seconds * 100.0).round() / 100.0;
        let progress = progress.clone();
        self.job.change(|inside| inside.progress = progress);
    }

    fn tell_progress(&mut self) {
        self.last = Some(Instant::now());
        let mut event = json!({"v": 1, "type": "progress"});
        if let (Value::Object(event), Ok(Value::Object(progress))) =
            (&mut event, serde_json::to_value(&self.progress))
        {
            event.extend(progress);
        }
        self.job.tell(event);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
