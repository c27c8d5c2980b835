//! ColQwen2 and ColQwen2.5 checkpoints from folders: equal to the reference, right on pages of any
//! shape, and refused when anything about them is wrong.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device as CandleDevice, Tensor, safetensors};
use pagesight_core::seam::{Model, PageEncoder, QueryEncoder};
use pagesight_core::testing::{page_encoder_contract, query_encoder_contract};
use pagesight_core::{EncodedPage, ModelSource, PageImage, PageSize, PictureSize};

use super::model::ColQwen;
use super::recipe::ColQwenRecipe;
use crate::checkpoint::Checkpoint;
use crate::device::Device;
use crate::error::ModelError;
use crate::families::recipe::FamilyRecipe;
use crate::families::{inspect_checkpoint, parity};
use crate::options::{LoadOptions, RecipeChoice};
use crate::parity::StageReport;
use crate::precision::Precision;
use crate::quantized_checkpoint::quantize_checkpoint;

const FAMILIES: [&str; 2] = ["colqwen2", "colqwen2.5"];

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../fixtures/parity-{family}"))
}

fn at(folder: &Path) -> ModelSource {
    ModelSource::Folder(folder.into())
}

fn load_with(folder: &Path, options: &LoadOptions) -> Result<ColQwen, ModelError> {
    ColQwen::of(&Checkpoint::open(&at(folder), options)?, options)
}

/// In f32, though the weights are stored in bf16.
fn in_f32() -> LoadOptions {
    LoadOptions { precision: Some(Precision::F32), ..LoadOptions::default() }
}

fn load(folder: &Path) -> Result<ColQwen, ModelError> {
    load_with(folder, &in_f32())
}

fn engine(family: &str) -> ColQwen {
    load(&fixture(family).join("engine")).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

type Tensors = HashMap<String, Tensor>;

fn tensors(folder: &Path) -> Tensors {
    let mut all = Tensors::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            all.extend(safetensors::load(path, &CandleDevice::Cpu).unwrap());
        }
    }
    all
}

