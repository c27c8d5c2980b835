//! On a CPU without bf16 a checkpoint is multiplied as whole numbers where its own weights were found to
//! allow it: measured once, remembered, and refused to one that has numbers far larger than all others.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{Device, Tensor, safetensors};
use pagesight_core::seam::Model;
use pagesight_core::{ModelSource, QueryVectors};
use pagesight_model::{Decoding, LoadOptions, PaliGemma, Precision, Task, kernels, load};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

/// Whether this CPU multiplies whole numbers of 16 bits rather than bf16 or f32.
fn has_whole_numbers() -> bool {
    let nano = kernels().into_iter().find(|kernel| kernel.work == "nano").unwrap();
    nano.by.starts_with("whole numbers")
}

fn open(folder: &Path, options: &LoadOptions) -> Arc<dyn Model> {
    let options = LoadOptions { precision: Some(Precision::Bf16), ..options.clone() };
    load(&ModelSource::Folder(folder.into()), &options).unwrap()
}

fn ask(model: &Arc<dyn Model>) -> QueryVectors {
    model.encode_queries(&["net sales by region"]).unwrap().remove(0)
}

/// What is remembered: a name each, and the least cosine.
fn remembered(file: &Path) -> BTreeMap<String, f64> {
    #[derive(serde::Deserialize)]
    struct Nearness {
        least_cosine: f64,
    }
    let Ok(text) = fs::read(file) else { return BTreeMap::new() };
    let all: BTreeMap<String, Nearness> = serde_json::from_slice(&text).unwrap();
    all.into_iter().map(|(name, nearness)| (name, nearness.least_cosine)).collect()
}

#[test]
fn a_model_is_measured_once_and_remembered() {
    static MEASURED: AtomicUsize = AtomicUsize::new(0);
    let memory = tempfile::tempdir().unwrap();
    let file = memory.path().join("below/whole_numbers.json");
    let options = LoadOptions {
        measured: Some(file.clone()),
        on_measuring: Some(|| {
            MEASURED.fetch_add(1, Ordering::Relaxed);
        }),
        ..LoadOptions::default()
    };
    let folder = fixture("parity/hf");
    let by = |whole_numbers| {
        let options = LoadOptions { whole_numbers: Some(whole_numbers), ..LoadOptions::default() };
        ask(&open(&folder, &options))
    };
    let (exact, whole) = (by(false), by(true));
    // For questions alone nothing is measured.
    let alone = LoadOptions { query_only: true, ..options.clone() };
    assert_eq!(ask(&open(&folder, &alone)), exact);
    assert!(remembered(&file).is_empty());

    assert_eq!(ask(&open(&folder, &options)), whole);
    assert_eq!(ask(&open(&folder, &options)), whole);
    let found = remembered(&file);
    if !has_whole_numbers() {
        assert!(found.is_empty() && exact == whole);
        return;
    }
    assert_ne!(exact, whole);
    assert_eq!(MEASURED.load(Ordering::Relaxed), 1);
    assert!(found.len() == 1 && found.values().all(|cosine| (0.999..1.0).contains(cosine)));
    // What was found holds for questions too, and what was found to be far is not used.
    assert_eq!(ask(&open(&folder, &alone)), whole);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("0.999", "0.998")).unwrap();
    assert_eq!(ask(&open(&folder, &options)), exact);
    // f32 was asked for.
    let exactly = LoadOptions { precision: Some(Precision::F32), ..options };
    load(&ModelSource::Folder(folder), &exactly).unwrap();
    assert_eq!(MEASURED.load(Ordering::Relaxed), 1);
}

/// The same model for f32: what some numbers of an MLP are multiplied with, others are divided by. Beside
/// them nothing is left of their neighbours.
#[test]
fn a_model_with_numbers_far_larger_than_all_others_stays_in_f32() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture("parity/hf")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let weights = folder.path().join("model.safetensors");
    let mut tensors: HashMap<String, Tensor> = safetensors::load(&weights, &Device::Cpu).unwrap();
    let mut changed = 0;
    for (name, tensor) in &mut tensors {
        let factor = match name {
            _ if name.ends_with("mlp.up_proj.weight") => 1e5,
            _ if name.ends_with("mlp.down_proj.weight") => 1e-5,
            _ => continue,
        };
        let (rows, columns) = tensor.dims2().unwrap();
        let mut values = tensor.to_vec2::<f32>().unwrap();
        if factor > 1.0 {
            values[0].iter_mut().for_each(|value| *value *= factor);
        } else {
            values.iter_mut().for_each(|row| row[0] *= factor);
        }
        *tensor = Tensor::from_vec(values.concat(), (rows, columns), &Device::Cpu).unwrap();
        changed += 1;
    }
    assert!(changed >= 4);
    safetensors::save(&tensors, &weights).unwrap();
    let file = folder.path().join("measured.json");
    let options = LoadOptions { measured: Some(file.clone()), ..LoadOptions::default() };
    let exact = LoadOptions { whole_numbers: Some(false), ..LoadOptions::default() };
    assert_eq!(ask(&open(folder.path(), &options)), ask(&open(folder.path(), &exact)));
    let found = remembered(&file);
    assert_eq!(found.len(), usize::from(has_whole_numbers()));
    assert!(found.values().all(|cosine| *cosine < 0.999), "{found:?}");
}

#[test]
fn a_model_that_answers_is_measured_by_what_it_keeps_of_a_page() {
    let memory = tempfile::tempdir().unwrap();
    let file = memory.path().join("measured.json");
    let options = LoadOptions {
        measured: Some(file.clone()),
        precision: Some(Precision::Bf16),
        ..LoadOptions::default()
    };
    let source = ModelSource::Folder(fixture("parity-paligemma/pg2-56"));
    let model = PaliGemma::load(&source, &options).unwrap();
    let found = remembered(&file);
    assert_eq!(found.len(), usize::from(has_whole_numbers()));
    assert!(found.values().all(|cosine| (0.999..1.0).contains(cosine)), "{found:?}");
    let page = pagesight_core::PageImage::new(56, 56, vec![200; 56 * 56 * 3]).unwrap();
    let write = |model: &PaliGemma| {
        model
            .write(&page, &Task::answer("total?"), Decoding::GREEDY.with_most_tokens(4))
            .unwrap()
            .ids
    };
    let whole = LoadOptions { whole_numbers: Some(true), ..options };
    assert_eq!(write(&model), write(&PaliGemma::load(&source, &whole).unwrap()));
}
