//! `config.json` of a model of BERT's shape.

use serde::Deserialize;

use crate::checkpoint::files::CheckpointFile;
use crate::checkpoint::json::read_json;
use crate::error::ModelError;

/// What `config.json` may call such a model, and whether its positions are counted on from the
/// padding's id, as RoBERTa counts them.
const MODEL_TYPES: [(&str, bool); 5] = [
    ("bert", false),
    ("xlm-roberta", true),
    ("roberta", true),
    ("camembert", true),
    ("xlm-roberta-xl", true),
];

/// The sizes of a model.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    model_type: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    pub type_vocab_size: usize,
    pub layer_norm_eps: f64,
    hidden_act: String,
    #[serde(default)]
    pad_token_id: usize,
    #[serde(default)]
    position_embedding_type: Option<String>,
    /// Where it was trained from; tells what family a published model belongs to.
    #[serde(default, rename = "_name_or_path")]
    pub name: Option<String>,
}

/// What stands between the two layers of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// GELU by the error function.
    Gelu,
    /// GELU by its tanh form.
    GeluTanh,
}

impl Config {
    /// Reads `file`.
    ///
    /// # Errors
    /// [`ModelError::UnknownFamily`] for a model of another shape, [`ModelError::Setting`] for a
    /// setting that there is no arithmetic for.
    pub fn read(file: &CheckpointFile) -> Result<Self, ModelError> {
        let config: Self = read_json(file)?;
        if config.roberta().is_none() {
            return Err(ModelError::UnknownFamily {
                path: file.shown(),
                got: config.model_type,
                known: MODEL_TYPES.iter().map(|(name, _)| *name).collect(),
            });
        }
        let wrong = |key: &str, expected: String, got: String| ModelError::Setting {
            path: file.shown(),
            key: key.into(),
            expected,
            got,
        };
        if !matches!(config.position_embedding_type.as_deref(), None | Some("absolute")) {
            let got = config.position_embedding_type.unwrap_or_default();
            return Err(wrong("position_embedding_type", "absolute".into(), got));
        }
        if activation(&config.hidden_act).is_none() {
            return Err(wrong("hidden_act", "gelu or gelu_new".into(), config.hidden_act));
        }
        let heads = config.num_attention_heads;
        if heads == 0 || !config.hidden_size.is_multiple_of(heads) {
            let expected = format!("a divisor of {}", config.hidden_size);
            return Err(wrong("num_attention_heads", expected, heads.to_string()));
        }
        let least = config.first_position() + 3;
        if config.max_position_embeddings < least {
            let got = config.max_position_embeddings.to_string();
            return Err(wrong("max_position_embeddings", format!("at least {least}"), got));
        }
        Ok(config)
    }

    /// What stands between the two layers of an MLP.
    pub fn activation(&self) -> Activation {
        activation(&self.hidden_act).expect("checked when it was read")
    }

    /// The row of the position table for the first token.
    pub fn first_position(&self) -> usize {
        if self.roberta() == Some(true) { self.pad_token_id + 1 } else { 0 }
    }

    /// Tokens that a text may have, the special ones counted.
    pub fn longest(&self) -> usize {
        self.max_position_embeddings - self.first_position()
    }

    fn roberta(&self) -> Option<bool> {
        let known = MODEL_TYPES.iter().find(|(name, _)| *name == self.model_type);
        known.map(|(_, roberta)| *roberta)
    }
}

fn activation(name: &str) -> Option<Activation> {
    match name {
        "gelu" => Some(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Some(Activation::GeluTanh),
        _ => None,
    }
}