/// A copy of the checkpoint in one file, with changed weights.
fn changed(family: &str, change: impl FnOnce(&mut Tensors)) -> tempfile::TempDir {
    let from = fixture(family).join("engine");
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = tensors(&from);
    change(&mut tensors);
    safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    for name in ["config.json", "preprocessor_config.json", "tokenizer.json"] {
        fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn change_json(file: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let mut value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

/// A page with bars of print, of any size.
fn page(size: PictureSize, seed: u32) -> PageImage {
    let ink = |x: u32, y: u32| (x / 7 * (y / 12 + seed)) % 5 < 2 && y % 12 < 7;
    let rgb = (0..size.height_px).flat_map(|y| {
        (0..size.width_px).flat_map(move |x| [if ink(x, y) { 20u8 } else { 250 }; 3])
    });
    PageImage::new(size.width_px, size.height_px, rgb.collect()).unwrap()
}

fn encoded(model: &ColQwen, page: &PageImage) -> EncodedPage {
    model.encode_pages(std::slice::from_ref(page)).unwrap().remove(0)
}

const A4: PageSize = PageSize { width_pt: 595.0, height_pt: 842.0 };

/// All numbers of a page and of a question.
fn numbers(model: &ColQwen) -> Vec<f32> {
    let page = encoded(model, &page(model.picture(A4), 5));
    let query = &model.encode_queries(&["What is the total revenue in 2024?"]).unwrap()[0];
    let page = page.vectors().values().iter().map(|v| v.to_f32());
    page.chain(query.values().iter().copied()).collect()
}

fn least_cosine(a: &[f32], b: &[f32], dim: usize) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let rows = a.chunks(dim).zip(b.chunks(dim));
    rows.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).fold(f64::INFINITY, f64::min)
}

fn failed(stages: &[StageReport]) -> Vec<&StageReport> {
    stages.iter().filter(|stage| !stage.passed()).collect()
}

#[test]
fn every_stage_equals_the_reference() {
    for family in FAMILIES {
        let stages = parity(&fixture(family)).unwrap();
        for stage in &stages {
            println!(
                "{family:10} {:32} {:8.0e} {:.3e}",
                stage.stage, stage.tolerance, stage.max_difference
            );
        }
        assert!(failed(&stages).is_empty(), "{family}: {:#?}", failed(&stages));
        let mut names = vec![
            "resize_cases",
            "page0.resized_u8",
            "page1.pixel_values",
            "page1.position_ids",
            "page1.vision.layer.1",
            "page2.projector.output",
            "hf.page1.lm.layer.1",
            "hf.page2.embeddings",
            "hf.query2.lm.layer.0",
            "hf.query1.embeddings",
            "hf.scores",
            "query_prefix.query1.embeddings",
            "query_prefix_newline.query0.embeddings",
            "long.embeddings",
            "lora.page1.embeddings",
            "lora.query0.embeddings",
        ];
        match family {
            "colqwen2" => names.push("hf-native.scores"),
            _ => names.push("page1.vision.layer.2"),
        }
        for name in names {
            assert!(stages.iter().any(|stage| stage.stage == name), "{family}: {name}");
        }
    }
}

#[test]
fn the_encoder_keeps_the_contracts() {
    for family in FAMILIES {
        let model = engine(family);
        page_encoder_contract(&model);
        query_encoder_contract(&model);
    }
}

#[test]
fn every_layout_gives_the_same_vectors() {
    for family in FAMILIES {
        let expected = numbers(&engine(family));
        for [visual, text, head] in [
            ["visual.", "language_model.", "custom_text_proj."],
            ["model.visual.", "model.language_model.", "custom_text_proj."],
            ["vlm.visual.", "vlm.model.", "embedding_proj_layer."],
            ["vlm.model.visual.", "vlm.model.language_model.", "embedding_proj_layer."],
        ] {
            let folder = changed(family, |tensors| {
                let renamed = tensors.drain().map(|(key, tensor)| {
                    let parts =
                        [("visual.", visual), ("model.", text), ("custom_text_proj.", head)];
                    let new = parts
                        .iter()
                        .find_map(|(old, new)| Some(format!("{new}{}", key.strip_prefix(old)?)));
                    (new.unwrap(), tensor)
                });
                let renamed: Tensors = renamed.collect();
                tensors.extend(renamed);
                let head = tensors.values().next().unwrap().clone();
                tensors.insert("lm_head.weight".into(), head);
            });
            assert_eq!(numbers(&load(folder.path()).unwrap()), expected, "{family} {text}");
            inspect_checkpoint(&at(folder.path()), &LoadOptions::default()).unwrap();
        }
        // Since transformers 4.52 the language model's fields are below text_config.
        let folder = changed(family, |_| ());
        change_json(&folder.path().join("config.json"), |config| {
            let outer = ["architectures", "model_type", "vision_config", "image_token_id"];
            let fields = config.as_object_mut().unwrap();
            let inner: Vec<String> =
                fields.keys().filter(|key| !outer.contains(&key.as_str())).cloned().collect();
            let inner: serde_json::Map<_, _> =
                inner.into_iter().map(|key| (key.clone(), fields.remove(&key).unwrap())).collect();
            config["text_config"] = inner.into();
        });
        assert_eq!(numbers(&load(folder.path()).unwrap()), expected, "{family} nested");
    }
}

/// As nomic-ai/colnomic-embed-multimodal: an adapter over Qwen's own model brings the head.
#[test]
fn an_adapter_brings_the_head_that_its_base_does_not_have() {
    let head = "custom_text_proj";
    for family in FAMILIES {
        let expected = numbers(&load(&fixture(family).join("lora")).unwrap());
        for infix in ["", ".modules_to_save.default"] {
            let base = changed(family, |tensors| tensors.retain(|key, _| !key.starts_with(head)));
            let folder = tempfile::tempdir().unwrap();
            copy(&fixture(family).join("lora"), folder.path());
            let file = folder.path().join("adapter_model.safetensors");
            let mut factors = safetensors::load(&file, &CandleDevice::Cpu).unwrap();
            // The head as the base with its adapter has it.
            let whole = tensors(&fixture(family).join("engine"));
            let take = |tensors: &mut Tensors, factor: &str| {
                let key = format!("base_model.model.{head}.{factor}.weight");
                tensors.remove(&key).unwrap().to_dtype(candle_core::DType::F32).unwrap()
            };
            let (a, b) = (take(&mut factors, "lora_A"), take(&mut factors, "lora_B"));
            let wide = |part: &str| {
                whole[&format!("{head}.{part}")].to_dtype(candle_core::DType::F32).unwrap()
            };
            let merged = (wide("weight") + (b.matmul(&a).unwrap() * 2.0).unwrap()).unwrap();
            factors.insert(format!("base_model.model.{head}{infix}.weight"), merged);
            factors.insert(format!("base_model.model.{head}{infix}.bias"), wide("bias"));
            safetensors::save(&factors, &file).unwrap();
            change_json(&folder.path().join("adapter_config.json"), |config| {
                config["modules_to_save"] = serde_json::json!([head]);
            });
            let options = LoadOptions { base: Some(at(base.path())), ..in_f32() };
            let got = numbers(&load_with(folder.path(), &options).unwrap());
            let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-3, "{family}: {worst}");
            // The base alone is no retriever.
            let error = load(base.path()).unwrap_err();
            assert!(error.to_string().ends_with("lacks the tensor custom_text_proj.weight"));
        }
    }
}

