//! ColQwen2 (2B), ColQwen2.5 (3B) and ColQwen3.5 (0.8B and 4B), as colpali-engine merges them. The
//! tokenizer is the small one of their fixtures; the rows that it never asks for are noise like the
//! others.

use std::io;
use std::path::Path;

use serde_json::json;

use crate::decoder::Decoder;
use crate::written::{
    Tensor, add, biased, change, fixture_file, keep, layer_norm, linear, norm, read, write_json,
    write_processor, write_shards,
};

/// Bytes of a shard, as published.
const SHARD: usize = 4_990_000_000;
/// Patches along the side of a block that becomes one feature.
const MERGE: usize = 2;
const VOCABULARY: usize = 151_936;

/// The sizes of a vision tower.
struct Tower {
    hidden: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    patch: usize,
}

const TOWER_2: Tower = Tower { hidden: 1280, inner: 5120, layers: 32, heads: 16, patch: 14 };
const TEXT_2: Decoder = Decoder { hidden: 1536, inner: 8960, layers: 28, heads: [12, 2] };
const TOWER_2_5: Tower = Tower { hidden: 1280, inner: 3420, layers: 32, heads: 16, patch: 14 };
const TEXT_2_5: Decoder = Decoder { hidden: 2048, inner: 11_008, layers: 36, heads: [16, 2] };

/// Writes ColQwen2 over Qwen2-VL-2B, its towers cut to at most `most` layers, and returns its bytes.
pub fn write_2(folder: &Path, most: usize) -> io::Result<usize> {
    let (tower, text) = (Tower { layers: TOWER_2.layers.min(most), ..TOWER_2 }, TEXT_2);
    let Tower { hidden, inner, layers, heads, patch } = tower;
    let mut all = patches(&tower, false);
    for n in 0..layers {
        let block = format!("visual.blocks.{n}");
        attention_of_tower(&mut all, &block, hidden);
        biased(&mut all, &format!("{block}.mlp.fc1"), [hidden, inner], 1.0);
        biased(&mut all, &format!("{block}.mlp.fc2"), [inner, hidden], 0.4);
        layer_norm(&mut all, &format!("{block}.norm1"), hidden);
        layer_norm(&mut all, &format!("{block}.norm2"), hidden);
    }
    layer_norm(&mut all, "visual.merger.ln_q", hidden);
    let vision = json!({
        "depth": layers, "embed_dim": hidden, "mlp_ratio": inner / hidden, "num_heads": heads,
        "patch_size": patch, "hidden_size": text.hidden,
    });
    write_older(folder, "colqwen2", all, &tower, (text, most), vision)
}

/// Writes ColQwen2.5 over Qwen2.5-VL-3B, its towers cut to at most `most` layers, and returns its
/// bytes.
pub fn write_2_5(folder: &Path, most: usize) -> io::Result<usize> {
    let (tower, text) = (Tower { layers: TOWER_2_5.layers.min(most), ..TOWER_2_5 }, TEXT_2_5);
    let Tower { hidden, inner, layers, heads, patch } = tower;
    let mut all = patches(&tower, false);
    for n in 0..layers {
        let block = format!("visual.blocks.{n}");
        attention_of_tower(&mut all, &block, hidden);
        biased(&mut all, &format!("{block}.mlp.gate_proj"), [hidden, inner], 1.0);
        biased(&mut all, &format!("{block}.mlp.up_proj"), [hidden, inner], 1.0);
        biased(&mut all, &format!("{block}.mlp.down_proj"), [inner, hidden], 0.6);
        norm(&mut all, &format!("{block}.norm1"), hidden, 1.0);
        norm(&mut all, &format!("{block}.norm2"), hidden, 1.0);
    }
    norm(&mut all, "visual.merger.ln_q", hidden, 1.0);
    // Every eighth layer sees all patches.
    let all_seen: Vec<usize> = (0..layers).filter(|n| n % 8 == 7).collect();
    let vision = json!({
        "depth": layers, "hidden_size": hidden, "intermediate_size": inner, "num_heads": heads,
        "patch_size": patch, "spatial_patch_size": patch, "window_size": 112,
        "fullatt_block_indexes": all_seen, "out_hidden_size": text.hidden,
    });
    write_older(folder, "colqwen2.5", all, &tower, (text, most), vision)
}

