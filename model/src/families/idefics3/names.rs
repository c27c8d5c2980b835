//! The layouts in which the weights are published. Source: transformers 5.24.0
//! `models/{modernvbert,colmodernvbert,idefics3}`, and what colpali-engine 0.3.13 to 0.3.18 saves.
//!
//! Canonical names: `vision_tower.*`, `multi_modal_projector.weight`, `language_model.*` and
//! `head.*`.

use crate::checkpoint::layout::{Layout, Names};

/// What the family with ModernBERT is called.
pub const MODERN: &str = "colmodernvbert";

/// What the family with Llama is called.
pub const SMOL: &str = "colsmol";

/// The tower of pictures.
pub const VISION: &str = "vision_tower";
/// Between the tower and the language model.
pub const CONNECTOR: &str = "multi_modal_projector";
/// The language model.
pub const LANGUAGE: &str = "language_model";

/// The table of tokens that were added to those of ModernBERT, in checkpoints that keep it apart.
pub const ADDED: &str = "language_model.embeddings.tok_embeddings.additional_embedding.weight";

/// Names of ColModernVBERT checkpoints. A layout that says more of a name comes before one that
/// says less.
pub static MODERN_NAMES: Names = Names {
    layouts: &[
        Layout {
            name: "HF-native",
            prefixes: &[
                ("vlm.vision_model.", "vision_tower."),
                ("vlm.connector.modality_projection.", "multi_modal_projector."),
                ("vlm.text_model.", "language_model."),
                ("embedding_proj_layer.", "head."),
            ],
        },
        Layout {
            name: "colpali-engine (before 0.3.14)",
            prefixes: &[
                ("model.vision_model.", "vision_tower."),
                ("model.connector.modality_projection.proj.", "multi_modal_projector."),
                ("model.text_model.", "language_model."),
                ("custom_text_proj.", "head."),
            ],
        },
        Layout {
            name: "colpali-engine",
            prefixes: &[
                ("model.vision_model.", "vision_tower."),
                ("model.connector.modality_projection.", "multi_modal_projector."),
                ("model.text_model.", "language_model."),
                ("custom_text_proj.", "head."),
            ],
        },
        // A model that was saved again with its adapter merged in by 0.3.18.
        Layout {
            name: "colpali-engine (saved again)",
            prefixes: &[
                ("model.vision_model.", "vision_tower."),
                ("model.connector.modality_projection.", "multi_modal_projector."),
                ("base_model.model.model.text_model.", "language_model."),
                ("base_model.model.text_model.", "language_model."),
                ("base_model.model.custom_text_proj.", "head."),
            ],
        },
    ],
    // The head with which SigLIP pools a picture, and output layers of language models.
    unused: &["vlm.vision_model.head.", "model.vision_model.head.", "lm_head."],
};

/// Names of ColSmol checkpoints.
pub static SMOL_NAMES: Names = Names {
    layouts: &[Layout {
        name: "colpali-engine",
        prefixes: &[
            ("model.vision_model.", "vision_tower."),
            ("model.connector.modality_projection.proj.", "multi_modal_projector."),
            ("model.text_model.", "language_model."),
            ("linear.", "head."),
        ],
    }],
    unused: &["lm_head.weight", "model.lm_head.weight"],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_is_found_by_its_names_and_translates_both_ways() {
        let canonical = [
            "vision_tower.encoder.layers.0.mlp.fc1.weight",
            "multi_modal_projector.weight",
            "language_model.layers.3.mlp.Wo.weight",
            "head.bias",
        ];
        for names in [&MODERN_NAMES, &SMOL_NAMES] {
            for &layout in names.layouts {
                let keys: Vec<String> = canonical.iter().map(|name| layout.key(name)).collect();
                let found = names.detect(keys.iter().map(String::as_str));
                assert_eq!(found, Some(layout), "{keys:?}");
                for (key, name) in keys.iter().zip(canonical) {
                    assert_eq!(layout.canonical(key).as_deref(), Some(name));
                }
            }
        }
        assert!(MODERN_NAMES.is_unused("vlm.vision_model.head.probe"));
        assert!(!MODERN_NAMES.is_unused("vlm.vision_model.headless"));
    }
}
