//! Every tensor that a NeoMME of given sizes has, and what a page costs.

use crate::checkpoint::inventory::{Entry, Inventory};
use crate::checkpoint::weights::Weights;
use crate::families::neomme::config::Config;
use crate::families::neomme::names::attention;

/// The tensors that only pages need.
pub fn patches(config: &Config) -> Vec<Entry> {
    let mut list = Inventory::default();
    let (width, hidden) = (3 * config.patch * config.patch, config.hidden);
    list.norm("patch_embeddings.norm", width);
    list.linear("patch_embeddings.up_proj", width, 2 * hidden, false);
    list.linear("patch_embeddings.down_proj", 2 * hidden, hidden, true);
    list.entries
}

/// All tensors of the model, by the names that `weights` have for them.
pub fn all(config: &Config, weights: &Weights) -> Vec<Entry> {
    const MODEL: &str = "language_model";
    let (hidden, inner) = (config.hidden, config.inner);
    let (queries, keys) = (config.heads * config.head_dim, config.keys * config.head_dim);
    let mut list = Inventory { entries: patches(config) };
    let words = format!("{MODEL}.embed_tokens.word_embeddings.weight");
    list.add(words, &[config.vocabulary, config.rank]);
    list.linear(&format!("{MODEL}.embed_tokens.embedding_projection"), config.rank, hidden, false);
    list.add("value_embeddings.weight".into(), &[config.vocabulary, keys]);
    for n in 0..config.layers.len() {
        let layer = format!("{MODEL}.layers.{n}");
        let part = |name: &str| attention(weights, &layer, name);
        list.add(format!("{layer}.lambdas"), &[2]);
        list.add(part("exclusive_self_attention.alpha"), &[config.heads]);
        for (name, input, output) in [
            (part("q_proj"), hidden, queries),
            (part("k_proj"), hidden, keys),
            (part("v_proj"), hidden, keys),
            (part("output_projection.gate_proj"), hidden, queries),
            (part("output_projection.o_proj"), queries, hidden),
            (format!("{layer}.mlp.up_proj"), hidden, inner),
            (format!("{layer}.mlp.down_proj"), inner, hidden),
        ] {
            list.linear(&name, input, output, false);
        }
    }
    list.linear("head", hidden, config.dim, false);
    list.entries
}

/// Multiplications and additions for a page of so many patches and positions.
pub fn operations(config: &Config, patches: usize, positions: usize) -> u64 {
    let (hidden, width) = (config.hidden, 3 * config.patch * config.patch);
    let (queries, keys) = (config.heads * config.head_dim, config.keys * config.head_dim);
    let stem = (width + hidden) * 2 * hidden * patches;
    let layer = hidden * (3 * queries + 2 * keys + 2 * config.inner);
    let linear = stem + positions * (layer * config.layers.len() + hidden * config.dim);
    let seen = |window: Option<usize>| match window {
        Some(reach) => (0..positions)
            .map(|at| (at + reach + 1).min(positions) - at.saturating_sub(reach))
            .sum::<usize>(),
        None => positions * positions,
    };
    let pairs: usize = config.layers.iter().map(|layer| seen(layer.window)).sum();
    2 * (linear + 2 * queries * pairs) as u64
}
