//! `config.json` and `preprocessor_config.json` as published: many fields are left out there and
//! mean the defaults of transformers' `GemmaConfig` and `SiglipVisionConfig` (4.57.6).

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ModelError;

/// What `config.json` says of the model's sizes.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    #[serde(default = "embedding_dim")]
    pub embedding_dim: usize,
    pub vlm_config: VlmConfig,
}

/// The PaliGemma inside.
#[derive(Debug, Clone, Deserialize)]
pub struct VlmConfig {
    #[serde(alias = "image_token_id")]
    pub image_token_index: u32,
    pub text_config: TextConfig,
    pub vision_config: VisionConfig,
}

/// Gemma.
#[derive(Debug, Clone, Deserialize)]
pub struct TextConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub vocab_size: usize,
    #[serde(default = "head_dim")]
    pub head_dim: usize,
    #[serde(default = "rms_norm_eps")]
    pub rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_parameters: Option<RopeParameters>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    #[serde(default)]
    attention_bias: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct RopeParameters {
    rope_theta: Option<f64>,
}

/// SigLIP's vision tower.
#[derive(Debug, Clone, Deserialize)]
pub struct VisionConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    #[serde(default = "image_size")]
    pub image_size: usize,
    #[serde(default = "patch_size")]
    pub patch_size: usize,
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f64,
    #[serde(default = "num_channels")]
    num_channels: usize,
    hidden_act: Option<String>,
}

fn embedding_dim() -> usize {
    128
}
fn head_dim() -> usize {
    256
}
fn rms_norm_eps() -> f64 {
    1e-6
}
fn image_size() -> usize {
    224
}
fn patch_size() -> usize {
    16
}
fn layer_norm_eps() -> f64 {
    1e-6
}
fn num_channels() -> usize {
    3
}

/// The only activation that ColPali has, under the names that configurations use.
const TANH_GELU: [&str; 3] = ["gelu_pytorch_tanh", "gelu_new", "gelu_fast"];

impl TextConfig {
    pub fn rope_theta(&self) -> f64 {
        let nested = self.rope_parameters.as_ref().and_then(|p| p.rope_theta);
        nested.or(self.rope_theta).unwrap_or(10_000.0)
    }
}

impl VisionConfig {
    /// Patches along one edge.
    pub fn side(&self) -> usize {
        self.image_size / self.patch_size
    }
}

impl Config {
    /// Reads and checks `config.json` in `folder`.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("config.json");
        let config: Self = read_json(&path)?;
        let (text, vision) = (&config.vlm_config.text_config, &config.vlm_config.vision_config);
        let wrong = |key: &str, expected: &str, got: String| {
            let (path, key, expected) = (path.clone(), key.into(), expected.into());
            Err(ModelError::Setting { path, key, expected, got })
        };
        // `hidden_activation` is null in published files; where both are set they agree.
        for (key, act) in [
            ("text_config.hidden_act", &text.hidden_act),
            ("text_config.hidden_activation", &text.hidden_activation),
            ("vision_config.hidden_act", &vision.hidden_act),
        ] {
            if let Some(act) = act
                && !TANH_GELU.contains(&act.as_str())
            {
                return wrong(key, "gelu_pytorch_tanh", act.clone());
            }
        }
        if text.attention_bias {
            return wrong("text_config.attention_bias", "false", "true".into());
        }
        if vision.num_channels != 3 {
            return wrong("vision_config.num_channels", "3", vision.num_channels.to_string());
        }
        let divides =
            |whole: usize, part: usize| part > 0 && whole > 0 && whole.is_multiple_of(part);
        if !divides(vision.image_size, vision.patch_size) {
            let got = format!("{} with patches of {}", vision.image_size, vision.patch_size);
            return wrong("vision_config.image_size", "a multiple of patch_size", got);
        }
        if !divides(vision.hidden_size, vision.num_attention_heads) {
            let got = format!("{} for {} heads", vision.hidden_size, vision.num_attention_heads);
            return wrong("vision_config.hidden_size", "a multiple of the heads", got);
        }
        if !divides(text.num_attention_heads, text.num_key_value_heads) {
            let got = text.num_key_value_heads.to_string();
            return wrong("text_config.num_key_value_heads", "a divisor of the heads", got);
        }
        if text.head_dim == 0 || !text.head_dim.is_multiple_of(2) {
            return wrong("text_config.head_dim", "an even number", text.head_dim.to_string());
        }
        Ok(config)
    }
}

/// What `preprocessor_config.json` (or the `image_processor` inside `processor_config.json`, as
/// transformers 5 writes it) says of pictures.
#[derive(Debug, Clone, Deserialize)]
pub struct PreprocessorConfig {
    pub image_mean: [f32; 3],
    pub image_std: [f32; 3],
    #[serde(default = "rescale_factor")]
    pub rescale_factor: f64,
    #[serde(default = "resample")]
    resample: u32,
    size: ImageSize,
}

#[derive(Debug, Clone, Deserialize)]
struct ImageSize {
    height: usize,
    width: usize,
}

#[derive(Deserialize)]
struct ProcessorConfig {
    image_processor: PreprocessorConfig,
}

/// PIL's number for bicubic.
const BICUBIC: u32 = 3;

fn resample() -> u32 {
    BICUBIC
}
fn rescale_factor() -> f64 {
    1.0 / 255.0
}

impl PreprocessorConfig {
    /// Reads and checks the file in `folder` against the input size of `config`.
    pub fn read(folder: &Path, config: &Config) -> Result<Self, ModelError> {
        let (old, new) =
            (folder.join("preprocessor_config.json"), folder.join("processor_config.json"));
        let (path, this) = match !old.exists() && new.exists() {
            true => (new.clone(), read_json::<ProcessorConfig>(&new)?.image_processor),
            false => (old.clone(), read_json(&old)?),
        };
        let edge = config.vlm_config.vision_config.image_size;
        let wrong = |key: &str, expected: String, got: String| {
            Err(ModelError::Setting { path: path.clone(), key: key.into(), expected, got })
        };
        if (this.size.width, this.size.height) != (edge, edge) {
            let got = format!("{} x {}", this.size.width, this.size.height);
            return wrong("size", format!("{edge} x {edge} as in config.json"), got);
        }
        if this.resample != BICUBIC {
            return wrong("resample", "3 (bicubic)".into(), this.resample.to_string());
        }
        if this.image_std.contains(&0.0) {
            return wrong("image_std", "no zero".into(), format!("{:?}", this.image_std));
        }
        Ok(this)
    }
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let text =
        fs::read(path).map_err(|source| ModelError::Io { path: path.to_path_buf(), source })?;
    serde_json::from_slice(&text)
        .map_err(|source| ModelError::Config { path: path.to_path_buf(), source })
}
