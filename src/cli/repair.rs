//! `pagesight repair`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde_json::json;

use super::args::{Place, RepairVerb};
use super::terminal::printable;
use super::{Outcome, locate};

pub fn run(place: &Place, verb: &RepairVerb) -> Result<Outcome> {
    let folder = locate::existing(place)?;
    let repaired =
        pagesight::repair(&folder).with_context(|| format!("repairing {}", folder.display()))?;
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
