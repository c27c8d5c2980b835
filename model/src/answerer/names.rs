//! The layouts in which PaliGemma weights are published. Canonical names are those of ColPali, which
//! is a PaliGemma with another head.

use crate::checkpoint::layout::{Layout, Names};
use crate::families::colpali::names::{HEAD, LANGUAGE, PROJECTOR, VISION};

/// The output layer of the language model, where a file has one of its own.
pub const OUTPUT: &str = "lm_head.";

/// Names of PaliGemma checkpoints.
pub static NAMES: Names = Names {
    layouts: &[
        // google/paligemma-3b-mix-448 and its fine-tunes, google/paligemma2-*.
        Layout {
            name: "PaliGemma",
            prefixes: &[
                ("language_model.model.", LANGUAGE),
                ("language_model.lm_head.", OUTPUT),
                ("vision_tower.", VISION),
                ("multi_modal_projector.", PROJECTOR),
            ],
        },
        // The bases that ColPali's adapters are trained on, with a head that answers do not use.
        Layout {
            name: "colpali-engine",
            prefixes: &[
                ("model.language_model.model.", LANGUAGE),
                ("model.language_model.lm_head.", OUTPUT),
                ("custom_text_proj.", HEAD),
                ("model.vision_tower.", VISION),
                ("model.multi_modal_projector.", PROJECTOR),
            ],
        },
        // What transformers 4.52 and later have in memory.
        Layout {
            name: "PaliGemma (4.52)",
            prefixes: &[
                ("model.language_model.", LANGUAGE),
                ("lm_head.", OUTPUT),
                ("model.vision_tower.", VISION),
                ("model.multi_modal_projector.", PROJECTOR),
            ],
        },
    ],
    unused: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_is_found_by_its_names_and_translates_both_ways() {
        let canonical = [
            "vision_tower.vision_model.encoder.layers.0.mlp.fc2.bias",
            "multi_modal_projector.linear.weight",
            "language_model.embed_tokens.weight",
            "language_model.layers.17.self_attn.o_proj.weight",
        ];
        for &layout in NAMES.layouts {
            let with_output = canonical.iter().copied().chain(["lm_head.weight"]);
            for names in [canonical.to_vec(), with_output.collect()] {
                let keys: Vec<String> = names.iter().map(|name| layout.key(name)).collect();
                assert_eq!(NAMES.detect(keys.iter().map(String::as_str)), Some(layout));
                for (key, name) in keys.iter().zip(&names) {
                    assert_eq!(layout.canonical(key).as_deref(), Some(*name));
                }
            }
        }
        let retriever = ["vlm.language_model.model.norm.weight"];
        assert_eq!(NAMES.detect(retriever.into_iter()), None);
    }
}
