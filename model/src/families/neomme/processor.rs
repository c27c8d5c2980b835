//! The settings of pictures as published. Fields that are left out have the defaults of
//! `NeoMMEImageProcessor` in transformers 5.24.0.

use pagesight_simd::Filter;
use serde::Deserialize;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::neomme::config::Config;
use crate::families::normalisation::Normalisation;
use crate::families::processor_file::{HALF, ProcessorFile};

/// How pictures become numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Processor {
    /// What bytes become.
    pub normalisation: Normalisation,
    /// How large pictures are at most.
    pub limits: Limits,
}

/// How large a picture is at most, and at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The longest side, px.
    pub max_side: Option<u32>,
    /// Fewest and most pixels.
    pub pixels: Option<(u64, u64)>,
}

/// The fields that this family adds to those of all.
#[derive(Deserialize)]
struct Own {
    patch_size: Option<usize>,
    max_side: Option<u32>,
    size: Option<Budget>,
}

#[derive(Deserialize)]
struct Budget {
    min_pixels: u64,
    max_pixels: u64,
}

/// The edge of a patch where the file states none, px.
const PATCH: usize = 32;

/// A page of this side has as many positions as the published models were made for, 16,384.
pub const LONGEST_SIDE: u32 = 4096;

impl Processor {
    /// What the reference resizes pictures with.
    pub const FILTER: Filter = Filter::Bilinear;

    /// Reads the settings of `checkpoint` and checks them against `config`.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a value that gives other numbers; [`ModelError::Io`] and
    /// [`ModelError::Config`] when the file cannot be read.
    pub fn read(checkpoint: &Checkpoint, config: &Config) -> Result<Self, ModelError> {
        let file: ProcessorFile<Own> = ProcessorFile::read(checkpoint, Self::FILTER)?;
        let normalisation = file.normalisation(HALF);
        let (settings, file) = (file.settings, file.own);
        let patch = file.patch_size.unwrap_or(PATCH);
        if patch != config.patch {
            let expected = format!("{} as in config.json", config.patch);
            return settings.wrong("patch_size", &expected, patch.to_string());
        }
        if let Some(side) = file.max_side
            && !(1..=LONGEST_SIDE).contains(&side)
        {
            return settings.wrong("max_side", &format!("1 to {LONGEST_SIDE}"), side.to_string());
        }
        let pixels = file.size.map(|size| (size.min_pixels, size.max_pixels));
        let most = u64::from(LONGEST_SIDE).pow(2);
        if let Some((least, largest)) = pixels
            && !(1 <= largest && largest <= most && least <= largest)
        {
            let got = format!("{least} to {largest} pixels");
            return settings.wrong("size", &format!("a range within 1 to {most} pixels"), got);
        }
        Ok(Self { normalisation, limits: Limits { max_side: file.max_side, pixels } })
    }
}
