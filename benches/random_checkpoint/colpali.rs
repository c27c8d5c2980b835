//! PaliGemma 3B at 448 px, as in `vidore/colpali-v1.3-hf` and, to answer questions, as in
//! `google/paligemma-3b-mix-448`: names, shapes, two shards with an index, a config.json with the
//! published omissions, 5.9 GB. The tokenizers are the small ones of the fixtures with `<image>` at
//! its real id.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::siglip::{Siglip, siglip};
use crate::written::{Tensor, add, keep, read, write_json, write_shards};

const VOCABULARY: usize = 257_216;
const IMAGE: usize = 257_152;
const HIDDEN: usize = 2048;
const INNER: usize = 16_384;
const VISION: usize = 1152;
const VISION_INNER: usize = 4304;
const PATCH: usize = 14;
const EDGE: usize = 448;
/// Bytes of the first shard, as published.
const SHARD: usize = 4_990_000_000;

/// Writes the checkpoint, both towers cut to at most `most` layers, and returns its bytes.
pub fn write(folder: &Path, most: usize) -> io::Result<usize> {
    let (vision_layers, layers) = (most.min(27), most.min(18));
    let mut all = tensors("vlm.", vision_layers, layers);
    add(&mut all, "embedding_proj_layer.weight".into(), &[128, HIDDEN], 0.0, keep(HIDDEN));
    add(&mut all, "embedding_proj_layer.bias".into(), &[128], 0.0, 0.02);
    let total = write_shards(folder, all, SHARD)?;
    let config = json!({
        "architectures": ["ColPaliForRetrieval"], "embedding_dim": 128,
        "initializer_range": 0.02, "is_composition": false, "model_type": "colpali",
        "text_config": text_config(layers), "torch_dtype": "bfloat16",
        "vlm_config": paligemma_config(vision_layers, layers),
    });
    write_json(folder, "config.json", &config)?;
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity/hf");
    let mut preprocessor = read(&fixture.join("preprocessor_config.json"))?;
    preprocessor["size"] = json!({ "height": EDGE, "width": EDGE });
    preprocessor["image_seq_length"] = json!(1024);
    write_json(folder, "preprocessor_config.json", &preprocessor)?;
    let mut tokenizer = read(&fixture.join("tokenizer.json"))?;
    tokenizer["model"]["vocab"]["<image>"] = json!(IMAGE);
    let mut added =
        std::mem::take(tokenizer["added_tokens"].as_array_mut().expect("as the fixture has it"));
    added.retain(|token| token["content"] != "<image>");
    let token = |id: usize, content: &str, special: bool| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": special })
    };
    added.push(token(IMAGE, "<image>", true));
    // Words of the prompts as the real tokenizer has them, so that a page is 1030 tokens.
    for (id, word) in [(50_721, "Describe"), (573, " the"), (2_416, " image"), (9_413, "Question")]
    {
        added.push(token(id, word, false));
    }
    for token in added.iter() {
        let content = token["content"].as_str().expect("a word");
        tokenizer["model"]["vocab"][content] = token["id"].clone();
    }
    tokenizer["added_tokens"] = added.into();
    write_json(folder, "tokenizer.json", &tokenizer)?;
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let mut value = read(&fixture.join(name))?;
        if let Some(tokens) = value["added_tokens_decoder"].as_object_mut() {
            let image = tokens.iter().find(|(_, token)| token["content"] == "<image>");
            if let Some(id) = image.map(|(id, _)| id.clone()) {
                let token = tokens.remove(&id).expect("found above");
                tokens.insert(IMAGE.to_string(), token);
            }
        }
        write_json(folder, name, &value)?;
    }
    Ok(total)
}

