//! A run: compare folders and ledger, read what is new, encode, commit.
//!
//! Threads with a worker process each read documents; this thread encodes their pages and is the
//! only one that commits. Queues are short, so memory does not grow with the folder.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pagesight_core::seam::{Batch, BoxError, PageEncoder, PageSink};
use pagesight_core::{
    DocumentId, DocumentRecord, DocumentStatus, ModelId, PageFailure, PageId, PageImage,
    PageRecord, PageVectors,
};

use crate::IndexError;
use crate::claims::Claims;
use crate::discover::{Discovery, Found, discover};
use crate::document::{Closed, DocumentReader, Message};
use crate::event::{Event, Outcome, Summary};
use crate::memory;
use crate::ocr::{Ocr, needs_ocr};
use crate::process::{Renderer, RendererError};
use crate::sandbox::Sandbox;
use crate::settings::Settings;

/// Pages that the model encodes at once, where it is quick.
const ENCODE_PAGES: usize = 8;

/// A model that takes longer for a page is given one at a time, so that a run shows how far it is
/// and commits what is done.
const SLOW_PAGE: Duration = Duration::from_millis(200);

/// Begins the note of a document whose pages are older than its file.
const BEHIND: &str = "shows what it was before; the file now: ";

/// How often a waiting run looks whether it should stop.
const TICK: Duration = Duration::from_millis(100);

/// Reads the PDFs below `settings.roots` into `sink`: new and changed documents are read, with
/// vectors when there is an `encoder`; renamed ones keep their pages; missing ones are dropped.
/// `tell` hears what happens.
///
/// `stop` ends the run early: pages that wait for the encoder are left to the next run, what is
/// encoded is committed. It waits for no page that is being drawn, read or encoded.
///
/// # Errors
/// [`IndexError`] for what ends a run; everything else is in the ledger and in the summary. What
/// was committed before an error is safe, and the next run goes on from there.
pub fn sync(
    sink: &mut dyn PageSink,
    encoder: Option<Arc<dyn PageEncoder>>,
    settings: &Settings,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Summary, IndexError> {
    let discovery = discover(&settings.base, &settings.roots, stop)?;
    for (path, reason) in &discovery.unreadable {
        let text = format!("cannot read {} ({reason}); nothing below is dropped", path.display());
        tell(Event::Warning { text });
    }
    let records = sink.documents().map_err(IndexError::Store)?;
    let ledger: BTreeMap<String, DocumentRecord> =
        records.into_iter().map(|record| (record.path.clone(), record)).collect();
    let model = encoder.as_ref().map(|encoder| encoder.model_id().clone());
    let mut run = Run {
        sink,
        ledger: &ledger,
        encoder,
        settings,
        stop,
        tell,
        model,
        summary: Summary::default(),
        batch: Batch::default(),
        batch_bytes: 0,
        committed: 0,
        since: Instant::now(),
        waiting: Vec::new(),
        page_time: None,
        open: HashMap::new(),
        done: HashMap::new(),
        duplicates: Vec::new(),
    };
    let jobs = run.plan(&discovery);
    let bytes = jobs.iter().map(|found| found.bytes).sum();
    (run.tell)(Event::Planned { documents: jobs.len(), bytes });
    if !jobs.is_empty() && !stop.load(Ordering::Relaxed) {
        run.read_all(jobs)?;
    }
    run.finish(&discovery)
}

struct Run<'a> {
    sink: &'a mut dyn PageSink,
    /// As it was before the run, by path.
    ledger: &'a BTreeMap<String, DocumentRecord>,
    encoder: Option<Arc<dyn PageEncoder>>,
    settings: &'a Settings,
    stop: &'a AtomicBool,
    tell: &'a mut dyn FnMut(Event<'_>),
    model: Option<ModelId>,
    summary: Summary,
    /// What the next commit writes.
    batch: Batch,
    batch_bytes: usize,
    /// Pages of this run that are committed.
    committed: u64,
    since: Instant,
    /// Pages that wait for the encoder.
    waiting: Vec<(Arc<Found>, PageRecord, PageImage)>,
    /// What a page of the last ones took to encode.
    page_time: Option<Duration>,
    /// Documents being read, by path.
    open: HashMap<String, OpenDocument>,
    /// Final records of this run, by document.
    done: HashMap<DocumentId, DocumentRecord>,
    /// Files whose bytes are read under another name.
    duplicates: Vec<(Arc<Found>, DocumentId)>,
}

