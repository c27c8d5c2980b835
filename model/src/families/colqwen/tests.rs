//! ColQwen2, ColQwen2.5 and ColQwen3.5 checkpoints from folders: equal to the reference, right on pages of any
//! shape, and refused when anything about them is wrong.

use std::fs;
use std::path::Path;

use candle_core::{Device as CandleDevice, safetensors};
use pagesight_core::PageSize;
use pagesight_core::seam::{PageEncoder, QueryEncoder};
use pagesight_core::testing::{page_encoder_contract, query_encoder_contract};
use serde_json::json;

use super::model::{self, ColQwen};
use super::recipe::ColQwenRecipe;
use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::inspect_checkpoint;
use crate::families::recipe::FamilyRecipe;
use crate::families::retriever::Retriever;
use crate::families::testing::{
    A4, Adapter, Tensors, adapter_is_merged, at, change_json, copy, damage_never_panics, encoded,
    fixture, in_f32, looks_are_true, numbers, page, precisions_are_near, queries_stand_alone,
    questions_of_any_length_are_encoded, settings_are_refused, stages_pass, tensors,
    vectors_are_left_out_and_merged, what_cannot_be_is_refused, with_json,
};
use crate::families::whole_page::WholePageRecipe;
use crate::options::{LoadOptions, RecipeChoice};
use crate::precision::Precision;

const FAMILIES: [&str; 3] = ["colqwen2", "colqwen2.5", "colqwen3.5"];

fn load_with(folder: &Path, options: &LoadOptions) -> Result<Retriever<ColQwen>, ModelError> {
    model::load(&Checkpoint::open(&at(folder), options)?, options)
}

fn load(folder: &Path) -> Result<Retriever<ColQwen>, ModelError> {
    load_with(folder, &in_f32())
}

fn in_engine(family: &str) -> std::path::PathBuf {
    fixture(family).join("engine")
}

fn engine(family: &str) -> Retriever<ColQwen> {
    load(&in_engine(family)).unwrap()
}

/// A copy of the checkpoint in one file, with changed weights.
fn changed(family: &str, change: impl FnOnce(&mut Tensors)) -> tempfile::TempDir {
    crate::families::testing::changed(&in_engine(family), change)
}

