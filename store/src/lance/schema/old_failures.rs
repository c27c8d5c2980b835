//! The kinds of failures in ledgers of formats 1 to 4, which say them in sentences alone. Today's
//! ledger has the kind beside the sentence, and no sentence is read any more.

use pagesight_core::{Failure, FailureKind};

/// How a note of formats 1 to 4 begins whose document shows what its file was before.
const STALE: &str = "shows what it was before; the file now: ";

/// How a reason begins that is that of the first page of the document.
const NO_PAGE: &str = "no page could be read: ";

/// Kinds by how a reason begins.
const BEGINNINGS: [(&str, FailureKind); 15] = [
    ("encrypted", FailureKind::Encrypted),
    ("lost to damage of the index", FailureKind::Lost),
    ("took longer than", FailureKind::Timeout),
    ("crashed the PDF reader", FailureKind::Crashed),
    ("the PDF reader lost its way", FailureKind::Crashed),
    // Workers had ended on earlier pages.
    ("not tried:", FailureKind::Crashed),
    ("cannot be read", FailureKind::Unreadable),
    ("vanished before it was read", FailureKind::Unreadable),
    ("changed while it was read", FailureKind::Unreadable),
    ("the file is empty", FailureKind::Damaged),
    ("not a PDF", FailureKind::Damaged),
    ("damaged", FailureKind::Damaged),
    ("the PDF cannot be opened", FailureKind::Damaged),
    ("the PDF has no pages", FailureKind::Damaged),
    ("the page is damaged", FailureKind::Damaged),
];

/// The failure that `reason` describes.
pub(super) fn failure(reason: &str) -> Failure {
    let cause = reason.strip_prefix(NO_PAGE).unwrap_or(reason);
    let beginning = BEGINNINGS.iter().find(|(beginning, _)| cause.starts_with(beginning));
    let kind = match beginning {
        Some((_, kind)) => *kind,
        // It begins with the size of the file.
        None if cause.contains(" MB, more than the limit of ") => FailureKind::TooLarge,
        None => FailureKind::Other,
    };
    Failure::new(kind, reason)
}

/// Takes the note out of `notes` that says that the document is stale, if there is one.
pub(super) fn take_stale(notes: &mut Vec<String>) -> Option<Failure> {
    let at = notes.iter().position(|note| note.starts_with(STALE))?;
    let note = notes.remove(at);
    Some(failure(&note[STALE.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_of_earlier_formats_have_their_kind() {
        for (reason, kind) in [
            ("encrypted: give the password with --password", FailureKind::Encrypted),
            ("encrypted in a way that cannot be read", FailureKind::Encrypted),
            ("lost to damage of the index: the next run reads it again", FailureKind::Lost),
            ("took longer than 30 s and was stopped", FailureKind::Timeout),
            (
                "crashed the PDF reader or needed more than 1024 MB (signal: 6)",
                FailureKind::Crashed,
            ),
            ("not tried: 3 workers ended on earlier pages of the document", FailureKind::Crashed),
            ("cannot be read: Permission denied (os error 13)", FailureKind::Unreadable),
            ("600 MB, more than the limit of 500 MB (--max-file-size)", FailureKind::TooLarge),
            ("not a PDF", FailureKind::Damaged),
            ("no page could be read: took longer than 1 s and was stopped", FailureKind::Timeout),
            (
                "no page could be read: the page is damaged and cannot be loaded",
                FailureKind::Damaged,
            ),
            ("no page could be read: no page could be read", FailureKind::Other),
            ("its text cannot be read (UnknownError)", FailureKind::Other),
            ("", FailureKind::Other),
        ] {
            let failure = failure(reason);
            assert_eq!((failure.kind, failure.reason.as_str()), (kind, reason));
        }
    }

    #[test]
    fn the_note_of_a_stale_document_becomes_its_state() {
        let note = "shows what it was before; the file now: cannot be read: Input/output error";
        let mut notes = vec!["a".to_string(), note.to_string(), "b".to_string()];
        let stale = take_stale(&mut notes).unwrap();
        assert_eq!(stale.kind, FailureKind::Unreadable);
        assert_eq!(stale.reason, "cannot be read: Input/output error");
        assert_eq!(notes, ["a", "b"]);
        assert_eq!(take_stale(&mut notes), None);
    }
}
