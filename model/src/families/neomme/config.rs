//! `config.json` as published. Fields that are left out have the defaults of `NeoMMEConfig` in
//! transformers 5.24.0.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::blocks::rotation::frequency;
use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::json::read_json;
use crate::checkpoint::settings::{LARGEST_PATCH, MOST_LAYERS, Settings, WIDEST};
use crate::error::ModelError;

/// The sizes of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Rows of the token tables.
    pub vocabulary: usize,
    /// Width of a row of the token table, before it is brought to the model's width.
    pub rank: usize,
    /// Width of a position.
    pub hidden: usize,
    /// Width inside the MLPs.
    pub inner: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub keys: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// What norms add to the mean square.
    pub eps: f32,
    /// What the two branches of a layer are multiplied with.
    pub residual: f32,
    /// Edge of a patch, px.
    pub patch: usize,
    /// Length of a vector.
    pub dim: usize,
    /// The token of a patch.
    pub image_token: u32,
    /// The token that a page begins with.
    pub document_token: u32,
    /// How layers that see all positions turn them, and those that see a window.
    pub rotations: Rotations,
    /// The layers.
    pub layers: Vec<LayerConfig>,
}

/// What differs between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerConfig {
    /// Whether it turns positions as full attention does.
    pub full: bool,
    /// How far it sees to each side; `None` sees all.
    pub window: Option<usize>,
    /// Whether the value embeddings of tokens are added to its values.
    pub value_embedding: bool,
}

/// How both kinds of layers turn positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotations {
    /// Layers of full attention.
    pub full: Rotation,
    /// Layers of sliding attention.
    pub sliding: Rotation,
}

/// How a kind of layer turns positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotation {
    /// The base of the frequencies.
    pub theta: f64,
    /// The rows of a head that are turned, a multiple of 4: frequencies take turns between the axes.
    pub rows: usize,
}

