//! Records of indexes, documents, pages and hits as JSON: what every interface answers beside what
//! only a server has, such as URLs.

use std::time::Duration;

use pagesight_core::{DocumentRecord, DocumentStatus, Failure, ModelSource, PageFailure, Rect};
use pagesight_indexer::{Outcome, Summary};
use pagesight_store::Snapshot;
use serde_json::{Value, json};

use crate::answer::PageHit;
use crate::encoded::EncodedQuestion;
use crate::error::Error;
use crate::index::Index;
use crate::page::Page;
use crate::region::{PageHeat, Region};
use crate::wire;

/// What can be done about a failure, as the interface at hand says it.
pub type WayOut = fn(&Failure) -> Option<&'static str>;

/// An index under `name`: its snapshot, its documents by state, its size and its model.
///
/// # Errors
/// When the ledger cannot be read.
pub fn index(index: &Index, name: &str, is_default: bool) -> Result<Value, Error> {
    use DocumentStatus::{Failed, InProgress, Partial};
    let (snapshot, documents) = (index.snapshot(), index.documents()?);
    let count = |status| documents.iter().filter(|record| record.status == status).count();
    let model = snapshot.model();
    Ok(json!({
        "name": name,
        "default": is_default,
        "snapshot": snapshot.number(),
        "format": snapshot.format(),
        "pages": snapshot.pages(),
        "documents": {
            "ok": count(DocumentStatus::Ok),
            "partial": count(Partial),
            "failed": count(Failed),
            "in_progress": count(InProgress),
        },
        "bytes": snapshot.bytes(),
        "model_id": model.map(|model| &model.id),
        "model": model.and_then(|model| model.source.as_ref()).map(model_name),
        "slices": slices(&snapshot),
        "dim": model.map(|model| model.dim),
        "compact": snapshot.compact(),
        "tuning": snapshot.tuning(),
    }))
}

/// The name of a model, never a path of the machine.
pub fn model_name(source: &ModelSource) -> String {
    match source {
        ModelSource::Folder(folder) => {
            folder.file_name().map_or("folder".into(), |name| name.to_string_lossy().into_owned())
        }
        source => source.to_string(),
    }
}

/// The grids that pages are cut into, e.g. `1x1+2x3`: those of an old index, else those that the
/// model's recipe says.
pub fn slices(snapshot: &Snapshot) -> Option<String> {
    if let Some(slices) = snapshot.slices() {
        return Some(slices.to_string());
    }
    let recipe = snapshot.model()?.recipe.as_deref()?;
    let recipe: Value = serde_json::from_str(recipe).ok()?;
    match recipe.get("slices")? {
        Value::String(grid) => Some(grid.clone()),
        Value::Array(grids) => {
            let grids: Option<Vec<&str>> = grids.iter().map(Value::as_str).collect();
            Some(grids?.join("+"))
        }
        _ => None,
    }
}

/// A document of the ledger. `modified_ns` is in nanoseconds since 1970.
pub fn document(record: &DocumentRecord, way_out: WayOut) -> Value {
    json!({
        "path": record.path,
        "document": record.document,
        "status": record.status,
        "pages": record.pages_indexed,
        "failed_pages": record.failed_pages.len(),
        "waiting_pages": record.waiting_pages.len(),
        "reason": reason(record, way_out),
        "title": record.title,
        "bytes": record.bytes,
        "modified_ns": record.modified_ns,
        "page_count": record.page_count,
    })
}

/// The line that a run of indexing says of a document.
pub fn document_line(record: &DocumentRecord, outcome: Outcome, way_out: WayOut) -> Value {
    let status = match (outcome, record.status) {
        (Outcome::Skipped | Outcome::Renamed, DocumentStatus::Ok) => "skipped",
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
        "v": wire::VERSION,
        "type": "document",
        "path": record.path,
        "status": status,
        "pages": record.pages_indexed,
        "failed_pages": record.failed_pages.len(),
        "waiting_pages": record.waiting_pages.len(),
        "kind": cause(record).map(|(_, failure)| failure.kind),
        "reason": reason(record, way_out),
        "failures": failures,
        "notes": notes(record, way_out),
        "document": record.document,
        "renamed": outcome == Outcome::Renamed,
    })
}

/// Why a document is not whole: its own failure, or that of its first page that failed.
pub fn cause(record: &DocumentRecord) -> Option<(Option<u32>, &Failure)> {
    let page = record.failed_pages.first().map(|failed| (Some(failed.page), &failed.failure));
    record.failure.as_ref().map(|failure| (None, failure)).or(page)
}

/// [`cause`] on one line, with the way out where there is one.
pub fn reason(record: &DocumentRecord, way_out: WayOut) -> Option<String> {
    let (page, failure) = cause(record)?;
    let reason = with_way_out(failure, way_out);
    Some(match page {
        Some(page) => format!("page {page}: {reason}"),
        None => reason,
    })
}

/// What a person should know of a document.
pub fn notes(record: &DocumentRecord, way_out: WayOut) -> Vec<String> {
    let stale = record.stale.as_ref();
    let stale =
        stale.map(|why| format!("shows what it was before: {}", with_way_out(why, way_out)));
    record.notes.iter().cloned().chain(stale).collect()
}

/// The reason of a failure and what the user can do about it.
fn with_way_out(failure: &Failure, way_out: WayOut) -> String {
    match way_out(failure) {
        Some(way_out) => format!("{} ({way_out})", failure.reason),
        None => failure.reason.clone(),
    }
}

