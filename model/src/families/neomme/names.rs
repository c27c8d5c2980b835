//! The layout in which NeoMME's weights are published: what transformers 5.19 to 5.24 saves.
//!
//! Canonical names: `patch_embeddings.*`, `value_embeddings.weight`,
//! `language_model.{embed_tokens,layers.N}.*` and `head.*`.

use crate::checkpoint::layout::{Layout, Names};
use crate::checkpoint::weights::Weights;

/// What the family is called.
pub const FAMILY_NAME: &str = "neomme";

/// Names of NeoMME checkpoints.
pub static NAMES: Names = Names {
    layouts: &[Layout {
        name: "HF-native",
        prefixes: &[
            ("model.layers.", "language_model.layers."),
            ("model.embed_tokens.", "language_model.embed_tokens."),
            ("model.patch_embeddings.", "patch_embeddings."),
            ("model.value_embeddings.", "value_embeddings."),
            ("multi_vector_head.proj.", "head."),
        ],
    }],
    unused: &[],
};

/// Names inside a layer's attention: as they are, and as the class had them before it was published.
const ATTENTION: [(&str, &str); 3] = [
    ("exclusive_self_attention.alpha", "alpha"),
    ("output_projection.gate_proj", "gate_proj"),
    ("output_projection.o_proj", "o_proj"),
];

/// The name of a part of `layer`'s attention, by which `weights` have it.
pub fn attention(weights: &Weights, layer: &str, part: &str) -> String {
    let older = ATTENTION.iter().find(|(name, _)| *name == part).map(|(_, older)| *older);
    let there = |name: &str| {
        let whole = format!("{layer}.self_attn.{name}");
        weights.contains(&whole) || weights.contains(&format!("{whole}.weight"))
    };
    let name = older.filter(|older| !there(part) && there(older)).unwrap_or(part);
    format!("{layer}.self_attn.{name}")
}
