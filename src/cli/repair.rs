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
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pagesight repair && pagesight index reports")]
pub struct RepairVerb {
    /// A line of JSON a page to read again and a summary line.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &RepairVerb) -> Result<Outcome> {
    let folder = locate::existing(place)?;
    let repaired =
        pagesight::upkeep::repair(&folder).with_context(|| format!("repairing {}", folder.display()))?;
    let mut out = io::stdout().lock();
    if verb.json {
        for (path, page) in &repaired.to_read {
            writeln!(out, "{}", json!({"v": 1, "type": "to_read", "path": path, "page": page}))?;
        }
        let line = json!({
            "v": 1, "type": "summary", "index": folder.display().to_string(),
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
        (false, false) => writeln!(out, "run `pagesight index` to read these pages again")?,
    }
    Ok(Outcome::Done)
}
