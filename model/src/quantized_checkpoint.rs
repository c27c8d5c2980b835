//! A checkpoint written again with fewer bits.
//!
//! The container is safetensors, under the names that the checkpoint has: every tool for
//! checkpoints opens it, a header with hashes and shapes is checked as everywhere, the map is used
//! as it lies, and what is not quantized (norms, biases, the token table, the ends of the model)
//! stays bit for bit. GGUF would add a second reader of hostile files, has no ColPali in it, and
//! its blocks of 32 do not fit SigLIP's width of 4304.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use half::f16;
use pagesight_core::ModelSource;
use serde_json::{Map, Value, json};

use crate::blocks::linear::stored_matrix;
use crate::blocks::matmul::Format;
use crate::blocks::quantize::{SCALES, quantize};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::family_of;
use crate::options::LoadOptions;
use crate::precision::Precision;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuantizeSummary {
    /// Weights that have fewer bits now.
    pub quantized: usize,
    /// Tensors that stayed as they were.
    pub kept: usize,
    /// Bytes of all tensors before.
    pub bytes_before: u64,
    /// Bytes of all tensors now.
    pub bytes_after: u64,
}

/// The file that a recipe has beside the weights.
const RECIPE: &str = "recipe.json";

/// Files that a checkpoint has beside its weights.
const BESIDE: [&str; 8] = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    RECIPE,
    "README.md",
];

/// A tensor of the new file.
struct Entry {
    name: String,
    shape: Vec<usize>,
    /// What it is quantized to; `None` stays.
    format: Option<Format>,
}

/// Writes the checkpoint of `from` to the new folder `to` in [`Precision::Q8`] or
/// [`Precision::Q4`]. An adapter is merged into its base, which `options` may name. `progress` is
/// called with the number of each tensor and how many there are. One tensor is in memory at a time.
///
/// # Errors
/// [`ModelError::Exists`], [`ModelError::Quantized`], [`ModelError::Setting`] for a precision
/// that is not made so, and whatever opening `from` and writing give. A folder that is not whole
/// has no config.json.
pub fn quantize_checkpoint(
    from: &ModelSource,
    to: &Path,
    precision: Precision,
    options: &LoadOptions,
    mut progress: impl FnMut(usize, usize),
) -> Result<QuantizeSummary, ModelError> {
    if !precision.is_quantized() {
        return Err(ModelError::Setting {
            path: to.into(),
            key: "precision".into(),
            expected: "q8 or q4".into(),
            got: precision.to_string(),
        });
    }
    let checkpoint = Checkpoint::open(from, options)?;
    let mut weights = Weights::open(&checkpoint, family_of(&checkpoint)?.names)?;
    let entries: Vec<Entry> = weights
        .left()
        .into_iter()
        .map(|(name, shape)| {
            let format = precision.weight_format(&name).filter(|_| is_quantized(&name, &shape));
            Entry { name, shape, format }
        })
        .collect();
    if entries.iter().any(|entry| entry.name.ends_with(SCALES)) {
        return Err(ModelError::Quantized { path: checkpoint.of_weights().shown() });
    }
    if to.exists() {
        return Err(ModelError::Exists { path: to.into() });
    }
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ModelError::Io { path, source }
    };
    fs::create_dir_all(to).map_err(io(to))?;
    let path = to.join("model.safetensors");
    let mut file = BufWriter::new(File::create(&path).map_err(io(&path))?);
    let (header, bytes_after) = header(&weights, &entries, precision)?;
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io(&path))?;
    file.write_all(&header).map_err(io(&path))?;
    let mut bytes_before = 0;
    for (i, entry) in entries.iter().enumerate() {
        progress(i, entries.len());
        let stored = weights.take_stored(&entry.name, &entry.shape)?;
        bytes_before += stored.bytes().len() as u64;
        let Some(format) = entry.format else {
            file.write_all(stored.bytes()).map_err(io(&path))?;
            continue;
        };
        let small = quantize(&stored_matrix(stored, [entry.shape[0], entry.shape[1]])?, format);
        for row in 0..small.rows() {
            file.write_all(small.row(row)).map_err(io(&path))?;
        }
        for row in 0..small.rows() {
            for scale in small.row_scales(row) {
                let written = match format {
                    Format::Q4 => file.write_all(&f16::from_f32(*scale).to_le_bytes()),
                    _ => file.write_all(&scale.to_le_bytes()),
                };
                written.map_err(io(&path))?;
            }
        }
    }
    progress(entries.len(), entries.len());
    let file = file.into_inner().map_err(|error| io(&path)(error.into_error()))?;
    file.sync_all().map_err(io(&path))?;
    // config.json last: without it nothing takes the folder for a checkpoint.
    for name in BESIDE.iter().rev() {
        let source = checkpoint.file(name);
        if !source.exists() {
            continue;
        }
        if *name == RECIPE {
            let mut recipe: Map<String, Value> = read_json(&source)?;
            // The precision of the weights as they were; the new ones have their own, and an adapter
            // is merged into them.
            let changed = ["precision", "adapter"].map(|key| recipe.shift_remove(key).is_some());
            if changed.contains(&true) {
                fs::write(to.join(name), Value::Object(recipe).to_string())
                    .map_err(io(&source.shown()))?;
                continue;
            }
        }
        source.copy_to(&to.join(name)).map_err(io(&source.shown()))?;
    }
    let quantized = entries.iter().filter(|entry| entry.format.is_some()).count();
    let kept = entries.len() - quantized;
    Ok(QuantizeSummary { quantized, kept, bytes_before, bytes_after })
}

/// The matrices of all layers and the projector; not the ends: patch embedding, token table, head.
fn is_quantized(name: &str, shape: &[usize]) -> bool {
    let inside = [".layers.", ".blocks."].iter().any(|layers| name.contains(layers));
    let inside = inside || name.starts_with("multi_modal_projector.");
    inside && shape.len() == 2 && name.ends_with(".weight")
}

/// The header in the order of the tensors, and the bytes of all.
fn header(
    weights: &Weights,
    entries: &[Entry],
    precision: Precision,
) -> Result<(Vec<u8>, u64), ModelError> {
    let mut header = Map::new();
    let about = json!({ "format": "pt", "pagesight.precision": precision.to_string() });
    header.insert("__metadata__".into(), about);
    let mut start = 0;
    let mut add = |name: String, dtype: &str, shape: &[usize], bytes: usize| {
        let entry: Value = json!({
            "dtype": dtype, "shape": shape, "data_offsets": [start, start + bytes],
        });
        header.insert(name, entry);
        start += bytes;
    };
    for Entry { name, shape, format } in entries {
        let key = weights.layout().key(name);
        let Some(format) = format else {
            let (dtype, bytes) = weights.stored_as(name)?;
            add(key, &dtype.to_string(), shape, bytes);
            continue;
        };
        let [rows, columns] = [shape[0], shape[1]];
        let bytes = rows * format.row_bytes(columns);
        let scales = rows * format.row_scales(columns);
        match format {
            Format::Q4 => {
                add(key.clone(), "U8", &[rows, format.row_bytes(columns)], bytes);
                add(format!("{key}{SCALES}"), "F16", &[rows, scales / rows.max(1)], scales * 2);
            }
            _ => {
                add(key.clone(), "I8", shape, bytes);
                add(format!("{key}{SCALES}"), "F32", &[rows], scales * 4);
            }
        }
    }
    let total = start as u64;
    let mut text = serde_json::to_vec(&header).expect("names and numbers");
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok((text, total))
}
