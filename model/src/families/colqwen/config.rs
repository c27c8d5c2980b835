//! `config.json` as published. Fields that are left out have the defaults of `Qwen2VLConfig` and
//! `Qwen2_5_VLConfig` in transformers 4.57.6 and of `Qwen3_5Config` in 5.24.0.

use serde::Deserialize;

use crate::blocks::decoder::sizes::DecoderSizes;
use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::json::read_json;
use crate::checkpoint::settings::{Settings, WIDEST};
use crate::error::ModelError;
use crate::families::colqwen::names::{FAMILY_2, FAMILY_2_5, FAMILY_3_5};
use crate::families::colqwen::text_config::TextFile;
use crate::families::colqwen::vision_config::{VisionConfig, VisionFile};

/// The sizes of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which of the families it is.
    pub family: &'static str,
    /// The tower that sees patches.
    pub vision: VisionConfig,
    /// The language model.
    pub text: DecoderSizes,
    /// The token of a feature.
    pub image_token: u32,
    /// Numbers that the head gives for a position.
    pub dim: usize,
}

/// Patches along each side of a feature.
pub const MERGE: usize = 2;

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConfigFile {
    model_type: Option<String>,
    /// transformers writes the configuration of the whole model inside.
    vlm_config: Option<Box<ConfigFile>>,
    embedding_dim: Option<usize>,
    dim: Option<usize>,
    vision_config: Option<VisionFile>,
    text_config: Option<TextFile>,
    image_token_id: Option<u32>,
    /// Before 4.52 the language model's fields were at the top.
    #[serde(flatten)]
    text: TextFile,
}

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a value that this model cannot be built with;
    /// [`ModelError::Io`] and [`ModelError::Config`] when the file cannot be read.
    pub fn read(file: &CheckpointFile) -> Result<Self, ModelError> {
        let outer: ConfigFile = read_json(file)?;
        let settings = Settings::of(file);
        let dim = outer.embedding_dim.or(outer.dim).unwrap_or(128);
        let whole = match outer.vlm_config {
            Some(inner) => *inner,
            None => outer,
        };
        let family = match whole.model_type.as_deref() {
            Some("qwen2_vl" | "colqwen2") => FAMILY_2,
            Some("qwen2_5_vl" | "colqwen2_5") => FAMILY_2_5,
            Some("qwen3_5" | "colqwen3_5") => FAMILY_3_5,
            other => {
                let got = other.unwrap_or("missing").to_string();
                return settings.wrong("model_type", "qwen2_vl, qwen2_5_vl or qwen3_5", got);
            }
        };
        let nested = whole.text_config.unwrap_or_default();
        let image_token = whole.image_token_id.or(nested.image_token_id);
        let text = nested.over(whole.text).sizes(&settings, family)?;
        settings.within("embedding_dim", WIDEST, dim)?;
        let own = if family == FAMILY_3_5 { 248_056 } else { 151_655 };
        Ok(Self {
            family,
            vision: whole.vision_config.unwrap_or_default().config(&settings, family)?,
            text,
            image_token: image_token.unwrap_or(own),
            dim,
        })
    }
}
