//! Every tensor that a ColQwen of given sizes has, and what a page costs.

use crate::checkpoint::inventory::{Entry, Inventory};
use crate::families::colqwen::config::{Config, MERGE};
use crate::families::colqwen::vision_config::{MergerNames, VisionKind};

/// The language model.
pub const LANGUAGE: &str = "language_model";

/// The tensors of the vision tower.
pub fn vision(config: &Config) -> Vec<Entry> {
    let seen = &config.vision;
    let (hidden, inner, patch) = (seen.hidden, seen.inner, seen.patch);
    let mut list = Inventory::default();
    list.add("visual.patch_embed.proj.weight".into(), &[hidden, 3, 2, patch, patch]);
    if let VisionKind::Learned { side } = seen.kind {
        list.add("visual.patch_embed.proj.bias".into(), &[hidden]);
        list.add("visual.pos_embed.weight".into(), &[side * side, hidden]);
    }
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
        let [up, down] = match seen.kind {
            VisionKind::Full => ["mlp.fc1", "mlp.fc2"],
            VisionKind::Learned { .. } => ["mlp.linear_fc1", "mlp.linear_fc2"],
            VisionKind::Windows { .. } => {
                list.linear(&format!("{layer}.mlp.gate_proj"), hidden, inner, true);
                ["mlp.up_proj", "mlp.down_proj"]
            }
        };
        list.linear(&format!("{layer}.{up}"), hidden, inner, true);
        list.linear(&format!("{layer}.{down}"), inner, hidden, true);
    }
    let joined = MERGE * MERGE * hidden;
    let names = MergerNames::of(&seen.kind);
    norm(&mut list, &format!("visual.merger.{}", names.norm));
    list.linear(&format!("visual.merger.{}", names.linear[0]), joined, joined, true);
    list.linear(&format!("visual.merger.{}", names.linear[1]), joined, config.text.hidden, true);
    list.entries
}

/// All tensors of the model.
pub fn all(config: &Config) -> Vec<Entry> {
    let mut list = Inventory { entries: vision(config) };
    config.text.list(LANGUAGE, &mut list);
    list.linear("head", config.text.hidden, config.dim, true);
    list.entries
}

/// Multiplications and additions for a page of so many patches and positions.
pub fn operations(config: &Config, patches: usize, positions: usize) -> u64 {
    let (seen, text) = (&config.vision, &config.text);
    let mlp = |inner: usize| match seen.kind {
        VisionKind::Full | VisionKind::Learned { .. } => 2 * inner,
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
    let head = positions * text.hidden * config.dim;
    2 * (vision + 2 * pairs * seen.hidden + head) as u64 + text.operations(positions) as u64
}