struct OpenDocument {
    record: DocumentRecord,
    /// Bytes of the plan that its pages have reported.
    bytes_told: u64,
    /// Pages of this run that are not encoded yet.
    waiting: u32,
    /// No page is to come.
    read: bool,
}

impl Run<'_> {
    /// Whether the pages of `record` are in the index as this run wants them.
    fn is_whole(&self, record: &DocumentRecord) -> bool {
        let finished = matches!(record.status, DocumentStatus::Ok | DocumentStatus::Partial);
        finished && (self.model.is_none() || record.model == self.model)
    }

    /// Sorts the files into those to read and those that need nothing.
    fn plan(&mut self, discovery: &Discovery) -> Vec<Found> {
        let mut jobs = Vec::new();
        for (path, found) in &discovery.files {
            let unchanged = self.ledger.get(path).filter(|record| {
                (record.bytes, record.modified_ns) == (found.bytes, found.modified_ns)
            });
            let settled = unchanged.filter(|record| match record.status {
                DocumentStatus::Failed => !self.is_worth_a_try(record),
                _ => self.is_whole(record) && !record.notes.iter().any(|n| n.starts_with(BEHIND)),
            });
            match settled {
                Some(record) => {
                    self.summary.count(record, Outcome::Skipped);
                    let outcome = Outcome::Skipped;
                    (self.tell)(Event::Document { record, outcome, bytes: 0 });
                }
                None => jobs.push(found.clone()),
            }
        }
        jobs
    }

    /// A failed document is read again when something may have changed that is not in its bytes.
    fn is_worth_a_try(&self, record: &DocumentRecord) -> bool {
        let unread = record.document.is_none() && record.bytes <= self.settings.limits.file_bytes;
        let locked = record.reason.as_deref().is_some_and(|r| r.starts_with("encrypted"));
        self.settings.retry_failed || unread || (locked && !self.settings.passwords.is_empty())
    }

    fn read_all(&mut self, jobs: Vec<Found>) -> Result<(), IndexError> {
        let settings = self.settings;
        // A worker that cannot start is an error of the run, not of each document.
        let worker_error = |source: RendererError| IndexError::Worker {
            program: settings.worker_program.clone(),
            source: source.into(),
        };
        let first = Renderer::start(
            &settings.worker_program,
            &settings.pdfium,
            &settings.limits,
            settings.sandbox,
        )
        .map_err(worker_error)?;
        let confinement = first.confinement();
        if settings.sandbox != Sandbox::Off && !confinement.is_whole() {
            let text = format!("the sandbox of the PDF reader is not whole: {confinement}");
            (self.tell)(Event::Warning { text });
        }
        let mut first = Some(first);
        let ocr = settings.ocr_languages.as_deref().and_then(Ocr::find);
        if let Some(missing) = ocr.as_ref().map(|ocr| &ocr.missing).filter(|m| !m.is_empty()) {
            let text = format!("tesseract has no {} installed: read without", missing.join(", "));
            (self.tell)(Event::Warning { text });
        }
        let claims = Claims::new(
            self.ledger.values(),
            |record| self.is_whole(record),
            |record| record.status == DocumentStatus::InProgress && record.model == self.model,
        );
        let input = self.encoder.as_ref().map(|encoder| {
            let input = encoder.input();
            (input.width_px(), input.height_px())
        });
        let workers = settings.workers.clamp(1, jobs.len());
        let jobs: Mutex<VecDeque<Found>> = Mutex::new(jobs.into());
        let (to_us, from_readers) = sync_channel::<FromReader>(workers * 2);
        let over = Arc::new(AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..workers {
                let (to_us, renderer) = (to_us.clone(), first.take());
                let (jobs, claims, ocr, over) = (&jobs, &claims, ocr.as_ref(), Arc::clone(&over));
                let mut reader = DocumentReader { settings, claims, ocr, input, renderer, over };
                scope.spawn(move || read_jobs(&mut reader, jobs, &to_us));
            }
            drop(to_us);
            let outcome = self.consume(from_readers, ocr.is_none());
            over.store(true, Ordering::Relaxed);
            match outcome {
                Ok(()) | Err(Stopped::Asked) => Ok(()),
                Err(Stopped::Worker(source)) => Err(worker_error(source)),
                Err(Stopped::Run(error)) => Err(error),
            }
        })
    }

    /// Takes what the readers say until they are done or the run is to stop. Leaving drops the
    /// channel, which ends the readers.
    fn consume(&mut self, from_readers: Receiver<FromReader>, no_ocr: bool) -> Result<(), Stopped> {
        let limits = &self.settings.batch;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Stopped::Asked);
            }
            match from_readers.recv_timeout(TICK) {
                Ok((found, Ok(message))) => self.take(found, message, no_ocr)?,
                Ok((_, Err(error))) => return Err(Stopped::Worker(error)),
                Err(RecvTimeoutError::Timeout) => self.encode_waiting()?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let due = self.batch.pages.len() >= limits.pages
                || self.batch_bytes >= limits.bytes
                || self.batch.documents.len() >= limits.pages
                || (self.since.elapsed() >= limits.time && !self.batch.is_empty());
            if due {
                self.commit()?;
            }
        }
        self.encode_waiting()?;
        Ok(())
    }

    fn take(&mut self, found: Arc<Found>, message: Message, no_ocr: bool) -> Result<(), Stopped> {
        match message {
            Message::Opened { document, page_count, title, before } => {
                if before.is_none() {
                    // Pages of another model, or of a run that did not get to its ledger.
                    self.batch.dropped_pages.push(document);
                }
                let mut record = new_record(&found);
                record.document = Some(document);
                record.status = DocumentStatus::InProgress;
                record.page_count = page_count;
                record.title = title;
                record.model = self.model.clone();
                if let Some(before) = before {
                    record.pages_indexed = before.pages_indexed;
                    record.next_page = before.next_page;
                    record.failed_pages = before.failed_pages;
                    record.notes = before.notes;
                }
                let open = OpenDocument { record, bytes_told: 0, waiting: 0, read: false };
                self.open.insert(found.path.clone(), open);
            }
            Message::Page(page) => {
                let wanted = self.settings.ocr_languages.as_deref().filter(|_| no_ocr);
                let open = self.opened(&found);
                let document = open.record.document.expect("opened with its document");
                let id = PageId { document, number: page.number };
                if let Some(languages) = wanted.filter(|_| needs_ocr(&page.text)) {
                    note_without_words(&mut open.record, languages);
                }
                open.waiting += 1;
                let record = PageRecord {
                    id,
                    size: page.size,
                    text: page.text,
                    text_source: page.text_source,
                    vectors: None,
                };
                match page.image {
                    Some(image) => {
                        self.waiting.push((found, record, image));
                        if self.waiting.len() >= self.together() {
                            self.encode_waiting()?;
                        }
                    }
                    None => self.page_done(&found, record),
                }
            }
            Message::PageFailed { number, reason } => {
                // Pages before it that wait for the encoder are counted first, in order.
                self.encode_waiting()?;
                let open = self.opened(&found);
                open.record.passed(number);
                open.record.failed_pages.push(PageFailure { page: number, reason });
                self.summary.pages_failed += 1;
                self.tell_page(&found);
            }
            Message::Note(note) => self.opened(&found).record.notes.push(note),
            Message::Finished => {
                self.opened(&found).read = true;
                self.close_if_done(&found);
            }
            Message::Failed { document, reason } => self.close_failed(&found, document, reason),
            Message::Known(known) => self.close_as(&found, &known),
            Message::Duplicate(document) => self.duplicates.push((found, document)),
        }
        Ok(())
    }

    fn opened(&mut self, found: &Found) -> &mut OpenDocument {
        self.open.get_mut(&found.path).expect("pages come after their document is opened")
    }

    /// Pages to encode at once.
    fn together(&self) -> usize {
        match self.page_time {
            Some(time) if time < SLOW_PAGE => ENCODE_PAGES.min(self.settings.batch.pages),
            _ => 1,
        }
    }

    fn encode_waiting(&mut self) -> Result<(), Stopped> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let encoder = self.encoder.clone().expect("pictures are drawn for an encoder only");
        let waiting = std::mem::take(&mut self.waiting);
        let (pages, images): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|(found, record, image)| ((found, record), image)).unzip();
        let failed = |source| {
            let (found, record): &(Arc<Found>, PageRecord) = &pages[0];
            IndexError::Encode { path: found.path.clone(), page: record.id.number, source }
        };
        let start = Instant::now();
        let encoded = encode(encoder, images, self.stop).ok_or(Stopped::Asked)?;
        self.page_time = Some(start.elapsed() / pages.len() as u32);
        let vectors = encoded.map_err(failed)?;
        if vectors.len() != pages.len() {
            let text = format!("{} pages gave {} multi-vectors", pages.len(), vectors.len());
            return Err(failed(text.into()).into());
        }
        for ((found, mut record), vectors) in pages.into_iter().zip(vectors) {
            record.vectors = Some(vectors);
            self.page_done(&found, record);
        }
        Ok(())
    }

    fn page_done(&mut self, found: &Found, page: PageRecord) {
        let open = self.opened(found);
        open.waiting -= 1;
        open.record.pages_indexed += 1;
        open.record.passed(page.id.number);
        let vectors = page.vectors.as_ref().map_or(0, |v| v.values().len() * 2);
        self.batch_bytes += page.text.len() + vectors;
        self.summary.pages_indexed += 1;
        self.batch.pages.push(page);
        self.tell_page(found);
        self.close_if_done(found);
    }

    fn tell_page(&mut self, found: &Found) {
        let open = self.open.get_mut(&found.path).expect("pages come after their document");
        let share = found.bytes / u64::from(open.record.page_count.max(1));
        open.bytes_told += share;
        (self.tell)(Event::Page { path: &found.path, bytes: share });
    }

    fn close_if_done(&mut self, found: &Found) {
        let open = self.opened(found);
        if !open.read || open.waiting > 0 {
            return;
        }
        let open = self.open.remove(&found.path).expect("looked up above");
        let mut record = open.record;
        record.status = match (record.pages_indexed, record.failed_pages.is_empty()) {
            (0, _) => DocumentStatus::Failed,
            (_, false) => DocumentStatus::Partial,
            (_, true) => DocumentStatus::Ok,
        };
        if record.status == DocumentStatus::Failed {
            let first = record.failed_pages.first();
            let why = first.map_or("no page could be read", |failure| failure.reason.as_str());
            record.reason = Some(format!("no page could be read: {why}"));
        }
        self.close(found, record, Outcome::Indexed, open.bytes_told);
    }

    fn close_failed(&mut self, found: &Found, document: Option<DocumentId>, reason: String) {
        let mut record = new_record(found);
        record.document = document;
        record.reason = Some(reason);
        let before = self.ledger.get(&found.path).filter(|before| before.pages_indexed > 0);
        let Some(before) = before.filter(|_| document.is_none()) else {
            return self.close(found, record, Outcome::Indexed, 0);
        };
        // The file could not be read this time: its pages stay, with a word about it, and its
        // old size and time make the next run try again.
        self.summary.count(&record, Outcome::Indexed);
        (self.tell)(Event::Document {
            record: &record,
            outcome: Outcome::Indexed,
            bytes: found.bytes,
        });
        let mut kept = before.clone();
        kept.notes.retain(|note| !note.starts_with(BEHIND));
        kept.notes.push(format!("{BEHIND}{}", record.reason.unwrap_or_default()));
        self.batch.documents.push(kept);
    }

    /// A path for a document that the index has: a new one, or the old one with a new time.
    fn close_as(&mut self, found: &Found, known: &DocumentRecord) {
        let before = self.ledger.get(&found.path).and_then(|record| record.document);
        let outcome = match before == known.document {
            true => Outcome::Skipped,
            false => Outcome::Renamed,
        };
        let fresh = new_record(found);
        let (path, bytes, modified_ns) = (fresh.path, fresh.bytes, fresh.modified_ns);
        let mut record = DocumentRecord { path, bytes, modified_ns, ..known.clone() };
        record.notes.retain(|note| !note.starts_with(BEHIND));
        self.close(found, record, outcome, 0);
    }

    fn close(&mut self, found: &Found, record: DocumentRecord, outcome: Outcome, bytes_told: u64) {
        self.summary.count(&record, outcome);
        let bytes = found.bytes.saturating_sub(bytes_told);
        (self.tell)(Event::Document { record: &record, outcome, bytes });
        if let Some(document) = record.document {
            self.done.insert(document, record.clone());
        }
        self.batch.documents.push(record);
    }

    fn commit(&mut self) -> Result<(), IndexError> {
        for open in self.open.values() {
            self.batch.documents.push(open.record.clone());
        }
        self.since = Instant::now();
        self.batch_bytes = 0;
        match self.batch.is_empty() {
            true => Ok(()),
            false => {
                let batch = std::mem::take(&mut self.batch);
                let pages = batch.pages.len() as u64;
                let committed = self.sink.commit(batch).map_err(IndexError::Store);
                memory::give_back();
                committed?;
                self.committed += pages;
                (self.tell)(Event::Committed { pages: self.committed });
                Ok(())
            }
        }
    }

    /// Ends a run: what was read twice, what is gone, and the last commit.
    fn finish(mut self, discovery: &Discovery) -> Result<Summary, IndexError> {
        self.summary.interrupted = self.stop.load(Ordering::Relaxed);
        for (found, document) in std::mem::take(&mut self.duplicates) {
            // Without a final record the run was stopped; the next one looks again.
            if let Some(record) = self.done.get(&document).cloned() {
                self.close_as(&found, &record);
            }
        }
        // Dropped last: a rename has its new path in the ledger by now. A run that was stopped
        // has not seen all new paths and drops nothing.
        if !self.summary.interrupted {
            let seen: HashSet<&String> = discovery.files.keys().collect();
            for path in self.ledger.keys().filter(|path| !seen.contains(path)) {
                if discovery.covers(&self.settings.base, path) {
                    (self.tell)(Event::Dropped { path });
                    self.summary.documents_dropped += 1;
                    self.batch.dropped_paths.push(path.clone());
                }
            }
        }
        // Pages that wait for the encoder are left to the next run.
        self.commit()?;
        self.summary.failures.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(self.summary)
    }
}

