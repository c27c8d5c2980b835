//! `config.json` as published. Fields that are left out have the defaults of transformers 5.24.0:
//! `ModernVBertConfig` (the sizes of Ettin-150m and SigLIP2-B, which files of before 0.3.14 name
//! but do not state) and `Idefics3Config`.

use serde::Deserialize;

use crate::blocks::decoder::sizes::{DecoderSizes, Mix, Style};
use crate::blocks::siglip::SiglipSizes;
use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::json::read_json;
use crate::checkpoint::settings::{LARGEST_PATCH, MOST_LAYERS, Settings, WIDEST};
use crate::error::ModelError;
use crate::families::idefics3::modern_config::{ModernFile, ModernSizes};
use crate::families::idefics3::names::{MODERN, SMOL};

/// The sizes of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which of the two families it is.
    pub family: &'static str,
    /// The tower that sees tiles.
    pub vision: SiglipSizes,
    /// Patches along each side of a feature.
    pub shuffle: usize,
    /// The language model.
    pub text: TextSizes,
    /// The token of a feature.
    pub image_token: u32,
    /// Length of a vector.
    pub dim: usize,
}

/// The two kinds of language models.
#[derive(Debug, Clone, PartialEq)]
pub enum TextSizes {
    /// Of ColModernVBERT.
    Modern(ModernSizes),
    /// Of ColSmol.
    Llama(DecoderSizes),
}

impl TextSizes {
    /// Width of a position.
    pub fn hidden(&self) -> usize {
        match self {
            Self::Modern(sizes) => sizes.hidden,
            Self::Llama(sizes) => sizes.hidden,
        }
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        match self {
            Self::Modern(sizes) => sizes.layers.len(),
            Self::Llama(sizes) => sizes.layers.len(),
        }
    }

    /// Rows of the token table.
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Modern(sizes) => sizes.vocabulary + sizes.added,
            Self::Llama(sizes) => sizes.vocabulary,
        }
    }
}

