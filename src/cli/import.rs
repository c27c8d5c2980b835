//! `pagesight import`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde_json::json;

use super::args::{ImportVerb, Place};
use super::{Outcome, locate};

pub fn run(place: &Place, verb: &ImportVerb) -> Result<Outcome> {
    let folder = locate::for_writing(place)?;
    let snapshot = pagesight::import(&folder, &verb.folder).with_context(|| {
        format!("importing {} into {}", verb.folder.display(), folder.display())
    })?;
    let mut out = io::stdout().lock();
    match verb.json {
        true => writeln!(
            out,
            "{}",
            json!({
                "v": 1, "type": "summary", "index": folder.display().to_string(),
                "snapshot": snapshot.number, "documents": snapshot.documents,
                "pages": snapshot.pages,
                "model_id": snapshot.model.as_ref().map(|model| &model.id),
            })
        )?,
        false => writeln!(
            out,
            "imported {} documents, {} pages into {}",
            snapshot.documents,
            snapshot.pages,
            folder.display()
        )?,
    }
    Ok(Outcome::Done)
}
