//! `pagesight plan`.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use pagesight::fleet::{Fleet, Planned, Reading};
use pagesight::index::SyncOptions;
use pagesight::model::{LoadOptions, ModelSource};
use pagesight::pdf::OcrChoice;
use serde_json::{Value, json};

use super::args::{Most, OcrReader, Place};
use super::interrupt::Interrupt;
use super::terminal::printable;
use super::{Outcome, checkpoint, locate};

/// Find out what is to be read into an index in a bucket, and cut it into shards.
///
/// Prints the plan's id. Each shard is read by `pagesight index --plan ID --shard I/N`, on any machine
/// that sees the folder, any number of times; `pagesight commit --plan ID` makes one snapshot of it.
/// Planned twice, the same work has the same id. What is said here of how pages are read holds for all
/// workers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight --index s3://archive/index plan /mnt/reports\n  \
    pagesight --index s3://archive/index plan --shards 40 --base /mnt /mnt/reports /mnt/papers\n  \
    pagesight --index s3://archive/index plan s3://archive/pdfs")]
pub struct PlanVerb {
    /// Folders to walk, or single PDF files, which workers see too; or one s3://BUCKET/PREFIX whose PDFs
    /// workers fetch.
    #[arg(required = true, value_name = "FOLDER", value_hint = ValueHint::AnyPath)]
    pub folders: Vec<PathBuf>,
    /// The folder that paths are relative to; on another machine it may be another [default: FOLDER,
    /// of several the nearest one above all].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub base: Option<PathBuf>,
    /// Shards to cut the work into [default: one for each 256 MB].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub shards: Option<u32>,
    /// The model that encodes pages, as for `index`; `none` is words alone [default: that of the
    /// index, for a new one nano].
    #[arg(long, env = "PAGESIGHT_MODEL", value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub model: Option<PathBuf>,
    /// Cut each page into a grid of model inputs, COLSxROWS [default: the recipe's].
    #[arg(long, value_name = "COLSxROWS")]
    pub slices: Option<pagesight::model::Slices>,
    /// Which reader reads pages that are pictures.
    #[arg(long, value_enum, value_name = "READER", default_value_t = OcrReader::Auto)]
    pub ocr: OcrReader,
    /// Languages of such pages as tesseract names them, e.g. eng+rus.
    #[arg(long, value_name = "LANGS")]
    pub ocr_lang: Option<String>,
    /// The same as --ocr off.
    #[arg(long, conflicts_with = "ocr")]
    pub no_ocr: bool,
    /// Read documents again that failed before and have not changed.
    #[arg(long)]
    pub retry_failed: bool,
    /// Drop the documents of a folder that held some and is empty now.
    #[arg(long)]
    pub drop_emptied: bool,
    #[command(flatten)]
    pub most: Most,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &PlanVerb) -> Result<Outcome> {
    let interrupt = Interrupt::listen()?;
    let address = locate::only_bucket(place, "plan")?;
    locate::check_folders(&verb.folders, true)?;
    let fleet = locate::fleet(place, &address)?;
    let options = LoadOptions { slices: verb.slices.clone(), ..pagesight::machine::loading() };
    load_model(&fleet, verb.model.as_deref(), options)?;
    let options = SyncOptions {
        retry_failed: verb.retry_failed,
        drop_emptied: verb.drop_emptied,
        ocr: if verb.no_ocr { OcrChoice::Off } else { verb.ocr.into() },
        ocr_languages: verb.ocr_lang.clone(),
        limits: verb.most.limits(),
        stop: interrupt.flag(),
        ..SyncOptions::default()
    };
    let reading = Reading::of(&options, verb.most.pixels());
    let shards = verb.shards.map(|shards| shards as usize);
    let planned = fleet
        .plan(&verb.folders, verb.base.as_deref(), shards, (&reading, &options))
        .with_context(|| format!("planning for {address}"))?;
    if options.stop.load(std::sync::atomic::Ordering::Relaxed) {
        return Ok(Outcome::Interrupted);
    }
    warn(&planned);
    let mut out = io::stdout().lock();
    if verb.json {
        writeln!(out, "{}", json_of(&planned))?;
        return Ok(Outcome::Done);
    }
    match &planned.plan {
        Some(plan) => {
            writeln!(out, "{}", plan.id)?;
            let counts = plan.documents;
            eprintln!(
                "{} documents to read ({} MB) in {} shards, {} renamed, {} gone, {} unchanged",
                counts.to_read,
                plan.bytes.div_ceil(1 << 20),
                plan.shards,
                counts.renamed,
                counts.dropped,
                counts.unchanged
            );
        }
        None => eprintln!("nothing to do: {} documents are unchanged", planned.survey.unchanged),
    }
    Ok(Outcome::Done)
}

/// Says what a plan leaves alone, and why.
pub fn warn(planned: &Planned) {
    for (path, reason) in &planned.survey.unreadable {
        let path = path.display().to_string();
        let (path, reason) = (printable(&path), printable(reason));
        eprintln!("warning: cannot read {path} ({reason}); nothing below is dropped");
    }
    for emptied in &planned.survey.emptied {
        eprintln!("warning: {emptied}; --drop-emptied drops it");
    }
}

fn json_of(planned: &Planned) -> Value {
    let counts = planned.plan.as_ref().map(|plan| plan.documents).unwrap_or_default();
    json!({
        "v": 1,
        "type": "plan",
        "plan": planned.plan.as_ref().map(|plan| &plan.id),
        "base": planned.base,
        "shards": planned.plan.as_ref().map_or(0, |plan| plan.shards),
        "documents": {
            "to_read": counts.to_read,
            "unchanged": planned.survey.unchanged,
            "renamed": counts.renamed,
            "dropped": counts.dropped,
        },
        "bytes": planned.plan.as_ref().map_or(0, |plan| plan.bytes),
    })
}

/// Loads the model that encodes pages: the one that is named, else that of the index, else nano.
pub fn load_model(
    fleet: &Fleet,
    named: Option<&std::path::Path>,
    options: LoadOptions,
) -> Result<()> {
    let stored = fleet.stored_model().context("reading the newest snapshot")?;
    let is_new = !fleet.exists()?;
    let source = match (named, &stored) {
        (Some(name), Some(stored)) if checkpoint::is_none(name) => stored.source.clone(),
        (Some(name), None) if checkpoint::is_none(name) => None,
        (Some(name), _) => Some(checkpoint::find(name)?),
        (None, Some(stored)) => match &stored.source {
            Some(source) => Some(source.clone()),
            None => {
                return Err(super::hinted(
                    format!("the index was made with model {}, which lies in a folder", stored.id),
                    "name where it lies on this machine with --model DIR",
                ));
            }
        },
        (None, None) => is_new.then_some(ModelSource::Nano),
    };
    match source {
        Some(source) => {
            let loaded = fleet.load_model(&source, &options, stored);
            loaded.with_context(|| checkpoint::loading(&source))
        }
        None => Ok(()),
    }
}