type FromReader = (Arc<Found>, Result<Message, RendererError>);

/// Why the consumer stopped early.
enum Stopped {
    /// From elsewhere.
    Asked,
    Worker(RendererError),
    Run(IndexError),
}

impl From<IndexError> for Stopped {
    fn from(error: IndexError) -> Self {
        Self::Run(error)
    }
}

/// Encodes on a thread of its own; `None` when the run is to stop before it is done. A large model
/// takes minutes for a batch, and nobody should wait for that after Ctrl-C.
fn encode(
    encoder: Arc<dyn PageEncoder>,
    images: Vec<PageImage>,
    stop: &AtomicBool,
) -> Option<Result<Vec<PageVectors>, BoxError>> {
    let (send, receive) = sync_channel(1);
    thread::spawn(move || send.send(encoder.encode_pages(&images)));
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

/// One thread's work: documents until there are none or nobody listens.
fn read_jobs(
    reader: &mut DocumentReader<'_>,
    jobs: &Mutex<VecDeque<Found>>,
    to_us: &SyncSender<FromReader>,
) {
    loop {
        let job = jobs.lock().expect("no panic under the lock").pop_front();
        let Some(found) = job.filter(|_| !reader.over.load(Ordering::Relaxed)) else { return };
        let found = Arc::new(found);
        let tell = &mut |message| to_us.send((Arc::clone(&found), Ok(message))).map_err(|_| Closed);
        match reader.read(&found, tell) {
            Ok(Ok(())) => {}
            Ok(Err(Closed)) => return,
            Err(error) => {
                let _ = to_us.send((found, Err(error)));
                return;
            }
        }
    }
}

fn new_record(found: &Found) -> DocumentRecord {
    DocumentRecord {
        path: found.path.clone(),
        document: None,
        bytes: found.bytes,
        modified_ns: found.modified_ns,
        status: DocumentStatus::Failed,
        page_count: 0,
        pages_indexed: 0,
        next_page: 1,
        failed_pages: Vec::new(),
        reason: None,
        notes: Vec::new(),
        title: None,
        model: None,
    }
}

/// Once a document: there are pages that words will not find.
fn note_without_words(record: &mut DocumentRecord, languages: &str) {
    let note = format!(
        "some pages have no text, and tesseract with {languages} is not installed to read them"
    );
    if !record.notes.contains(&note) {
        record.notes.push(note);
    }
}