/// The last line of a run of indexing.
pub fn summary_line(index: &Index, summary: &Summary, time: Duration) -> Value {
    let snapshot = index.snapshot();
    let mut line = run_line(summary, time);
    line["snapshot"] = json!(snapshot.number());
    line["model_id"] = json!(snapshot.model().map(|model| &model.id));
    line["index"] = json!(index.folder().display().to_string());
    line
}

/// As [`summary_line`], without the index that the run wrote to.
pub fn run_line(summary: &Summary, time: Duration) -> Value {
    let emptied = summary.emptied.iter().map(|emptied| {
        json!({"root": emptied.root.display().to_string(), "documents": emptied.documents})
    });
    let emptied: Vec<Value> = emptied.collect();
    let seconds = |time: Duration| (time.as_secs_f64() * 1e3).round() / 1e3;
    let stages = summary.stages;
    json!({
        "v": wire::VERSION,
        "type": "summary",
        "documents": {
            "indexed": summary.documents_indexed,
            "skipped": summary.documents_skipped,
            "renamed": summary.documents_renamed,
            "dropped": summary.documents_dropped,
            "partial": summary.documents_partial,
            "failed": summary.documents_failed,
        },
        "pages": {
            "indexed": summary.pages_indexed,
            "failed": summary.pages_failed,
            "waiting": summary.pages_waiting,
        },
        "interrupted": summary.interrupted,
        "emptied": emptied,
        "seconds": seconds(time),
        "stages": {
            "words": seconds(stages.words),
            "ocr": seconds(stages.ocr),
            "draw": seconds(stages.draw),
            "encode": seconds(stages.encode),
            "meaning": seconds(stages.meaning),
            "commit": seconds(stages.commit),
        },
    })
}

/// A page with its text.
///
/// # Errors
/// What the store says of its vectors, which are counted.
pub fn page(index: &Index, page: &Page) -> Result<Value, Error> {
    let n_vectors = match page.layout() {
        Some(_) => index.vectors(page.id())?.map_or(0, |encoded| encoded.vectors().len()),
        None => 0,
    };
    let size = page.size();
    Ok(json!({
        "ref": page.reference().to_string(),
        "document": page.document(),
        "path": page.path(),
        "paths": page.paths(),
        "page": page.number(),
        "page_count": page.page_count(),
        "title": page.title(),
        "size_pt": [shortest(size.width_pt), shortest(size.height_pt)],
        "text": page.text(),
        "text_source": page.text_source(),
        "n_vectors": n_vectors,
        "snapshot": page.snapshot(),
    }))
}

/// The number with the fewest digits that means `value`, as JSON has it when it is written at once.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// What of a page's text a hit has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HitText {
    /// The part that answers the question's words best.
    #[default]
    Snippet,
    /// Nothing.
    None,
    /// That part, and all of the page's text as `page_text`.
    Full,
}

/// A hit with the title of its document and as much text as `text` says.
pub fn hit(hit: &PageHit, text: HitText) -> Value {
    let mut value = serde_json::to_value(hit).unwrap_or_default();
    let Value::Object(record) = &mut value else { return value };
    record.insert("title".into(), json!(hit.page.title()));
    record.insert("page_count".into(), json!(hit.page.page_count()));
    match text {
        HitText::Snippet => {}
        HitText::None => {
            record.shift_remove("snippet");
            record.shift_remove("marks");
        }
        HitText::Full => {
            record.insert("page_text".into(), json!(hit.page.text()));
        }
    }
    value
}

/// A region, with its words and their places when they are wanted.
pub fn region(region: &Region, with_words: bool) -> Value {
    let mut value = serde_json::to_value(region).unwrap_or_default();
    if with_words {
        let words = region.words.iter();
        let words: Vec<Value> = words
            .map(|word| json!({"text": word.text, "rect_pt": wire::rect_pt(word.rect)}))
            .collect();
        value["words"] = json!(words);
    }
    value
}

/// A heat map of `page` for `question`, its values with four decimals.
pub fn heat(page: &Page, question: &EncodedQuestion, heat: &PageHeat) -> Value {
    let rounded = |value: &f32| (f64::from(*value) * 1e4).round() / 1e4;
    let values = heat.map.values().iter();
    let values: Vec<Option<f64>> =
        values.map(|value| (!value.is_nan()).then(|| rounded(value))).collect();
    let mut value = heat_without_values(page, question, heat);
    value["values"] = json!(values);
    value
}

/// As [`heat`], all but the values.
pub fn heat_without_values(page: &Page, question: &EncodedQuestion, heat: &PageHeat) -> Value {
    let (map, size) = (&heat.map, page.size());
    let (column, row) = map.peak();
    let area = map.area(column, row);
    let peak = Rect {
        x0: area.x0 * size.width_pt,
        y0: area.y0 * size.height_pt,
        x1: area.x1 * size.width_pt,
        y1: area.y1 * size.height_pt,
    };
    let similarity = map.similarity();
    json!({
        "columns": map.columns(),
        "rows": map.rows(),
        "values": null,
        "similarity": {
            "min": similarity.min,
            "median": similarity.median,
            "max": similarity.max,
        },
        "peak": {"column": column, "row": row, "rect_pt": wire::rect_pt(peak)},
        "tokens": wire::tokens(question),
        "words": wire::words(question),
        "approximate": heat.approximate,
        "snapshot": heat.snapshot,
        "model_id": heat.model,
    })
}
