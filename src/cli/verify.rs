//! `pagesight verify`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use pagesight::Damage;
use serde_json::json;

use super::args::{Place, VerifyVerb};
use super::terminal::printable;
use super::{Outcome, locate};

/// Damages that a person is shown; `--json` has all.
const SHOWN: usize = 50;

pub fn run(place: &Place, verb: &VerifyVerb) -> Result<Outcome> {
    let folder = locate::existing(place)?;
    let verified =
        pagesight::verify(&folder).with_context(|| format!("verifying {}", folder.display()))?;
    let mut out = io::stdout().lock();
    if verb.json {
        for damage in &verified.damage {
            let line = json!({
                "v": 1, "type": "damage", "file": damage.file, "path": damage.path,
                "page": damage.page.map(|page| page.number), "what": damage.what,
            });
            writeln!(out, "{line}")?;
        }
        let line = json!({
            "v": 1, "type": "summary", "index": folder.display().to_string(),
            "snapshot": verified.snapshot, "files": verified.files, "bytes": verified.bytes,
            "documents": verified.documents, "pages": verified.pages,
            "leftovers": verified.leftovers, "damage": verified.damage.len(),
        });
        writeln!(out, "{line}")?;
    } else {
        for damage in verified.damage.iter().take(SHOWN) {
            writeln!(out, "damaged: {}", line_of(damage))?;
        }
        if verified.damage.len() > SHOWN {
            writeln!(out, "and {} more; --json lists them", verified.damage.len() - SHOWN)?;
        }
        let mb = verified.bytes as f64 / 1e6;
        writeln!(
            out,
            "{} files ({mb:.1} MB), {} documents, {} pages checked: {}",
            verified.files,
            verified.documents,
            verified.pages,
            match verified.damage.len() {
                0 => "all as written".to_string(),
                n => format!("{n} damages"),
            }
        )?;
    }
    Ok(match verified.damage.is_empty() {
        true => Outcome::Done,
        false => {
            eprintln!("hint: `pagesight repair` mends it");
            Outcome::Failed
        }
    })
}

fn line_of(damage: &Damage) -> String {
    let page = damage.page.map(|page| match &damage.path {
        Some(path) => format!(" {}#{}", printable(path), page.number),
        None => format!(" {page}"),
    });
    format!("{}{}: {}", damage.file, page.unwrap_or_default(), printable(&damage.what))
}
