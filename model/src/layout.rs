//! The layouts in which ColPali weights are published: the same tensors under other names.
//! Source: `_checkpoint_conversion_mapping` of transformers 4.44 to 5.23, and what colpali-engine
//! 0.2 to 0.3.18 saves.

use std::fmt;

/// How a checkpoint names its tensors; found by the names that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    name: &'static str,
    /// Before `vision_tower.` and `multi_modal_projector.`.
    outer: &'static str,
    /// Before the language model's `embed_tokens`, `layers` and `norm`.
    language: &'static str,
    /// The last linear layer.
    head: &'static str,
}

const LAYOUTS: [Layout; 4] = [
    // vidore/colpali-v1.2-hf and -v1.3-hf; what 4.51, 4.57 and 5.x save.
    Layout {
        name: "HF-native",
        outer: "vlm.",
        language: "vlm.language_model.model.",
        head: "embedding_proj_layer.",
    },
    // Fine-tunes saved by transformers 4.52 and 4.53.
    Layout {
        name: "HF-native (4.52)",
        outer: "vlm.model.",
        language: "vlm.model.language_model.",
        head: "embedding_proj_layer.",
    },
    // vidore/colpali-v1.2-merged, vidore/colpaligemma-3b-pt-448-base.
    Layout {
        name: "colpali-engine",
        outer: "model.",
        language: "model.language_model.model.",
        head: "custom_text_proj.",
    },
    // colpali-engine in memory on transformers 4.52 and later.
    Layout {
        name: "colpali-engine (4.52)",
        outer: "model.model.",
        language: "model.model.language_model.",
        head: "custom_text_proj.",
    },
];

/// Canonical names begin with one of these.
const VISION: &str = "vision_tower.";
const PROJECTOR: &str = "multi_modal_projector.";
const LANGUAGE: &str = "language_model.";
const HEAD: &str = "head.";

/// The language model's output layer: tied to the token embedding, not used by ColPali, carried
/// by some files.
const UNUSED: [&str; 6] = [
    "lm_head.weight",
    "language_model.lm_head.weight",
    "vlm.lm_head.weight",
    "vlm.language_model.lm_head.weight",
    "model.lm_head.weight",
    "model.language_model.lm_head.weight",
];

impl Layout {
    /// The layout that knows most of `keys`; `None` when none knows any.
    pub fn detect<'a>(keys: impl Iterator<Item = &'a str> + Clone) -> Option<Self> {
        let known = |layout: Self| keys.clone().filter(move |key| layout.canonical(key).is_some());
        let (layout, count) = LAYOUTS
            .into_iter()
            .map(|layout| (layout, known(layout).count()))
            // The first of equals.
            .reduce(|best, next| if next.1 > best.1 { next } else { best })?;
        (count > 0).then_some(layout)
    }

    /// What the file's `key` is called here: `vision_tower.*`, `multi_modal_projector.*`,
    /// `language_model.*` or `head.*`; `None` for a name that this layout does not have.
    pub fn canonical(&self, key: &str) -> Option<String> {
        if let Some(rest) = key.strip_prefix(self.language) {
            return Some(format!("{LANGUAGE}{rest}"));
        }
        if let Some(rest) = key.strip_prefix(self.head) {
            return Some(format!("{HEAD}{rest}"));
        }
        let rest = key.strip_prefix(self.outer)?;
        (rest.starts_with(VISION) || rest.starts_with(PROJECTOR)).then(|| rest.to_string())
    }

    /// The inverse of [`canonical`](Self::canonical).
    pub fn key(&self, canonical: &str) -> String {
        if let Some(rest) = canonical.strip_prefix(LANGUAGE) {
            return format!("{}{rest}", self.language);
        }
        if let Some(rest) = canonical.strip_prefix(HEAD) {
            return format!("{}{rest}", self.head);
        }
        format!("{}{canonical}", self.outer)
    }

    /// Whether a checkpoint may have `key` without the model needing it.
    pub fn is_unused(key: &str) -> bool {
        UNUSED.contains(&key)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

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
        for layout in LAYOUTS {
            let keys: Vec<String> = CANONICAL.iter().map(|name| layout.key(name)).collect();
            assert_eq!(Layout::detect(keys.iter().map(String::as_str)), Some(layout));
            for (key, name) in keys.iter().zip(CANONICAL) {
                assert_eq!(layout.canonical(key).as_deref(), Some(name));
            }
            for unused in UNUSED {
                assert_eq!(layout.canonical(unused), None, "{unused}");
            }
        }
        assert_eq!(Layout::detect(["bert.encoder.layer.0.weight"].into_iter()), None);
        assert_eq!(Layout::detect([].into_iter()), None);
    }
}
