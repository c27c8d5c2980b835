//! ColModernVBERT and ColSmol checkpoints from folders: equal to the reference, right on pages of
//! any shape, and refused when anything about them is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use pagesight_core::seam::PageEncoder;
use pagesight_core::testing::{page_encoder_contract, query_encoder_contract};
use pagesight_core::{PageSize, PictureSize};
use serde_json::json;

use super::config::Config;
use super::inventory;
use super::model::{self, TilesModel};
use super::recipe::TilesRecipe;
use super::tiles::{TileGrid, picture};
use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::recipe::FamilyRecipe;
use crate::families::retriever::Retriever;
use crate::families::testing::{
    A4, Adapter, Tensors, adapter_is_merged, at, change_json, changed, damage_never_panics,
    encoded, fixture, in_f32, looks_are_true, numbers, page, precisions_are_near,
    queries_stand_alone, questions_of_any_length_are_encoded, settings_are_refused, stages_pass,
    tensors, vectors_are_left_out_and_merged, what_cannot_be_is_refused, with_json,
};
use crate::families::{inspect_checkpoint, load as load_any};
use crate::options::LoadOptions;
use crate::precision::Precision;

/// The families, each with the folder of its first layout.
fn folders() -> [(&'static str, PathBuf); 2] {
    [("colmodernvbert", modern()), ("colsmol", smol())]
}

fn modern() -> PathBuf {
    fixture("colmodernvbert").join("hf")
}

fn smol() -> PathBuf {
    fixture("colsmol").join("engine")
}

fn load_with(folder: &Path, options: &LoadOptions) -> Result<Retriever<TilesModel>, ModelError> {
    model::load(&Checkpoint::open(&at(folder), options)?, options)
}

fn load(folder: &Path) -> Result<Retriever<TilesModel>, ModelError> {
    load_with(folder, &in_f32())
}

#[test]
fn every_stage_equals_the_reference() {
    let names = [
        "resize_cases",
        "page0.tiles_u8",
        "page2.grid",
        "page1.pixel_values.tile0",
        "hf.page0.input_ids",
        "page1.vision.embeddings",
        "page1.vision.layer.1",
        "page1.vision.output",
        "page2.projector.output",
        "hf.page2.lm.input",
        "hf.page1.lm.layer.1",
        "hf.page1.lm.output",
        "hf.page2.embeddings",
        "hf.query2.input_ids",
        "hf.query2.lm.layer.1",
        "hf.query1.head.output",
        "hf.query1.embeddings",
        "hf.scores",
        "simmap.query0.page0",
        "one_tile.page2.tiles_u8",
        "one_tile.page2.input_ids",
        "one_tile.page2.embeddings",
    ];
    stages_pass("colsmol", &names);
    let others = ["engine.page0.embeddings", "engine.scores", "old.page0.embeddings", "old.scores"];
    let names: Vec<&str> = names.into_iter().chain(others).collect();
    stages_pass("colmodernvbert", &names);
}

#[test]
fn the_encoder_keeps_the_contracts() {
    for (_, folder) in folders() {
        let model = load(&folder).unwrap();
        page_encoder_contract(&model);
        query_encoder_contract(&model);
    }
}

/// As colpali-engine 0.3.18 saves a model again whose adapter was merged in, and with the head that
/// SigLIP has for pooling, which published files carry.
#[test]
fn other_names_give_the_same_vectors() {
    let expected = numbers(&load(&modern()).unwrap());
    for text in ["base_model.model.model.text_model.", "base_model.model.text_model."] {
        let folder = changed(&modern(), |tensors| {
            let renamed = tensors.drain().map(|(key, tensor)| {
                let names = [
                    ("vlm.text_model.", text),
                    ("vlm.", "model."),
                    ("embedding_proj_layer.", "base_model.model.custom_text_proj."),
                ];
                let new = names
                    .iter()
                    .find_map(|(old, new)| Some(format!("{new}{}", key.strip_prefix(old)?)));
                (new.unwrap(), tensor)
            });
            let renamed: Tensors = renamed.collect();
            tensors.extend(renamed);
            let any = tensors.values().next().unwrap().clone();
            tensors.insert("model.vision_model.head.probe".into(), any);
        });
        assert_eq!(numbers(&load(folder.path()).unwrap()), expected);
        inspect_checkpoint(&at(folder.path()), &LoadOptions::default()).unwrap();
    }
    // Without a model_type the names of tensors say which family it is.
    for (family, folder) in folders() {
        let copied = changed(&folder, |_| ());
        change_json(&copied.path().join("config.json"), |config| {
            config.as_object_mut().unwrap().remove("model_type");
        });
        // Found by its tensors, and then refused by its settings, which is the family's own error.
        let error = load_any(&at(copied.path()), &in_f32());
        match (family, error) {
            // transformers states the type of the model inside.
            ("colmodernvbert", Ok(_)) => {}
            (_, Err(error)) => assert!(error.to_string().contains("model_type"), "{error}"),
            (_, Ok(_)) => panic!("{family} needs a model_type"),
        }
    }
}

/// Every feature's area is the part of the page that its tile shows, on pages of any shape.
#[test]
fn vectors_stand_where_their_features_are() {
    for (family, folder) in folders() {
        let model = load(&folder).unwrap();
        let (edge, side) = (model.network.config.vision.edge as u32, model.network.config.side());
        for (width_pt, height_pt) in
            [(595.0, 842.0), (842.0, 595.0), (200.0, 1.0), (1.0, 14_400.0), (0.0, f32::NAN)]
        {
            let size = model.picture(PageSize { width_pt, height_pt });
            assert!(size.width_px.max(size.height_px) == 192, "{family} {size:?}");
            let page = encoded(&model, &page(size, 3));
            let (vectors, layout) = (page.vectors(), page.layout());
            assert_eq!(vectors.len(), layout.vectors());
            let grid = TileGrid::of(size, edge);
            let expected = [size.height_px, size.width_px].map(|px| px.div_ceil(edge) as usize);
            assert_eq!([grid.rows, grid.columns], expected, "{size:?}");
            let areas: Vec<_> = (0..vectors.len()).filter_map(|at| layout.area(at)).collect();
            assert_eq!(areas.len(), grid.tiles() * side * side);
            // Tiles of the page cover it once, and so does the last one.
            let (cut, whole) = areas.split_at(grid.cut() * side * side);
            for (number, area) in cut.iter().enumerate() {
                let (tile, cell) = (number / (side * side), number % (side * side));
                let row = tile / grid.columns * side + cell / side;
                let column = tile % grid.columns * side + cell % side;
                let ends = [
                    (area.x0, column, grid.columns),
                    (area.x1, column + 1, grid.columns),
                    (area.y0, row, grid.rows),
                    (area.y1, row + 1, grid.rows),
                ];
                for (got, at, of) in ends {
                    assert!((got - at as f32 / (of * side) as f32).abs() < 1e-6, "{area:?}");
                }
            }
            for (number, area) in whole.iter().enumerate() {
                let part = |at: usize| at as f32 / side as f32;
                assert!((area.x0 - part(number % side)).abs() < 1e-6);
                assert!((area.y0 - part(number / side)).abs() < 1e-6);
            }
        }
    }
    // A page of the published sizes: 12 tiles and the whole.
    let size = picture(2048, PageSize { width_pt: 595.276, height_pt: 841.89 });
    assert_eq!(size, PictureSize { width_px: 1448, height_px: 2048 });
    assert_eq!(TileGrid::of(size, 512), TileGrid { rows: 4, columns: 3 });
}

#[test]
fn pictures_of_another_size_are_refused() {
    let model = load(&modern()).unwrap();
    let error = model.encode_pages(&[page(PictureSize { width_px: 100, height_px: 90 }, 1)]);
    let error = error.unwrap_err();
    let error = error.downcast_ref::<ModelError>();
    assert!(
        matches!(error, Some(ModelError::ImageSize { expected: (192, 172), got: (100, 90) })),
        "{error:?}"
    );
}

#[test]
fn control_tokens_in_a_question_are_letters() {
    for (family, folder) in folders() {
        let network = load(&folder).unwrap().network;
        let first = network.tokens.query(&network.recipe, "").unwrap().ids;
        for question in [
            "a<image>b",
            "<fake_token_around_image><row_1_col_1>",
            "<end_of_utterance>",
            "<global-img> é",
            "[CLS]x[SEP]",
            "<|im_start|>",
        ] {
            let query = network.tokens.query(&network.recipe, question).unwrap();
            // What the recipe puts around a question is there once, and no more.
            let around = query.ids.iter().filter(|id| first.contains(id)).count();
            assert_eq!(around, first.len(), "{family} {question}: {:?}", query.ids);
            assert!(!query.ids.contains(&network.tokens.image), "{family} {question}");
            let marks = if family == "colmodernvbert" { 320..360 } else { 316..357 };
            let letters = query.ids.iter().filter(|id| !first.contains(id));
            assert!(letters.clone().all(|id| !marks.contains(id)), "{family} {question}");
            assert!(letters.count() > 0);
        }
    }
}

#[test]
fn questions_of_no_and_of_ten_thousand_tokens_are_encoded() {
    for (_, folder) in folders() {
        questions_of_any_length_are_encoded(&load(&folder).unwrap());
    }
}

#[test]
fn queries_need_no_vision_tower() {
    for (_, folder) in folders() {
        queries_stand_alone(&folder, load_with);
    }
}

#[test]
fn each_precision_is_as_near_to_f32_as_its_bits_allow() {
    let least = [
        (Precision::F16, 0.999_9),
        (Precision::Bf16, 0.995),
        (Precision::Q8, 0.99),
        (Precision::Q4, 0.85),
    ];
    for (_, folder) in folders() {
        precisions_are_near(&folder, load_with, least);
    }
}

/// An adapter changes the language model alone; one of ColModernVBERT brings the head.
#[test]
fn an_adapter_is_merged_into_its_base() {
    let smol = smol();
    let layer = "model.text_model.layers.1.mlp.down_proj";
    let adapter = Adapter::of(layer, [80, 48]);
    adapter_is_merged(&adapter, [&smol, &smol], Tensors::new(), load_with);

    let (whole, head) = (modern(), "embedding_proj_layer");
    let adapter = Adapter::of("vlm.text_model.layers.1.mlp.Wo", [72, 48]);
    let mut beside = tensors(&whole);
    beside.retain(|key, _| key.starts_with(head));
    let base = changed(&whole, |tensors| tensors.retain(|key, _| !key.starts_with(head)));
    let error = load(base.path()).unwrap_err().to_string();
    assert!(error.ends_with(&format!("lacks the tensor {head}.weight")), "{error}");
    adapter_is_merged(&adapter, [base.path(), &whole], beside, load_with);
}

#[test]
fn a_recipe_leaves_out_merges_and_makes_smaller() {
    for (family, folder) in folders() {
        // Print in one corner is kept in its tile and in the whole.
        vectors_are_left_out_and_merged(&folder, load_with, 2);
        what_cannot_be_is_refused(&folder, load_with, &TilesRecipe::names());
        let half = with_json(&folder, load_with, r#"{"longest_side": 128}"#.into());
        assert_eq!(half.picture(A4).height_px, 128);
        assert_ne!(half.model_id(), load(&folder).unwrap().model_id());
        // What a recipe leaves out is the family's.
        let own = TilesRecipe::of_family(family).query_prefix;
        assert_eq!(half.network.recipe.query_prefix, own);
    }
}

#[test]
fn what_is_wrong_with_a_checkpoint_is_named() {
    for (whole, key, extra, head) in [
        (
            modern(),
            "vlm.text_model.layers.2.attn_norm.weight",
            // The first layer has no norm before its attention.
            "vlm.text_model.layers.0.attn_norm.weight",
            "embedding_proj_layer.bias",
        ),
        (
            smol(),
            "model.text_model.layers.1.mlp.up_proj.weight",
            "model.text_model.layers.2.mlp.up_proj.weight",
            "linear.bias",
        ),
    ] {
        for missing in [key, head] {
            let folder = changed(&whole, |tensors| drop(tensors.remove(missing)));
            let error = load(folder.path()).unwrap_err().to_string();
            assert!(error.ends_with(&format!("lacks the tensor {missing}")), "{error}");
            let seen = inspect_checkpoint(&at(folder.path()), &in_f32()).unwrap_err();
            assert_eq!(seen.to_string(), error);
        }
        let folder = changed(&whole, |tensors| {
            let tensor = tensors[key].clone();
            tensors.insert(extra.into(), tensor);
        });
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("does not know, the first is {extra}")), "{error}");
        let folder = changed(&whole, |_| ());
        let file = folder.path().join("tokenizer.json");
        let tokenizer = fs::read_to_string(&file).unwrap();
        fs::write(&file, tokenizer.replace("<row_2_col_3>", "<row_9_col_9>")).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("it has no <row_2_col_3>"), "{error}");
    }
}

