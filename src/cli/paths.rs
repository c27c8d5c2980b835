//! `pagesight paths`.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use pagesight::machine::data_folder;
use serde_json::{Value, json};

use super::args::Place;
use super::{Outcome, embedder_places, locate, renderer, weight_search};

/// Where pagesight keeps and looks for things.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pagesight paths")]
pub struct PathsVerb {
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &PathsVerb) -> Result<Outcome> {
    let index = locate::existing(place).ok();
    let would_be = locate::for_writing(place)?;
    let data = data_folder();
    let places = renderer(place, &[]).pdfium_places();
    let embedders = embedder_places(place);
    let weights = weight_search(place).places();
    let mut out = io::stdout().lock();
    let text = |path: &PathBuf| path.display().to_string();
    if verb.json {
        let looked: Vec<Value> = places
            .iter()
            .map(|p| json!({"what": p.what, "path": text(&p.path), "found": p.found}))
            .collect();
        let of_meaning: Vec<Value> = embedders
            .iter()
            .map(|p| json!({"what": p.what, "path": text(&p.path), "found": p.found}))
            .collect();
        let weights: Vec<Value> = weights
            .iter()
            .map(|p| json!({"what": p.what, "path": text(&p.folder), "found": p.found}))
            .collect();
        let line = json!({
            "v": 1, "type": "paths",
            "index": index.as_ref().map(text), "new_index": text(&would_be),
            "data": data.as_ref().map(text), "pdfium": looked, "meaning": of_meaning,
            "ocr_weights": weights,
        });
        writeln!(out, "{line}")?;
        return Ok(Outcome::Done);
    }
    match &index {
        Some(index) => writeln!(out, "index      {}", index.display())?,
        None => writeln!(out, "index      none; a new one goes to {}", would_be.display())?,
    }
    if let Some(data) = &data {
        writeln!(out, "user data  {}", data.display())?;
    }
    let used = places.iter().position(|place| place.found);
    for (i, place) in places.iter().enumerate() {
        let mark = if Some(i) == used { "used" } else { "" };
        writeln!(out, "pdfium     {mark:4} {} ({})", place.path.display(), place.what)?;
    }
    let used = embedders.iter().position(|place| place.found);
    for (i, place) in embedders.iter().enumerate() {
        let mark = if Some(i) == used { "used" } else { "" };
        writeln!(out, "meaning    {mark:4} {} ({})", place.path.display(), place.what)?;
    }
    let used = weights.iter().position(|place| place.found);
    for (i, place) in weights.iter().enumerate() {
        let mark = if Some(i) == used { "used" } else { "" };
        writeln!(out, "reader     {mark:4} {} ({})", place.folder.display(), place.what)?;
    }
    Ok(Outcome::Done)
}