/// Writes the model that answers, both towers cut to at most `most` layers, and returns its bytes.
pub fn write_answerer(folder: &Path, most: usize) -> io::Result<usize> {
    let (vision_layers, layers) = (most.min(27), most.min(18));
    let total = write_shards(folder, tensors("", vision_layers, layers), SHARD)?;
    let mut config = paligemma_config(vision_layers, layers);
    config["architectures"] = json!(["PaliGemmaForConditionalGeneration"]);
    config["torch_dtype"] = json!("bfloat16");
    write_json(folder, "config.json", &config)?;
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity-paligemma/pg1-112");
    let mut preprocessor = read(&fixture.join("preprocessor_config.json"))?;
    preprocessor["size"] = json!({ "height": EDGE, "width": EDGE });
    preprocessor["image_seq_length"] = json!(1024);
    write_json(folder, "preprocessor_config.json", &preprocessor)?;
    let generation = read(&fixture.join("generation_config.json"))?;
    write_json(folder, "generation_config.json", &generation)?;
    let mut tokenizer = read(&fixture.join("tokenizer.json"))?;
    let mut added =
        std::mem::take(tokenizer["added_tokens"].as_array_mut().expect("as the fixture has it"));
    for token in &mut added {
        if token["content"] == "<image>" {
            token["id"] = json!(IMAGE);
        }
        // A token that is no word of the model gets the next number, whatever it says.
        let content = token["content"].as_str().expect("a word").to_string();
        tokenizer["model"]["vocab"][content] = token["id"].clone();
    }
    tokenizer["added_tokens"] = added.into();
    write_json(folder, "tokenizer.json", &tokenizer)?;
    Ok(total)
}

/// The weights of PaliGemma; `before` is what all their names begin with.
fn tensors(before: &str, vision_layers: usize, layers: usize) -> Vec<Tensor> {
    let mut all = Vec::new();
    let tower = Siglip {
        hidden: VISION,
        inner: VISION_INNER,
        layers: vision_layers,
        edge: EDGE,
        patch: PATCH,
    };
    siglip(&mut all, &format!("{before}vision_tower.vision_model"), &tower);
    let mut add =
        |name, shape: &[usize], mean, deviation| add(&mut all, name, shape, mean, deviation);
    let projector = format!("{before}multi_modal_projector.linear");
    add(format!("{projector}.weight"), &[HIDDEN, VISION], 0.0, keep(VISION));
    add(format!("{projector}.bias"), &[HIDDEN], 0.0, 0.02);
    let language = format!("{before}language_model.model");
    add(format!("{language}.embed_tokens.weight"), &[VOCABULARY, HIDDEN], 0.0, keep(HIDDEN));
    for n in 0..layers {
        let layer = format!("{language}.layers.{n}");
        for (name, input, output, gain) in [
            ("self_attn.q_proj", HIDDEN, HIDDEN, 1.2),
            ("self_attn.k_proj", HIDDEN, 256, 1.2),
            ("self_attn.v_proj", HIDDEN, 256, 1.0),
            ("self_attn.o_proj", HIDDEN, HIDDEN, 0.4),
            ("mlp.gate_proj", HIDDEN, INNER, 1.0),
            ("mlp.up_proj", HIDDEN, INNER, 1.0),
            ("mlp.down_proj", INNER, HIDDEN, 0.6),
        ] {
            add(format!("{layer}.{name}.weight"), &[output, input], 0.0, gain * keep(input));
        }
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(format!("{layer}.{norm}.weight"), &[HIDDEN], 0.0, 0.1);
        }
    }
    add(format!("{language}.norm.weight"), &[HIDDEN], 0.0, 0.1);
    all
}

fn text_config(layers: usize) -> Value {
    // head_dim, rope_theta, eps and activations are left out, as published.
    json!({
        "hidden_size": HIDDEN, "intermediate_size": INNER, "model_type": "gemma",
        "num_attention_heads": 8, "num_hidden_layers": layers, "num_image_tokens": 1024,
        "num_key_value_heads": 1, "torch_dtype": "bfloat16", "vocab_size": VOCABULARY,
    })
}

fn paligemma_config(vision_layers: usize, layers: usize) -> Value {
    json!({
        "bos_token_id": 2, "eos_token_id": 1, "hidden_size": HIDDEN, "ignore_index": -100,
        "image_token_index": IMAGE, "model_type": "paligemma", "pad_token_id": 0,
        "projection_dim": HIDDEN, "text_config": text_config(layers),
        "vision_config": {
            "hidden_size": VISION, "image_size": EDGE, "intermediate_size": VISION_INNER,
            "model_type": "siglip_vision_model", "num_attention_heads": 16,
            "num_hidden_layers": vision_layers, "num_image_tokens": 1024, "patch_size": PATCH,
            "projection_dim": HIDDEN, "projector_hidden_act": "gelu_fast",
            "vision_use_head": false,
        },
    })
}
