//! `pagesight index` into a bucket: a shard of a plan, or plan, one shard and commit in one process.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, Result};
use pagesight::fleet::{Address, Fleet, Plan, Reading, Sharded};
use pagesight::index::{Summary, SyncOptions};
use pagesight::model::LoadOptions;
use pagesight::records;
use serde_json::{Value, json};

use super::args::Place;
use super::index::{IndexVerb, Progress, drawing, human, reading};
use super::interrupt::Interrupt;
use super::terminal::Terminal;
use super::{Outcome, checkpoint, hinted, locate, plan, weight_search};

/// Flags of `index` that stand in a plan.
const PLANNED: [&str; 7] =
    ["ocr", "ocr_lang", "no_ocr", "max_pages", "max_file_size", "max_pixels", "max_text"];

pub fn run(
    place: &Place,
    verb: &IndexVerb,
    address: &Address,
    terminal: &Terminal,
) -> Result<Outcome> {
    let interrupt = Interrupt::listen()?;
    locate::check_folders(&verb.folders, true)?;
    if verb.watch {
        return Err(hinted(
            "--watch is for an index in a folder",
            "run `pagesight index` from time to time: it reads what is new",
        ));
    }
    let meaning = verb.meaning.to_string_lossy();
    if !["auto", "off"].contains(&&*meaning) {
        return Err(hinted(
            "an index in a bucket finds pages by their looks and words, not by their meaning yet",
            "leave --meaning out",
        ));
    }
    let fleet = locate::fleet(place, address)?;
    fleet.set_renderer(drawing(place, verb));
    fleet.set_ocr_weights(weight_search(place));
    let options = reading(verb, &interrupt);
    match (&verb.plan, verb.shard) {
        (Some(id), Some(shard)) => one(&fleet, verb, (id, shard), &options, terminal),
        _ => all(&fleet, verb, &options, terminal),
    }
}

/// Reads one shard.
fn one(
    fleet: &Fleet,
    verb: &IndexVerb,
    (id, (shard, of)): (&str, (usize, usize)),
    options: &SyncOptions,
    terminal: &Terminal,
) -> Result<Outcome> {
    let what = || format!("reading shard {shard}/{of} of plan {id} for {}", fleet.address());
    // Before a model is loaded for nothing.
    if fleet.committed_in(id).with_context(what)?.is_some() {
        return committed(verb, id, (shard, of));
    }
    if let Some(plan) = fleet.read_plan(id).with_context(what)? {
        check_flags(verb, &plan, options)?;
        load_model(fleet, verb, &plan)?;
    }
    let base = verb.base.as_deref();
    let every = verb.commit_every.map(|pages| pages as usize);
    let mut progress = Progress::new(verb, terminal);
    let read = fleet.index_shard(id, (shard, of), base, every, options, &mut |event| {
        progress.tell(event);
    });
    progress.bar.finish_and_clear();
    let (summary, parts) = match read.with_context(what)? {
        Sharded::Read { summary, parts } => (summary, parts),
        _ => return committed(verb, id, (shard, of)),
    };
    std::mem::replace(&mut progress.failed, Ok(()))?;
    let mut out = io::stdout().lock();
    if verb.json {
        let mut line = records::run_line(&summary, progress.start.elapsed());
        line["plan"] = json!(id);
        line["shard"] = json!(format!("{shard}/{of}"));
        line["parts"] = json!(parts.parts);
        line["resumed"] = json!(parts.resumed);
        line["done"] = json!(parts.done);
        line["model_id"] = json!(fleet.model_record().map(|model| model.id));
        line["index"] = json!(fleet.address().to_string());
        writeln!(out, "{line}")?;
    } else {
        human(&mut out, &summary, progress.start.elapsed())?;
        let state = if parts.done { "done" } else { "not done" };
        writeln!(
            out,
            "shard {shard}/{of} is {state}: {} parts, {} of before",
            parts.parts, parts.resumed
        )?;
    }
    Ok(outcome_of(&summary))
}

/// What a worker says that comes when all is done.
fn committed(verb: &IndexVerb, id: &str, (shard, of): (usize, usize)) -> Result<Outcome> {
    if verb.json {
        let line = json!({
            "v": 1, "type": "summary", "plan": id, "shard": format!("{shard}/{of}"), "parts": 0,
            "resumed": 0, "done": true, "committed": true,
        });
        writeln!(io::stdout().lock(), "{line}")?;
    } else if !verb.quiet {
        eprintln!("plan {id} is committed: there is nothing to do");
    }
    Ok(Outcome::Done)
}