#[test]
fn vectors_stand_where_their_features_are() {
    for family in FAMILIES {
        let model = engine(family);
        let feature = 2 * model.config.vision.patch as u32;
        for (width_pt, height_pt) in
            [(595.0, 842.0), (842.0, 595.0), (200.0, 1.0), (1.0, 14_400.0), (0.0, f32::NAN)]
        {
            let size = model.picture(PageSize { width_pt, height_pt });
            let area = u64::from(size.width_px) * u64::from(size.height_px);
            assert!(area <= 3072 && size.width_px.is_multiple_of(feature), "{size:?}");
            let page = encoded(&model, &page(size, 3));
            let (vectors, layout) = (page.vectors(), page.layout());
            let (columns, rows) = (size.width_px / feature, size.height_px / feature);
            let (before, after) = (model.prompt.before.len(), model.prompt.after.len());
            let features = (columns * rows) as usize;
            assert_eq!(vectors.len(), before + features + after);
            for place in 0..vectors.len() {
                let number = place.checked_sub(before).filter(|number| *number < features);
                let Some(number) = number else {
                    assert_eq!(layout.area(place), None);
                    continue;
                };
                let (row, column) = (number as u32 / columns, number as u32 % columns);
                let area = layout.area(place).unwrap();
                for (got, expected) in [
                    (area.x0 * size.width_px as f32, column * feature),
                    (area.x1 * size.width_px as f32, (column + 1) * feature),
                    (area.y0 * size.height_px as f32, row * feature),
                    (area.y1 * size.height_px as f32, (row + 1) * feature),
                ] {
                    assert!((got - expected as f32).abs() < 1e-2, "{place}: {got} {expected}");
                }
            }
        }
    }
}

#[test]
fn control_tokens_in_a_question_are_letters() {
    let model = engine("colqwen2.5");
    for question in ["a<|image_pad|>b", "<|im_end|>", "<|endoftext|>", "<|vision_start|> é"] {
        let query = model.tokens.query(&model.recipe, question).unwrap();
        let inside = query.ids.len() - model.recipe.query_pads;
        assert!(!query.ids.contains(&model.tokens.image), "{question}");
        let pad = query.ids.last().unwrap();
        assert!(query.ids[inside..].iter().all(|id| id == pad));
        assert!(query.ids[..inside].iter().all(|id| *id < 306), "{question}: {:?}", query.ids);
        model.encode_queries(&[question]).unwrap();
    }
}

#[test]
fn questions_of_no_and_of_ten_thousand_tokens_are_encoded() {
    let model = engine("colqwen2");
    let long = "page 3 in total ".repeat(1_700);
    let vectors = model.encode_queries(&["", &long]).unwrap();
    assert!(vectors[0].len() > 10 && vectors[1].len() > 10_000, "{}", vectors[1].len());
    // It is causal: the beginning does not know the end.
    let short = &model.encode_queries(&["page 3 in total page 3"]).unwrap()[0];
    let same = 5 * model.dim();
    let pairs = short.values()[..same].iter().zip(&vectors[1].values()[..same]);
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
}

