//! `pagesight status`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Args;
use pagesight::eval::Quality;
use pagesight::index::{DocumentStatus, Outcome as Did};
use pagesight::model::ModelSource;
use serde_json::json;

use super::args::Place;
use super::report::{document_json, failure_line, notes};
use super::terminal::printable;
use super::{Outcome, checkpoint, locate};

/// What the index holds, and what failed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pagesight status --json")]
pub struct StatusVerb {
    /// List every document, not only those with failures.
    #[arg(long)]
    pub all: bool,
    /// A line of JSON a document and a summary line.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &StatusVerb) -> Result<Outcome> {
    let index = locate::open(place)?;
    let fleet = match locate::bucket(place)? {
        Some(address) => {
            Some(locate::fleet(place, &address)?.plans().context("reading the plans")?)
        }
        None => None,
    };
    let (snapshot, documents) = (index.snapshot(), index.documents()?);
    let mut out = io::stdout().lock();
    let count = |status| documents.iter().filter(|record| record.status == status).count();
    let [ok, partial, failed, in_progress] = [
        DocumentStatus::Ok,
        DocumentStatus::Partial,
        DocumentStatus::Failed,
        DocumentStatus::InProgress,
    ]
    .map(count);
    let wanted = |status| verb.all || status != DocumentStatus::Ok;
    let bytes = snapshot.bytes();
    let source = snapshot.model().and_then(|model| model.source.as_ref());
    if verb.json {
        // Machines get every document.
        for record in &documents {
            writeln!(out, "{}", document_json(record, Did::Indexed))?;
        }
        let mut line = json!({
                "v": 1,
                "type": "summary",
                "index": index.folder().display().to_string(),
                "snapshot": snapshot.number(),
                "format": snapshot.format(),
                "model_id": snapshot.model().map(|model| &model.id),
                "model": source.map(ToString::to_string),
                "model_folder": source.and_then(folder_of),
                "meaning": snapshot.embedder().map(|embedder| json!({
                    "id": embedder.id,
                    "model": embedder.source.as_ref().map(ToString::to_string),
                    "bytes": snapshot.passage_bytes(),
                })),
                "documents": {
                    "ok": ok, "partial": partial, "failed": failed, "in_progress": in_progress,
                },
                "pages": snapshot.pages(),
                "bytes": bytes,
                "tuning": snapshot.tuning(),
                "compact": snapshot.compact(),
        });
        if let Some((plans, leases)) = &fleet {
            let plans = plans.iter().map(|plan| {
                json!({
                    "plan": plan.id, "age_s": plan.age_s, "shards": plan.shards, "done": plan.done,
                })
            });
            line["plans"] = plans.collect();
            // Without the one of this program.
            line["leases"] = json!(leases.saturating_sub(1));
        }
        writeln!(out, "{line}")?;
        return Ok(Outcome::Done);
    }
    writeln!(out, "index     {}", printable(&index.folder().display().to_string()))?;
    writeln!(out, "snapshot  {}", snapshot.number())?;
    match snapshot.model() {
        Some(model) => {
            writeln!(out, "model     {}, {}", checkpoint::name(model.source.as_ref()), model.id)?
        }
        None => writeln!(out, "model     none: pages are found by their words alone")?,
    }
    match snapshot.embedder() {
        Some(embedder) => {
            let name = checkpoint::name(embedder.source.as_ref());
            let mb = snapshot.passage_bytes() as f64 / 1e6;
            writeln!(out, "meaning   {name}, {mb:.1} MB, {}", embedder.id)?;
        }
        None => writeln!(out, "meaning   none: pages are found by words, not by what these mean")?,
    }
    writeln!(out, "pages     {} in {} documents", snapshot.pages(), snapshot.documents())?;
    if let Some(tuning) = snapshot.tuning() {
        let Quality { overlap10, ndcg_ratio, questions } = tuning.quality;
        let how = match tuning.compared {
            None => "exact".to_string(),
            Some(count) => format!(
                "{count} pages compared: overlap@10 {overlap10:.4}, nDCG ratio {ndcg_ratio:.4}"
            ),
        };
        writeln!(out, "searches  {how} ({questions} questions, snapshot {})", tuning.snapshot)?;
    }
    if let Some(cost) = snapshot.compact() {
        let Quality { overlap10, ndcg_ratio, questions } = cost.quality;
        writeln!(
            out,
            "vectors   in 4 bits: overlap@10 {overlap10:.4}, nDCG ratio {ndcg_ratio:.4} ({questions} \
             questions, snapshot {})",
            cost.snapshot
        )?;
    }
    writeln!(out, "disk      {:.1} MB", bytes as f64 / 1e6)?;
    if let Some((plans, leases)) = &fleet {
        writeln!(out, "readers   {}", leases.saturating_sub(1))?;
        for plan in plans {
            let (id, done, shards) = (&plan.id, plan.done, plan.shards);
            let hours = plan.age_s / 3600;
            writeln!(out, "open plan {id}: {done} of {shards} shards done, {hours} h old")?;
        }
    }
    writeln!(out, "whole     {ok}, partial {partial}, failed {failed}, unfinished {in_progress}")?;
    for record in documents.iter().filter(|record| wanted(record.status)) {
        match record.status {
            DocumentStatus::Ok => {
                let path = printable(&record.path);
                writeln!(out, "  ok: {path}: {} pages", record.pages_indexed)?;
            }
            DocumentStatus::InProgress => {
                let path = printable(&record.path);
                let (pages, of) = (record.pages_indexed, record.page_count);
                let waiting = match record.waiting_pages.len() {
                    0 => String::new(),
                    1 => ", the words of 1 are still to be read".into(),
                    n => format!(", the words of {n} are still to be read"),
                };
                writeln!(
                    out,
                    "  unfinished: {path}: {pages} of {of} pages{waiting}, index again to go on"
                )?;
            }
            _ => writeln!(out, "  {}", failure_line(record))?,
        }
    }
    for record in &documents {
        for note in notes(record) {
            writeln!(out, "  note: {}: {}", printable(&record.path), printable(&note))?;
        }
    }
    Ok(Outcome::Done)
}

/// The folder of a model that is one.
fn folder_of(source: &ModelSource) -> Option<String> {
    match source {
        ModelSource::Folder(folder) => Some(folder.display().to_string()),
        _ => None,
    }
}
