//! `pagesight export`.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use serde_json::json;

use super::args::Place;
use super::{Outcome, locate};

/// Write the index as plain Arrow files, to move it to another machine.
///
/// The folder gets documents.arrow, pages.arrow (Arrow IPC: pyarrow, polars and DuckDB read them)
/// and export.json with their hashes. A compact index has no whole vectors: copy its folder instead.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight export reports.export\n  \
    tar c reports.export | ssh host 'tar x && pagesight import reports.export'")]
pub struct ExportVerb {
    /// A folder that is not there yet, or empty.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &ExportVerb) -> Result<Outcome> {
    let folder = locate::existing(place)?;
    let exported = match locate::address(&folder)? {
        Some(address) => {
            pagesight::upkeep::export_bucket(&address, &locate::local(place), &verb.folder)
        }
        None => pagesight::upkeep::export(&folder, &verb.folder),
    };
    let snapshot = exported
        .with_context(|| format!("exporting {} to {}", folder.display(), verb.folder.display()))?;
    let bytes = snapshot.bytes();
    let mut out = io::stdout().lock();
    if verb.json {
        writeln!(
            out,
            "{}",
            json!({
                "v": 1, "type": "summary", "export": verb.folder.display().to_string(),
                "snapshot": snapshot.number(), "documents": snapshot.documents(),
                "pages": snapshot.pages(), "bytes": bytes,
            })
        )?
    } else {
        writeln!(
            out,
            "exported {} documents, {} pages, {:.1} MB to {}",
            snapshot.documents(),
            snapshot.pages(),
            bytes as f64 / 1e6,
            verb.folder.display()
        )?
    }
    Ok(Outcome::Done)
}
