//! Every tensor that a ColQwen of given sizes has, and what a page costs.

use crate::checkpoint::inventory::{Entry, Inventory};
use crate::families::colqwen2::config::{Config, MERGE, VisionKind};

/// The tensors of the vision tower.
pub fn vision(config: &Config) -> Vec<Entry> {
    let seen = &config.vision;
    let (hidden, inner, patch) = (seen.hidden, seen.inner, seen.patch);
    let mut list = Inventory::default();
    list.add("visual.patch_embed.proj.weight".into(), &[hidden, 3, 2, patch, patch]);
    let windows = matches!(seen.kind, VisionKind::Windows { .. });
    let norm = |list: &mut Inventory, name: &str| {
        if windows {
            list.add(format!("{name}.weight"), &[hidden]);
        } else {
            list.norm(name, hidden);
        }
    };
    for n in 0..seen.layers {
        let layer = format!("visual.blocks.{n}");
        norm(&mut list, &format!("{layer}.norm1"));
        norm(&mut list, &format!("{layer}.norm2"));
        list.linear(&format!("{layer}.attn.qkv"), hidden, 3 * hidden, true);
        list.linear(&format!("{layer}.attn.proj"), hidden, hidden, true);
        if windows {
            list.linear(&format!("{layer}.mlp.gate_proj"), hidden, inner, true);
            list.linear(&format!("{layer}.mlp.up_proj"), hidden, inner, true);
            list.linear(&format!("{layer}.mlp.down_proj"), inner, hidden, true);
        } else {
            list.linear(&format!("{layer}.mlp.fc1"), hidden, inner, true);
            list.linear(&format!("{layer}.mlp.fc2"), inner, hidden, true);
        }
    }
    let joined = MERGE * MERGE * hidden;
    norm(&mut list, "visual.merger.ln_q");
    list.linear("visual.merger.mlp.0", joined, joined, true);
    list.linear("visual.merger.mlp.2", joined, config.text.hidden, true);
    list.entries
}

/// All tensors of the model.
pub fn all(config: &Config) -> Vec<Entry> {
    const MODEL: &str = "language_model";
    let text = &config.text;
    let (hidden, inner) = (text.hidden, text.inner);
    let (queries, keys) = (text.heads * text.head_dim, text.keys * text.head_dim);
    let mut list = Inventory { entries: vision(config) };
    list.add(format!("{MODEL}.embed_tokens.weight"), &[text.vocabulary, hidden]);
    for n in 0..text.layers {
        let layer = format!("{MODEL}.layers.{n}");
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            list.add(format!("{layer}.{norm}.weight"), &[hidden]);
        }
        for (name, input, output, bias) in [
            ("self_attn.q_proj", hidden, queries, true),
            ("self_attn.k_proj", hidden, keys, true),
            ("self_attn.v_proj", hidden, keys, true),
            ("self_attn.o_proj", queries, hidden, false),
            ("mlp.gate_proj", hidden, inner, false),
            ("mlp.up_proj", hidden, inner, false),
            ("mlp.down_proj", inner, hidden, false),
        ] {
            list.linear(&format!("{layer}.{name}"), input, output, bias);
        }
    }
    list.add(format!("{MODEL}.norm.weight"), &[hidden]);
    list.linear("head", hidden, config.dim, true);
    list.entries
}

/// Multiplications and additions for a page of so many patches and positions.
pub fn operations(config: &Config, patches: usize, positions: usize) -> u64 {
    let (seen, text) = (&config.vision, &config.text);
    let mlp = |inner: usize| match seen.kind {
        VisionKind::Full => 2 * inner,
        VisionKind::Windows { .. } => 3 * inner,
    };
    let joined = MERGE * MERGE * seen.hidden;
    let vision = patches * seen.hidden * (3 * seen.patch * seen.patch)
        + patches * seen.layers * seen.hidden * (4 * seen.hidden + mlp(seen.inner))
        + patches / (MERGE * MERGE) * joined * (joined + text.hidden);
    let pairs: usize = (0..seen.layers)
        .map(|n| match &seen.kind {
            VisionKind::Windows { side, full } if !full.contains(&n) => {
                patches * patches.min((side * MERGE).pow(2))
            }
            _ => patches * patches,
        })
        .sum();
    let (queries, keys) = (text.heads * text.head_dim, text.keys * text.head_dim);
    let layer = text.hidden * (2 * queries + 2 * keys + 3 * text.inner);
    let language = positions * (text.layers * layer + text.hidden * config.dim)
        + text.layers * queries * positions * (positions + 1);
    2 * (vision + 2 * pairs * seen.hidden + language) as u64
}
