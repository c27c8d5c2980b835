//! What checkpoints of BERT's shape call their tensors. Canonical names are those without the name
//! of the model in front.

use crate::checkpoint::layout::{Layout, Names};

/// All names.
pub static NAMES: Names = Names {
    layouts: &[
        Layout {
            name: "sentence-transformers",
            prefixes: &[("embeddings.", "embeddings."), ("encoder.", "encoder.")],
        },
        Layout {
            name: "bert",
            prefixes: &[("bert.embeddings.", "embeddings."), ("bert.encoder.", "encoder.")],
        },
        Layout {
            name: "roberta",
            prefixes: &[("roberta.embeddings.", "embeddings."), ("roberta.encoder.", "encoder.")],
        },
    ],
    // Counted positions, which are no weights, and heads of other tasks.
    unused: &[
        "pooler.dense.weight",
        "pooler.dense.bias",
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "roberta.pooler.dense.weight",
        "roberta.pooler.dense.bias",
        "cls.predictions.bias",
        "cls.predictions.decoder.bias",
        "cls.predictions.decoder.weight",
        "cls.predictions.transform.dense.weight",
        "cls.predictions.transform.dense.bias",
        "cls.predictions.transform.LayerNorm.weight",
        "cls.predictions.transform.LayerNorm.bias",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
        "lm_head.bias",
        "lm_head.decoder.weight",
        "lm_head.decoder.bias",
        "lm_head.dense.weight",
        "lm_head.dense.bias",
        "lm_head.layer_norm.weight",
        "lm_head.layer_norm.bias",
    ],
};

/// Counted positions, which older checkpoints carry as a tensor.
pub const POSITION_IDS: &str = "embeddings.position_ids";