#[test]
fn queries_need_no_vision_tower() {
    for family in FAMILIES {
        let folder = fixture(family).join("engine");
        let options = LoadOptions { query_only: true, ..in_f32() };
        let (queries, whole) = (load_with(&folder, &options).unwrap(), engine(family));
        let asked = ["page 3", "est la clé"];
        assert_eq!(queries.encode_queries(&asked).unwrap(), whole.encode_queries(&asked).unwrap());
        assert_eq!(queries.model_id(), whole.model_id());
        assert!(!queries.encodes_pages() && whole.encodes_pages());
        let error = queries.encode_pages(&[page(whole.picture(A4), 1)]).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(ModelError::QueryOnly)), "{error}");
    }
}

#[test]
fn each_precision_is_as_near_to_f32_as_its_bits_allow() {
    for family in FAMILIES {
        let folder = fixture(family).join("engine");
        let exact = numbers(&engine(family));
        for (precision, least) in [
            (Precision::F16, 0.999_9),
            (Precision::Bf16, 0.99),
            (Precision::Q8, 0.99),
            (Precision::Q4, 0.8),
        ] {
            let options = LoadOptions { precision: Some(precision), ..LoadOptions::default() };
            let model = load_with(&folder, &options).unwrap();
            let cosine = least_cosine(&numbers(&model), &exact, model.dim());
            println!("{family:10} {precision:4} least cosine to f32 {cosine:.6}");
            assert!(cosine > least, "{family} {precision}: {cosine}");
            if precision.is_quantized() {
                let small = tempfile::tempdir().unwrap();
                let small = small.path().join("small");
                quantize_checkpoint(&at(&folder), &small, precision, &options, |_, _| {}).unwrap();
                let stored = load_with(&small, &LoadOptions::default()).unwrap();
                assert_eq!(numbers(&stored), numbers(&model), "{family} {precision}");
            }
        }
    }
}

#[test]
fn a_recipe_leaves_out_merges_and_makes_smaller() {
    let folder = fixture("colqwen2.5").join("engine");
    let whole = engine("colqwen2.5");
    let with = |recipe: &ColQwenRecipe| {
        let recipe = Some(RecipeChoice::Json(recipe.to_json()));
        load_with(&folder, &LoadOptions { recipe, ..in_f32() }).unwrap()
    };
    let half = with(&ColQwenRecipe { max_pixels: Some(1536), ..ColQwenRecipe::default() });
    let (small, large) = (half.picture(A4), whole.picture(A4));
    assert!(small.width_px * small.height_px <= 1536 && small.height_px < large.height_px);
    let all = encoded(&whole, &page(large, 2));
    let pooled = with(&ColQwenRecipe { pooling: 3, ..ColQwenRecipe::default() });
    let few = encoded(&pooled, &page(large, 2));
    assert!(few.vectors().len() <= all.vectors().len() / 3 + 1);
    let mut rgb = vec![255; (large.width_px * large.height_px * 3) as usize];
    rgb[..3].fill(0);
    let dot = PageImage::new(large.width_px, large.height_px, rgb).unwrap();
    let pruned = with(&ColQwenRecipe { prune_blank: Some(16), ..ColQwenRecipe::default() });
    let kept = encoded(&pruned, &dot);
    assert_eq!(kept.vectors().places(), Some(&[whole.prompt.before.len() as u32][..]));
    let options = LoadOptions { slices: Some("2x3".parse().unwrap()), ..LoadOptions::default() };
    let error = load_with(&folder, &options).unwrap_err();
    assert!(error.to_string().contains("slices is 2x3"), "{error}");
    for name in ColQwenRecipe::names() {
        assert!(ColQwenRecipe::named(name).is_some());
    }
    let options = LoadOptions { device: Device::Cuda, ..LoadOptions::default() };
    let error = load_with(&folder, &options).unwrap_err();
    assert!(matches!(error, ModelError::DeviceFamily { family: "colqwen2.5", .. }), "{error}");
}

#[test]
fn what_is_wrong_with_a_checkpoint_is_named() {
    for family in FAMILIES {
        let key = "model.layers.1.self_attn.k_proj.bias";
        let folder = changed(family, |tensors| drop(tensors.remove(key)));
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("lacks the tensor {key}")), "{error}");
        let seen = inspect_checkpoint(&at(folder.path()), &LoadOptions::default()).unwrap_err();
        assert_eq!(seen.to_string(), error);
        let folder = changed(family, |tensors| {
            let extra = tensors[key].clone();
            tensors.insert("visual.blocks.9.norm1.weight".into(), extra);
        });
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("does not know, the first is visual.blocks.9.norm1"), "{error}");
    }
}

