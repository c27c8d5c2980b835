//! Finds the index: `--index` or PAGESIGHT_INDEX, else the nearest `.pagesight` above, as git
//! finds its folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::args::Place;
use super::hinted;

/// Name of the index folder.
const FOLDER: &str = ".pagesight";

/// The index that a verb reads.
pub fn existing(place: &Place) -> Result<PathBuf> {
    if let Some(folder) = &place.index {
        if !folder.is_dir() {
            return Err(hinted(
                format!("there is no index at {}", folder.display()),
                "make one with `pagesight index FOLDER`",
            ));
        }
        return Ok(folder.clone());
    }
    let here = std::env::current_dir().context("finding the current folder")?;
    nearest(&here).ok_or_else(|| {
        hinted(
            format!("there is no index in {} or above", here.display()),
            "make one with `pagesight index FOLDER`, or name one with --index DIR",
        )
    })
}

/// The index that `pagesight index` writes: an existing one, or a new one in this folder.
pub fn for_writing(place: &Place) -> Result<PathBuf> {
    if let Some(folder) = &place.index {
        return Ok(folder.clone());
    }
    let here = std::env::current_dir().context("finding the current folder")?;
    Ok(nearest(&here).unwrap_or_else(|| here.join(FOLDER)))
}

fn nearest(here: &Path) -> Option<PathBuf> {
    here.ancestors().map(|folder| folder.join(FOLDER)).find(|folder| folder.is_dir())
}
