//! `config.json` and `preprocessor_config.json` as published. Many fields are left out there; they
//! then have the defaults of `GemmaConfig`, `Gemma2Config` and `SiglipVisionConfig` in transformers
//! 4.57.6.

use serde::Deserialize;

use crate::blocks::siglip::SiglipSizes;
use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::json::read_json;
use crate::error::ModelError;

/// The sizes of the model, from `config.json`.
#[derive(Debug, Clone)]
pub struct Config {
    pub embedding_dim: usize,
    pub vlm_config: VlmConfig,
}

/// The two forms that the file has.
#[derive(Deserialize)]
struct ConfigFile {
    /// transformers writes the PaliGemma configuration inside.
    vlm_config: Option<VlmConfig>,
    embedding_dim: Option<usize>,
    /// colpali-engine writes the PaliGemma configuration itself.
    #[serde(alias = "image_token_id")]
    image_token_index: Option<u32>,
    text_config: Option<TextConfig>,
    vision_config: Option<VisionConfig>,
}

/// The configuration of the PaliGemma that a ColPali is made of.
#[derive(Debug, Clone, Deserialize)]
pub struct VlmConfig {
    #[serde(default = "image_token", alias = "image_token_id")]
    pub image_token_index: u32,
    pub text_config: TextConfig,
    pub vision_config: VisionConfig,
}

/// The sizes of Gemma 1 or 2, the language model.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "TextConfigFile")]
pub struct TextConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub vocab_size: usize,
    pub head_dim: usize,
    pub rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_parameters: Option<RopeParameters>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    attention_bias: bool,
    model_type: String,
    /// The fields that Gemma 2 has beyond those.
    gemma2: Gemma2Config,
}

/// What the file says; what it leaves out depends on the model.
#[derive(Deserialize)]
struct TextConfigFile {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    vocab_size: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_parameters: Option<RopeParameters>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    #[serde(default)]
    attention_bias: bool,
    model_type: Option<String>,
    #[serde(flatten)]
    gemma2: Gemma2Config,
}

/// The fields of Gemma 2. A bound that is `null` is none; one that is left out is the default.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Gemma2Config {
    query_pre_attn_scalar: f64,
    attn_logit_softcapping: Option<f64>,
    final_logit_softcapping: Option<f64>,
}

/// The defaults of `Gemma2Config`.
impl Default for Gemma2Config {
    fn default() -> Self {
        Self {
            query_pre_attn_scalar: 256.0,
            attn_logit_softcapping: Some(50.0),
            final_logit_softcapping: Some(30.0),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
struct RopeParameters {
    rope_theta: Option<f64>,
}

/// The sizes of the vision tower of SigLIP.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub image_size: usize,
    pub patch_size: usize,
    pub layer_norm_eps: f64,
    num_channels: usize,
    hidden_act: Option<String>,
    model_type: String,
}

/// The default of `PaliGemmaConfig`.
fn image_token() -> u32 {
    256_000
}

/// The default of `ColPaliConfig`, and the only value that colpali-engine has.
const EMBEDDING_DIM: usize = 128;

/// What is left out has the defaults of `GemmaConfig`, or of `Gemma2Config`.
impl From<TextConfigFile> for TextConfig {
    fn from(file: TextConfigFile) -> Self {
        let model_type = file.model_type.unwrap_or_else(|| GEMMA.into());
        let [hidden, inner, layers, heads, keys] =
            if model_type == GEMMA2 { [2304, 9216, 26, 8, 4] } else { [3072, 24576, 28, 16, 16] };
        Self {
            hidden_size: file.hidden_size.unwrap_or(hidden),
            intermediate_size: file.intermediate_size.unwrap_or(inner),
            num_hidden_layers: file.num_hidden_layers.unwrap_or(layers),
            num_attention_heads: file.num_attention_heads.unwrap_or(heads),
            num_key_value_heads: file.num_key_value_heads.unwrap_or(keys),
            vocab_size: file.vocab_size.unwrap_or(256_000),
            head_dim: file.head_dim.unwrap_or(256),
            rms_norm_eps: file.rms_norm_eps.unwrap_or(1e-6),
            rope_theta: file.rope_theta,
            rope_parameters: file.rope_parameters,
            hidden_act: file.hidden_act,
            hidden_activation: file.hidden_activation,
            attention_bias: file.attention_bias,
            model_type,
            gemma2: file.gemma2,
        }
    }
}

/// The defaults of `SiglipVisionConfig`.
impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 16,
            layer_norm_eps: 1e-6,
            num_channels: 3,
            hidden_act: None,
            model_type: SIGLIP.into(),
        }
    }
}

