//! Documents, each read by one thread: its pages come out in order.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pagesight_core::seam::{Ocr, PdfDocument, PdfError};
use pagesight_core::{
    DocumentId, DocumentRecord, DrawSize, Failure, FailureKind, PageFailure, PageImage, Turn,
};

use crate::attached::{Allowance, take_out};
use crate::claims::{Claim, Claims};
use crate::discover::{Found, modified_ns};
use crate::estimate::Kind;
use crate::event::Stages;
use crate::first_look::FirstLook;
use crate::ledger;
use crate::legible::{is_garbled, moved_back};
use crate::options::{Engines, Limits};
use crate::page::PageRead;
use crate::recognise::{recognise, should_be_read};
use crate::scan::needs_ocr;

/// What a reading thread says of a document.
#[derive(Debug)]
pub(crate) enum Message {
    /// It is open, and its pages follow.
    Opened {
        document: DocumentId,
        page_count: u32,
        title: Option<String>,
        /// What an interrupted run knew of it.
        before: Option<Box<DocumentRecord>>,
    },
    /// A page, with its picture when there is an encoder, and what it took.
    Page {
        page: PageRead,
        image: Option<PageImage>,
        kind: Kind,
        visit: Visit,
        took: Stages,
    },
    PageFailed(PageFailure),
    /// What waits of this page cannot be read.
    GivenUp(u32),
    /// For a person who wonders.
    Note(String),
    /// It is open again, and the pages follow whose words waited.
    Reopened,
    /// The pages whose words wait cannot be read this time.
    PutOff(Failure),
    /// No more pages.
    Finished,
    /// Nothing of it can be read.
    Failed {
        document: Option<DocumentId>,
        failure: Failure,
    },
    /// Its bytes are in the index already.
    Known(Box<DocumentRecord>),
    /// Its bytes are being read under another name.
    Duplicate(DocumentId),
}

/// A document and what is said of it, or why no document can be read.
pub(crate) type Said = (Arc<Found>, Result<Message, PdfError>);

/// What a run does with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    /// It is read, whole.
    Whole,
    /// It is indexed by its looks; OCR reads it later.
    Look,
    /// It is in the index, and its words have been read now.
    Words,
    /// It is in the index, and nothing more was found on it.
    NoWords,
}

/// Why reading ends before its time.
pub(crate) enum Stop {
    /// Nobody listens any more: the run is over.
    Closed,
    /// No document can be read.
    Reader(PdfError),
}

/// What became of a page.
enum PageOutcome {
    Read { page: PageRead, image: Option<PageImage>, kind: Kind, visit: Visit, took: Stages },
    Failed(Failure),
}

/// What a thread reads documents with.
pub(crate) struct DocumentReader<'a> {
    pub engines: &'a Engines,
    pub limits: &'a Limits,
    pub claims: &'a Claims,
    pub first_look: FirstLook,
    pub to_run: SyncSender<Said>,
    /// Set when the run is over: what is being drawn or read is given up.
    pub over: Arc<AtomicBool>,
}