/// The rest of ColQwen2 and ColQwen2.5, which is the same but for sizes.
fn write_older(
    folder: &Path,
    fixture: &str,
    mut all: Vec<Tensor>,
    tower: &Tower,
    (text, most): (Decoder, usize),
    vision: serde_json::Value,
) -> io::Result<usize> {
    const HEAD: usize = 128;
    const DIM: usize = 128;
    let Decoder { hidden, inner, heads: [heads, keys], .. } = text;
    let (layers, joined) = (text.layers.min(most), MERGE * MERGE * tower.hidden);
    biased(&mut all, "visual.merger.mlp.0", [joined, joined], 1.0);
    biased(&mut all, "visual.merger.mlp.2", [joined, hidden], 1.0);
    add(&mut all, "model.embed_tokens.weight".into(), &[VOCABULARY, hidden], 0.0, 1.0);
    for n in 0..layers {
        let layer = format!("model.layers.{n}");
        text.attention(&mut all, &layer, HEAD, true);
        text.mlp_and_norms(&mut all, &layer, 1.0);
    }
    norm(&mut all, "model.norm", hidden, 1.0);
    biased(&mut all, "custom_text_proj", [hidden, DIM], 1.0);
    let total = write_shards(folder, all, SHARD)?;
    let mut config = read(&fixture_file(fixture, "engine/config.json"))?;
    change(
        &mut config,
        json!({
            "vision_config": vision, "vocab_size": VOCABULARY, "hidden_size": hidden,
            "intermediate_size": inner, "num_hidden_layers": layers, "max_window_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": keys,
            "rope_scaling": { "mrope_section": [16, 24, 24] },
        }),
    );
    write_json(folder, "config.json", &config)?;
    let feature = (MERGE * tower.patch).pow(2);
    let (least, largest) = (4 * feature, 768 * feature);
    let budget = json!({
        "min_pixels": least, "max_pixels": largest, "patch_size": tower.patch,
        "size": { "shortest_edge": least, "longest_edge": largest },
    });
    write_processor(folder, &format!("{fixture}/engine"), budget)?;
    Ok(total)
}

/// Writes ColQwen3.5 with 0.8 billion parameters, its towers cut to at most `most` layers, and
/// returns its bytes.
pub fn write_3_5_small(folder: &Path, most: usize) -> io::Result<usize> {
    let tower = Tower { hidden: 768, inner: 3072, layers: 12, heads: 12, patch: 16 };
    let text = Decoder { hidden: 1024, inner: 3584, layers: 24, heads: [8, 2] };
    write_3_5(folder, tower, text, 16, most)
}

/// Writes ColQwen3.5 with 4 billion parameters, its towers cut to at most `most` layers, and returns
/// its bytes.
pub fn write_3_5_large(folder: &Path, most: usize) -> io::Result<usize> {
    let tower = Tower { hidden: 1024, inner: 4096, layers: 24, heads: 16, patch: 16 };
    let text = Decoder { hidden: 2560, inner: 9216, layers: 32, heads: [16, 4] };
    write_3_5(folder, tower, text, 32, most)
}

