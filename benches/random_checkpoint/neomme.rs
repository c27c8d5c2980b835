//! NeoMME-260M: the sizes that its class in transformers 5.24 has by default, which are the
//! published ones (263,068,978 parameters), 526 MB. The tokenizer is the small one of
//! `fixtures/parity-neomme`; the rows that it never asks for are noise like the others.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

use crate::written::{Tensor, add, keep, read, write_json, write_shards};

const VOCABULARY: usize = 131_072;
const RANK: usize = 256;
const HIDDEN: usize = 1024;
const INNER: usize = 3584;
const LAYERS: usize = 17;
const HEADS: usize = 16;
const KEYS: usize = 4;
const HEAD: usize = 64;
const PATCH: usize = 32;
const DIM: usize = 128;

/// The longest side of a page that the published checkpoints have, px.
const LONGEST: usize = 2048;

/// Writes the checkpoint, cut to at most `most` layers, and returns its bytes.
pub fn write(folder: &Path, most: usize) -> io::Result<usize> {
    let layers = most.min(LAYERS);
    let total = write_shards(folder, tensors(layers), usize::MAX)?;
    let config = json!({
        "architectures": ["NeoMMEForRetrieval"], "model_type": "neomme",
        "num_hidden_layers": layers,
        // As many layers as are published alternate as they do; the factor is that of all.
        "residual_multiplier": (2.0 * LAYERS as f64).powf(-0.5),
    });
    write_json(folder, "config.json", &config)?;
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity-neomme/hf");
    let mut processor = read(&fixture.join("processor_config.json"))?;
    processor["image_processor"]["patch_size"] = json!(PATCH);
    processor["image_processor"]["max_side"] = json!(LONGEST);
    write_json(folder, "processor_config.json", &processor)?;
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        fs::copy(fixture.join(name), folder.join(name))?;
    }
    Ok(total)
}

fn tensors(layers: usize) -> Vec<Tensor> {
    let mut all = Vec::new();
    let mut add =
        |name, shape: &[usize], mean, deviation| add(&mut all, name, shape, mean, deviation);
    let (pixels, kv, queries) = (3 * PATCH * PATCH, KEYS * HEAD, HEADS * HEAD);
    let embed = "model.embed_tokens";
    add(format!("{embed}.word_embeddings.weight"), &[VOCABULARY, RANK], 0.0, 1.0);
    add(format!("{embed}.embedding_projection.weight"), &[HIDDEN, RANK], 0.0, keep(RANK));
    let patches = "model.patch_embeddings";
    add(format!("{patches}.norm.weight"), &[pixels], 1.0, 0.1);
    add(format!("{patches}.norm.bias"), &[pixels], 0.0, 0.05);
    add(format!("{patches}.up_proj.weight"), &[2 * HIDDEN, pixels], 0.0, keep(pixels));
    add(format!("{patches}.down_proj.weight"), &[HIDDEN, 2 * HIDDEN], 0.0, keep(2 * HIDDEN));
    add(format!("{patches}.down_proj.bias"), &[HIDDEN], 0.0, 0.05);
    add("model.value_embeddings.weight".into(), &[VOCABULARY, kv], 0.0, 0.5);
    for n in 0..layers {
        let layer = format!("model.layers.{n}");
        let attention = format!("{layer}.self_attn");
        add(format!("{layer}.lambdas"), &[2], 0.7, 0.2);
        add(format!("{attention}.exclusive_self_attention.alpha"), &[HEADS], 0.0, 0.5);
        for (name, input, output, gain) in [
            (format!("{attention}.q_proj"), HIDDEN, queries, 1.0),
            (format!("{attention}.k_proj"), HIDDEN, kv, 1.0),
            (format!("{attention}.v_proj"), HIDDEN, kv, 1.0),
            (format!("{attention}.output_projection.gate_proj"), HIDDEN, queries, 1.0),
            (format!("{attention}.output_projection.o_proj"), queries, HIDDEN, 2.0),
            (format!("{layer}.mlp.up_proj"), HIDDEN, INNER, 1.0),
            (format!("{layer}.mlp.down_proj"), INNER, HIDDEN, 1.0),
        ] {
            add(format!("{name}.weight"), &[output, input], 0.0, gain * keep(input));
        }
    }
    add("multi_vector_head.proj.weight".into(), &[DIM, HIDDEN], 0.0, keep(HIDDEN));
    all
}
