//! What a run of indexing says of documents, for people and for machines.

use std::time::Duration;

use pagesight::Index;
use pagesight::index::{DocumentRecord, DocumentStatus, Outcome as Did, Summary};
use pagesight::records;
use serde_json::{Value, json};

use super::hints;
use super::terminal::printable;

/// The line of `--json` for a document.
pub fn document_json(record: &DocumentRecord, outcome: Did) -> Value {
    let mut line = records::document_line(record, outcome, hints::of_failure);
    line["notes"] = json!(notes(record));
    line
}

/// What a person should know of a document.
pub fn notes(record: &DocumentRecord) -> Vec<String> {
    let read = record.pages_indexed as usize + record.failed_pages.len();
    let cut = record.status != DocumentStatus::InProgress
        && record.pages_indexed > 0
        && read < record.page_count as usize;
    let more = cut.then(|| "--max-pages reads more pages of a document".to_string());
    records::notes(record, hints::of_failure).into_iter().chain(more).collect()
}

/// One line for a person.
pub fn failure_line(record: &DocumentRecord) -> String {
    let path = printable(&record.path);
    let reason = records::reason(record, hints::of_failure).unwrap_or_default();
    let reason = printable(&reason);
    match (record.status, record.failed_pages.len()) {
        (DocumentStatus::Failed, _) => format!("failed: {path}: {reason}"),
        (_, 1) => format!("1 page failed: {path}: {reason}"),
        (_, n) => format!("{n} pages failed: {path}: {reason}"),
    }
}

/// The last line of `--json`.
pub fn summary_json(index: &Index, summary: &Summary, time: Duration) -> Value {
    records::summary_line(index, summary, time)
}
