//! Writes a ColPali checkpoint of the published size with random weights, so that speed and memory
//! are measured on the real architecture without the real weights.
//!
//! PaliGemma 3B at 448 px as in `vidore/colpali-v1.3-hf`: names, shapes, bf16, two shards with an
//! index, a config.json with the published omissions, 5.9 GB. The tokenizer is the small one of
//! `fixtures/parity` with `<image>` at its real id. Weights have the variance that keeps every
//! layer's output near its input's size; the same on every machine. Memory: a few MB.
//!
//! ```text
//! cargo run -p pagesight-model --example random_checkpoint -- FOLDER [--layers N]
//! ```
//!
//! `--layers N` cuts both towers to N layers, for a quick look.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

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

/// Bytes made at once.
const CHUNK: usize = 1 << 20;

/// A tensor to be: its name, its shape, and what its numbers are like.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    mean: f32,
    deviation: f32,
}

impl Tensor {
    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * 2
    }
}

fn tensors(vision_layers: usize, layers: usize) -> Vec<Tensor> {
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize], mean: f32, deviation: f32| {
        all.push(Tensor { name, shape: shape.into(), mean, deviation });
    };
    // A product keeps the size of its input; the layers that add to the sum of all add little.
    let keep = |width: usize| (width as f32).powf(-0.5);
    let tower = "vlm.vision_tower.vision_model";
    let side = EDGE / PATCH;
    let pixels = 3 * PATCH * PATCH;
    let embeddings = format!("{tower}.embeddings");
    add(
        format!("{embeddings}.patch_embedding.weight"),
        &[VISION, 3, PATCH, PATCH],
        0.0,
        keep(pixels),
    );
    add(format!("{embeddings}.patch_embedding.bias"), &[VISION], 0.0, 0.05);
    add(format!("{embeddings}.position_embedding.weight"), &[side * side, VISION], 0.0, 0.3);
    for n in 0..vision_layers {
        let layer = format!("{tower}.encoder.layers.{n}");
        for norm in ["layer_norm1", "layer_norm2"] {
            add(format!("{layer}.{norm}.weight"), &[VISION], 1.0, 0.1);
            add(format!("{layer}.{norm}.bias"), &[VISION], 0.0, 0.05);
        }
        for (name, input, output, gain) in [
            ("self_attn.q_proj", VISION, VISION, 1.5),
            ("self_attn.k_proj", VISION, VISION, 1.5),
            ("self_attn.v_proj", VISION, VISION, 1.0),
            ("self_attn.out_proj", VISION, VISION, 0.4),
            ("mlp.fc1", VISION, VISION_INNER, 1.0),
            ("mlp.fc2", VISION_INNER, VISION, 0.4),
        ] {
            add(format!("{layer}.{name}.weight"), &[output, input], 0.0, gain * keep(input));
            add(format!("{layer}.{name}.bias"), &[output], 0.0, 0.02);
        }
    }
    add(format!("{tower}.post_layernorm.weight"), &[VISION], 1.0, 0.1);
    add(format!("{tower}.post_layernorm.bias"), &[VISION], 0.0, 0.05);
    let projector = "vlm.multi_modal_projector.linear";
    add(format!("{projector}.weight"), &[HIDDEN, VISION], 0.0, keep(VISION));
    add(format!("{projector}.bias"), &[HIDDEN], 0.0, 0.02);
    let language = "vlm.language_model.model";
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
    add("embedding_proj_layer.weight".into(), &[128, HIDDEN], 0.0, keep(HIDDEN));
    add("embedding_proj_layer.bias".into(), &[128], 0.0, 0.02);
    all
}

/// splitmix64 (Steele et al., 2014), seeded by a tensor's name.
struct Noise(u64);

impl Noise {
    fn of(name: &str) -> Self {
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
    }

    /// Close to normal, mean 0, deviation 1: the sum of four even ones.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        let sum: u32 = (0..4).map(|i| (z >> (16 * i)) as u32 & 0xffff).sum();
        // Four numbers below 2^16 have mean 2 * 65535 and deviation 65536 / sqrt(3).
        (sum as f32 - 131_070.0) * (3.0f32.sqrt() / 65_536.0)
    }
}

