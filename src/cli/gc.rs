//! `pagesight gc`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::args::Place;
use super::interrupt::Interrupt;
use super::{Outcome, locate};

/// Join small files of the index and remove what nothing needs any more.
///
/// `index` does the same at the end of a run. Files of a snapshot that another process reads are
/// kept until it ends or moves on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pagesight gc")]
pub struct GcVerb {
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &GcVerb) -> Result<Outcome> {
    let interrupt = Interrupt::listen()?;
    let folder = locate::existing(place)?;
    let swept = match pagesight::upkeep::collect_garbage(&folder, &interrupt.flag()) {
        Err(pagesight::Error::Store(pagesight::index::StoreError::Interrupted { .. })) => {
            return Ok(Outcome::Interrupted);
        }
        swept => swept.with_context(|| format!("collecting garbage in {}", folder.display()))?,
    };
    let mut out = io::stdout().lock();
    if verb.json {
        let line = json!({
            "v": 1, "type": "summary", "index": folder.display().to_string(),
            "files_removed": swept.files, "bytes_removed": swept.bytes,
            "snapshots_held": swept.held,
        });
        writeln!(out, "{line}")?;
        return Ok(Outcome::Done);
    }
    let mb = swept.bytes as f64 / 1e6;
    writeln!(out, "removed {} files, {mb:.1} MB", swept.files)?;
    if swept.held > 0 {
        writeln!(out, "{} older snapshots are being read: run again later", swept.held)?;
    }
    Ok(Outcome::Done)
}
