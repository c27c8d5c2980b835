//! What becomes of documents while a run goes on: their pages are counted, and each is closed when its
//! last page is done, or set aside until all have been looked at.

use std::collections::BTreeSet;
use std::sync::Arc;

use pagesight_core::{DocumentId, DocumentRecord, Failure, OcrChoice, PageFailure};

use super::{OpenDocument, Pipeline, Stop};
use crate::attached;
use crate::discover::Found;
use crate::encoding::Waiting;
use crate::estimate::Kind;
use crate::event::{Event, Outcome, Stages};
use crate::ledger::{self, Failed};
use crate::reading::{Message, Visit};
use crate::scan::needs_ocr;

impl Pipeline<'_> {
    pub(super) fn take(&mut self, found: Arc<Found>, message: Message) -> Result<(), Stop> {
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

    pub(super) fn page_done(&mut self, Waiting { found, page, kind, visit }: Waiting) {
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

    pub(super) fn page_failed(&mut self, found: &Found, failure: PageFailure) {
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
    pub(super) fn close_duplicates(&mut self) {
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
}

/// The bytes of the plan that are those of `found`: what is attached is part of its carrier.
fn planned_bytes(found: &Found) -> u64 {
    if found.is_attached { 0 } else { found.bytes }
}
