//! Pages on their way from the reading threads through the encoder to the store.
//!
//! Threads read documents, another one encodes their pages, and this one keeps the ledger and is the
//! only one that commits: while it does, the others go on. The queues between them are short, so
//! memory does not grow with the folder.

mod documents;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pagesight_core::seam::{PageSink, PdfError};
use pagesight_core::{DocumentId, DocumentRecord, PageImage, Turn};

use crate::ahead::Ahead;
use crate::attached::{self, Seen};
use crate::claims::Claims;
use crate::committing::Committing;
use crate::discover::{Discovery, Found};
use crate::encoding::{Encoded, Encoding, Waiting};
use crate::error::IndexError;
use crate::estimate::{Estimate, Pages};
use crate::event::{Event, Outcome, Summary};
use crate::first_look::FirstLook;
use crate::ledger::{Ledger, Wants};
use crate::missing::Missing;
use crate::options::{Engines, SyncOptions};
use crate::reading::{DocumentReader, Said};
use crate::waiting::Rest;

/// How often a waiting run looks whether it should stop.
const TICK: Duration = Duration::from_millis(100);

/// A run under way.
pub(crate) struct Pipeline<'a> {
    engines: &'a Engines,
    options: &'a SyncOptions,
    /// As it was before the run.
    ledger: &'a Ledger,
    wants: Wants,
    tell: &'a mut dyn FnMut(Event<'_>),
    summary: Summary,
    committing: Committing<'a>,
    /// `None` without an encoder.
    encoding: Option<Encoding>,
    estimate: Estimate,
    /// When reading began.
    start: Instant,
    /// What was found of documents that wait.
    looked: Receiver<(String, Pages)>,
    /// Documents that are being read, by path.
    open: HashMap<String, OpenDocument>,
    /// Documents of which OCR is to read pages when all have been looked at, by path.
    later: BTreeMap<String, (Arc<Found>, OpenDocument)>,
    /// Final records of this run, by document.
    done: HashMap<DocumentId, DocumentRecord>,
    /// Files whose bytes are read under another name.
    duplicates: Vec<(Arc<Found>, DocumentId)>,
    /// Carriers of attached PDFs, and what they carry.
    seen: Seen,
    /// The paths of the files that were found.
    files: HashSet<String>,
}

struct OpenDocument {
    record: DocumentRecord,
    /// Bytes of the plan that its pages have reported.
    bytes_told: u64,
    /// Pages of this run that are not encoded yet.
    waiting: u32,
    /// No page is to come.
    is_read: bool,
}

/// Why a run ends before all is read.
enum Stop {
    /// It was asked to.
    Asked,
    Error(IndexError),
}

impl From<IndexError> for Stop {
    fn from(error: IndexError) -> Self {
        Self::Error(error)
    }
}

impl From<PdfError> for Stop {
    fn from(error: PdfError) -> Self {
        Self::Error(error.into())
    }
}

