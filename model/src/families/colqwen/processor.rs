//! `preprocessor_config.json` as published. Fields that are left out have the defaults of
//! `Qwen2VLImageProcessor` in transformers 4.57.6, but for the budget of pixels: its default is
//! many times what the models were trained with.

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::json::read_json;
use crate::checkpoint::settings::Settings;
use crate::error::ModelError;
use crate::families::colqwen::config::{Config, MERGE};
use crate::families::colqwen::names::FAMILY_3_5;
use crate::families::normalisation::Normalisation;

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

#[derive(Deserialize)]
#[serde(default)]
struct ProcessorFile {
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    rescale_factor: f64,
    resample: u32,
    patch_size: Option<usize>,
    merge_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
    size: Option<Size>,
    /// transformers 5 writes the picture processor inside another file.
    image_processor: Option<Value>,
}

#[derive(Deserialize)]
struct Size {
    shortest_edge: Option<u64>,
    longest_edge: Option<u64>,
}

/// PIL's number for bicubic.
const BICUBIC: u32 = 3;

impl Default for ProcessorFile {
    fn default() -> Self {
        Self {
            do_resize: None,
            do_rescale: None,
            do_normalize: None,
            image_mean: None,
            image_std: None,
            rescale_factor: 1.0 / 255.0,
            resample: BICUBIC,
            patch_size: None,
            merge_size: None,
            temporal_patch_size: None,
            min_pixels: None,
            max_pixels: None,
            size: None,
            image_processor: None,
        }
    }
}

/// What OpenAI's CLIP was trained with, and Qwen up to 2.5 after it: means and deviations.
const CLIP: [[f32; 3]; 2] =
    [[0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]];

/// Those of Qwen3.5.
const HALF: [[f32; 3]; 2] = [[0.5; 3]; 2];

/// Pages are never larger: 16,384 features of 32 px, which is the default of the processor.
pub const MOST_PIXELS: u64 = 16_384 * 32 * 32;

impl Processor {
    /// The two files that may have the settings; the first that is there counts.
    pub const FILES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];

    /// Reads the first of [`FILES`](Self::FILES) that is there, and checks it against `config`.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a value that gives other numbers; [`ModelError::Io`] and
    /// [`ModelError::Config`] when the file cannot be read.
    pub fn read([old, new]: [CheckpointFile; 2], config: &Config) -> Result<Self, ModelError> {
        let from = if !old.exists() && new.exists() { new } else { old };
        let mut file: ProcessorFile = read_json(&from)?;
        let settings = Settings::of(&from);
        if let Some(inner) = file.image_processor.take() {
            file = serde_json::from_value(inner)
                .map_err(|source| ModelError::Config { path: from.shown(), source })?;
        }
        settings.is("do_resize", "true", file.do_resize)?;
        settings.is("do_rescale", "true", file.do_rescale)?;
        settings.is("do_normalize", "true", file.do_normalize)?;
        settings.is("patch_size", &config.vision.patch.to_string(), file.patch_size)?;
        settings.is("merge_size", "2", file.merge_size)?;
        settings.is("temporal_patch_size", "2", file.temporal_patch_size)?;
        if file.resample != BICUBIC {
            return settings.wrong("resample", "3 (bicubic)", file.resample.to_string());
        }
        let [mean, deviation] = if config.family == FAMILY_3_5 { HALF } else { CLIP };
        let (mean, deviation) =
            (file.image_mean.unwrap_or(mean), file.image_std.unwrap_or(deviation));
        if deviation.contains(&0.0) {
            return settings.wrong("image_std", "no zero", format!("{deviation:?}"));
        }
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
        let normalisation = Normalisation { factor: file.rescale_factor, mean, deviation };
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
