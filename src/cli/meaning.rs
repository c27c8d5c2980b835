//! Which model of meaning a user means, and where the one is that comes with the program.

use std::path::Path;

use anyhow::Result;
use pagesight::model::{EmbedderOptions, ModelSource};

use super::args::Place;
use super::{checkpoint, embedder_places};

/// How models of meaning are loaded: the environment is read here, the library does not.
pub fn options(place: &Place) -> EmbedderOptions {
    let known = checkpoint::places();
    let shipped =
        embedder_places(place).into_iter().find(|place| place.found).map(|place| place.path);
    EmbedderOptions {
        shipped,
        hub: known.hub,
        digests: known.digests,
        ..EmbedderOptions::default()
    }
}

/// The model that a user calls `name`: `minilm`, a folder, or a name in the hub's cache, with or
/// without `hub:` before it.
pub fn find(name: &str, options: &EmbedderOptions) -> Result<ModelSource> {
    if name == "minilm" && options.shipped.is_some() {
        return Ok(ModelSource::MiniLm);
    }
    checkpoint::find(Path::new(name.strip_prefix("hub:").unwrap_or(name)))
}