impl<'a> Pipeline<'a> {
    pub fn new(
        sink: &'a mut dyn PageSink,
        engines: &'a Engines,
        options: &'a SyncOptions,
        ledger: &'a Ledger,
        tell: &'a mut dyn FnMut(Event<'_>),
    ) -> Self {
        let wants = Wants {
            model: engines.encoder.as_ref().map(|encoder| encoder.model_id().clone()),
            retry_failed: options.retry_failed,
            has_passwords: engines.pdf.has_passwords(),
            file_bytes: options.limits.file_bytes,
        };
        Self {
            engines,
            options,
            ledger,
            wants,
            tell,
            summary: Summary::default(),
            committing: Committing::new(sink, &options.batch),
            encoding: None,
            estimate: Estimate::new(0, 1),
            start: Instant::now(),
            looked: channel().1,
            open: HashMap::new(),
            later: BTreeMap::new(),
            done: HashMap::new(),
            duplicates: Vec::new(),
            seen: Seen::default(),
            files: HashSet::new(),
        }
    }

    /// The files that must be read; the others are counted as unchanged.
    pub fn plan(&mut self, discovery: &Discovery) -> Vec<Found> {
        self.files = discovery.files.keys().cloned().collect();
        let mut jobs = Vec::new();
        for (path, found) in &discovery.files {
            let is_settled =
                |record: &&DocumentRecord| self.wants.is_settled_whole(found, record, self.ledger);
            match self.ledger.get(path).filter(is_settled) {
                Some(record) => {
                    let attached = attached::records_within(self.ledger, path);
                    let attached = attached.filter(|r| !discovery.files.contains_key(&r.path));
                    for record in std::iter::once(record).chain(attached) {
                        let outcome = Outcome::Skipped;
                        self.summary.count(record, outcome);
                        (self.tell)(Event::Document { record, outcome, bytes: 0 });
                    }
                }
                None => jobs.push(found.clone()),
            }
        }
        let bytes = jobs.iter().map(|found| found.bytes).sum();
        (self.tell)(Event::Planned { documents: jobs.len(), bytes });
        // Documents of one folder are alike: in the order of their names, what the first of them take
        // would say little of what is to come.
        jobs.sort_by_cached_key(|found| DocumentId::of(found.path.as_bytes()));
        jobs
    }

    /// Reads the documents of `jobs`, until all are read or the run is to stop.
    pub fn read_all(&mut self, jobs: Vec<Found>) -> Result<(), IndexError> {
        // That nothing can be read is an error of the run, and not of each document.
        if let Some(text) = self.engines.pdf.ready()? {
            (self.tell)(Event::Warning { text });
        }
        let claims = Claims::new(
            self.ledger.values(),
            |record| {
                self.wants.is_whole(record)
                    && self.wants.carries_nothing_to_read(record, self.ledger)
            },
            |record| self.wants.is_resumable(record),
        );
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let workers = self.options.workers.unwrap_or_else(cores).clamp(1, jobs.len().max(1));
        (self.estimate, self.start) = (Estimate::new(jobs.len(), workers), Instant::now());
        let first_look = FirstLook::new(self.options.look_first);
        let files = jobs.clone();
        let jobs: Mutex<VecDeque<Found>> = Mutex::new(jobs.into());
        let (tell_looked, looked) = channel();
        self.looked = looked;
        let (engines, limits) = (self.engines, &self.options.limits);
        let looked = thread::scope(|scope| {
            let over = Arc::default();
            let (claims, jobs) = (&claims, &jobs);
            let ahead = Ahead { engines, limits, claims, files, jobs, over: Arc::clone(&over) };
            let (reading, end) = channel();
            scope.spawn(move || ahead.look_into_all(&tell_looked, &end));
            let outcome =
                self.read_with(workers, claims, first_look, over, |reader| reader.read_all(jobs));
            drop(reading);
            outcome
        });
        match looked.and_then(|()| self.read_later(workers, &claims, first_look)) {
            Ok(()) | Err(Stop::Asked) => Ok(()),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    /// Reads the pages whose words wait. All documents have been looked at.
    fn read_later(
        &mut self,
        workers: usize,
        claims: &Claims,
        first_look: FirstLook,
    ) -> Result<(), Stop> {
        let rest = |(found, open): &(Arc<Found>, OpenDocument)| Rest {
            found: Arc::clone(found),
            document: open.record.document.expect("opened with its document"),
            pages: open.record.waiting_pages.clone(),
        };
        let rests: VecDeque<Rest> = self.later.values().map(rest).collect();
        if rests.is_empty() {
            return Ok(());
        }
        // From here on all pages can be found, these by their looks.
        self.commit()?;
        self.committing.looked()?;
        let waiting = rests.iter().map(|rest| rest.pages.len()).sum();
        (self.tell)(Event::Looked { waiting });
        let jobs = Mutex::new(rests);
        self.read_with(workers, claims, first_look, Arc::default(), |reader| {
            reader.read_waiting(&jobs);
        })
    }

    /// Has threads read documents, each with `read`, and takes what they say. `over` is set in the
    /// end.
    fn read_with(
        &mut self,
        workers: usize,
        claims: &Claims,
        first_look: FirstLook,
        over: Arc<AtomicBool>,
        read: impl Fn(&DocumentReader<'_>) + Sync,
    ) -> Result<(), Stop> {
        let (to_run, from_readers) = sync_channel(workers * 2);
        let (engines, limits) = (self.engines, &self.options.limits);
        thread::scope(|scope| {
            for _ in 0..workers {
                let (to_run, over) = (to_run.clone(), Arc::clone(&over));
                let reader = DocumentReader { engines, limits, claims, first_look, to_run, over };
                let read = &read;
                scope.spawn(move || read(&reader));
            }
            drop(to_run);
            let outcome = self.consume(from_readers);
            over.store(true, Ordering::Relaxed);
            outcome
        })
    }

    /// Takes what the readers say until they are done or the run is to stop. Leaving drops the
    /// channel, which ends the readers, and the encoder's queue, which ends its thread.
    fn consume(&mut self, from_readers: Receiver<Said>) -> Result<(), Stop> {
        let most = self.options.batch.pages;
        let encoder = self.engines.encoder.clone();
        self.encoding = encoder.map(|encoder| Encoding::start(encoder, most));
        let outcome = self.consume_all(&from_readers);
        self.encoding = None;
        outcome
    }

    fn consume_all(&mut self, from_readers: &Receiver<Said>) -> Result<(), Stop> {
        loop {
            self.go_on()?;
            match from_readers.recv_timeout(TICK) {
                Ok((found, message)) => self.take(found, message?)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        while self.encoding.as_ref().is_some_and(|encoding| !encoding.is_empty()) {
            self.wait_for_encoder();
            self.go_on()?;
        }
        self.go_on()
    }

    /// What is to be done between two messages: stop if that was asked for, take what the encoder is
    /// done with, commit what is due.
    fn go_on(&mut self) -> Result<(), Stop> {
        if self.options.stop.load(Ordering::Relaxed) {
            return Err(Stop::Asked);
        }
        self.take_encoded()?;
        if self.committing.is_due() {
            self.commit()?;
        }
        Ok(())
    }

    fn wait_for_encoder(&self) {
        if let Some(encoding) = &self.encoding {
            encoding.wait(TICK);
        }
    }

    /// Gives a page to the encoder, as soon as it has room for one more.
    fn encode(&mut self, page: Waiting, image: PageImage, turn: Turn) -> Result<(), Stop> {
        let mut next = (page, image, turn);
        loop {
            let (page, image, turn) = next;
            let encoding = self.encoding.as_ref().expect("pictures are for an encoder");
            match encoding.add(page, image, turn) {
                Ok(()) => return Ok(()),
                Err(back) => next = *back,
            }
            self.wait_for_encoder();
            self.go_on()?;
        }
    }

    /// Takes what the encoder is done with.
    fn take_encoded(&mut self) -> Result<(), Stop> {
        let done = self.encoding.as_ref().map(Encoding::done).unwrap_or_default();
        for encoded in done {
            match encoded {
                Encoded::Pages(pages, took) => {
                    self.estimate.encoded(pages.len(), took);
                    self.summary.stages.encode += took;
                    pages.into_iter().for_each(|page| self.page_done(page));
                }
                Encoded::Failed(found, failure) => self.page_failed(&found, failure),
                Encoded::Error(error) => return Err(Stop::Error(error)),
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), IndexError> {
        let open = self.open.values().map(|open| &open.record);
        let start = Instant::now();
        let committed = self.committing.commit(open)?;
        self.summary.stages.commit += start.elapsed();
        if let Some(pages) = committed {
            (self.tell)(Event::Committed { pages });
        }
        Ok(())
    }

    /// Ends a run: files that were read under another name, files that are gone, and the last
    /// commit. Pages that wait for the encoder are left to the next run.
    pub fn finish(mut self, discovery: &Discovery, base: &Path) -> Result<Summary, IndexError> {
        self.summary.interrupted = self.options.stop.load(Ordering::Relaxed);
        let left = self.open.values().chain(self.later.values().map(|(_, open)| open));
        let left = left.map(|open| open.record.waiting_pages.len() as u64);
        self.summary.pages_waiting += left.sum::<u64>();
        self.close_duplicates();
        // Dropped last: a file with another name has its new path in the ledger by now. A run that
        // was stopped has not seen all new paths and drops nothing.
        if !self.summary.interrupted {
            self.drop_what_is_gone(discovery, base);
        }
        self.commit()?;
        self.summary.failures.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(self.summary)
    }

    fn drop_what_is_gone(&mut self, discovery: &Discovery, base: &Path) {
        let missing = Missing { ledger: self.ledger, discovery, base, done: &self.done };
        let emptied = missing.emptied();
        let kept = if self.options.drop_emptied { &[][..] } else { &emptied[..] };
        for emptied in kept {
            let text =
                format!("{emptied}: nothing of it is dropped, since its drive may not be mounted");
            (self.tell)(Event::Warning { text });
        }
        for path in missing.gone(kept, &self.seen) {
            (self.tell)(Event::Dropped { path });
            self.summary.documents_dropped += 1;
            self.committing.drop_path(path);
        }
        self.summary.emptied = emptied;
    }
}
