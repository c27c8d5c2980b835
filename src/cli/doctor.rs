//! `pagesight doctor`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use pagesight::Index;
use pagesight::model::{
    Embedder, EmbedderRecord, ModelSource, PassageEncoder, StageReport, device_in_use,
    inspect_checkpoint, kernels, parity,
};
use pagesight::pdf::{Embedded, RendererPool, Tesseract};
use serde_json::json;

use super::args::Place;
use super::{Outcome, checkpoint, embedder_places, locate, meaning, renderer, weight_search};

/// Check what pagesight needs on this machine, or a model against reference tensors.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight doctor\n  \
    pagesight doctor --parity fixtures/parity --json")]
pub struct DoctorVerb {
    /// Run the model against a folder of reference tensors; exit code 2 when a stage is off.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub parity: Option<PathBuf>,
    /// A line of JSON a check or stage.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &DoctorVerb) -> Result<Outcome> {
    match &verb.parity {
        Some(folder) => compare(folder, verb.json),
        None => check(place, verb.json),
    }
}

fn compare(folder: &Path, as_json: bool) -> Result<Outcome> {
    let stages = parity(folder)
        .with_context(|| format!("comparing with the tensors in {}", folder.display()))?;
    let mut out = io::stdout().lock();
    if !as_json {
        writeln!(out, "{:40} {:>9} {:>12}", "stage", "tolerance", "difference")?;
    }
    for stage in &stages {
        let StageReport { stage: name, tolerance, max_difference, .. } = stage;
        let passed = stage.passed();
        if as_json {
            writeln!(
                out,
                "{}",
                json!({
                    "v": 1, "type": "stage", "stage": name, "tolerance": tolerance,
                    // JSON has no infinity: null is a shape that differs or a NaN.
                    "max_difference": max_difference, "passed": passed,
                })
            )?
        } else {
            let verdict = if passed { "" } else { "  FAILED" };
            let (tolerance, difference) = (number(*tolerance), number(*max_difference));
            writeln!(out, "{name:40} {tolerance:>9} {difference:>12}{verdict}")?;
        }
    }
    let failed = stages.iter().filter(|stage| !stage.passed()).count();
    if as_json {
        writeln!(
            out,
            "{}",
            json!({"v": 1, "type": "summary", "stages": stages.len(), "failed": failed})
        )?
    } else {
        writeln!(out, "{} stages, {failed} outside their tolerance", stages.len())?
    }
    Ok(if failed == 0 { Outcome::Done } else { Outcome::Failed })
}

fn number(x: f64) -> String {
    if x == 0.0 { "exact".into() } else { format!("{x:.1e}") }
}

struct Finding {
    check: &'static str,
    /// What must be there; the rest is good to have.
    needed: bool,
    found: Result<String, String>,
    way_out: &'static str,
}

