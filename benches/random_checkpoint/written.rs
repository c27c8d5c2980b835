//! Tensors of noise, written as shards.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// Bytes made at once.
const CHUNK: usize = 1 << 20;

/// A tensor to be: its name, its shape, and what its numbers are like.
pub struct Tensor {
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

/// Adds a tensor to be.
pub fn add(all: &mut Vec<Tensor>, name: String, shape: &[usize], mean: f32, deviation: f32) {
    all.push(Tensor { name, shape: shape.into(), mean, deviation });
}

/// Adds a linear layer, whose output is `gain` times as large as its input.
pub fn linear(all: &mut Vec<Tensor>, name: &str, [input, output]: [usize; 2], gain: f32) {
    add(all, format!("{name}.weight"), &[output, input], 0.0, gain * keep(input));
}

/// Adds a linear layer with a bias.
pub fn biased(all: &mut Vec<Tensor>, name: &str, [input, output]: [usize; 2], gain: f32) {
    linear(all, name, [input, output], gain);
    add(all, format!("{name}.bias"), &[output], 0.0, 0.02);
}

/// Adds a norm without a bias, whose weights are around `mean`.
pub fn norm(all: &mut Vec<Tensor>, name: &str, width: usize, mean: f32) {
    add(all, format!("{name}.weight"), &[width], mean, 0.1);
}

/// Adds a norm with a bias.
pub fn layer_norm(all: &mut Vec<Tensor>, name: &str, width: usize) {
    norm(all, name, width, 1.0);
    add(all, format!("{name}.bias"), &[width], 0.0, 0.05);
}

/// The deviation of weights with which a product keeps the size of its input; layers that add to the
/// sum of all have less.
pub fn keep(width: usize) -> f32 {
    (width as f32).powf(-0.5)
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

/// Writes `tensors` in shards of at most `most` bytes, with an index where there are several, and
/// returns the bytes of all.
pub fn write_shards(folder: &Path, tensors: Vec<Tensor>, most: usize) -> io::Result<usize> {
    let mut shards: Vec<Vec<Tensor>> = vec![Vec::new()];
    let (mut filled, mut total) = (0, 0);
    for tensor in tensors {
        if filled + tensor.bytes() > most {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += tensor.bytes();
        total += tensor.bytes();
        shards.last_mut().expect("one at least").push(tensor);
    }
    if let [shard] = shards.as_slice() {
        write_shard(&folder.join("model.safetensors"), shard)?;
        return Ok(total);
    }
    let mut map = Map::new();
    for (i, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write_shard(&folder.join(&name), shard)?;
        map.extend(shard.iter().map(|tensor| (tensor.name.clone(), name.clone().into())));
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    write_json(folder, "model.safetensors.index.json", &index)?;
    Ok(total)
}

/// Writes the processor of the fixture `parity-FIXTURE` with `changes`, and copies its tokenizer.
pub fn write_processor(folder: &Path, fixture: &str, changes: Value) -> io::Result<()> {
    const NAME: &str = "preprocessor_config.json";
    let mut processor = read(&fixture_file(fixture, NAME))?;
    change(&mut processor, changes);
    write_json(folder, NAME, &processor)?;
    copy_tokenizer(folder, fixture)
}

/// Copies the files of a tokenizer from the fixture `parity-FIXTURE`.
fn copy_tokenizer(folder: &Path, fixture: &str) -> io::Result<()> {
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(fixture_file(fixture, name), folder.join(name))?;
    }
    Ok(())
}

/// The path of a file of the fixture `parity-FIXTURE`.
pub fn fixture_file(fixture: &str, name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    fixtures.join(format!("parity-{fixture}")).join(name)
}

/// Puts the fields of `changes` in place of those that a JSON object has.
pub fn change(value: &mut Value, changes: Value) {
    match (value, changes) {
        (Value::Object(value), Value::Object(changes)) => {
            for (key, to) in changes {
                change(value.entry(key).or_insert(Value::Null), to);
            }
        }
        (value, to) => *value = to,
    }
}

/// Reads a JSON file.
pub fn read(path: &Path) -> io::Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Writes a JSON file.
pub fn write_json(folder: &Path, name: &str, value: &Value) -> io::Result<()> {
    fs::write(folder.join(name), serde_json::to_vec_pretty(value)?)
}
