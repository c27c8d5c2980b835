//! The settings of pictures as published. Fields that are left out have the values of the
//! published models: sides of 2,048 px at most, tiles of 512.

use pagesight_simd::Filter;
use serde::Deserialize;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::idefics3::config::Config;
use crate::families::normalisation::Normalisation;
use crate::families::processor_file::{HALF, ProcessorFile};

/// How pictures become numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Processor {
    /// What bytes become.
    pub normalisation: Normalisation,
    /// The longest side that a page is brought to, px.
    pub longest: u32,
}

/// No side is longer, whatever the settings say, as in the reference.
pub const LONGEST_SIDE: u32 = 4096;

/// The fields that this family adds to those of all.
#[derive(Deserialize)]
struct Own {
    do_image_splitting: Option<bool>,
    size: Option<Edge>,
    max_image_size: Option<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    longest_edge: u32,
}

/// The longest side of pages of the published models, px.
const PUBLISHED: u32 = 2048;

impl Processor {
    /// What the reference resizes pictures with.
    pub const FILTER: Filter = Filter::Lanczos;

    /// Reads the settings of `checkpoint` and checks them against `config`.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a value that gives other numbers; [`ModelError::Io`] and
    /// [`ModelError::Config`] when the file cannot be read.
    pub fn read(checkpoint: &Checkpoint, config: &Config) -> Result<Self, ModelError> {
        let file: ProcessorFile<Own> = ProcessorFile::read(checkpoint, Self::FILTER)?;
        let normalisation = file.normalisation(HALF);
        let (settings, file) = (file.settings, file.own);
        settings.is("do_image_splitting", "true", file.do_image_splitting)?;
        let tile = file.max_image_size.map(|size| size.longest_edge);
        settings.is("max_image_size.longest_edge", &config.vision.edge.to_string(), tile)?;
        let longest = file.size.map_or(PUBLISHED, |size| size.longest_edge);
        settings.within("size.longest_edge", LONGEST_SIDE as usize, longest as usize)?;
        Ok(Self { normalisation, longest })
    }
}
