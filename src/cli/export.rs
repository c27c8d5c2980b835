//! `pagesight export`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde_json::json;

use super::args::{ExportVerb, Place};
use super::{Outcome, locate};

pub fn run(place: &Place, verb: &ExportVerb) -> Result<Outcome> {
    let folder = locate::existing(place)?;
    let snapshot = pagesight::export(&folder, &verb.folder)
        .with_context(|| format!("exporting {} to {}", folder.display(), verb.folder.display()))?;
    let bytes: u64 = snapshot.files.values().map(|file| file.bytes).sum();
    let mut out = io::stdout().lock();
    match verb.json {
        true => writeln!(
            out,
            "{}",
            json!({
                "v": 1, "type": "summary", "export": verb.folder.display().to_string(),
                "snapshot": snapshot.number, "documents": snapshot.documents,
                "pages": snapshot.pages, "bytes": bytes,
            })
        )?,
        false => writeln!(
            out,
            "exported {} documents, {} pages, {:.1} MB to {}",
            snapshot.documents,
            snapshot.pages,
            bytes as f64 / 1e6,
            verb.folder.display()
        )?,
    }
    Ok(Outcome::Done)
}
