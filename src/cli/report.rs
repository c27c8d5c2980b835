//! What a run of indexing says of documents, for people and for machines.

use std::time::Duration;

use pagesight::Index;
use pagesight::index::{
    DocumentRecord, DocumentStatus, Failure, Outcome as Did, PageFailure, Summary,
};
use serde_json::{Value, json};

use super::hints;
use super::terminal::printable;

/// The line of `--json` for a document.
pub fn document_json(record: &DocumentRecord, outcome: Did) -> Value {
    let status = match (outcome, record.status) {
        (Did::Skipped | Did::Renamed, DocumentStatus::Ok) => "skipped",
        (_, status) => status.as_str(),
    };
    let failures: Vec<Value> = record
        .failed_pages
        .iter()
        .map(|PageFailure { page, failure }| {
            json!({"page": page, "kind": failure.kind, "reason": failure.reason})
        })
        .collect();
    json!({
        "v": 1,
        "type": "document",
        "path": record.path,
        "status": status,
        "pages": record.pages_indexed,
        "failed_pages": record.failed_pages.len(),
        "kind": cause(record).map(|(_, failure)| failure.kind),
        "reason": reason(record),
        "failures": failures,
        "notes": notes(record),
        "document": record.document,
        "renamed": outcome == Did::Renamed,
    })
}

/// Why a document is not whole: its own failure, or that of its first page that failed.
fn cause(record: &DocumentRecord) -> Option<(Option<u32>, &Failure)> {
    let page = record.failed_pages.first().map(|failed| (Some(failed.page), &failed.failure));
    record.failure.as_ref().map(|failure| (None, failure)).or(page)
}

/// [`cause`] on one line, with the way out where there is one.
fn reason(record: &DocumentRecord) -> Option<String> {
    let (page, failure) = cause(record)?;
    let reason = with_way_out(failure);
    Some(match page {
        Some(page) => format!("page {page}: {reason}"),
        None => reason,
    })
}

/// What a person should know of a document.
pub fn notes(record: &DocumentRecord) -> Vec<String> {
    let stale = record.stale.as_ref();
    let stale = stale.map(|why| format!("shows what it was before: {}", with_way_out(why)));
    let read = record.pages_indexed as usize + record.failed_pages.len();
    let cut = record.status != DocumentStatus::InProgress
        && record.pages_indexed > 0
        && read < record.page_count as usize;
    let more = cut.then(|| "--max-pages reads more pages of a document".to_string());
    record.notes.iter().cloned().chain(more).chain(stale).collect()
}

/// The reason of a failure and what the user can do about it.
fn with_way_out(failure: &Failure) -> String {
    match hints::of_failure(failure) {
        Some(way_out) => format!("{} ({way_out})", failure.reason),
        None => failure.reason.clone(),
    }
}

/// One line for a person.
pub fn failure_line(record: &DocumentRecord) -> String {
    let path = printable(&record.path);
    let reason = printable(&reason(record).unwrap_or_default());
    match (record.status, record.failed_pages.len()) {
        (DocumentStatus::Failed, _) => format!("failed: {path}: {reason}"),
        (_, 1) => format!("1 page failed: {path}: {reason}"),
        (_, n) => format!("{n} pages failed: {path}: {reason}"),
    }
}

/// The last line of `--json`.
pub fn summary_json(index: &Index, summary: &Summary, time: Duration) -> Value {
    let snapshot = index.snapshot();
    let emptied = summary.emptied.iter().map(|emptied| {
        json!({"root": emptied.root.display().to_string(), "documents": emptied.documents})
    });
    let emptied: Vec<Value> = emptied.collect();
    json!({
        "v": 1,
        "type": "summary",
        "documents": {
            "indexed": summary.documents_indexed,
            "skipped": summary.documents_skipped,
            "renamed": summary.documents_renamed,
            "dropped": summary.documents_dropped,
            "partial": summary.documents_partial,
            "failed": summary.documents_failed,
        },
        "pages": {"indexed": summary.pages_indexed, "failed": summary.pages_failed},
        "interrupted": summary.interrupted,
        "emptied": emptied,
        "seconds": (time.as_secs_f64() * 1e3).round() / 1e3,
        "snapshot": snapshot.number(),
        "model_id": snapshot.model().map(|model| &model.id),
        "index": index.folder().display().to_string(),
    })
}
