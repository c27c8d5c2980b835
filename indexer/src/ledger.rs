//! The rules of the ledger: what a file needs, and what becomes of its record. Plain functions of
//! records, without threads, files or a store.

use std::collections::BTreeMap;

use pagesight_core::{
    DocumentId, DocumentRecord, DocumentStatus, Failure, FailureKind, ModelId, PageFailure,
};

use crate::attached;
use crate::discover::Found;
use crate::event::Outcome;

/// The records of an index before a run, by path.
pub(crate) type Ledger = BTreeMap<String, DocumentRecord>;

/// What a run wants of the index; a record that does not fulfil it is read again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wants {
    /// The model that pages have vectors of; `None` takes any, and none.
    pub model: Option<ModelId>,
    /// Failed documents are read again although they have not changed.
    pub retry_failed: bool,
    /// There are passwords to try.
    pub has_passwords: bool,
    /// The limit on the size of a file, bytes.
    pub file_bytes: u64,
}

impl Wants {
    /// Whether the pages of `record` are in the index as this run wants them.
    pub fn is_whole(&self, record: &DocumentRecord) -> bool {
        let is_finished = matches!(record.status, DocumentStatus::Ok | DocumentStatus::Partial);
        is_finished && (self.model.is_none() || record.model == self.model)
    }

    /// Whether this run can go on where an interrupted one ended.
    pub fn is_resumable(&self, record: &DocumentRecord) -> bool {
        record.status == DocumentStatus::InProgress && record.model == self.model
    }

    /// Whether `found` needs nothing, given the `record` of its path.
    pub fn is_settled(&self, found: &Found, record: &DocumentRecord) -> bool {
        let is_unchanged = (record.bytes, record.modified_ns) == (found.bytes, found.modified_ns);
        is_unchanged
            && record.stale.is_none()
            && match record.status {
                DocumentStatus::Failed => !self.is_worth_a_try(record),
                _ => self.is_whole(record),
            }
    }

    /// Whether `found` and all that is attached to it need nothing, given the `record` of its path.
    pub fn is_settled_whole(
        &self,
        found: &Found,
        record: &DocumentRecord,
        ledger: &Ledger,
    ) -> bool {
        self.is_settled(found, record) && self.carries_nothing_to_read(record, ledger)
    }

    /// Whether what is attached to the document of `record` is in the index as this run wants it.
    pub fn carries_nothing_to_read(&self, record: &DocumentRecord, ledger: &Ledger) -> bool {
        attached::records_within(ledger, &record.path).all(|inner| match inner.status {
            DocumentStatus::Failed => !self.is_worth_a_try(inner),
            _ => self.is_whole(inner),
        })
    }

    /// Whether a failed document may be readable now although its bytes are the same.
    fn is_worth_a_try(&self, record: &DocumentRecord) -> bool {
        // Its bytes were not read: the file may be readable now, or the limit may be higher.
        let is_unread = record.document.is_none() && record.bytes <= self.file_bytes;
        let is_locked =
            record.failure.as_ref().is_some_and(|why| why.kind == FailureKind::Encrypted);
        self.retry_failed || is_unread || (is_locked && self.has_passwords)
    }
}

/// The record of a file of which nothing is known yet.
pub(crate) fn unread(found: &Found) -> DocumentRecord {
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
        waiting_pages: Vec::new(),
        failure: None,
        stale: None,
        notes: Vec::new(),
        title: None,
        model: None,
    }
}

/// The record of a document that is open. `before` is what an interrupted run knew of it: its pages
/// are kept, and the run goes on after them.
pub(crate) fn opened(
    found: &Found,
    document: DocumentId,
    page_count: u32,
    title: Option<String>,
    model: Option<ModelId>,
    before: Option<DocumentRecord>,
) -> DocumentRecord {
    let mut record = DocumentRecord {
        document: Some(document),
        status: DocumentStatus::InProgress,
        page_count,
        title,
        model,
        ..unread(found)
    };
    if let Some(before) = before {
        record.pages_indexed = before.pages_indexed;
        record.next_page = before.next_page;
        record.failed_pages = before.failed_pages;
        record.waiting_pages = before.waiting_pages;
        record.notes = before.notes;
    }
    record
}