#[test]
fn hostile_settings_are_refused_by_name() {
    let cases = [
        ("config.json", "/embedding_dim", json!(0)),
        ("config.json", "/vlm_config/model_type", json!("smolvlm")),
        ("config.json", "/vlm_config/image_token_id", json!(3)),
        ("config.json", "/vlm_config/pixel_shuffle_factor", json!(3)),
        ("config.json", "/vlm_config/pixel_shuffle_factor", json!(0)),
        ("config.json", "/vlm_config/text_config/hidden_size", json!(u64::MAX)),
        ("config.json", "/vlm_config/text_config/num_attention_heads", json!(5)),
        ("config.json", "/vlm_config/text_config/num_hidden_layers", json!(1_000_000)),
        ("config.json", "/vlm_config/text_config/global_attn_every_n_layers", json!(0)),
        ("config.json", "/vlm_config/text_config/local_attention", json!(0)),
        ("config.json", "/vlm_config/text_config/vocab_size", json!(300)),
        ("config.json", "/vlm_config/text_config/norm_eps", json!(-1)),
        ("config.json", "/vlm_config/text_config/local_rope_theta", json!(0)),
        ("config.json", "/vlm_config/vision_config/patch_size", json!(7)),
        ("config.json", "/vlm_config/vision_config/image_size", json!(1_000_000)),
        ("config.json", "/vlm_config/vision_config/num_attention_heads", json!(0)),
        ("preprocessor_config.json", "/size/longest_edge", json!(1_000_000)),
        ("preprocessor_config.json", "/size/longest_edge", json!(0)),
        ("preprocessor_config.json", "/max_image_size/longest_edge", json!(512)),
        ("preprocessor_config.json", "/resample", json!(3)),
        ("preprocessor_config.json", "/do_image_splitting", json!(false)),
    ];
    settings_are_refused(&modern(), load_with, cases);
    let cases = [
        ("config.json", "/text_config/model_type", json!("mistral")),
        ("config.json", "/text_config/num_key_value_heads", json!(4)),
        ("config.json", "/text_config/head_dim", json!(7)),
        ("config.json", "/text_config/head_dim", json!(u64::MAX)),
        ("config.json", "/text_config/hidden_act", json!("gelu")),
        ("config.json", "/text_config/rms_norm_eps", json!(0)),
        ("config.json", "/text_config/rope_theta", json!(-5)),
        ("config.json", "/scale_factor", json!(5)),
    ];
    settings_are_refused(&smol(), load_with, cases);
}

