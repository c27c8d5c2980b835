//! The settings of pictures as published.

use pagesight_simd::Filter;
use serde::Deserialize;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::colpali::config::Config;
use crate::families::normalisation::Normalisation;
use crate::families::processor_file::{HALF, ProcessorFile};

/// The fields that this family adds to those of all.
#[derive(Deserialize)]
struct Own {
    size: ImageSize,
}

#[derive(Deserialize)]
struct ImageSize {
    height: usize,
    width: usize,
}

/// What bytes of pixels become. The settings of `checkpoint` are read and checked against the input
/// size of `config`; what they leave out is that of `SiglipImageProcessor`.
///
/// # Errors
/// [`ModelError::Setting`] for a value that gives other numbers; [`ModelError::Io`] and
/// [`ModelError::Config`] when the file cannot be read.
pub fn normalisation(
    checkpoint: &Checkpoint,
    config: &Config,
) -> Result<Normalisation, ModelError> {
    let file: ProcessorFile<Own> = ProcessorFile::read(checkpoint, Filter::Bicubic)?;
    let (edge, size) = (config.vlm_config.vision_config.image_size, &file.own.size);
    if (size.width, size.height) != (edge, edge) {
        let got = format!("{} x {}", size.width, size.height);
        return file.settings.wrong("size", &format!("{edge} x {edge} as in config.json"), got);
    }
    Ok(file.normalisation(HALF))
}