/// The pages to read of a document of `page_count` pages, in order. Pages that were indexed once
/// and lost to damage of the index come first. Pages past the first `most` are left out.
pub(crate) fn pages_to_read(
    before: Option<&DocumentRecord>,
    page_count: u32,
    most: u32,
) -> impl Iterator<Item = u32> + use<> {
    let failed = before.map(|record| &record.failed_pages[..]).unwrap_or_default();
    let lost: Vec<u32> =
        failed.iter().filter(|failure| failure.is_lost()).map(|failure| failure.page).collect();
    let first = before.map_or(1, |record| record.next_page.max(1));
    lost.into_iter().chain(first..=page_count.min(most))
}

/// Page `number` is in the index.
pub(crate) fn page_indexed(record: &mut DocumentRecord, number: u32) {
    record.pages_indexed += 1;
    record.passed(number);
}

/// Page `number` is in the index by its looks, and its words are still to be read.
pub(crate) fn page_waits(record: &mut DocumentRecord, number: u32) {
    page_indexed(record, number);
    let at = record.waiting_pages.partition_point(|&page| page < number);
    record.waiting_pages.insert(at, number);
}

/// The words of page `number`, which waited for it, have been read.
pub(crate) fn page_read(record: &mut DocumentRecord, number: u32) {
    record.waiting_pages.retain(|&page| page != number);
}

/// A page could not be read.
pub(crate) fn page_failed(record: &mut DocumentRecord, failure: PageFailure) {
    record.passed(failure.page);
    record.failed_pages.push(failure);
}

/// Adds a note, once.
pub(crate) fn note(record: &mut DocumentRecord, note: String) {
    if !record.notes.contains(&note) {
        record.notes.push(note);
    }
}

/// The record of a document of which every page was indexed, with its words, or has failed.
pub(crate) fn closed(mut record: DocumentRecord) -> DocumentRecord {
    record.status = match (record.pages_indexed, record.failed_pages.is_empty()) {
        (0, _) => DocumentStatus::Failed,
        (_, false) => DocumentStatus::Partial,
        (_, true) => DocumentStatus::Ok,
    };
    if record.status == DocumentStatus::Failed {
        record.failure = Some(match record.failed_pages.first() {
            Some(PageFailure { failure: first, .. }) => {
                Failure::new(first.kind, format!("no page could be read: {}", first.reason))
            }
            None => Failure::new(FailureKind::Other, "no page could be read"),
        });
    }
    record
}

/// What becomes of a path whose document cannot be read.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one a document that fails, and soon gone")]
pub(crate) enum Failed {
    /// Its record; nothing of the document is indexed.
    Record(DocumentRecord),
    /// The file could not be read this time. What the index has of it stays.
    Stale {
        /// What happened, to be told.
        seen: DocumentRecord,
        /// The record to keep: with the size and time of before, so that the next run looks again.
        kept: DocumentRecord,
    },
}

/// What becomes of a path whose `document` cannot be read; that is `None` where the file could not
/// be read, so that nobody knows whether it is the same document. `before` is the path's record.
pub(crate) fn failed(
    found: &Found,
    document: Option<DocumentId>,
    failure: Failure,
    before: Option<&DocumentRecord>,
) -> Failed {
    let stale = before.filter(|before| document.is_none() && before.pages_indexed > 0);
    let kept =
        stale.map(|before| DocumentRecord { stale: Some(failure.clone()), ..before.clone() });
    let seen = DocumentRecord { document, failure: Some(failure), ..unread(found) };
    match kept {
        Some(kept) => Failed::Stale { seen, kept },
        None => Failed::Record(seen),
    }
}