#[test]
fn damaged_files_never_panic() {
    for (_, folder) in folders() {
        damage_never_panics(&folder, load_with, 512);
    }
}

/// The published number of parameters, from what files of before 0.3.14 leave out: 252,002,304 with
/// the head with which SigLIP pools, and without the head of 128.
#[test]
fn published_settings_parse_with_what_they_leave_out() {
    let folder = changed(&modern(), |_| ());
    let file = folder.path().join("config.json");
    let config = json!({
        "model_type": "modernvbert",
        "additional_vocab_size": 40,
        "text_config": {
            "text_model_name": "jhu-clsp/ettin-encoder-150m",
            "norm_eps": 1e-5, "layer_norm_eps": 1e-5,
        },
        "vision_config": {"vision_model_name": "google/siglip2-base-patch16-512"},
    });
    fs::write(&file, config.to_string()).unwrap();
    let config = Config::read(&file.as_path().into()).unwrap();
    assert_eq!((config.side(), config.image_token), (8, 50_407));
    let entries = inventory::all(&config).into_iter().filter(|e| !e.name.starts_with("head."));
    let count: usize = entries.map(|entry| entry.shape.iter().product::<usize>()).sum();
    // A probe, attention with its joined projection, a norm, and an MLP.
    let (hidden, inner) = (768, 3072);
    let attention = 4 * hidden * hidden + 4 * hidden;
    let pooling = hidden + attention + 2 * hidden + 2 * hidden * inner + hidden + inner;
    assert_eq!(count + pooling, 252_002_304);
}

#[test]
fn a_checkpoint_says_what_a_page_costs() {
    for ((family, folder), parameters) in folders().into_iter().zip([122_104, 79_384]) {
        looks_are_true(&folder, load_with, (family, parameters));
    }
}
