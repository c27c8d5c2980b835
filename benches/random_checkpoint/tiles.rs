//! ColModernVBERT (252 million parameters) and ColSmol (256 and 500 million): SigLIP over tiles of
//! 512 px, 64 features of each, and a language model. The tokenizers are the small ones of
//! `fixtures/parity-colmodernvbert` and `fixtures/parity-colsmol`; the rows that they never ask for
//! are noise like the others.

use std::io;
use std::path::Path;

use serde_json::json;

use crate::decoder::Decoder;
use crate::siglip::{Siglip, siglip};
use crate::written::{
    Tensor, add, biased, change, fixture_file, linear, norm, read, write_json, write_processor,
    write_shards,
};

/// The tower of all three.
const TOWER: Siglip = Siglip { hidden: 768, inner: 3072, layers: 12, edge: 512, patch: 16 };
/// Patches along the side of a block that becomes one feature.
const SHUFFLE: usize = 4;
/// The longest side of a page, px.
const LONGEST: usize = 2048;
const DIM: usize = 128;

/// ColSmol's language models.
const SMOL_256M: Decoder = Decoder { hidden: 576, inner: 1536, layers: 30, heads: [9, 3] };
const SMOL_500M: Decoder = Decoder { hidden: 960, inner: 2560, layers: 32, heads: [15, 5] };
const SMOL_VOCABULARY: usize = 49_280;
const HEAD: usize = 64;

/// Ettin-150m, ColModernVBERT's language model.
const MODERN: Decoder = Decoder { hidden: 768, inner: 1152, layers: 22, heads: [12, 12] };
const MODERN_VOCABULARY: usize = 50_408;

/// Writes ColSmol-256M, its towers cut to at most `most` layers, and returns its bytes.
pub fn write_smol_256m(folder: &Path, most: usize) -> io::Result<usize> {
    write_smol(folder, &SMOL_256M, most)
}

/// Writes ColSmol-500M, its towers cut to at most `most` layers, and returns its bytes.
pub fn write_smol_500m(folder: &Path, most: usize) -> io::Result<usize> {
    write_smol(folder, &SMOL_500M, most)
}

fn write_smol(folder: &Path, text: &Decoder, most: usize) -> io::Result<usize> {
    const FIXTURE: &str = "colsmol";
    let (tower, layers) = (tower(most), text.layers.min(most));
    let mut all = Vec::new();
    siglip(&mut all, "model.vision_model", &tower);
    let Decoder { hidden, inner, heads: [heads, keys], .. } = *text;
    let shuffled = SHUFFLE * SHUFFLE * tower.hidden;
    linear(&mut all, "model.connector.modality_projection.proj", [shuffled, hidden], 1.0);
    let model = "model.text_model";
    add(&mut all, format!("{model}.embed_tokens.weight"), &[SMOL_VOCABULARY, hidden], 0.0, 1.0);
    for n in 0..layers {
        let layer = format!("{model}.layers.{n}");
        text.attention(&mut all, &layer, HEAD, false);
        text.mlp_and_norms(&mut all, &layer, 1.0);
    }
    norm(&mut all, &format!("{model}.norm"), hidden, 1.0);
    biased(&mut all, "linear", [hidden, DIM], 1.0);
    let total = write_shards(folder, all, usize::MAX)?;
    let mut config = read(&fixture_file(FIXTURE, "engine/config.json"))?;
    let vision = vision(&tower);
    change(
        &mut config,
        json!({
            "scale_factor": SHUFFLE, "vision_config": vision,
            "text_config": {
                "vocab_size": SMOL_VOCABULARY, "hidden_size": hidden, "intermediate_size": inner,
                "num_hidden_layers": layers, "num_attention_heads": heads,
                "num_key_value_heads": keys, "head_dim": HEAD,
            },
        }),
    );
    write_json(folder, "config.json", &config)?;
    write_processor(folder, &format!("{FIXTURE}/engine"), pictures())?;
    Ok(total)
}

/// Writes ColModernVBERT, its towers cut to at most `most` layers, and returns its bytes.
pub fn write_modern(folder: &Path, most: usize) -> io::Result<usize> {
    const FIXTURE: &str = "colmodernvbert";
    let (tower, layers) = (tower(most), MODERN.layers.min(most));
    let mut all: Vec<Tensor> = Vec::new();
    siglip(&mut all, "vlm.vision_model", &tower);
    let Decoder { hidden, inner, heads: [heads, _], .. } = MODERN;
    let shuffled = SHUFFLE * SHUFFLE * tower.hidden;
    linear(&mut all, "vlm.connector.modality_projection", [shuffled, hidden], 1.0);
    let model = "vlm.text_model";
    let words = format!("{model}.embeddings.tok_embeddings.weight");
    add(&mut all, words, &[MODERN_VOCABULARY, hidden], 0.0, 1.0);
    norm(&mut all, &format!("{model}.embeddings.norm"), hidden, 1.0);
    for n in 0..layers {
        let layer = format!("{model}.layers.{n}");
        for (name, sizes, gain) in [
            ("attn.Wqkv", [hidden, 3 * hidden], 1.2),
            ("attn.Wo", [hidden, hidden], 0.4),
            ("mlp.Wi", [hidden, 2 * inner], 1.0),
            ("mlp.Wo", [inner, hidden], 0.6),
        ] {
            linear(&mut all, &format!("{layer}.{name}"), sizes, gain);
        }
        // The first layer reads what the norm of the embeddings made.
        if n > 0 {
            norm(&mut all, &format!("{layer}.attn_norm"), hidden, 1.0);
        }
        norm(&mut all, &format!("{layer}.mlp_norm"), hidden, 1.0);
    }
    norm(&mut all, &format!("{model}.final_norm"), hidden, 1.0);
    biased(&mut all, "embedding_proj_layer", [hidden, DIM], 1.0);
    let total = write_shards(folder, all, usize::MAX)?;
    let mut config = read(&fixture_file(FIXTURE, "hf/config.json"))?;
    let vision = vision(&tower);
    change(
        &mut config,
        json!({
            "dtype": "bfloat16",
            "vlm_config": {
                "pixel_shuffle_factor": SHUFFLE, "vision_config": vision,
                "text_config": {
                    "vocab_size": MODERN_VOCABULARY, "hidden_size": hidden,
                    "intermediate_size": inner, "num_hidden_layers": layers,
                    "num_attention_heads": heads, "local_attention": 128,
                },
            },
        }),
    );
    write_json(folder, "config.json", &config)?;
    write_processor(folder, &format!("{FIXTURE}/hf"), pictures())?;
    Ok(total)
}

fn tower(most: usize) -> Siglip {
    Siglip { layers: TOWER.layers.min(most), ..TOWER }
}

fn vision(tower: &Siglip) -> serde_json::Value {
    json!({
        "hidden_size": tower.hidden, "intermediate_size": tower.inner,
        "num_hidden_layers": tower.layers, "num_attention_heads": 12,
        "image_size": tower.edge, "patch_size": tower.patch,
    })
}

/// What the processors of all three are told.
fn pictures() -> serde_json::Value {
    json!({
        "size": { "longest_edge": LONGEST },
        "max_image_size": { "longest_edge": TOWER.edge },
    })
}