/// `values` is the number of heads of values in the delta nets; of keys there are 16.
fn write_3_5(
    folder: &Path,
    tower: Tower,
    text: Decoder,
    values: usize,
    most: usize,
) -> io::Result<usize> {
    const FIXTURE: &str = "colqwen3.5";
    const VOCABULARY: usize = 248_320;
    const HEAD: usize = 256;
    const DELTA: usize = 128;
    const KEYS: usize = 16;
    const KERNEL: usize = 4;
    const DIM: usize = 320;
    const SIDE: usize = 48;
    let tower = Tower { layers: tower.layers.min(most), ..tower };
    let mut all = patches(&tower, true);
    let (hidden, inner) = (tower.hidden, tower.inner);
    add(&mut all, "visual.pos_embed.weight".into(), &[SIDE * SIDE, hidden], 0.0, 0.3);
    for n in 0..tower.layers {
        let block = format!("visual.blocks.{n}");
        attention_of_tower(&mut all, &block, hidden);
        biased(&mut all, &format!("{block}.mlp.linear_fc1"), [hidden, inner], 1.0);
        biased(&mut all, &format!("{block}.mlp.linear_fc2"), [inner, hidden], 0.4);
        layer_norm(&mut all, &format!("{block}.norm1"), hidden);
        layer_norm(&mut all, &format!("{block}.norm2"), hidden);
    }
    let joined = MERGE * MERGE * hidden;
    layer_norm(&mut all, "visual.merger.norm", hidden);
    biased(&mut all, "visual.merger.linear_fc1", [joined, joined], 1.0);
    biased(&mut all, "visual.merger.linear_fc2", [joined, text.hidden], 1.0);

    let Decoder { hidden, inner, heads: [heads, keys], .. } = text;
    let model = "language_model";
    add(&mut all, format!("{model}.embed_tokens.weight"), &[VOCABULARY, hidden], 0.0, 1.0);
    // Three delta nets, then attention, and again.
    let layers = text.layers.min(most.saturating_add(3) / 4 * 4);
    let is_delta = |n: usize| n % 4 != 3;
    for n in 0..layers {
        let layer = format!("{model}.layers.{n}");
        if is_delta(n) {
            let net = format!("{layer}.linear_attn");
            let channels = 2 * KEYS * DELTA + values * DELTA;
            linear(&mut all, &format!("{net}.in_proj_qkv"), [hidden, channels], 1.2);
            linear(&mut all, &format!("{net}.in_proj_z"), [hidden, values * DELTA], 1.0);
            linear(&mut all, &format!("{net}.in_proj_a"), [hidden, values], 1.0);
            linear(&mut all, &format!("{net}.in_proj_b"), [hidden, values], 1.0);
            let name = format!("{net}.conv1d.weight");
            add(&mut all, name, &[channels, 1, KERNEL], 0.0, keep(KERNEL));
            // What is remembered fades by a few percent a token.
            add(&mut all, format!("{net}.A_log"), &[values], 0.0, 0.5);
            add(&mut all, format!("{net}.dt_bias"), &[values], -3.0, 1.0);
            norm(&mut all, &format!("{net}.norm"), DELTA, 1.0);
            linear(&mut all, &format!("{net}.out_proj"), [values * DELTA, hidden], 0.4);
        } else {
            let attention = format!("{layer}.self_attn");
            linear(&mut all, &format!("{attention}.q_proj"), [hidden, 2 * heads * HEAD], 1.2);
            linear(&mut all, &format!("{attention}.k_proj"), [hidden, keys * HEAD], 1.2);
            linear(&mut all, &format!("{attention}.v_proj"), [hidden, keys * HEAD], 1.0);
            linear(&mut all, &format!("{attention}.o_proj"), [heads * HEAD, hidden], 0.4);
            norm(&mut all, &format!("{attention}.q_norm"), HEAD, 0.0);
            norm(&mut all, &format!("{attention}.k_norm"), HEAD, 0.0);
        }
        text.mlp_and_norms(&mut all, &layer, 0.0);
    }
    norm(&mut all, &format!("{model}.norm"), hidden, 0.0);
    biased(&mut all, "custom_text_proj", [hidden, DIM], 1.0);
    let total = write_shards(folder, all, SHARD)?;
    let mut config = read(&fixture_file(FIXTURE, "engine/config.json"))?;
    let types: Vec<&str> = (0..layers)
        .map(|n| if is_delta(n) { "linear_attention" } else { "full_attention" })
        .collect();
    change(
        &mut config,
        json!({
            "dim": DIM,
            "text_config": {
                "vocab_size": VOCABULARY, "hidden_size": hidden, "intermediate_size": inner,
                "num_hidden_layers": layers, "num_attention_heads": heads,
                "num_key_value_heads": keys, "head_dim": HEAD, "layer_types": types,
                "rope_parameters":
                    { "partial_rotary_factor": 0.25, "mrope_section": [11, 11, 10] },
                "linear_key_head_dim": DELTA, "linear_value_head_dim": DELTA,
                "linear_num_key_heads": KEYS, "linear_num_value_heads": values,
            },
            "vision_config": {
                "depth": tower.layers, "hidden_size": tower.hidden,
                "intermediate_size": tower.inner, "num_heads": tower.heads,
                "patch_size": tower.patch, "out_hidden_size": hidden,
                "num_position_embeddings": SIDE * SIDE,
            },
        }),
    );
    write_json(folder, "config.json", &config)?;
    let feature = (MERGE * tower.patch).pow(2);
    let budget = json!({
        "patch_size": tower.patch,
        "size": { "shortest_edge": 4 * feature, "longest_edge": 1024 * feature },
    });
    write_processor(folder, &format!("{FIXTURE}/engine"), budget)?;
    Ok(total)
}

fn patches(tower: &Tower, is_biased: bool) -> Vec<Tensor> {
    let &Tower { hidden, patch, .. } = tower;
    let (mut all, name) = (Vec::new(), "visual.patch_embed.proj");
    // Two moments of a film, which are the same for a page.
    let deviation = keep(2 * 3 * patch * patch);
    add(&mut all, format!("{name}.weight"), &[hidden, 3, 2, patch, patch], 0.0, deviation);
    if is_biased {
        add(&mut all, format!("{name}.bias"), &[hidden], 0.0, 0.05);
    }
    all
}

fn attention_of_tower(all: &mut Vec<Tensor>, block: &str, hidden: usize) {
    biased(all, &format!("{block}.attn.qkv"), [hidden, 3 * hidden], 1.2);
    biased(all, &format!("{block}.attn.proj"), [hidden, hidden], 0.4);
}