const GEMMA: &str = "gemma";
const GEMMA2: &str = "gemma2";
const SIGLIP: &str = "siglip_vision_model";

/// The names that configurations use for the one activation that ColPali has.
const TANH_GELU: [&str; 3] = ["gelu_pytorch_tanh", "gelu_new", "gelu_fast"];

impl TextConfig {
    pub fn rope_theta(&self) -> f64 {
        let nested = self.rope_parameters.as_ref().and_then(|p| p.rope_theta);
        nested.or(self.rope_theta).unwrap_or(10_000.0)
    }

    /// Whether it is Gemma 2, which has more norms and bounded scores.
    pub fn is_gemma2(&self) -> bool {
        self.model_type == GEMMA2
    }

    /// The factor of attention's scores.
    pub fn query_scale(&self) -> f32 {
        let scalar =
            if self.is_gemma2() { self.gemma2.query_pre_attn_scalar } else { self.head_dim as f64 };
        scalar.powf(-0.5) as f32
    }

    /// The bound of attention's scores, for Gemma 2.
    pub fn attention_cap(&self) -> Option<f32> {
        self.gemma2.attn_logit_softcapping.filter(|_| self.is_gemma2()).map(|cap| cap as f32)
    }

    /// The bound of the logits, for Gemma 2.
    pub fn logit_cap(&self) -> Option<f32> {
        self.gemma2.final_logit_softcapping.filter(|_| self.is_gemma2()).map(|cap| cap as f32)
    }
}

impl VisionConfig {
    /// Patches along one edge.
    pub fn side(&self) -> usize {
        self.sizes().side()
    }

    /// The sizes of the tower.
    pub fn sizes(&self) -> SiglipSizes {
        SiglipSizes {
            hidden: self.hidden_size,
            inner: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            edge: self.image_size,
            patch: self.patch_size,
            eps: self.layer_norm_eps,
        }
    }
}

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a value that this model cannot be built with;
    /// [`ModelError::Io`] and [`ModelError::Config`] when the file cannot be read.
    pub fn read(config: &CheckpointFile) -> Result<Self, ModelError> {
        let file: ConfigFile = read_json(config)?;
        let wrong = |key: &str, expected: &str, got: String| {
            let (path, key, expected) = (config.shown(), key.into(), expected.into());
            Err(ModelError::Setting { path, key, expected, got })
        };
        let vlm_config = match (file.vlm_config, file.text_config, file.vision_config) {
            (Some(vlm), _, _) => vlm,
            (None, Some(text_config), Some(vision_config)) => VlmConfig {
                image_token_index: file.image_token_index.unwrap_or_else(image_token),
                text_config,
                vision_config,
            },
            _ => {
                let expected = "there, or text_config and vision_config";
                return wrong("vlm_config", expected, "missing".into());
            }
        };
        let embedding_dim = file.embedding_dim.unwrap_or(EMBEDDING_DIM);
        let config = Self { embedding_dim, vlm_config };
        let (text, vision) = (&config.vlm_config.text_config, &config.vlm_config.vision_config);
        if ![GEMMA, GEMMA2].contains(&text.model_type.as_str()) {
            return wrong("text_config.model_type", "gemma or gemma2", text.model_type.clone());
        }
        if vision.model_type != SIGLIP {
            return wrong("vision_config.model_type", SIGLIP, vision.model_type.clone());
        }
        let gemma2 = &text.gemma2;
        for (key, value) in [
            ("text_config.query_pre_attn_scalar", Some(gemma2.query_pre_attn_scalar)),
            ("text_config.attn_logit_softcapping", gemma2.attn_logit_softcapping),
            ("text_config.final_logit_softcapping", gemma2.final_logit_softcapping),
        ] {
            if let Some(value) = value.filter(|value| !(*value > 0.0 && value.is_finite())) {
                return wrong(key, "a number above 0", value.to_string());
            }
        }
        // `hidden_activation` is null in published files; where both are set, they agree.
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
        if text.num_hidden_layers == 0 {
            return wrong("text_config.num_hidden_layers", "at least 1", "0".into());
        }
        if text.head_dim == 0 || !text.head_dim.is_multiple_of(2) {
            return wrong("text_config.head_dim", "an even number", text.head_dim.to_string());
        }
        Ok(config)
    }
}