#[test]
fn every_stage_equals_the_reference() {
    for family in FAMILIES {
        let mut names = vec![
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
            "long.embeddings",
        ];
        if family != "colqwen3.5" {
            names.extend([
                "resize_cases",
                "query_prefix.query1.embeddings",
                "query_prefix_newline.query0.embeddings",
                "lora.page1.embeddings",
                "lora.query0.embeddings",
            ]);
        }
        names.extend(match family {
            "colqwen2" => ["hf-native.scores"].as_slice(),
            "colqwen2.5" => &["page1.vision.layer.2"],
            _ => &[
                "page1.vision.embeddings",
                "hf.page1.lm.layer.3",
                "bidirectional.page1.embeddings",
                "bidirectional.query0.embeddings",
            ],
        });
        stages_pass(family, &names);
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
                    let parts = [
                        ("visual.", visual),
                        ("model.", text),
                        ("language_model.", text),
                        ("custom_text_proj.", head),
                    ];
                    let new = parts
                        .iter()
                        .find_map(|(old, new)| Some(format!("{new}{}", key.strip_prefix(old)?)));
                    (new.unwrap(), tensor)
                });
                let renamed: Tensors = renamed.collect();
                tensors.extend(renamed);
                let any = tensors.values().next().unwrap().clone();
                tensors.insert("lm_head.weight".into(), any.clone());
                tensors.insert("mtp.layers.0.mlp.up_proj.weight".into(), any);
            });
            assert_eq!(numbers(&load(folder.path()).unwrap()), expected, "{family} {text}");
            inspect_checkpoint(&at(folder.path()), &LoadOptions::default()).unwrap();
        }
        if family == "colqwen3.5" {
            continue;
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
    for family in ["colqwen2", "colqwen2.5"] {
        let expected = numbers(&load(&fixture(family).join("lora")).unwrap());
        for infix in ["", ".modules_to_save.default"] {
            let base = changed(family, |tensors| tensors.retain(|key, _| !key.starts_with(head)));
            let folder = tempfile::tempdir().unwrap();
            copy(&fixture(family).join("lora"), folder.path());
            let file = folder.path().join("adapter_model.safetensors");
            let mut factors = safetensors::load(&file, &CandleDevice::Cpu).unwrap();
            // The head as the base with its adapter has it.
            let whole = tensors(&in_engine(family));
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
        let feature = 2 * model.network.config.vision.patch as u32;
        for (width_pt, height_pt) in
            [(595.0, 842.0), (842.0, 595.0), (200.0, 1.0), (1.0, 14_400.0), (0.0, f32::NAN)]
        {
            let size = model.picture(PageSize { width_pt, height_pt });
            let area = u64::from(size.width_px) * u64::from(size.height_px);
            assert!(area <= 3072 && size.width_px.is_multiple_of(feature), "{size:?}");
            let page = encoded(&model, &page(size, 3));
            let (vectors, layout) = (page.vectors(), page.layout());
            let (columns, rows) = (size.width_px / feature, size.height_px / feature);
            let (before, after) =
                (model.network.prompt.before.len(), model.network.prompt.after.len());
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
    for family in FAMILIES {
        let model = engine(family);
        for question in ["a<|image_pad|>b", "<|im_end|>", "<|endoftext|>", "<|vision_start|> é"] {
            let query = model.network.tokens.query(&model.network.recipe, question).unwrap();
            let inside = query.ids.len() - model.network.recipe.query_pads;
            assert!(!query.ids.contains(&model.network.tokens.image), "{family} {question}");
            let pad = query.ids.last().unwrap();
            assert!(query.ids[inside..].iter().all(|id| id == pad));
            let letters = &query.ids[..inside];
            assert!(letters.iter().all(|id| *id < 306), "{family} {question}: {letters:?}");
            model.encode_queries(&[question]).unwrap();
        }
    }
}

#[test]
fn questions_of_no_and_of_ten_thousand_tokens_are_encoded() {
    for family in FAMILIES {
        let model = engine(family);
        let [_, long] = questions_of_any_length_are_encoded(&model);
        // It is causal: the beginning does not know the end.
        let short = &model.encode_queries(&["page 3 in total page 3"]).unwrap()[0];
        let same = 5 * model.dim();
        let pairs = short.values()[..same].iter().zip(&long.values()[..same]);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{family}: {worst}");
    }
}

#[test]
fn queries_need_no_vision_tower() {
    for family in FAMILIES {
        queries_stand_alone(&in_engine(family), load_with);
    }
}

#[test]
fn each_precision_is_as_near_to_f32_as_its_bits_allow() {
    for family in FAMILIES {
        // The reference itself in bf16 has 0.986 on the delta nets of the fixture.
        let is_hybrid = family == "colqwen3.5";
        let least = [
            (Precision::F16, if is_hybrid { 0.999_5 } else { 0.999_9 }),
            (Precision::Bf16, if is_hybrid { 0.97 } else { 0.99 }),
            (Precision::Q8, if is_hybrid { 0.97 } else { 0.99 }),
            (Precision::Q4, if is_hybrid { 0.7 } else { 0.8 }),
        ];
        precisions_are_near(&in_engine(family), load_with, least);
    }
}

/// Adapters of ColQwen3.5 name the language model as its merged checkpoints do.
#[test]
fn an_adapter_of_delta_nets_is_merged_into_its_base() {
    let whole = in_engine("colqwen3.5");
    let layer = "language_model.layers.1.linear_attn.in_proj_qkv";
    let adapter = Adapter::of(layer, [64, 112]);
    adapter_is_merged(&adapter, [&whole, &whole], Tensors::new(), load_with);
}

/// EVIE's files say nothing of its attention, so its name does.
#[test]
fn a_checkpoint_called_evie_sees_all_and_a_recipe_may_say_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let evie = folder.path().join("EVIE-4.5B");
    copy(&in_engine("colqwen3.5"), &evie);
    let causal = |options: &LoadOptions| load_with(&evie, options).unwrap().network.recipe.causal;
    assert!(!causal(&in_f32()));
    let json = engine("colqwen3.5").network.recipe.to_json();
    for choice in [RecipeChoice::Json(json), RecipeChoice::Named("colqwen3.5".into())] {
        assert!(causal(&LoadOptions { recipe: Some(choice), ..in_f32() }));
    }
    // What a recipe leaves out is the family's, not that of the older families.
    let part = RecipeChoice::Json(r#"{"pooling": 2}"#.into());
    let model = load_with(&evie, &LoadOptions { recipe: Some(part), ..in_f32() }).unwrap();
    assert_eq!(
        (model.network.recipe.query_prefix.as_str(), model.network.recipe.causal),
        ("", true)
    );
}

#[test]
fn vectors_may_be_cut() {
    let folder = in_engine("colqwen3.5");
    let with = |dim| {
        let recipe = ColQwenRecipe { dim, ..ColQwenRecipe::named("colqwen3.5").unwrap() };
        let recipe = Some(RecipeChoice::Json(recipe.to_json()));
        load_with(&folder, &LoadOptions { recipe, ..in_f32() })
    };
    let (whole, short) = (with(None).unwrap(), with(Some(32)).unwrap());
    assert_eq!((whole.dim(), short.dim()), (80, 32));
    assert_ne!(whole.model_id(), short.model_id());
    let ask = |model: &Retriever<ColQwen>| model.encode_queries(&["page 3"]).unwrap().remove(0);
    let (all, some) = (ask(&whole), ask(&short));
    for (all, some) in all.values().chunks(80).zip(some.values().chunks(32)) {
        let length = all[..32].iter().map(|v| v * v).sum::<f32>().sqrt();
        assert!(all.iter().zip(some).all(|(a, b)| (a / length - b).abs() < 1e-6));
    }
    let error = with(Some(81)).unwrap_err().to_string();
    assert!(error.contains("dim is 81, expected 1 to 80"), "{error}");
}

#[test]
fn a_recipe_leaves_out_merges_and_makes_smaller() {
    for family in FAMILIES {
        let folder = in_engine(family);
        vectors_are_left_out_and_merged(&folder, load_with, 1);
        // Recipes of all three are in one list.
        what_cannot_be_is_refused(&folder, load_with, &ColQwenRecipe::names());
        let with =
            |most: u32| with_json(&folder, load_with, format!(r#"{{"max_pixels": {most}}}"#));
        // No picture of whole features has as many pixels as the fewest that the budget then has.
        let narrow = with(1000);
        encoded(&narrow, &page(narrow.picture(A4), 1));
        let (small, large) = (with(1536).picture(A4), engine(family).picture(A4));
        assert!(small.width_px * small.height_px <= 1536 && small.height_px < large.height_px);
    }
}

#[test]
fn what_is_wrong_with_a_checkpoint_is_named() {
    for family in FAMILIES {
        let key = match family {
            "colqwen3.5" => "language_model.layers.1.linear_attn.dt_bias",
            _ => "model.layers.1.self_attn.k_proj.bias",
        };
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
        // A base without a head is no retriever.
        let head = "custom_text_proj.weight";
        let folder = changed(family, |tensors| drop(tensors.remove(head)));
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("lacks the tensor {head}")), "{error}");
    }
}

#[test]
fn hostile_settings_are_refused_by_name() {
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
    settings_are_refused(&in_engine("colqwen2.5"), load_with, cases);
    let cases = [
        ("config.json", "/text_config/hidden_size", json!(u64::MAX)),
        ("config.json", "/text_config/num_hidden_layers", json!(5)),
        ("config.json", "/text_config/layer_types/0", json!("mamba")),
        ("config.json", "/text_config/linear_conv_kernel_dim", json!(0)),
        ("config.json", "/text_config/linear_conv_kernel_dim", json!(1_000_000)),
        ("config.json", "/text_config/linear_num_key_heads", json!(3)),
        ("config.json", "/text_config/linear_num_key_heads", json!(0)),
        ("config.json", "/text_config/linear_value_head_dim", json!(1u64 << 23)),
        ("config.json", "/text_config/head_dim", json!(0)),
        ("config.json", "/text_config/rms_norm_eps", json!(-1.0)),
        ("config.json", "/text_config/rope_parameters/partial_rotary_factor", json!(3.0)),
        ("config.json", "/text_config/rope_parameters/partial_rotary_factor", json!(0.0)),
        ("config.json", "/text_config/rope_parameters/mrope_section", json!([3, 3, 3])),
        ("config.json", "/text_config/rope_parameters/mrope_interleaved", json!(false)),
        ("config.json", "/text_config/rope_parameters/rope_theta", json!(0)),
        ("config.json", "/vision_config/num_position_embeddings", json!(37)),
        ("config.json", "/vision_config/num_position_embeddings", json!(0)),
        ("config.json", "/vision_config/hidden_act", json!("silu")),
        ("config.json", "/dim", json!(0)),
        ("preprocessor_config.json", "/size/longest_edge", json!(u64::MAX)),
        ("preprocessor_config.json", "/size/shortest_edge", json!(u64::MAX)),
        ("preprocessor_config.json", "/size/shortest_edge", json!(1 << 20)),
        ("preprocessor_config.json", "/patch_size", json!(16)),
    ];
    settings_are_refused(&in_engine("colqwen3.5"), load_with, cases);
}

#[test]
fn damaged_files_never_panic() {
    for family in FAMILIES {
        damage_never_panics(&in_engine(family), load_with, 256);
    }
}

/// The numbers of parameters of Qwen3.5 with a head of 320, from what its files leave out.
#[test]
fn published_settings_parse_with_what_they_leave_out() {
    let folder = changed("colqwen3.5", |_| ());
    let file = folder.path().join("config.json");
    for (config, parameters) in [
        // 9B: all sizes are the defaults of the class.
        (json!({"model_type": "qwen3_5", "dim": 320}), 8_394_006_064usize),
        (
            json!({
                "model_type": "qwen3_5", "dim": 320,
                "text_config": {"hidden_size": 2560, "intermediate_size": 9216},
                "vision_config":
                    {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096},
            }),
            4_540_085_056,
        ),
    ] {
        fs::write(&file, config.to_string()).unwrap();
        let config = super::config::Config::read(&file.as_path().into()).unwrap();
        let entries = super::inventory::all(&config);
        let count: usize = entries.iter().map(|entry| entry.shape.iter().product::<usize>()).sum();
        assert_eq!(count, parameters);
    }
}

/// Qwen's own files state 16,384 features a page, the default of their class.
#[test]
fn the_default_of_a_class_is_no_budget() {
    let folder = changed("colqwen3.5", |_| ());
    change_json(&folder.path().join("preprocessor_config.json"), |settings| {
        settings["size"] = json!({"shortest_edge": 1_024, "longest_edge": 16_777_216});
    });
    let model = load(folder.path()).unwrap();
    let size = model.picture(A4);
    let features = size.width_px * size.height_px / 64;
    assert!((900..=1024).contains(&features), "{size:?}");
}

#[test]
fn a_checkpoint_says_what_a_page_costs() {
    for said in [("colqwen2", 142_912), ("colqwen2.5", 151_688), ("colqwen3.5", 227_944)] {
        looks_are_true(&in_engine(said.0), load_with, said);
    }
}