fn outcome_of(summary: &Summary) -> Outcome {
    match summary {
        Summary { interrupted: true, .. } => Outcome::Interrupted,
        summary if !summary.failures.is_empty() => Outcome::SomeFailed,
        _ => Outcome::Done,
    }
}

/// Refuses flags that the plan says otherwise.
fn check_flags(verb: &IndexVerb, plan: &Plan, options: &SyncOptions) -> Result<()> {
    let Some(planned) = Reading::in_plan(plan) else { return Ok(()) };
    let said = Reading::of(options, verb.most.pixels());
    let value = |reading: &Reading, flag: &str| -> Value {
        match flag {
            "ocr" | "no_ocr" => json!(reading.ocr),
            "ocr_lang" => json!(reading.ocr_languages),
            "max_pages" => json!(reading.pages),
            "max_file_size" => json!(reading.file_bytes),
            "max_pixels" => json!(reading.pixels),
            _ => json!(reading.text_bytes),
        }
    };
    let contradicts = |flag: &&&str| {
        let is_said = verb.said.iter().any(|said| said == **flag);
        is_said && value(&said, flag) != value(&planned, flag)
    };
    match PLANNED.iter().find(contradicts) {
        None => Ok(()),
        Some(flag) => Err(hinted(
            format!("--{} contradicts plan {}", flag.replace('_', "-"), plan.id),
            "how pages are read is said to `pagesight plan` and holds for all its workers",
        )),
    }
}

/// Loads the model of the plan.
fn load_model(fleet: &Fleet, verb: &IndexVerb, plan: &Plan) -> Result<()> {
    let named = verb.model.model.as_deref().filter(|name| !checkpoint::is_none(name));
    let source = match (named, &plan.model) {
        (Some(name), _) => checkpoint::find(name)?,
        (None, None) => return Ok(()),
        (None, Some(model)) => model.source.clone().ok_or_else(|| {
            hinted(
                format!("plan {} is for model {}, which lies in a folder", plan.id, model.id),
                "name where it lies on this machine with --model DIR",
            )
        })?,
    };
    let options =
        LoadOptions { slices: verb.slices.clone(), ..checkpoint::options(&verb.model.loading)? };
    let loaded = fleet.load_model(&source, &options, plan.model.clone());
    loaded.with_context(|| checkpoint::loading(&source))
}

/// Plans, reads one shard and commits.
fn all(
    fleet: &Fleet,
    verb: &IndexVerb,
    options: &SyncOptions,
    terminal: &Terminal,
) -> Result<Outcome> {
    let what = || format!("indexing into {}", fleet.address());
    let start = Instant::now();
    let loading =
        LoadOptions { slices: verb.slices.clone(), ..checkpoint::options(&verb.model.loading)? };
    plan::load_model(fleet, verb.model.model.as_deref(), loading)?;
    let said = Reading::of(options, verb.most.pixels());
    let planned = fleet.plan(&verb.folders, None, Some(1), (&said, options)).with_context(what)?;
    plan::warn(&planned);
    let mut summary = Summary::default();
    let mut committed = None;
    if let Some(plan) = &planned.plan {
        let every = verb.commit_every.map(|pages| pages as usize);
        let mut progress = Progress::new(verb, terminal);
        let read = fleet.index_shard(&plan.id, (0, 1), None, every, options, &mut |event| {
            progress.tell(event);
        });
        progress.bar.finish_and_clear();
        if let Sharded::Read { summary: read, .. } = read.with_context(what)? {
            summary = *read;
        }
        std::mem::replace(&mut progress.failed, Ok(()))?;
        if !summary.interrupted {
            committed = Some(fleet.commit(&plan.id, false).with_context(what)?);
        }
    }
    summary.documents_skipped += planned.survey.unchanged;
    summary.documents_renamed += planned.survey.renamed.len() as u64;
    summary.documents_dropped += planned.survey.dropped.len() as u64;
    let snapshot = committed.as_ref().map_or(planned.base, |committed| committed.snapshot);
    let mut out = io::stdout().lock();
    if verb.json {
        let mut line = records::run_line(&summary, start.elapsed());
        line["snapshot"] = json!(snapshot);
        line["plan"] = json!(planned.plan.as_ref().map(|plan| &plan.id));
        line["model_id"] = json!(fleet.model_record().map(|model| model.id));
        line["index"] = json!(fleet.address().to_string());
        writeln!(out, "{line}")?;
    } else {
        human(&mut out, &summary, start.elapsed())?;
    }
    Ok(match outcome_of(&summary) {
        Outcome::Done if committed.is_some_and(|committed| committed.failed > 0) => {
            Outcome::SomeFailed
        }
        outcome => outcome,
    })
}
