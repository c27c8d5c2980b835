//! Every tensor that a ColPali of given sizes has: canonical name and shape. It lists what
//! [`Weights`](crate::checkpoint::weights::Weights) hands out one by one, so that files can be
//! checked without being read.

use crate::checkpoint::inventory::{Entry, Inventory};
use crate::families::colpali::config::Config;

/// The tensors of the vision tower and its projector.
pub fn vision(config: &Config) -> Vec<Entry> {
    const TOWER: &str = "vision_tower.vision_model";
    let vision = &config.vlm_config.vision_config;
    let mut list = Inventory::default();
    vision.sizes().list(TOWER, &mut list);
    let width = config.vlm_config.text_config.hidden_size;
    list.linear("multi_modal_projector.linear", vision.hidden_size, width, true);
    list.entries
}

/// All tensors of the model.
pub fn all(config: &Config) -> Vec<Entry> {
    let mut list = Inventory { entries: vision(config) };
    list.entries.extend(language(config));
    let width = config.vlm_config.text_config.hidden_size;
    list.linear("head", width, config.embedding_dim, true);
    list.entries
}

/// The tensors of the language model without an output layer.
pub fn language(config: &Config) -> Vec<Entry> {
    const MODEL: &str = "language_model";
    let text = &config.vlm_config.text_config;
    let (hidden, inner) = (text.hidden_size, text.intermediate_size);
    let queries = text.num_attention_heads * text.head_dim;
    let keys = text.num_key_value_heads * text.head_dim;
    let mut list = Inventory::default();
    list.add(format!("{MODEL}.embed_tokens.weight"), &[text.vocab_size, hidden]);
    for n in 0..text.num_hidden_layers {
        let layer = format!("{MODEL}.layers.{n}");
        let norms = ["input_layernorm", "post_attention_layernorm"].into_iter();
        let of_gemma2 = ["pre_feedforward_layernorm", "post_feedforward_layernorm"].into_iter();
        for norm in norms.chain(of_gemma2.filter(|_| text.is_gemma2())) {
            list.add(format!("{layer}.{norm}.weight"), &[hidden]);
        }
        for (name, input, output) in [
            ("self_attn.q_proj", hidden, queries),
            ("self_attn.k_proj", hidden, keys),
            ("self_attn.v_proj", hidden, keys),
            ("self_attn.o_proj", queries, hidden),
            ("mlp.gate_proj", hidden, inner),
            ("mlp.up_proj", hidden, inner),
            ("mlp.down_proj", inner, hidden),
        ] {
            list.linear(&format!("{layer}.{name}"), input, output, false);
        }
    }
    list.add(format!("{MODEL}.norm.weight"), &[hidden]);
    list.entries
}

/// Multiplications and additions for a slice of a page of so many `positions`.
pub fn operations(config: &Config, positions: usize) -> u64 {
    let (seen, text) = (&config.vlm_config.vision_config, &config.vlm_config.text_config);
    let patches = seen.side() * seen.side();
    // Matrices are multiplied with every position; the token table is looked up.
    let numbers = |entries: &[Entry]| -> usize {
        let table =
            |name: &str| name.contains("embed_tokens") || name.contains("position_embedding");
        let matrices = entries.iter().filter(|entry| entry.shape.len() > 1 && !table(&entry.name));
        matrices.map(|entry| entry.shape.iter().product::<usize>()).sum()
    };
    let vision = numbers(&vision(config));
    let language = numbers(&all(config)) - vision;
    let pairs = 2 * patches * patches * seen.hidden_size * seen.num_hidden_layers
        + 2 * positions.pow(2) * text.num_attention_heads * text.head_dim * text.num_hidden_layers;
    2 * (vision * patches + language * positions + pairs) as u64
}
