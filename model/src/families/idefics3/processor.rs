//! `preprocessor_config.json` as published. Fields that are left out have the values of the
//! published models: sides of 2,048 px at most, tiles of 512.

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::json::read_json;
use crate::checkpoint::settings::Settings;
use crate::error::ModelError;
use crate::families::idefics3::config::Config;
use crate::families::normalisation::Normalisation;

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

#[derive(Deserialize)]
#[serde(default)]
struct ProcessorFile {
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    do_image_splitting: Option<bool>,
    image_mean: [f32; 3],
    image_std: [f32; 3],
    rescale_factor: f64,
    resample: u32,
    size: Edge,
    max_image_size: Option<Edge>,
    /// transformers 5 writes the picture processor inside another file.
    image_processor: Option<Value>,
}

#[derive(Deserialize)]
struct Edge {
    longest_edge: u32,
}

/// PIL's number for Lanczos.
const LANCZOS: u32 = 1;

impl Default for ProcessorFile {
    fn default() -> Self {
        Self {
            do_resize: None,
            do_rescale: None,
            do_normalize: None,
            do_image_splitting: None,
            image_mean: [0.5; 3],
            image_std: [0.5; 3],
            rescale_factor: 1.0 / 255.0,
            resample: LANCZOS,
            size: Edge { longest_edge: 2048 },
            max_image_size: None,
            image_processor: None,
        }
    }
}

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
        settings.is("do_image_splitting", "true", file.do_image_splitting)?;
        if file.resample != LANCZOS {
            return settings.wrong("resample", "1 (Lanczos)", file.resample.to_string());
        }
        if file.image_std.contains(&0.0) {
            return settings.wrong("image_std", "no zero", format!("{:?}", file.image_std));
        }
        let tile = file.max_image_size.map(|size| size.longest_edge);
        settings.is("max_image_size.longest_edge", &config.vision.edge.to_string(), tile)?;
        let (longest, most) = (file.size.longest_edge, LONGEST_SIDE as usize);
        settings.within("size.longest_edge", most, longest as usize)?;
        let normalisation = Normalisation {
            factor: file.rescale_factor,
            mean: file.image_mean,
            deviation: file.image_std,
        };
        Ok(Self { normalisation, longest })
    }
}