impl Rotation {
    /// The axis and the frequency of each pair of rows of a head: even frequencies turn by the first
    /// axis, odd ones by the second.
    pub fn pairs(self) -> Vec<(usize, f32)> {
        let pairs = 0..self.rows / 2;
        pairs.map(|j| (j % 2, frequency(self.theta, j, self.rows))).collect()
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct ConfigFile {
    vocab_size: usize,
    embedding_rank: usize,
    hidden_size: usize,
    intermediate_size: usize,
    hidden_act: String,
    mlp_bias: bool,
    attention_bias: bool,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    norm_eps: f64,
    layer_types: Option<Vec<String>>,
    rope_parameters: Option<BTreeMap<String, RopeParameters>>,
    rope_theta: Option<f64>,
    sliding_window: Option<usize>,
    per_layer_config: Option<BTreeMap<String, PerLayer>>,
    residual_multiplier: Option<f64>,
    patch_size: usize,
    embedding_dim: usize,
    image_token_id: u32,
    document_token_id: u32,
}

#[derive(Deserialize, Default)]
struct RopeParameters {
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

#[derive(Deserialize)]
struct PerLayer {
    #[serde(default, deserialize_with = "said")]
    sliding_window: Option<Option<usize>>,
}

/// Tells a null from a field that is not there.
fn said<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<usize>>, D::Error> {
    Option::deserialize(d).map(Some)
}

/// The defaults of `NeoMMEConfig`, which are the sizes of NeoMME-260M.
impl Default for ConfigFile {
    fn default() -> Self {
        Self {
            vocab_size: 131_072,
            embedding_rank: 256,
            hidden_size: 1024,
            intermediate_size: 3584,
            hidden_act: RELU2.into(),
            mlp_bias: false,
            attention_bias: false,
            num_hidden_layers: 17,
            num_attention_heads: 16,
            num_key_value_heads: 4,
            head_dim: 64,
            norm_eps: 1e-6,
            layer_types: None,
            rope_parameters: None,
            rope_theta: None,
            sliding_window: Some(256),
            per_layer_config: None,
            residual_multiplier: None,
            patch_size: 32,
            embedding_dim: 128,
            image_token_id: 6,
            document_token_id: 5,
        }
    }
}

const RELU2: &str = "relu2";
const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

/// What every second sliding layer sees where the file says nothing of single layers.
const LONG_WINDOW: usize = 1024;

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a value that this model cannot be built with;
    /// [`ModelError::Io`] and [`ModelError::Config`] when the file cannot be read.
    pub fn read(file: &CheckpointFile) -> Result<Self, ModelError> {
        let config: ConfigFile = read_json(file)?;
        let settings = Settings::of(file);
        for (key, got) in [
            ("vocab_size", config.vocab_size),
            ("embedding_rank", config.embedding_rank),
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
            ("num_attention_heads", config.num_attention_heads),
            ("num_key_value_heads", config.num_key_value_heads),
            ("head_dim", config.head_dim),
            ("embedding_dim", config.embedding_dim),
        ] {
            settings.within(key, WIDEST, got)?;
        }
        for (key, most, got) in [
            ("num_hidden_layers", MOST_LAYERS, config.num_hidden_layers),
            ("patch_size", LARGEST_PATCH, config.patch_size),
        ] {
            settings.within(key, most, got)?;
        }
        if config.hidden_act != RELU2 {
            return settings.wrong("hidden_act", RELU2, config.hidden_act);
        }
        for (key, got) in [("mlp_bias", config.mlp_bias), ("attention_bias", config.attention_bias)]
        {
            if got {
                return settings.wrong(key, "false", "true".into());
            }
        }
        let (heads, keys) = (config.num_attention_heads, config.num_key_value_heads);
        settings.divides("num_key_value_heads", keys, heads)?;
        let residual = config
            .residual_multiplier
            .unwrap_or_else(|| (2.0 * config.num_hidden_layers as f64).powf(-0.5));
        for (key, got) in [("residual_multiplier", residual), ("norm_eps", config.norm_eps)] {
            settings.positive(key, got)?;
        }
        Ok(Self {
            rotations: Rotations {
                full: rotation(&settings, &config, FULL, 1e6, 0.25)?,
                sliding: rotation(&settings, &config, SLIDING, 1e4, 1.0)?,
            },
            layers: layers(&settings, &config)?,
            vocabulary: config.vocab_size,
            rank: config.embedding_rank,
            hidden: config.hidden_size,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            keys: config.num_key_value_heads,
            head_dim: config.head_dim,
            eps: config.norm_eps as f32,
            residual: residual as f32,
            patch: config.patch_size,
            dim: config.embedding_dim,
            image_token: config.image_token_id,
            document_token: config.document_token_id,
        })
    }
}

fn rotation(
    settings: &Settings,
    config: &ConfigFile,
    kind: &str,
    theta: f64,
    share: f64,
) -> Result<Rotation, ModelError> {
    let said = config.rope_parameters.as_ref().and_then(|kinds| kinds.get(kind));
    let key = |field: &str| format!("rope_parameters.{kind}.{field}");
    if let Some(other) = said.and_then(|said| said.rope_type.as_deref())
        && other != "default"
    {
        return settings.wrong(&key("rope_type"), "default", other.into());
    }
    let theta = said.and_then(|said| said.rope_theta).or(config.rope_theta).unwrap_or(theta);
    settings.positive(&key("rope_theta"), theta)?;
    let share = said.and_then(|said| said.partial_rotary_factor).unwrap_or(share);
    let rows = (config.head_dim as f64 * share) as usize;
    if !(0.0..=1.0).contains(&share) || rows < 4 || !rows.is_multiple_of(4) {
        let expected = "a share of head_dim that is a multiple of 4";
        return settings.wrong(&key("partial_rotary_factor"), expected, share.to_string());
    }
    Ok(Rotation { theta, rows })
}

fn layers(settings: &Settings, config: &ConfigFile) -> Result<Vec<LayerConfig>, ModelError> {
    let count = config.num_hidden_layers;
    let full: Vec<bool> = match &config.layer_types {
        None => (0..count).map(|n| (n + 1).is_multiple_of(6) || n + 1 == count).collect(),
        Some(types) => {
            if let Some(other) = types.iter().find(|kind| *kind != FULL && *kind != SLIDING) {
                let expected = format!("{FULL} and {SLIDING}");
                return settings.wrong("layer_types", &expected, other.clone());
            }
            types.iter().map(|kind| kind == FULL).collect()
        }
    };
    if full.len() != count {
        let got = format!("{} of them", full.len());
        return settings.wrong("layer_types", &format!("as many as layers, {count}"), got);
    }
    let (Some(first), Some(last)) =
        (full.iter().position(|full| *full), full.iter().rposition(|full| *full))
    else {
        return settings.wrong("layer_types", &format!("at least one {FULL}"), "none".into());
    };
    let mut sliding = 0;
    let mut layers = Vec::with_capacity(count);
    for (n, &full) in full.iter().enumerate() {
        let window = match &config.per_layer_config {
            // What is said of single layers replaces the rule for all of them.
            Some(single) => match single.get(&n.to_string()).and_then(|l| l.sliding_window) {
                Some(window) => window,
                None => config.sliding_window,
            },
            None if full => None,
            None if sliding % 2 == 1 => Some(LONG_WINDOW),
            None => config.sliding_window,
        };
        sliding += usize::from(!full);
        if window == Some(0) || (!full && window.is_none()) {
            let key = format!("per_layer_config.{n}.sliding_window");
            return settings.wrong(&key, "a positive number", format!("{window:?}"));
        }
        layers.push(LayerConfig { full, window, value_embedding: n == first || n == last });
    }
    Ok(layers)
}
