//! Pages that are indexed by their looks, and whose words OCR reads when all else is done.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use pagesight_core::seam::PdfError;
use pagesight_core::{DocumentId, Failure, FailureKind, TextSource, Turn};

use crate::discover::Found;
use crate::estimate::Kind;
use crate::event::Stages;
use crate::reading::{DocumentReader, Message, Stop, Visit, read_file, read_words, timed};

/// A document with pages whose words wait.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    pub found: Arc<Found>,
    pub document: DocumentId,
    /// 1-based.
    pub pages: Vec<u32>,
}

impl DocumentReader<'_> {
    /// Reads what waits of documents until there is none or nobody listens. Pages that lie on their
    /// side or head come with their pictures: their vectors do not know it.
    pub fn read_waiting(&self, jobs: &Mutex<VecDeque<Rest>>) {
        loop {
            let job = jobs.lock().expect("no panic under the lock").pop_front();
            let Some(rest) = job.filter(|_| !self.over.load(Ordering::Relaxed)) else { return };
            if !self.goes_on(&rest.found, self.read_rest(&rest)) {
                return;
            }
        }
    }

    fn read_rest(&self, rest: &Rest) -> Result<(), Stop> {
        let found = &rest.found;
        let put_off = |failure| self.tell(found, Message::PutOff(failure));
        let Some(ocr) = &self.engines.ocr else { return Ok(()) };
        let bytes = match read_file(found, self.limits.file_bytes) {
            Ok(bytes) if DocumentId::of(&bytes) == rest.document => bytes,
            Ok(_) => {
                let reason = "changed while it was read: run again";
                return put_off(Failure::new(FailureKind::Unreadable, reason));
            }
            Err(failure) => return put_off(failure),
        };
        let mut pdf = match self.engines.pdf.open(rest.document, Arc::new(bytes), &self.over) {
            Ok(pdf) => pdf,
            Err(PdfError::Failed(failure)) => return put_off(failure),
            Err(error) => return Err(Stop::Reader(error)),
        };
        self.tell(found, Message::Reopened)?;
        for &number in &rest.pages {
            let mut took = Stages::default();
            let words = || read_words(&mut *pdf, number, self.limits.text_bytes);
            let mut page = match timed(&mut took.words, words) {
                Ok(page) => page,
                Err(PdfError::Failed(failure)) => {
                    // It was drawn and read before, so it is as good as then.
                    let note = format!("page {number} could not be read by OCR: {failure}");
                    self.tell(found, Message::Note(note))?;
                    self.tell(found, Message::GivenUp(number))?;
                    continue;
                }
                Err(error) => return Err(Stop::Reader(error)),
            };
            self.recognise(found, &mut *pdf, &mut page, &**ocr, &mut took)?;
            let has_new_words = page.text_source == TextSource::Ocr;
            let mut visit = if has_new_words { Visit::Words } else { Visit::NoWords };
            let mut image = None;
            if page.turn != Turn::None {
                match timed(&mut took.draw, || self.draw(&mut *pdf, &page)) {
                    Ok(drawn) => (image, visit) = (drawn, Visit::Words),
                    Err(PdfError::Failed(failure)) => {
                        let note = format!("page {number} could not be drawn again: {failure}");
                        self.tell(found, Message::Note(note))?;
                    }
                    Err(error) => return Err(Stop::Reader(error)),
                }
            }
            self.tell(found, Message::Page { page, image, kind: Kind::Picture, visit, took })?;
        }
        drop(pdf);
        self.tell(found, Message::Finished)
    }
}
