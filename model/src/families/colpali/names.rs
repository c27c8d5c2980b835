//! The layouts in which ColPali weights are published. Source: `_checkpoint_conversion_mapping` of
//! transformers 4.44 to 5.23, and what colpali-engine 0.2 to 0.3.18 saves.
//!
//! Canonical names: `vision_tower.vision_model.*`, `multi_modal_projector.linear.*`,
//! `language_model.{embed_tokens,layers.N,norm}.*` and `head.*`.

use crate::checkpoint::layout::{Layout, Names};

/// What the family is called.
pub const FAMILY_NAME: &str = "colpali";

/// The tower of pictures.
pub const VISION: &str = "vision_tower.";
/// Between the two towers.
pub const PROJECTOR: &str = "multi_modal_projector.";
/// The language model without its output layer.
pub const LANGUAGE: &str = "language_model.";
/// The last linear layer.
pub const HEAD: &str = "head.";

/// Names of ColPali checkpoints.
pub static NAMES: Names = Names {
    layouts: &[
        // vidore/colpali-v1.2-hf and -v1.3-hf; what 4.51, 4.57 and 5.x save.
        Layout {
            name: "HF-native",
            prefixes: &[
                ("vlm.language_model.model.", LANGUAGE),
                ("embedding_proj_layer.", HEAD),
                ("vlm.vision_tower.", VISION),
                ("vlm.multi_modal_projector.", PROJECTOR),
            ],
        },
        // Fine-tunes saved by transformers 4.52 and 4.53.
        Layout {
            name: "HF-native (4.52)",
            prefixes: &[
                ("vlm.model.language_model.", LANGUAGE),
                ("embedding_proj_layer.", HEAD),
                ("vlm.model.vision_tower.", VISION),
                ("vlm.model.multi_modal_projector.", PROJECTOR),
            ],
        },
        // vidore/colpali-v1.2-merged, vidore/colpaligemma-3b-pt-448-base.
        Layout {
            name: "colpali-engine",
            prefixes: &[
                ("model.language_model.model.", LANGUAGE),
                ("custom_text_proj.", HEAD),
                ("model.vision_tower.", VISION),
                ("model.multi_modal_projector.", PROJECTOR),
            ],
        },
        // colpali-engine in memory on transformers 4.52 and later.
        Layout {
            name: "colpali-engine (4.52)",
            prefixes: &[
                ("model.model.language_model.", LANGUAGE),
                ("custom_text_proj.", HEAD),
                ("model.model.vision_tower.", VISION),
                ("model.model.multi_modal_projector.", PROJECTOR),
            ],
        },
    ],
    // The language model's output layer: tied to the token embedding, not used by ColPali, carried
    // by some files.
    unused: &[
        "lm_head.weight",
        "language_model.lm_head.weight",
        "vlm.lm_head.weight",
        "vlm.language_model.lm_head.weight",
        "model.lm_head.weight",
        "model.language_model.lm_head.weight",
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    const CANONICAL: [&str; 5] = [
        "vision_tower.vision_model.encoder.layers.0.mlp.fc2.bias",
        "multi_modal_projector.linear.weight",
        "language_model.embed_tokens.weight",
        "language_model.layers.17.self_attn.o_proj.weight",
        "head.bias",
    ];

    #[test]
    fn each_layout_is_found_by_its_names_and_translates_both_ways() {
        for &layout in NAMES.layouts {
            let keys: Vec<String> = CANONICAL.iter().map(|name| layout.key(name)).collect();
            assert_eq!(NAMES.detect(keys.iter().map(String::as_str)), Some(layout));
            for (key, name) in keys.iter().zip(CANONICAL) {
                assert_eq!(layout.canonical(key).as_deref(), Some(name));
            }
            for unused in NAMES.unused {
                assert_eq!(layout.canonical(unused), None, "{unused}");
                assert!(NAMES.is_unused(unused));
            }
        }
        assert_eq!(NAMES.detect(["bert.encoder.layer.0.weight"].into_iter()), None);
        assert_eq!(NAMES.detect([].into_iter()), None);
    }
}