impl DocumentReader<'_> {
    /// Reads documents until there are none or nobody listens.
    pub fn read_all(&self, jobs: &Mutex<VecDeque<Found>>) {
        loop {
            let job = jobs.lock().expect("no panic under the lock").pop_front();
            let Some(found) = job.filter(|_| !self.over.load(Ordering::Relaxed)) else { return };
            let found = Arc::new(found);
            if !self.goes_on(&found, self.read(&found)) {
                return;
            }
        }
    }

    /// Whether there is any sense in reading on after `outcome`, which is told if it is an error.
    pub fn goes_on(&self, found: &Arc<Found>, outcome: Result<(), Stop>) -> bool {
        match outcome {
            Ok(()) => true,
            Err(Stop::Closed) => false,
            Err(Stop::Reader(error)) => {
                let _ = self.to_run.send((Arc::clone(found), Err(error)));
                false
            }
        }
    }

    pub fn tell(&self, found: &Arc<Found>, message: Message) -> Result<(), Stop> {
        self.to_run.send((Arc::clone(found), Ok(message))).map_err(|_| Stop::Closed)
    }

    /// Reads one document and tells what it finds, page by page.
    fn read(&self, found: &Arc<Found>) -> Result<(), Stop> {
        match read_file(found, self.limits.file_bytes) {
            Ok(bytes) => self.read_bytes(found, bytes, &mut Allowance::new(self.limits)),
            Err(failure) => self.tell(found, Message::Failed { document: None, failure }),
        }
    }

    /// Reads the document that consists of `bytes`, and the PDFs that are attached to it.
    fn read_bytes(
        &self,
        found: &Arc<Found>,
        bytes: Vec<u8>,
        allowance: &mut Allowance,
    ) -> Result<(), Stop> {
        let failed = |document, failure| self.tell(found, Message::Failed { document, failure });
        let document = DocumentId::of(&bytes);
        let before = match self.claims.claim(document) {
            Claim::Indexed(record) => return self.tell(found, Message::Known(record)),
            Claim::Taken => return self.tell(found, Message::Duplicate(document)),
            Claim::Yours(before) => before,
        };
        let opened = self.engines.pdf.open(document, Arc::new(bytes), &self.over);
        let mut pdf = match opened {
            Ok(pdf) => pdf,
            Err(PdfError::Failed(failure)) => return failed(Some(document), failure),
            Err(error) => return Err(Stop::Reader(error)),
        };
        let page_count = pdf.page_count();
        if page_count == 0 {
            let failure = Failure::new(FailureKind::Damaged, "the PDF has no pages");
            return failed(Some(document), failure);
        }
        let numbers = ledger::pages_to_read(before.as_deref(), page_count, self.limits.pages);
        let title = pdf.title().map(String::from);
        self.tell(found, Message::Opened { document, page_count, title, before })?;
        for note in pdf.notes() {
            self.tell(found, Message::Note(note.clone()))?;
        }
        if let Some(note) = pages_note(page_count, self.limits) {
            self.tell(found, Message::Note(note))?;
        }
        let mut was_cut = false;
        for number in numbers {
            let message = match self.page(found, &mut *pdf, number)? {
                PageOutcome::Read { page, image, kind, visit, took } => {
                    // Once a document: a bomb has it on every page.
                    if page.cut && !std::mem::replace(&mut was_cut, true) {
                        self.tell(found, Message::Note(text_note(number, self.limits)))?;
                    }
                    Message::Page { page, image, kind, visit, took }
                }
                PageOutcome::Failed(failure) => {
                    Message::PageFailed(PageFailure::new(number, failure))
                }
            };
            self.tell(found, message)?;
        }
        let (attached, note) = take_out(found, &mut *pdf, allowance);
        if let Some(note) = note {
            self.tell(found, Message::Note(note))?;
        }
        // Its worker is free for what it carries.
        drop(pdf);
        for (inner, bytes) in attached {
            let inner = Arc::new(inner);
            match bytes {
                Ok(bytes) => allowance.within(|a| self.read_bytes(&inner, bytes, a))?,
                Err(PdfError::Failed(failure)) => {
                    self.tell(&inner, Message::Failed { document: None, failure })?;
                }
                Err(error) => return Err(Stop::Reader(error)),
            }
        }
        // Last, so that a run that is stopped before comes back to what is attached.
        self.tell(found, Message::Finished)
    }

    /// Reads one page: its words, its picture for the encoder, and with OCR the words of a page
    /// that has none of its own, unless that is left for later.
    fn page(
        &self,
        found: &Arc<Found>,
        pdf: &mut dyn PdfDocument,
        number: u32,
    ) -> Result<PageOutcome, Stop> {
        let mut took = Stages::default();
        let words = timed(&mut took.words, || read_words(pdf, number, self.limits.text_bytes));
        let mut page = match words {
            Ok(page) => page,
            Err(error) => return failed_page(error),
        };
        let kind = if needs_ocr(&page.text) { Kind::Picture } else { Kind::Words };
        let mut visit = Visit::Whole;
        if let Some(ocr) = &self.engines.ocr {
            // What is attached is read at once: to come to it again its carrier must be taken apart.
            if self.first_look.is_due() && !found.is_attached {
                match timed(&mut took.ocr, || should_be_read(pdf, &page)) {
                    Ok(true) => visit = Visit::Look,
                    Ok(false) => {}
                    Err(error) => return Err(Stop::Reader(error)),
                }
            }
            if visit == Visit::Whole {
                self.recognise(found, pdf, &mut page, &**ocr, &mut took)?;
            }
        }
        let image = match timed(&mut took.draw, || self.draw(pdf, &page)) {
            Ok(image) => image,
            Err(error) => return failed_page(error),
        };
        Ok(PageOutcome::Read { page, image, kind, visit, took })
    }

    /// Reads a page with OCR where it should be, and tells what stood in the way.
    pub fn recognise(
        &self,
        found: &Arc<Found>,
        pdf: &mut dyn PdfDocument,
        page: &mut PageRead,
        ocr: &dyn Ocr,
        took: &mut Stages,
    ) -> Result<(), Stop> {
        let looked = timed(&mut took.ocr, || recognise(pdf, page, ocr, &self.over));
        let looked = looked.map_err(Stop::Reader)?;
        page.turn = looked.turn;
        match looked.note {
            Some(note) => self.tell(found, Message::Note(note)),
            None => Ok(()),
        }
    }

    /// Draws a page for the encoder, where there is one. A page that lies on its side or its head is
    /// drawn so, and its picture turned.
    pub fn draw(
        &self,
        pdf: &mut dyn PdfDocument,
        page: &PageRead,
    ) -> Result<Option<PageImage>, PdfError> {
        let Some(encoder) = &self.engines.encoder else { return Ok(None) };
        let turn = page.turn;
        let size = turn.back().of_picture(encoder.picture(turn.of_page(page.size)));
        let size = DrawSize::Exact { size, filter: encoder.filter() };
        let image = pdf.draw(page.number, size)?;
        Ok(Some(if turn == Turn::None { image } else { image.turned(turn) }))
    }
}