/// The record of a path whose bytes are those of the `known` document, and what that says of the
/// path, of which `before` is the record: the file is the same as before, or it is a copy or has
/// another name.
pub(crate) fn known(
    found: &Found,
    known: &DocumentRecord,
    before: Option<&DocumentRecord>,
) -> (DocumentRecord, Outcome) {
    let is_same = before.and_then(|record| record.document) == known.document;
    let outcome = if is_same { Outcome::Skipped } else { Outcome::Renamed };
    let record = DocumentRecord {
        path: found.path.clone(),
        bytes: found.bytes,
        modified_ns: found.modified_ns,
        stale: None,
        ..known.clone()
    };
    (record, outcome)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use pagesight_core::testing::document_record;

    use super::*;

    fn id() -> DocumentId {
        DocumentId::of(b"document")
    }

    fn found(bytes: u64, modified_ns: i64) -> Found {
        let (file, path) = (PathBuf::from("/b/a.pdf"), "a.pdf".into());
        Found { file, path, bytes, modified_ns, is_attached: false }
    }

    /// Of one byte, three pages.
    fn record() -> DocumentRecord {
        document_record("a.pdf", id(), 3)
    }

    fn with_status(status: DocumentStatus) -> DocumentRecord {
        DocumentRecord { status, ..record() }
    }

    fn failed_with(kind: FailureKind, document: Option<DocumentId>) -> DocumentRecord {
        let failure = Some(Failure::new(kind, "words that nothing depends on"));
        DocumentRecord {
            document,
            failure,
            pages_indexed: 0,
            ..with_status(DocumentStatus::Failed)
        }
    }

    fn model(name: &str) -> Option<ModelId> {
        Some(ModelId(name.into()))
    }

    #[test]
    fn what_a_file_needs() {
        use DocumentStatus::{Failed, InProgress, Ok, Partial};
        let plain = || Wants { file_bytes: 10, ..Wants::default() };
        let unchanged = || found(1, 0);
        let encoded = |name| DocumentRecord { model: model(name), ..record() };
        let with_model = |name| Wants { model: model(name), ..plain() };
        let stale = Some(Failure::new(FailureKind::Unreadable, "vanished"));
        let locked = failed_with(FailureKind::Encrypted, Some(id()));
        let damaged = failed_with(FailureKind::Damaged, Some(id()));
        let unread = |bytes| DocumentRecord { bytes, ..failed_with(FailureKind::TooLarge, None) };
        let large = |bytes| found(bytes, 0);
        for (what, wants, found, record, expected) in [
            ("unchanged", plain(), unchanged(), with_status(Ok), true),
            ("unchanged, some pages failed", plain(), unchanged(), with_status(Partial), true),
            ("another size", plain(), found(2, 0), with_status(Ok), false),
            ("another time", plain(), found(1, 7), with_status(Ok), false),
            ("interrupted", plain(), unchanged(), with_status(InProgress), false),
            ("stale", plain(), unchanged(), DocumentRecord { stale, ..record() }, false),
            ("no model is wanted", plain(), unchanged(), encoded("m"), true),
            ("of the model", with_model("m"), unchanged(), encoded("m"), true),
            ("of another model", with_model("n"), unchanged(), encoded("m"), false),
            ("without vectors", with_model("m"), unchanged(), with_status(Ok), false),
            ("failed", plain(), unchanged(), damaged.clone(), true),
            (
                "failed, and asked for again",
                Wants { retry_failed: true, ..plain() },
                unchanged(),
                damaged.clone(),
                false,
            ),
            ("failed, and changed", plain(), found(2, 0), damaged, false),
            ("locked", plain(), unchanged(), locked.clone(), true),
            (
                "locked, and there is a password",
                Wants { has_passwords: true, ..plain() },
                unchanged(),
                locked,
                false,
            ),
            (
                "a failure without a kind or words",
                Wants { has_passwords: true, ..plain() },
                unchanged(),
                DocumentRecord { failure: None, ..with_status(Failed) },
                true,
            ),
            ("not read, within the limit", plain(), large(9), unread(9), false),
            ("not read, over the limit", plain(), large(11), unread(11), true),
        ] {
            assert_eq!(wants.is_settled(&found, &record), expected, "{what}");
        }
    }

    #[test]
    fn an_interrupted_document_goes_on() {
        let wants = Wants { model: model("m"), ..Wants::default() };
        let before = DocumentRecord {
            status: DocumentStatus::InProgress,
            model: model("m"),
            next_page: 3,
            pages_indexed: 1,
            failed_pages: vec![PageFailure::lost(2)],
            notes: vec!["a note".into()],
            ..record()
        };
        assert!(wants.is_resumable(&before));
        assert!(!Wants::default().is_resumable(&before), "its vectors are not wanted");
        let whole = DocumentRecord { status: DocumentStatus::Ok, ..before.clone() };
        assert!(!wants.is_resumable(&whole));
        assert_eq!(pages_to_read(Some(&before), 5, 9).collect::<Vec<_>>(), [2, 3, 4, 5]);
        let title = Some("Title".to_string());
        let record = opened(&found(4, 2), id(), 5, title, model("m"), Some(before));
        assert_eq!((record.bytes, record.modified_ns, record.page_count), (4, 2, 5));
        assert_eq!((record.pages_indexed, record.next_page, record.notes.len()), (1, 3, 1));
        assert_eq!(record.status, DocumentStatus::InProgress);
        // A new one starts at its first page, and ends at the limit.
        assert_eq!(pages_to_read(None, 5, 3).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(pages_to_read(None, 0, 3).count(), 0);
        let record = opened(&found(4, 2), id(), 5, None, None, None);
        assert_eq!((record.pages_indexed, record.next_page), (0, 1));
    }

    #[test]
    fn pages_come_and_fail() {
        let start = opened(&found(1, 0), id(), 3, None, None, None);
        let failure = |page| PageFailure::new(page, Failure::new(FailureKind::Timeout, "too slow"));
        let mut record = start.clone();
        page_indexed(&mut record, 1);
        page_failed(&mut record, failure(2));
        page_indexed(&mut record, 3);
        assert_eq!((record.pages_indexed, record.next_page), (2, 4));
        let partial = closed(record.clone());
        assert_eq!((partial.status, &partial.failure), (DocumentStatus::Partial, &None));
        // Read again, a page has not failed.
        page_indexed(&mut record, 2);
        assert_eq!((record.failed_pages.len(), record.next_page), (0, 4));
        assert_eq!(closed(record).status, DocumentStatus::Ok);
        let mut record = start.clone();
        for page in 1..=3 {
            page_failed(&mut record, failure(page));
        }
        let all_failed = closed(record);
        assert_eq!(all_failed.status, DocumentStatus::Failed);
        let expected = Failure::new(FailureKind::Timeout, "no page could be read: too slow");
        assert_eq!(all_failed.failure, Some(expected));
        assert_eq!(closed(start).failure.unwrap().kind, FailureKind::Other);
    }

    #[test]
    fn notes_are_made_once() {
        let mut record = record();
        note(&mut record, "no words".into());
        note(&mut record, "no words".into());
        assert_eq!(record.notes, ["no words"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_keeps_its_pages() {
        let failure = || Failure::new(FailureKind::Unreadable, "cannot be read");
        let seen = |document| DocumentRecord {
            document,
            failure: Some(failure()),
            ..unread(&found(9, 9))
        };
        let before = record();
        let outcome = failed(&found(9, 9), None, failure(), Some(&before));
        let kept = DocumentRecord { stale: Some(failure()), ..record() };
        assert_eq!(outcome, Failed::Stale { seen: seen(None), kept: kept.clone() });
        // Once more: its old size and time are kept, so that each run looks again.
        let again = failed(&found(9, 9), None, failure(), Some(&kept));
        assert_eq!(again, Failed::Stale { seen: seen(None), kept });
        let none = DocumentRecord { pages_indexed: 0, ..record() };
        for (what, document, before) in [
            ("other bytes, which are damaged", Some(id()), Some(&before)),
            ("nothing of it was indexed", None, Some(&none)),
            ("it was not there", None, None),
        ] {
            let outcome = failed(&found(9, 9), document, failure(), before);
            assert_eq!(outcome, Failed::Record(seen(document)), "{what}");
        }
    }

    #[test]
    fn a_known_document_has_another_name_or_time() {
        let stale = Some(Failure::new(FailureKind::Unreadable, "vanished"));
        let there = DocumentRecord { path: "old.pdf".into(), stale, ..record() };
        let expected = DocumentRecord { bytes: 4, modified_ns: 2, ..record() };
        let (renamed, outcome) = known(&found(4, 2), &there, None);
        assert_eq!((&renamed, outcome), (&expected, Outcome::Renamed));
        let other = document_record("a.pdf", DocumentId::of(b"other"), 3);
        assert_eq!(known(&found(4, 2), &there, Some(&other)).1, Outcome::Renamed);
        let (touched, outcome) = known(&found(4, 2), &there, Some(&record()));
        assert_eq!((touched, outcome), (expected, Outcome::Skipped));
    }
}
