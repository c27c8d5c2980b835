//! Pages on their way from the reading threads through the encoder to the store.
//!
//! Threads read documents, another one encodes their pages, and this one keeps the ledger and is the
//! only one that commits: while it does, the others go on. The queues between them are short, so
//! memory does not grow with the folder.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pagesight_core::seam::{PageSink, PdfError};
use pagesight_core::{
    DocumentId, DocumentRecord, Failure, OcrChoice, PageFailure, PageImage, Turn,
};

use crate::ahead::Ahead;
use crate::attached::{self, Seen};
use crate::claims::Claims;
use crate::committing::Committing;
use crate::discover::{Discovery, Found};
use crate::encoding::{Encoded, Encoding, Waiting};
use crate::error::IndexError;
use crate::estimate::{Estimate, Kind, Pages};
use crate::event::{Event, Outcome, Stages, Summary};
use crate::first_look::FirstLook;
use crate::ledger::{self, Failed, Ledger, Wants};
use crate::missing::Missing;
use crate::options::{Engines, SyncOptions};
use crate::reading::{DocumentReader, Message, Said, Visit};
use crate::scan::needs_ocr;
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

    fn take(&mut self, found: Arc<Found>, message: Message) -> Result<(), Stop> {
        match message {
            Message::Opened { document, page_count, title, before } => {
                if before.is_none() {
                    // Pages of another model, or of a run that did not get to its ledger.
                    self.committing.drop_pages(document);
                }
                let (model, before) = (self.wants.model.clone(), before.map(|before| *before));
                let record = ledger::opened(&found, document, page_count, title, model, before);
                let read = record.pages_indexed + record.failed_pages.len() as u32;
                let pages = page_count.min(self.options.limits.pages).saturating_sub(read);
                self.estimate.opened(&found.path, pages, !found.is_attached);
                self.estimate.waits(record.waiting_pages.len());
                let open = OpenDocument { record, bytes_told: 0, waiting: 0, is_read: false };
                self.open.insert(found.path.clone(), open);
            }
            Message::Page { page, image, kind, visit, took } => {
                self.estimate_page(kind, visit, took);
                let wanted = self.options.ocr != OcrChoice::Off && self.engines.ocr.is_none();
                let open = self.open.get_mut(&found.path).expect("opened before its pages");
                if wanted && needs_ocr(&page.text) {
                    let languages = self.options.ocr_languages.as_deref().unwrap_or("eng");
                    let note = format!(
                        "some pages have no text, and nothing reads them: neither the weights of \
                         the embedded reader are there nor tesseract for {languages}"
                    );
                    ledger::note(&mut open.record, note);
                }
                open.waiting += 1;
                let turn = page.turn;
                let document = open.record.document.expect("opened with its document");
                let page = Waiting { found, page: page.into_record(document), kind, visit };
                match image {
                    Some(image) => self.encode(page, image, turn)?,
                    None => self.page_done(page),
                }
            }
            Message::Reopened => {
                let (_, open) = self.later.remove(&found.path).expect("set aside before");
                self.open.insert(found.path.clone(), OpenDocument { is_read: false, ..open });
            }
            Message::GivenUp(number) => {
                ledger::page_read(&mut self.opened(&found).record, number);
                self.estimate.waiting_done();
                self.tell_page(&found);
            }
            Message::PutOff(failure) => {
                let (_, open) = self.later.remove(&found.path).expect("set aside before");
                let pages = open.record.waiting_pages.len();
                self.estimate.put_off(pages);
                self.summary.pages_waiting += pages as u64;
                let path = &found.path;
                let text =
                    format!("{path}: the words of {pages} pages are still to be read: {failure}");
                (self.tell)(Event::Warning { text });
            }
            Message::PageFailed(failure) => {
                self.opened(&found).waiting += 1;
                match &self.encoding {
                    // Pages before it that wait for the encoder are counted first, in order.
                    Some(encoding) => encoding.add_failed(found, failure),
                    None => self.page_failed(&found, failure),
                }
            }
            // Once, when a run goes on where another one was interrupted.
            Message::Note(note) => ledger::note(&mut self.opened(&found).record, note),
            Message::Finished => {
                self.seen.read.insert(found.path.clone());
                self.opened(&found).is_read = true;
                self.close_if_done(&found);
            }
            Message::Failed { document, failure } => self.fail(&found, document, failure),
            Message::Known(known) => {
                // Of before this run, and so is what it carries.
                let carried = attached::records_within(self.ledger, &known.path);
                let carried = carried.filter(|record| !self.files.contains(&record.path));
                let carried = carried.cloned().collect();
                self.close_as(&found, &known, carried);
            }
            Message::Duplicate(document) => self.duplicates.push((found, document)),
        }
        Ok(())
    }

    fn opened(&mut self, found: &Found) -> &mut OpenDocument {
        self.open.get_mut(&found.path).expect("opened before its pages")
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

    /// What the time says that a page took to read.
    fn estimate_page(&mut self, kind: Kind, visit: Visit, took: Stages) {
        match visit {
            Visit::Whole => self.estimate.read(kind, took.reading()),
            // It was drawn, and not read.
            Visit::Look => self.estimate.read(Kind::Words, took.reading()),
            Visit::Words | Visit::NoWords => self.estimate.read_waiting(took.reading()),
        }
        self.summary.stages.add(took);
    }

    fn page_done(&mut self, Waiting { found, page, kind, visit }: Waiting) {
        let found = &*found;
        let open = self.opened(found);
        open.waiting -= 1;
        let number = page.id.number;
        match visit {
            Visit::Whole => {
                ledger::page_indexed(&mut open.record, number);
                self.estimate.page_done(&found.path, kind);
            }
            Visit::Look => {
                ledger::page_waits(&mut open.record, number);
                self.estimate.page_seen(&found.path);
            }
            Visit::Words | Visit::NoWords => {
                ledger::page_read(&mut open.record, number);
                self.estimate.waiting_done();
            }
        }
        match visit {
            Visit::Whole | Visit::Look => {
                self.summary.pages_indexed += 1;
                self.committing.add_page(page);
            }
            Visit::Words => self.committing.add_words(page),
            Visit::NoWords => {}
        }
        if visit == Visit::Look {
            (self.tell)(Event::Seen { path: &found.path });
            self.tell_progress();
        } else {
            self.tell_page(found);
        }
        self.close_if_done(found);
    }

    fn page_failed(&mut self, found: &Found, failure: PageFailure) {
        let open = self.opened(found);
        open.waiting -= 1;
        ledger::page_failed(&mut open.record, failure);
        self.summary.pages_failed += 1;
        self.estimate.page_done(&found.path, Kind::Words);
        self.tell_page(found);
        self.close_if_done(found);
    }

    fn tell_page(&mut self, found: &Found) {
        let open = self.opened(found);
        let bytes = planned_bytes(found) / u64::from(open.record.page_count.max(1));
        open.bytes_told += bytes;
        (self.tell)(Event::Page { path: &found.path, bytes });
        self.tell_progress();
    }

    fn tell_progress(&mut self) {
        for (path, pages) in self.looked.try_iter() {
            self.estimate.looked(&path, pages);
        }
        (self.tell)(Event::Progress(self.estimate.progress(self.start.elapsed())));
    }

    /// Leaves a document until all have been looked at.
    fn set_aside(&mut self, found: &Found, open: OpenDocument) {
        self.committing.add_record(open.record.clone());
        self.estimate.closed(&found.path, !found.is_attached);
        self.later.insert(found.path.clone(), (Arc::new(found.clone()), open));
        self.tell_progress();
    }

    fn close_if_done(&mut self, found: &Found) {
        let open = self.opened(found);
        if !open.is_read || open.waiting > 0 {
            return;
        }
        let mut open = self.open.remove(&found.path).expect("looked up above");
        if self.engines.ocr.is_none() {
            // An earlier run had OCR; this one is to do without.
            let waiting = std::mem::take(&mut open.record.waiting_pages);
            self.estimate.put_off(waiting.len());
        }
        if !open.record.waiting_pages.is_empty() {
            self.set_aside(found, open);
            return;
        }
        self.close(found, ledger::closed(open.record), Outcome::Indexed, open.bytes_told);
    }

    fn fail(&mut self, found: &Found, document: Option<DocumentId>, failure: Failure) {
        if document.is_some() {
            self.seen.read.insert(found.path.clone());
        }
        match ledger::failed(found, document, failure, self.ledger.get(&found.path)) {
            Failed::Record(record) => self.close(found, record, Outcome::Indexed, 0),
            Failed::Stale { seen, kept } => {
                self.tell_document(found, &seen, Outcome::Indexed, 0);
                // What it carries stays with it.
                let carried = attached::records_within(self.ledger, &found.path);
                let carried = carried.map(|record| (record.path.clone(), record.clone()));
                self.seen.attached.extend(carried);
                self.note_attached(found, &kept);
                self.committing.add_record(kept);
            }
        }
    }

    /// Closes `found`, which is the `known` document, and what that has `carried`, each by the name
    /// that it has here.
    fn close_as(&mut self, found: &Found, known: &DocumentRecord, carried: Vec<DocumentRecord>) {
        let (record, outcome) = ledger::known(found, known, self.ledger.get(&found.path));
        self.close(found, record, outcome, 0);
        for inner in carried {
            let path = attached::moved(&inner, &known.path, &found.path);
            let found = Found { path, bytes: inner.bytes, is_attached: true, ..found.clone() };
            let (record, outcome) = ledger::known(&found, &inner, self.ledger.get(&found.path));
            self.close(&found, record, outcome, 0);
        }
    }

    fn close(&mut self, found: &Found, record: DocumentRecord, outcome: Outcome, bytes_told: u64) {
        self.tell_document(found, &record, outcome, bytes_told);
        if let Some(document) = record.document {
            self.done.insert(document, record.clone());
        }
        self.note_attached(found, &record);
        self.committing.add_record(record);
    }

    fn note_attached(&mut self, found: &Found, record: &DocumentRecord) {
        if found.is_attached {
            self.seen.attached.insert(record.path.clone(), record.clone());
        }
    }

    fn tell_document(
        &mut self,
        found: &Found,
        record: &DocumentRecord,
        outcome: Outcome,
        bytes_told: u64,
    ) {
        self.summary.count(record, outcome);
        let bytes = planned_bytes(found).saturating_sub(bytes_told);
        (self.tell)(Event::Document { record, outcome, bytes });
        self.estimate.closed(&found.path, !found.is_attached);
        self.tell_progress();
    }

    /// Closes the files whose bytes were read under another name.
    fn close_duplicates(&mut self) {
        let mut waiting = std::mem::take(&mut self.duplicates);
        while !waiting.is_empty() {
            // What a document carries may be such a file itself, and is closed before its copies.
            let attached = waiting.iter().filter(|(found, _)| found.is_attached);
            let attached: BTreeSet<&str> = attached.map(|(found, _)| &*found.path).collect();
            let is_ready = |(_, document): &(Arc<Found>, DocumentId)| {
                let known = self.done.get(document);
                known.is_none_or(|known| !attached::any_within(&attached, &known.path))
            };
            let are_ready: Vec<bool> = waiting.iter().map(is_ready).collect();
            // No document is within itself, so that some are.
            let all = !are_ready.contains(&true);
            let mut later = Vec::new();
            for (duplicate, is_ready) in waiting.into_iter().zip(are_ready) {
                if !is_ready && !all {
                    later.push(duplicate);
                    continue;
                }
                let (found, document) = duplicate;
                // Without a final record the run was stopped, and the next one looks again.
                if let Some(record) = self.done.get(&document).cloned() {
                    let carried = self.seen.within(&record.path);
                    self.close_as(&found, &record, carried);
                }
            }
            waiting = later;
        }
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

/// The bytes of the plan that are those of `found`: what is attached is part of its carrier.
fn planned_bytes(found: &Found) -> u64 {
    if found.is_attached { 0 } else { found.bytes }
}
