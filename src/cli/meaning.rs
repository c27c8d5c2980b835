//! Which model of meaning a user means, and where the one is that comes with the program.

use std::path::Path;

use anyhow::Result;
use pagesight::model::{EmbedderOptions, ModelSource};

use super::args::Place;
use super::{checkpoint, machine};

/// How models of meaning are loaded.
pub fn options(place: &Place) -> EmbedderOptions {
    machine(place).embedding()
}

/// The model that a user calls `name`: `minilm`, a folder, or a name in the hub's cache, with or
/// without `hub:` before it.
pub fn find(name: &str, options: &EmbedderOptions) -> Result<ModelSource> {
    if name == "minilm" && options.shipped.is_some() {
        return Ok(ModelSource::MiniLm);
    }
    checkpoint::find(Path::new(name.strip_prefix("hub:").unwrap_or(name)))
}
