//! The layouts in which ColQwen weights are published. Source: `_checkpoint_conversion_mapping` of
//! transformers 4.45 to 5.24, and what colpali-engine 0.3.1 to 0.3.18 saves.
//!
//! Canonical names: `visual.*`, `language_model.{embed_tokens,layers.N,norm}.*` and `head.*`.

use crate::checkpoint::layout::{Layout, Names};

/// What the older family is called.
pub const FAMILY_2: &str = "colqwen2";

/// What the family after it is called.
pub const FAMILY_2_5: &str = "colqwen2.5";

/// What the newest family is called.
pub const FAMILY_3_5: &str = "colqwen3.5";

/// Names of ColQwen checkpoints. Where two layouts know the same names, the one that says more of
/// them comes first.
pub static NAMES: Names = Names {
    layouts: &[
        // vidore/colqwen2-v1.0-hf.
        Layout {
            name: "HF-native",
            prefixes: &[
                ("vlm.model.visual.", "visual."),
                ("vlm.model.language_model.", "language_model."),
                ("embedding_proj_layer.", "head."),
            ],
        },
        Layout {
            name: "HF-native (before 4.52)",
            prefixes: &[
                ("vlm.visual.", "visual."),
                ("vlm.model.", "language_model."),
                ("embedding_proj_layer.", "head."),
            ],
        },
        // What Qwen's own models are saved as by transformers 4.52 and later.
        Layout {
            name: "Qwen (4.52)",
            prefixes: &[
                ("model.visual.", "visual."),
                ("model.language_model.", "language_model."),
                ("custom_text_proj.", "head."),
            ],
        },
        // vidore/colqwen2.5-base, vidore/colqwen2-base, Qwen/Qwen2.5-VL-3B-Instruct.
        Layout {
            name: "colpali-engine (before 4.52)",
            prefixes: &[
                ("visual.", "visual."),
                ("model.", "language_model."),
                ("custom_text_proj.", "head."),
            ],
        },
        Layout {
            name: "colpali-engine",
            prefixes: &[
                ("visual.", "visual."),
                ("language_model.", "language_model."),
                ("custom_text_proj.", "head."),
            ],
        },
    ],
    // The language model's output layer, and the layer with which Qwen3.5 guesses tokens ahead: not
    // used for vectors, carried by some files.
    unused: &["lm_head.weight", "vlm.lm_head.weight", "model.lm_head.weight", "mtp."],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_is_found_by_its_names_and_translates_both_ways() {
        let canonical = [
            "visual.blocks.0.attn.qkv.weight",
            "visual.merger.mlp.2.bias",
            "language_model.embed_tokens.weight",
            "language_model.layers.17.self_attn.o_proj.weight",
            "head.bias",
        ];
        for &layout in NAMES.layouts {
            let keys: Vec<String> = canonical.iter().map(|name| layout.key(name)).collect();
            assert_eq!(NAMES.detect(keys.iter().map(String::as_str)), Some(layout));
            for (key, name) in keys.iter().zip(canonical) {
                assert_eq!(layout.canonical(key).as_deref(), Some(name));
            }
            // An adapter has the language model and the head alone.
            let part = keys[3..].iter().map(String::as_str);
            let found = NAMES.detect(part).unwrap();
            assert_eq!(found.canonical(&keys[3]).as_deref(), Some(canonical[3]));
        }
    }
}
