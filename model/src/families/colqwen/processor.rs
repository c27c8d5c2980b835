//! The settings of pictures as published. Fields that are left out have the defaults of
//! `Qwen2VLImageProcessor` in transformers 4.57.6, but for the budget of pixels: its default is
//! many times what the models were trained with.

use pagesight_simd::Filter;
use serde::Deserialize;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::colqwen::config::{Config, MERGE};
use crate::families::colqwen::names::FAMILY_3_5;
use crate::families::normalisation::Normalisation;
use crate::families::processor_file::{CLIP, HALF, ProcessorFile};

/// How pictures become numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Processor {
    /// What bytes become.
    pub normalisation: Normalisation,
    /// Fewest and most pixels of a picture.
    pub budget: Budget,
}

/// Fewest and most pixels of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Fewest pixels.
    pub least: u64,
    /// Most pixels.
    pub most: u64,
}

/// The fields that this family adds to those of all.
#[derive(Deserialize)]
struct Own {
    patch_size: Option<usize>,
    merge_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
    size: Option<Size>,
}

#[derive(Deserialize)]
struct Size {
    shortest_edge: Option<u64>,
    longest_edge: Option<u64>,
}

/// Pages are never larger: 16,384 features of 32 px, which is the default of the processor.
pub const MOST_PIXELS: u64 = 16_384 * 32 * 32;

impl Processor {
    /// What the reference resizes pictures with.
    pub const FILTER: Filter = Filter::Bicubic;

    /// Reads the settings of `checkpoint` and checks them against `config`.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a value that gives other numbers; [`ModelError::Io`] and
    /// [`ModelError::Config`] when the file cannot be read.
    pub fn read(checkpoint: &Checkpoint, config: &Config) -> Result<Self, ModelError> {
        let file: ProcessorFile<Own> = ProcessorFile::read(checkpoint, Self::FILTER)?;
        let normalisation =
            file.normalisation(if config.family == FAMILY_3_5 { HALF } else { CLIP });
        let (settings, file) = (file.settings, file.own);
        settings.is("patch_size", &config.vision.patch.to_string(), file.patch_size)?;
        settings.is("merge_size", "2", file.merge_size)?;
        settings.is("temporal_patch_size", "2", file.temporal_patch_size)?;
        // Where both are there, these win, as in the reference.
        let size = file.size.as_ref();
        let least = file.min_pixels.or(size.and_then(|size| size.shortest_edge));
        let most = file.max_pixels.or(size.and_then(|size| size.longest_edge));
        // Qwen's own files state the default of their class, with which no retriever was trained.
        let most = most.filter(|&most| config.family != FAMILY_3_5 || most != MOST_PIXELS);
        let trained = Budget::trained(config);
        let budget =
            Budget { least: least.unwrap_or(trained.least), most: most.unwrap_or(trained.most) };
        let feature = feature_pixels(config);
        if !(budget.least <= budget.most && (feature..=MOST_PIXELS).contains(&budget.most)) {
            let got = format!("{} to {}", budget.least, budget.most);
            let expected = format!("a range within {feature} to {MOST_PIXELS}");
            return settings.wrong("min_pixels to max_pixels", &expected, got);
        }
        Ok(Self { normalisation, budget })
    }
}

impl Budget {
    /// What the published models were trained with: 4 to 768 features for Qwen up to 2.5, and up to
    /// 1024 for the figures of EVIE.
    fn trained(config: &Config) -> Self {
        let most = if config.family == FAMILY_3_5 { 1024 } else { 768 };
        let feature = feature_pixels(config);
        Self { least: 4 * feature, most: most * feature }
    }
}

/// Pixels of a feature.
pub fn feature_pixels(config: &Config) -> u64 {
    ((config.vision.patch * MERGE) as u64).pow(2)
}