impl Config {
    /// Features along each side of a tile.
    pub fn side(&self) -> usize {
        self.vision.side() / self.shuffle
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConfigFile {
    model_type: Option<String>,
    /// transformers writes the configuration of the whole model inside.
    vlm_config: Option<Box<ConfigFile>>,
    embedding_dim: Option<usize>,
    text_config: Option<serde_json::Value>,
    vision_config: Option<VisionFile>,
    image_token_id: Option<u32>,
    /// As ModernVBERT calls it, and as Idefics3 does.
    pixel_shuffle_factor: Option<usize>,
    scale_factor: Option<usize>,
    /// Before 0.3.14: rows of ModernBERT's own table, and of the table beside it.
    vocab_size: Option<usize>,
    additional_vocab_size: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct VisionFile {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_channels: Option<usize>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    layer_norm_eps: Option<f64>,
    hidden_act: Option<String>,
}

/// The defaults of `LlamaConfig`.
#[derive(Deserialize)]
#[serde(default)]
struct LlamaFile {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<serde_json::Value>,
    rope_parameters: Option<RopeParameters>,
    hidden_act: String,
    attention_bias: bool,
    mlp_bias: bool,
}

#[derive(Deserialize)]
struct RopeParameters {
    rope_type: Option<String>,
    rope_theta: Option<f64>,
}

impl Default for LlamaFile {
    fn default() -> Self {
        Self {
            model_type: "llama".into(),
            vocab_size: 32_000,
            hidden_size: 4096,
            intermediate_size: 11_008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            rms_norm_eps: 1e-6,
            rope_theta: None,
            rope_scaling: None,
            rope_parameters: None,
            hidden_act: "silu".into(),
            attention_bias: false,
            mlp_bias: false,
        }
    }
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
        let dim = outer.embedding_dim.unwrap_or(128);
        settings.within("embedding_dim", WIDEST, dim)?;
        let whole = match outer.vlm_config {
            Some(inner) => *inner,
            None => outer,
        };
        let family = match whole.model_type.as_deref() {
            Some("modernvbert" | "colmodernvbert") => MODERN,
            Some("idefics3") => SMOL,
            other => {
                let got = other.unwrap_or("missing").to_string();
                return settings.wrong("model_type", "modernvbert or idefics3", got);
            }
        };
        let text = whole.text_config.unwrap_or_else(|| serde_json::json!({}));
        let parsed = |source| ModelError::Config { path: file.shown(), source };
        let text = if family == MODERN {
            let text: ModernFile = serde_json::from_value(text).map_err(parsed)?;
            let added = whole.additional_vocab_size.unwrap_or(0);
            TextSizes::Modern(text.sizes(&settings, whole.vocab_size, added)?)
        } else {
            let text: LlamaFile = serde_json::from_value(text).map_err(parsed)?;
            TextSizes::Llama(text.sizes(&settings)?)
        };
        let vision = whole.vision_config.unwrap_or_default().sizes(&settings, family)?;
        let (factor, image_token) = if family == MODERN { (4, 50_407) } else { (2, 128_257) };
        let shuffle = whole.pixel_shuffle_factor.or(whole.scale_factor).unwrap_or(factor);
        settings.divides("pixel_shuffle_factor", shuffle, vision.side())?;
        let image_token = whole.image_token_id.unwrap_or(image_token);
        Ok(Self { family, vision, shuffle, text, image_token, dim })
    }
}

impl VisionFile {
    fn sizes(self, settings: &Settings, family: &str) -> Result<SiglipSizes, ModelError> {
        // Hidden, layers, heads, edge, patch.
        let own = if family == MODERN { [768, 12, 12, 512, 16] } else { [1152, 12, 16, 224, 32] };
        let sizes = SiglipSizes {
            hidden: self.hidden_size.unwrap_or(own[0]),
            inner: self.intermediate_size.unwrap_or(3072),
            layers: self.num_hidden_layers.unwrap_or(own[1]),
            heads: self.num_attention_heads.unwrap_or(own[2]),
            edge: self.image_size.unwrap_or(own[3]),
            patch: self.patch_size.unwrap_or(own[4]),
            eps: self.layer_norm_eps.unwrap_or(1e-6),
        };
        for (key, most, got) in [
            ("hidden_size", WIDEST, sizes.hidden),
            ("intermediate_size", WIDEST, sizes.inner),
            ("num_hidden_layers", MOST_LAYERS, sizes.layers),
            ("num_attention_heads", WIDEST, sizes.heads),
            ("image_size", LARGEST_TILE, sizes.edge),
            ("patch_size", LARGEST_PATCH, sizes.patch),
        ] {
            settings.within(&format!("vision_config.{key}"), most, got)?;
        }
        settings.divides("vision_config.num_attention_heads", sizes.heads, sizes.hidden)?;
        settings.divides("vision_config.patch_size", sizes.patch, sizes.edge)?;
        settings.positive("vision_config.layer_norm_eps", sizes.eps)?;
        settings.is("vision_config.num_channels", "3", self.num_channels)?;
        settings.is("vision_config.hidden_act", "gelu_pytorch_tanh", self.hidden_act)?;
        Ok(sizes)
    }
}

/// Edge of the largest tile, px.
const LARGEST_TILE: usize = 4096;

impl LlamaFile {
    fn sizes(self, settings: &Settings) -> Result<DecoderSizes, ModelError> {
        let heads = self.num_attention_heads;
        let keys = self.num_key_value_heads.unwrap_or(heads);
        for (key, most, got) in [
            ("vocab_size", WIDEST, self.vocab_size),
            ("hidden_size", WIDEST, self.hidden_size),
            ("intermediate_size", WIDEST, self.intermediate_size),
            ("num_hidden_layers", MOST_LAYERS, self.num_hidden_layers),
            ("num_attention_heads", WIDEST, heads),
            ("num_key_value_heads", WIDEST, keys),
        ] {
            settings.within(&format!("text_config.{key}"), most, got)?;
        }
        settings.divides("text_config.num_key_value_heads", keys, heads)?;
        let head_dim = self.head_dim.unwrap_or(self.hidden_size / heads);
        settings.within("text_config.head_dim", WIDEST / heads, head_dim)?;
        if !head_dim.is_multiple_of(2) {
            return settings.wrong("text_config.head_dim", "an even number", head_dim.to_string());
        }
        settings.is("text_config.model_type", "llama", Some(self.model_type))?;
        settings.is("text_config.hidden_act", "silu", Some(self.hidden_act))?;
        settings.is("text_config.attention_bias", "false", Some(self.attention_bias))?;
        settings.is("text_config.mlp_bias", "false", Some(self.mlp_bias))?;
        let scaled = self.rope_scaling.filter(|scaling| !scaling.is_null());
        settings.is("text_config.rope_scaling", "null", scaled)?;
        let rope = self.rope_parameters.as_ref();
        let kind = rope.and_then(|rope| rope.rope_type.clone());
        settings.is("text_config.rope_parameters.rope_type", "default", kind)?;
        let theta = rope.and_then(|rope| rope.rope_theta).or(self.rope_theta).unwrap_or(10_000.0);
        settings.positive("text_config.rope_theta", theta)?;
        settings.positive("text_config.rms_norm_eps", self.rms_norm_eps)?;
        Ok(DecoderSizes {
            vocabulary: self.vocab_size,
            hidden: self.hidden_size,
            inner: self.intermediate_size,
            heads,
            keys,
            head_dim,
            eps: self.rms_norm_eps as f32,
            style: Style::Llama,
            axes: vec![0; head_dim / 2],
            theta,
            layers: vec![Mix::Attention; self.num_hidden_layers],
        })
    }
}