fn check(place: &Place, as_json: bool) -> Result<Outcome> {
    let renderer = renderer(place, &[]);
    let library = renderer.found_pdfium().map(|path| path.display().to_string());
    let sandbox = RendererPool::new(renderer).confinement();
    // A library that is there and cannot be loaded is as good as none.
    let library = match (library, &sandbox) {
        (Ok(_), Err(error)) => Err(super::chain_of(error)),
        (library, _) => library.map_err(|error| super::chain_of(&error)),
    };
    let sandbox = sandbox.map_err(|_| "no worker starts".to_string());
    let findings = [
        Finding {
            check: "pdfium",
            needed: true,
            found: library,
            way_out: "pip install pypdfium2 and activate its environment, or put libpdfium \
                      beside the program, or name it with --pdfium FILE",
        },
        Finding {
            check: "sandbox",
            needed: false,
            found: sandbox.and_then(|walls| {
                if walls.is_whole() {
                    Ok(walls.to_string())
                } else {
                    Err(format!("partial: {walls}"))
                }
            }),
            way_out: "pages are read in processes with limits on time and memory all the same; \
                      a Linux kernel from 5.13 on, with landlock enabled, has all of it",
        },
        Finding {
            check: "reader",
            needed: false,
            found: embedded_reader(place),
            way_out: "scans are read by tesseract alone: pip install rapidocr and activate its \
                      environment, or name the folder of the weights with --ocr-weights DIR",
        },
        Finding {
            check: "tesseract",
            needed: false,
            found: match Tesseract::find("eng") {
                Ok(_) => Ok("reads scans in scripts that the embedded reader lacks".into()),
                Err(error) => Err(super::chain_of(&error)),
            },
            way_out: "install tesseract-ocr, and the data of the languages, to find scans in \
                      Cyrillic, Greek, Arabic, Hebrew, Korean, Thai or Indic scripts by their words",
        },
        Finding {
            check: "model",
            needed: false,
            found: model_of(place),
            way_out: "words alone answer; `pagesight model list` shows what there is, another model \
                      needs a new index",
        },
        Finding {
            check: "meaning",
            needed: false,
            found: meaning_of(place),
            way_out: "words alone find pages by their text; put the folder `minilm` of a release \
                      beside the program, or name the one that holds it with --weights DIR",
        },
        Finding {
            check: "index",
            needed: false,
            found: match locate::existing(place) {
                Err(error) => Err(error.to_string()),
                Ok(folder) => match Index::open(&folder) {
                    Ok(index) => Ok(format!(
                        "{}: snapshot {}, {} pages",
                        index.folder().display(),
                        index.snapshot().number(),
                        index.snapshot().pages()
                    )),
                    Err(error) => Err(causes(error)),
                },
            },
            way_out: "make one with `pagesight index FOLDER`",
        },
    ];
    let mut out = io::stdout().lock();
    for finding in &findings {
        let (ok, what) = match &finding.found {
            Ok(what) => (true, what),
            Err(what) => (false, what),
        };
        if as_json {
            writeln!(
                out,
                "{}",
                json!({
                    "v": 1, "type": "check", "check": finding.check, "ok": ok,
                    "needed": finding.needed, "found": what,
                    "way_out": (!ok).then_some(finding.way_out),
                })
            )?;
            continue;
        }
        let mark = match (ok, finding.needed) {
            (true, _) => "ok",
            (false, true) => "MISSING",
            (false, false) => "none",
        };
        writeln!(out, "{:10} {mark:8} {what}", finding.check)?;
        if !ok {
            writeln!(out, "{:19} {}", "", finding.way_out)?;
        }
    }
    for kernel in kernels() {
        let (work, by) = (kernel.work, &kernel.by);
        if as_json {
            writeln!(out, "{}", json!({"v": 1, "type": "kernel", "work": work, "by": by}))?;
        } else {
            writeln!(out, "{:10} {:8} {work}: {by}", "kernel", "")?;
        }
    }
    let sound = findings.iter().all(|finding| finding.found.is_ok() || !finding.needed);
    Ok(if sound { Outcome::Done } else { Outcome::Failed })
}

/// The model of meaning of the index here, or of a new one, when it loads.
fn meaning_of(place: &Place) -> Result<String, String> {
    let index = locate::existing(place).ok().and_then(|folder| Index::open(folder).ok());
    let snapshot = index.as_ref().map(Index::snapshot);
    let stored = snapshot.as_ref().and_then(|snapshot| snapshot.embedder());
    let source = match stored {
        Some(record) => record.source.clone().ok_or("one that another program brings")?,
        None => ModelSource::MiniLm,
    };
    let options = meaning::options(place);
    let name = checkpoint::name(Some(&source));
    if source == ModelSource::MiniLm && options.shipped.is_none() {
        let looked: Vec<String> =
            embedder_places(place).iter().map(|place| place.path.display().to_string()).collect();
        return Err(format!("{name} is not found; looked at {}", looked.join(", ")));
    }
    let loaded = Embedder::load(&source, &options).map_err(|error| super::chain_of(&error))?;
    let EmbedderRecord { pooled_dim, token_dim, id, .. } = loaded.record();
    match stored {
        Some(record) if record.id != id => {
            Err(format!("{name} is another one than the index was made with: index again"))
        }
        _ => Ok(format!("{name}: {pooled_dim} numbers a passage, {token_dim} a token")),
    }
}

/// The weights of the embedded reader, when they are the published ones.
fn embedded_reader(place: &Place) -> Result<String, String> {
    let folder = weight_search(place).found();
    let opened = folder.and_then(|folder| Embedded::open(&folder).map(|_| folder));
    let folder = opened.map_err(|error| super::chain_of(&error))?;
    Ok(format!("reads scans in Latin letters, Chinese and Japanese, {}", folder.display()))
}

/// The model of the index here, or of a new one, when it would load.
fn model_of(place: &Place) -> Result<String, String> {
    let index = locate::existing(place).ok().and_then(|folder| Index::open(folder).ok());
    let stored = index.as_ref().and_then(|index| index.snapshot().model().cloned());
    let source = match (&index, stored) {
        (_, Some(stored)) => stored.source,
        (Some(index), None) if index.snapshot().documents() > 0 => {
            return Err("none: the index was made for words alone".into());
        }
        _ => Some(ModelSource::Nano),
    };
    let name = checkpoint::name(source.as_ref());
    let Some(source) = source else { return Ok(name) };
    let options = pagesight::machine::loading();
    let info = inspect_checkpoint(&source, &options).map_err(|error| super::chain_of(&error))?;
    let device = device_in_use(options.device).map_err(|error| super::chain_of(&error))?;
    Ok(format!("{name}: {} numbers, runs on {device}", info.parameters))
}

fn causes(error: pagesight::Error) -> String {
    super::chain(&anyhow::Error::from(error))
}
