//! `pagesight import`.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use serde_json::json;

use super::args::Place;
use super::{Outcome, locate};

/// Make a new index from what `export` wrote.
///
/// Paths below the folder of the index stay relative, so an index beside the same PDFs goes on
/// where it was. Vectors need their model: name its folder with --model when you ask.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pagesight --index ~/reports/.pagesight import reports.export")]
pub struct ImportVerb {
    /// The folder that `export` wrote.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &ImportVerb) -> Result<Outcome> {
    let folder = locate::for_writing(place)?;
    let imported = match locate::address(&folder)? {
        Some(address) => {
            pagesight::upkeep::import_bucket(&address, &locate::local(place), &verb.folder)
        }
        None => pagesight::upkeep::import(&folder, &verb.folder),
    };
    let snapshot = imported.with_context(|| {
        format!("importing {} into {}", verb.folder.display(), folder.display())
    })?;
    let mut out = io::stdout().lock();
    if verb.json {
        writeln!(
            out,
            "{}",
            json!({
                "v": 1, "type": "summary", "index": folder.display().to_string(),
                "snapshot": snapshot.number(), "documents": snapshot.documents(),
                "pages": snapshot.pages(),
                "model_id": snapshot.model().map(|model| &model.id),
            })
        )?
    } else {
        writeln!(
            out,
            "imported {} documents, {} pages into {}",
            snapshot.documents(),
            snapshot.pages(),
            folder.display()
        )?
    }
    Ok(Outcome::Done)
}
