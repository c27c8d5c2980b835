//! What stands between text and vectors beside the weights: prefixes, pooling, dimensions.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::embedder::config::Config;
use crate::error::ModelError;

/// The file beside the weights that says a recipe.
const FILE: &str = "embedder.json";

/// A vocabulary of at least as many pieces is one of many languages: those of English have 30,522
/// or 50,265, those of XLM-R's kind 250,002.
const MANY_LANGUAGES: usize = 100_000;

/// How the vectors of tokens become one of their passage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// That of the first token, which stands for the whole text.
    Cls,
}

/// The languages that a model was made for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Languages {
    /// English. Questions in other letters, or in words that its vocabulary has no whole pieces
    /// for, are not asked.
    #[default]
    English,
    /// Many: every question is asked.
    Many,
}

/// What stands between text and vectors beside the weights.
///
/// ```
/// use pagesight_model::{EmbedderRecipe, Pooling};
/// let recipe: EmbedderRecipe = serde_json::from_str(r#"{"pooling": "cls"}"#).unwrap();
/// assert_eq!((recipe.pooling, recipe.query_prefix.as_str()), (Pooling::Cls, ""));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbedderRecipe {
    /// How the vectors of tokens become one of their passage.
    pub pooling: Pooling,
    /// Put before a question, as the model was trained.
    pub query_prefix: String,
    /// Put before each passage.
    pub passage_prefix: String,
    /// The first numbers of a pooled vector that are kept, for models trained so that these suffice
    /// [default: all].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
    /// The languages that the model was made for.
    pub languages: Languages,
}

/// What sentence-transformers writes of a model's pooling.
#[derive(Deserialize)]
struct PoolingConfig {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
}

/// What sentence-transformers writes of a model's prefixes.
#[derive(Deserialize)]
struct Prompts {
    #[serde(default)]
    prompts: std::collections::BTreeMap<String, String>,
}

impl EmbedderRecipe {
    /// The recipe of `checkpoint`: the one that its own file says; else what sentence-transformers'
    /// files say of pooling and prefixes, and, where these say nothing, what published models of the
    /// name are known to need.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a way of pooling that there is none of here.
    pub(crate) fn of(checkpoint: &Checkpoint, config: &Config) -> Result<Self, ModelError> {
        let own = checkpoint.file(FILE);
        if own.exists() {
            return read_json(&own);
        }
        let names = [Some(checkpoint.files().shown()), config.name.clone().map(PathBuf::from)];
        let mut recipe = names.iter().flatten().find_map(|name| known(name)).unwrap_or_default();
        let file = checkpoint.file("1_Pooling/config.json");
        if file.exists() {
            let pooling: PoolingConfig = read_json(&file)?;
            recipe.pooling = match pooling {
                PoolingConfig { pooling_mode_cls_token: true, .. } => Pooling::Cls,
                PoolingConfig { pooling_mode_mean_tokens: true, .. } => Pooling::Mean,
                _ => {
                    return Err(ModelError::Setting {
                        path: file.shown(),
                        key: "pooling_mode".into(),
                        expected: "the mean of all tokens, or the first".into(),
                        got: "another".into(),
                    });
                }
            };
        }
        let file = checkpoint.file("config_sentence_transformers.json");
        if file.exists() {
            let Prompts { prompts } = read_json(&file)?;
            let said = |names: &[&str]| names.iter().find_map(|name| prompts.get(*name)).cloned();
            if let Some(prefix) = said(&["query"]) {
                recipe.query_prefix = prefix;
            }
            if let Some(prefix) = said(&["passage", "document"]) {
                recipe.passage_prefix = prefix;
            }
        }
        if config.vocab_size >= MANY_LANGUAGES {
            recipe.languages = Languages::Many;
        }
        Ok(recipe)
    }
}

/// What a published model of this name needs and its files may not say.
fn known(name: &Path) -> Option<EmbedderRecipe> {
    const SEARCH: &str = "Represent this sentence for searching relevant passages: ";
    let name = name.to_string_lossy().to_lowercase();
    let has = |part: &str| {
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| word == part)
    };
    if has("e5") {
        return Some(EmbedderRecipe {
            query_prefix: "query: ".into(),
            passage_prefix: "passage: ".into(),
            ..EmbedderRecipe::default()
        });
    }
    if has("bge") || has("arctic") {
        // bge-m3 and the second arctic were trained without this sentence.
        let prefix = match () {
            () if has("m3") => "",
            () if has("arctic") && has("v2") => "query: ",
            () => SEARCH,
        };
        let query_prefix = prefix.into();
        return Some(EmbedderRecipe { query_prefix, pooling: Pooling::Cls, ..Default::default() });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_models_are_known_by_their_names() {
        let prefixes = |name: &str| {
            let recipe = known(Path::new(name)).unwrap_or_default();
            (recipe.query_prefix, recipe.passage_prefix, recipe.pooling)
        };
        let hub = "/cache/models--intfloat--e5-small-v2/snapshots/0123";
        assert_eq!(prefixes(hub), ("query: ".into(), "passage: ".into(), Pooling::Mean));
        let (query, passage, pooling) = prefixes("/models/bge-small-en-v1.5");
        assert!(query.starts_with("Represent this sentence") && passage.is_empty());
        assert_eq!(pooling, Pooling::Cls);
        assert_eq!(prefixes("snowflake-arctic-embed-m-v2.0").0, "query: ");
        assert_eq!(prefixes("nreimers/MiniLM-L6-H384-uncased").0, "");
        assert_eq!(prefixes("/home/some-e5x/model").0, "");
    }
}
