//! `pagesight repair`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::args::Place;
use super::terminal::printable;
use super::{Outcome, locate};

/// Mend the index: what can be made again is, what cannot is marked to be read again.
///
/// Damaged files are restored from their copies, the text index is built again from the pages,
/// and pages that are lost are listed; the next `pagesight index` reads those pages again, and
/// only those.
///
/// Of an index in a bucket, words are made again from the stored texts and codes from the stored
/// vectors, as a snapshot of its own: others may plan, read, commit and search meanwhile. Documents
/// with pages that are lost are read again by the next plan.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pagesight repair && pagesight index reports\n  \
                        pagesight --index s3://archive/index repair")]
pub struct RepairVerb {
    /// A line of JSON a page to read again and a summary line.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &RepairVerb) -> Result<Outcome> {
    let bucket = locate::bucket(place)?;
    let (index, repaired) = match &bucket {
        Some(address) => (address.to_string(), locate::fleet(place, address)?.repair()),
        None => {
            let folder = locate::existing(place)?;
            (folder.display().to_string(), pagesight::upkeep::repair(&folder))
        }
    };
    let repaired = repaired.with_context(|| format!("repairing {index}"))?;
    let mut out = io::stdout().lock();
    if verb.json {
        for (path, page) in &repaired.to_read {
            writeln!(out, "{}", json!({"v": 1, "type": "to_read", "path": path, "page": page}))?;
        }
        let line = json!({
            "v": 1, "type": "summary", "index": index,
            "snapshot": repaired.snapshot, "mended": repaired.mended,
            "to_read": repaired.to_read.len(),
        });
        writeln!(out, "{line}")?;
        return Ok(Outcome::Done);
    }
    for line in &repaired.mended {
        writeln!(out, "mended: {}", printable(line))?;
    }
    for (path, page) in &repaired.to_read {
        writeln!(out, "to be read again: {}#{page}", printable(path))?;
    }
    match (repaired.mended.is_empty(), repaired.to_read.is_empty()) {
        (true, _) => writeln!(out, "nothing was damaged")?,
        (false, true) => writeln!(out, "the index is whole again")?,
        (false, false) if bucket.is_some() => {
            writeln!(
                out,
                "plan the PDFs again, or run `pagesight index`, to read these documents"
            )?;
        }
        (false, false) => writeln!(out, "run `pagesight index` to read these pages again")?,
    }
    Ok(Outcome::Done)
}
