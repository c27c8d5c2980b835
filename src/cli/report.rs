//! What a run of indexing says of documents, for people and for machines.

/// The line of `--json` for a document.
pub fn document_json(record: &DocumentRecord, outcome: Did) -> Value {
    let status = match (outcome, record.status) {
        (Did::Skipped | Did::Renamed, DocumentStatus::Ok) => "skipped",
        (_, status) => status.as_str(),
    };
    let failures: Vec<Value> = record
        .failed_pages
        .iter()
        .map(|failure| json!({"page": failure.page, "reason": failure.reason}))
        .collect();
    json!({
        "v": 1,
        "type": "document",
        "path": record.path,
        "status": status,
        "pages": record.pages_indexed,
        "failed_pages": record.failed_pages.len(),
        "reason": reason(record),
        "failures": failures,
        "notes": record.notes,
        "document": record.document.map(|id| id.to_string()),
        "renamed": outcome == Did::Renamed,
    })
}

/// Why a document is not whole: its own reason, or that of its first page that failed.
pub fn reason(record: &DocumentRecord) -> Option<String> {
    let page = record.failed_pages.first();
    record.reason.clone().or(page.map(|page| format!("page {}: {}", page.page, page.reason)))
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
        "seconds": (time.as_secs_f64() * 1e3).round() / 1e3,
        "snapshot": snapshot.number,
        "model_id": snapshot.model.as_ref().map(|model| &model.id),
        "index": index.folder().display().to_string(),
    })
}