fn bf16(value: f32) -> [u8; 2] {
    let bits = value.to_bits();
    (((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16).to_le_bytes()
}

fn write_shard(path: &Path, tensors: &[Tensor]) -> io::Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.bytes();
        header.insert(
            tensor.name.clone(),
            json!({ "dtype": "BF16", "shape": tensor.shape, "data_offsets": [start, end] }),
        );
        start = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = File::create(path)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for tensor in tensors {
        let mut noise = Noise::of(&tensor.name);
        let mut left = tensor.bytes();
        let mut chunk = vec![0; CHUNK.min(left)];
        while left > 0 {
            chunk.truncate(left);
            for number in chunk.as_chunks_mut().0 {
                *number = bf16(tensor.mean + tensor.deviation * noise.next());
            }
            file.write_all(&chunk)?;
            left -= chunk.len();
        }
    }
    file.sync_all()
}

fn config(vision_layers: usize, layers: usize) -> Value {
    // head_dim, rope_theta, eps and activations are left out, as published.
    let text = json!({
        "hidden_size": HIDDEN, "intermediate_size": INNER, "model_type": "gemma",
        "num_attention_heads": 8, "num_hidden_layers": layers, "num_image_tokens": 1024,
        "num_key_value_heads": 1, "torch_dtype": "bfloat16", "vocab_size": VOCABULARY,
    });
    json!({
        "architectures": ["ColPaliForRetrieval"], "embedding_dim": 128,
        "initializer_range": 0.02, "is_composition": false, "model_type": "colpali",
        "text_config": text, "torch_dtype": "bfloat16",
        "vlm_config": {
            "bos_token_id": 2, "eos_token_id": 1, "hidden_size": HIDDEN, "ignore_index": -100,
            "image_token_index": IMAGE, "model_type": "paligemma", "pad_token_id": 0,
            "projection_dim": HIDDEN, "text_config": text,
            "vision_config": {
                "hidden_size": VISION, "image_size": EDGE, "intermediate_size": VISION_INNER,
                "model_type": "siglip_vision_model", "num_attention_heads": 16,
                "num_hidden_layers": vision_layers, "num_image_tokens": 1024, "patch_size": PATCH,
                "projection_dim": HIDDEN, "projector_hidden_act": "gelu_fast",
                "vision_use_head": false,
            },
        },
    })
}

fn read(path: &Path) -> io::Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(
        arguments
            .next()
            .ok_or_else(|| io::Error::other("usage: random_checkpoint FOLDER [--layers N]"))?,
    );
    let most: usize = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--layers"), Some(n)) => n.parse().map_err(io::Error::other)?,
        _ => usize::MAX,
    };
    let (vision_layers, layers) = (most.min(27), most.min(18));
    fs::create_dir_all(&folder)?;
    let mut shards: Vec<Vec<Tensor>> = vec![Vec::new()];
    let mut filled = 0;
    for tensor in tensors(vision_layers, layers) {
        if filled + tensor.bytes() > SHARD {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += tensor.bytes();
        shards.last_mut().expect("one at least").push(tensor);
    }
    let mut map = Map::new();
    let mut total = 0;
    for (i, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write_shard(&folder.join(&name), shard)?;
        for tensor in shard {
            map.insert(tensor.name.clone(), name.clone().into());
            total += tensor.bytes();
        }
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    let write =
        |name: &str, value: &Value| fs::write(folder.join(name), serde_json::to_vec_pretty(value)?);
    write("model.safetensors.index.json", &index)?;
    write("config.json", &config(vision_layers, layers))?;
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity/hf");
    let mut preprocessor = read(&fixture.join("preprocessor_config.json"))?;
    preprocessor["size"] = json!({ "height": EDGE, "width": EDGE });
    preprocessor["image_seq_length"] = json!(1024);
    write("preprocessor_config.json", &preprocessor)?;
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
    write("tokenizer.json", &tokenizer)?;
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let mut value = read(&fixture.join(name))?;
        if let Some(tokens) = value["added_tokens_decoder"].as_object_mut() {
            let image = tokens.iter().find(|(_, token)| token["content"] == "<image>");
            if let Some(id) = image.map(|(id, _)| id.clone()) {
                let token = tokens.remove(&id).expect("found above");
                tokens.insert(IMAGE.to_string(), token);
            }
        }
        write(name, &value)?;
    }
    println!("{}: {} parameters, {:.2} GB", folder.display(), total / 2, total as f64 / 1e9);
    Ok(())
}