#[test]
fn hostile_settings_are_refused_by_name() {
    use serde_json::json;
    let cases = [
        ("config.json", "/hidden_size", json!(0)),
        ("config.json", "/hidden_size", json!(u64::MAX)),
        ("config.json", "/num_hidden_layers", json!(1_000_000_000)),
        ("config.json", "/num_key_value_heads", json!(3)),
        ("config.json", "/hidden_act", json!("gelu")),
        ("config.json", "/use_sliding_window", json!(true)),
        ("config.json", "/rope_scaling/mrope_section", json!([1, 2])),
        ("config.json", "/rope_scaling/mrope_section", json!([u64::MAX, u64::MAX, 1])),
        ("config.json", "/rope_scaling/type", json!("yarn")),
        ("config.json", "/vision_config/patch_size", json!(0)),
        ("config.json", "/vision_config/window_size", json!(3)),
        ("config.json", "/vision_config/num_heads", json!(5)),
        ("config.json", "/vision_config/spatial_merge_size", json!(4)),
        ("config.json", "/vision_config/depth", json!(100_000)),
        ("config.json", "/image_token_id", json!(3)),
        ("config.json", "/vocab_size", json!(300)),
        ("preprocessor_config.json", "/max_pixels", json!(u64::MAX)),
        ("preprocessor_config.json", "/max_pixels", json!(1)),
        ("preprocessor_config.json", "/min_pixels", json!(4096)),
        ("preprocessor_config.json", "/resample", json!(2)),
        ("preprocessor_config.json", "/patch_size", json!(14)),
    ];
    for (file, field, value) in cases {
        let folder = changed("colqwen2.5", |_| ());
        change_json(&folder.path().join(file), |settings| {
            *settings.pointer_mut(field).unwrap() = value.clone();
        });
        let error = load(folder.path()).expect_err(field);
        let seen = inspect_checkpoint(&at(folder.path()), &in_f32());
        assert_eq!(seen.unwrap_err().to_string(), error.to_string(), "{field} {value}");
    }
}

/// Whatever bytes of the small files are changed, loading ends with an error or a model that works.
#[test]
fn damaged_files_never_panic() {
    let mut random = fastrand::Rng::with_seed(21);
    let whole = changed("colqwen2.5", |_| ());
    for name in ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"] {
        for _ in 0..30 {
            let folder = tempfile::tempdir().unwrap();
            copy(whole.path(), folder.path());
            let file = folder.path().join(name);
            let mut bytes = fs::read(&file).unwrap();
            // Of the weights the header alone.
            let most = bytes.len().min(6_000);
            for _ in 0..random.usize(1..4) {
                match random.u8(..3) {
                    0 => bytes[random.usize(..most)] = random.u8(..),
                    1 => bytes[random.usize(..most)] = random.u8(b'0'..=b'9'),
                    _ => drop(bytes.remove(random.usize(..most))),
                }
            }
            fs::write(&file, bytes).unwrap();
            let _ = inspect_checkpoint(&at(folder.path()), &LoadOptions::default());
            if let Ok(model) = load(folder.path()) {
                let size = model.picture(PageSize { width_pt: 40.0, height_pt: 30.0 });
                if size.width_px <= 256 && size.height_px <= 256 {
                    let _ = model.encode_pages(&[page(size, 1)]);
                }
                let _ = model.encode_queries(&["page 3"]);
            }
        }
    }
}

#[test]
fn a_checkpoint_says_what_a_page_costs() {
    for (family, parameters) in [("colqwen2", 142_912), ("colqwen2.5", 151_688)] {
        let folder = fixture(family).join("engine");
        let info = inspect_checkpoint(&at(&folder), &in_f32()).unwrap();
        assert_eq!((info.family, info.parameters), (family, parameters));
        let model = engine(family);
        let page = encoded(&model, &page(info.page.picture, 1));
        assert_eq!(page.vectors().len(), info.page.vectors);
        assert_eq!(info.model_id, *model.model_id());
    }
}
