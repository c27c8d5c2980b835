//! The tokens that end a text. Published files do not agree on them, so any that one names ends it.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::error::ModelError;

/// A number or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

#[derive(Default, Deserialize)]
struct EndConfig {
    eos_token_id: Option<Ids>,
    text_config: Option<TextEndConfig>,
}

#[derive(Deserialize)]
struct TextEndConfig {
    eos_token_id: Option<Ids>,
}

/// Every `eos_token_id` of `generation_config.json` and `config.json`, and of the language model
/// inside the latter. `eos`, the tokenizer's own, is always among them.
///
/// # Errors
/// [`ModelError::Io`] and [`ModelError::Config`] when a file cannot be read.
pub fn stops(checkpoint: &Checkpoint, eos: u32) -> Result<BTreeSet<u32>, ModelError> {
    let mut stops = BTreeSet::from([eos]);
    for name in ["generation_config.json", "config.json"] {
        let file = checkpoint.file(name);
        let config = if file.exists() { read_json(&file)? } else { EndConfig::default() };
        let of_text = config.text_config.and_then(|text| text.eos_token_id);
        for ids in [config.eos_token_id, of_text].into_iter().flatten() {
            match ids {
                Ids::One(id) => drop(stops.insert(id)),
                Ids::Many(ids) => stops.extend(ids),
            }
        }
    }
    Ok(stops)
}
