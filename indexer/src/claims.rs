//! Which documents are in the index or being read, so that equal files are read once.

use std::collections::HashMap;
use std::sync::Mutex;

use pagesight_core::{DocumentId, DocumentRecord};

/// What is known of a document when a file with its bytes turns up.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// Nobody has it: the caller reads it, and goes on where an interrupted run ended.
    Yours(Option<Box<DocumentRecord>>),
    /// It is in the index.
    Indexed(Box<DocumentRecord>),
    /// Another file with the same bytes is being read in this run.
    Taken,
}

#[derive(Debug)]
enum State {
    Indexed(DocumentRecord),
    Unfinished(DocumentRecord),
    Taken,
}

/// Shared by the threads that read documents.
#[derive(Debug, Default)]
pub struct Claims(Mutex<HashMap<DocumentId, State>>);

impl Claims {
    /// Starts from the ledger: `whole` says which of its records need no reading.
    pub fn new<'a>(
        records: impl IntoIterator<Item = &'a DocumentRecord>,
        whole: impl Fn(&DocumentRecord) -> bool,
        resumable: impl Fn(&DocumentRecord) -> bool,
    ) -> Self {
        let mut states = HashMap::new();
        for record in records {
            let Some(id) = record.document else { continue };
            if whole(record) {
                states.insert(id, State::Indexed(record.clone()));
            } else if resumable(record) {
                states.entry(id).or_insert_with(|| State::Unfinished(record.clone()));
            }
        }
        Self(Mutex::new(states))
    }

    /// Whether a file with these bytes would be read.
    pub fn is_wanted(&self, document: DocumentId) -> bool {
        let states = self.0.lock().expect("no panic under the lock");
        !matches!(states.get(&document), Some(State::Indexed(_) | State::Taken))
    }

    /// Asks for the right to read `document`.
    pub fn claim(&self, document: DocumentId) -> Claim {
        let mut states = self.0.lock().expect("no panic under the lock");
        match states.get(&document) {
            Some(State::Indexed(record)) => Claim::Indexed(Box::new(record.clone())),
            Some(State::Taken) => Claim::Taken,
            Some(State::Unfinished(_)) | None => {
                let before = states.insert(document, State::Taken);
                Claim::Yours(match before {
                    Some(State::Unfinished(record)) => Some(Box::new(record)),
                    _ => None,
                })
            }
        }
    }
}