pub(crate) fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}

fn failed_page(error: PdfError) -> Result<PageOutcome, Stop> {
    match error {
        PdfError::Failed(failure) => Ok(PageOutcome::Failed(failure)),
        error => Err(Stop::Reader(error)),
    }
}

/// Reads the words that the PDF holds for page `number`.
pub(crate) fn read_words(
    pdf: &mut dyn PdfDocument,
    number: u32,
    most_bytes: usize,
) -> Result<PageRead, PdfError> {
    let mut page = pdf.text(number, most_bytes)?;
    if let Some(text) = is_garbled(&page.text).then(|| moved_back(&page.text)).flatten() {
        page.text = text;
    }
    Ok(PageRead::of(number, page))
}

/// What a person should know of a document with more pages than are read.
pub(crate) fn pages_note(page_count: u32, limits: &Limits) -> Option<String> {
    let most = limits.pages;
    (most < page_count).then(|| format!("of {page_count} pages only the first {most} are read"))
}

/// What a person should know of a page with more text than is kept.
pub(crate) fn text_note(number: u32, limits: &Limits) -> String {
    let kb = limits.text_bytes / 1000;
    format!("page {number} has more than {kb} KB of text, the rest is left out")
}

/// Reads the file as the walk saw it, when it is within `limit` bytes.
pub(crate) fn read_file(found: &Found, limit: u64) -> Result<Vec<u8>, Failure> {
    let too_large = |bytes: u64| {
        let mb = |bytes: u64| bytes.div_ceil(1 << 20);
        let reason = format!("{} MB, more than the limit of {} MB", mb(bytes), mb(limit));
        Failure::new(FailureKind::TooLarge, reason)
    };
    let unreadable = |reason: String| Failure::new(FailureKind::Unreadable, reason);
    if found.bytes > limit {
        return Err(too_large(found.bytes));
    }
    let read = || -> std::io::Result<(Vec<u8>, std::fs::Metadata)> {
        let file = File::open(&found.file)?;
        let mut bytes = Vec::with_capacity(found.bytes as usize + 1);
        // A file that grows while it is read is cut at the limit, and refused below.
        (&file).take(limit + 1).read_to_end(&mut bytes)?;
        Ok((bytes, file.metadata()?))
    };
    match read() {
        Ok((bytes, _)) if bytes.len() as u64 > limit => Err(too_large(bytes.len() as u64)),
        Ok((bytes, meta))
            if bytes.len() as u64 != found.bytes || modified_ns(&meta) != found.modified_ns =>
        {
            Err(unreadable("changed while it was read: run again".into()))
        }
        Ok((bytes, _)) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(unreadable("vanished before it was read".into()))
        }
        Err(error) => Err(unreadable(format!("cannot be read: {error}"))),
    }
}
