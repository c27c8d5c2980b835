//! A NeoMME checkpoint from a folder: equal to the reference, right on pages of any shape, and
//! refused when anything about it is wrong.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device as CandleDevice, Tensor, safetensors};
use pagesight_core::seam::{PageEncoder, QueryEncoder};
use pagesight_core::testing::{page_encoder_contract, query_encoder_contract};
use pagesight_core::{EncodedPage, PageImage, PageSize, PictureSize, Run};
use serde_json::json;

use super::inventory;
use super::model::{self, NeoMme};
use super::opened::OpenedNeoMme;
use super::recipe::NeoMmeRecipe;
use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::recipe::FamilyRecipe;
use crate::families::retriever::Retriever;
use crate::families::testing::{
    A4, Adapter, Tensors, adapter_is_merged, at, change_json, changed, copy, damage_never_panics,
    encoded, failed, fixture, looks_are_true, page, precisions_are_near, queries_stand_alone,
    questions_of_any_length_are_encoded, settings_are_refused, stages_pass,
    vectors_are_left_out_and_merged, what_cannot_be_is_refused, with_json,
};
use crate::families::{inspect_checkpoint, parity};
use crate::options::LoadOptions;
use crate::precision::Precision;

fn hf() -> std::path::PathBuf {
    fixture("neomme").join("hf")
}

fn load_with(folder: &Path, options: &LoadOptions) -> Result<Retriever<NeoMme>, ModelError> {
    model::load(&Checkpoint::open(&at(folder), options)?, options)
}

fn load(folder: &Path) -> Result<Retriever<NeoMme>, ModelError> {
    load_with(folder, &LoadOptions::default())
}

/// A copy of the checkpoint that a test may spoil.
fn copied() -> tempfile::TempDir {
    changed(&hf(), |_| ())
}

fn change_weights(folder: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let file = folder.join("model.safetensors");
    let mut tensors = safetensors::load(&file, &CandleDevice::Cpu).unwrap();
    change(&mut tensors);
    safetensors::save(&tensors, file).unwrap();
}

#[test]
fn every_stage_equals_the_reference() {
    let names = [
        "resize_cases",
        "page0.resized_u8",
        "page2.pixel_values",
        "page1.position_ids",
        "page2.patch_embeddings",
        "hf.page1.lm.layer.4",
        "hf.page0.lm.output",
        "hf.page2.embeddings",
        "hf.query2.lm.layer.3",
        "hf.query1.embeddings",
        "hf.scores",
    ];
    stages_pass("neomme", &names);
}

#[test]
fn a_wrong_model_is_seen_by_the_stages() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["hf", "images"] {
        copy(&fixture("neomme").join(name), &folder.path().join(name));
    }
    for name in ["expected.safetensors", "fixture.json"] {
        fs::copy(fixture("neomme").join(name), folder.path().join(name)).unwrap();
    }
    // The second layer sees a window of 40 where it should see all.
    change_json(&folder.path().join("hf/config.json"), |config| {
        config["per_layer_config"]["1"]["sliding_window"] = 40.into();
    });
    let stages = parity(folder.path()).unwrap();
    let failed: Vec<&str> = failed(&stages).iter().map(|stage| stage.stage.as_str()).collect();
    assert!(failed.contains(&"hf.page1.lm.layer.1"), "{failed:?}");
    assert!(failed.contains(&"hf.page1.embeddings"), "{failed:?}");
    assert!(!failed.contains(&"hf.page1.lm.layer.0"), "{failed:?}");
    assert!(!failed.contains(&"hf.page1.lm.layer.2"), "{failed:?}");
}

#[test]
fn the_encoder_keeps_the_contracts() {
    let model = load(&hf()).unwrap();
    page_encoder_contract(&model);
    query_encoder_contract(&model);
}

#[test]
fn names_that_the_class_had_before_give_the_same_vectors() {
    let folder = copied();
    change_weights(folder.path(), |tensors| {
        let keys: Vec<String> = tensors.keys().cloned().collect();
        for key in keys {
            let older =
                key.replace("exclusive_self_attention.", "").replace("output_projection.", "");
            let tensor = tensors.remove(&key).unwrap();
            tensors.insert(older, tensor);
        }
    });
    let (old, new) = (load(folder.path()).unwrap(), load(&hf()).unwrap());
    let page = page(new.picture(PageSize { width_pt: 300.0, height_pt: 400.0 }), 1);
    assert_eq!(encoded(&old, &page), encoded(&new, &page));
    inspect_checkpoint(&at(folder.path()), &LoadOptions::default()).unwrap();
}

/// Every pixel of the page belongs to the vector whose patch it is in, on pages of any shape.
#[test]
fn vectors_stand_where_their_patches_are() {
    let model = load(&hf()).unwrap();
    let patch = model.network.config.patch as u32;
    for (width_pt, height_pt) in
        [(595.0, 842.0), (842.0, 595.0), (200.0, 1.0), (1.0, 14_400.0), (500.0, 500.0)]
    {
        let size = model.picture(PageSize { width_pt, height_pt });
        assert_eq!(size.width_px.max(size.height_px), 128, "{width_pt} x {height_pt}");
        let page = encoded(&model, &page(size, 3));
        let (vectors, layout) = (page.vectors(), page.layout());
        assert_eq!(vectors.len(), layout.vectors());
        let columns = size.width_px.div_ceil(patch);
        let rows = size.height_px.div_ceil(patch);
        assert_eq!(vectors.len() as u32, 2 + rows * (columns + 1));
        for place in 0..vectors.len() {
            let inside = place.checked_sub(2).map(|at| at as u32);
            let cell = inside.map(|at| (at / (columns + 1), at % (columns + 1)));
            let cell = cell.filter(|(_, column)| *column < columns);
            let Some((row, column)) = cell else {
                assert_eq!(layout.area(place), None);
                continue;
            };
            let area = layout.area(place).unwrap();
            let px = |at: f32, side: u32| at * side as f32;
            let ends = |from: u32, side: u32| (from * patch, ((from + 1) * patch).min(side));
            let (left, right) = ends(column, size.width_px);
            let (top, bottom) = ends(row, size.height_px);
            for (got, expected) in [
                (px(area.x0, size.width_px), left),
                (px(area.x1, size.width_px), right),
                (px(area.y0, size.height_px), top),
                (px(area.y1, size.height_px), bottom),
            ] {
                assert!((got - expected as f32).abs() < 1e-2, "{place}: {got} for {expected}");
            }
        }
    }
}

/// What is printed in a patch changes the vector of that patch more than any other's.
#[test]
fn print_is_found_where_it_stands() {
    let model = load(&hf()).unwrap();
    let size = model.picture(PageSize { width_pt: 595.0, height_pt: 842.0 });
    let blank = PageImage::new(
        size.width_px,
        size.height_px,
        vec![255; (size.width_px * size.height_px * 3) as usize],
    );
    let blank = blank.unwrap();
    let mut rgb = blank.rgb().to_vec();
    let (row, column, patch) = (6u32, 3u32, model.network.config.patch as u32);
    for y in row * patch..(row + 1) * patch {
        for x in column * patch..(column + 1) * patch {
            let at = ((y * size.width_px + x) * 3) as usize;
            rgb[at..at + 3].fill(((x * 31 + y * 17) % 200) as u8);
        }
    }
    let printed = PageImage::new(size.width_px, size.height_px, rgb).unwrap();
    let (before, after) = (encoded(&model, &blank), encoded(&model, &printed));
    let dim = model.dim();
    let changes = before.vectors().values().chunks(dim).zip(after.vectors().values().chunks(dim));
    let changes = changes
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a.to_f32() - b.to_f32()).powi(2)).sum::<f32>());
    let (place, _) =
        changes.enumerate().reduce(|most, next| if next.1 > most.1 { next } else { most }).unwrap();
    let area = after.layout().area(place).expect("a patch changes most");
    let part = |at: u32, side: u32| (at * patch) as f32 / side as f32;
    assert!((area.x0 - part(column, size.width_px)).abs() < 1e-5, "{place} {area:?}");
    assert!((area.y0 - part(row, size.height_px)).abs() < 1e-5, "{place} {area:?}");
}

#[test]
fn control_tokens_in_a_question_are_letters() {
    let model = load(&hf()).unwrap();
    let special: Vec<u32> = ["<doc>", "<img>", "<row>", "<query>", "<mask>", "<pad>", "<eos>"]
        .iter()
        .map(|token| (0..9).find(|&id| name(&model, id) == *token).unwrap())
        .collect();
    for question in ["a <img> b", "<row><row>", "<doc>", "<mask>", "x<que<query>ry>", "<eos> é"] {
        let query = model.network.tokens.query(&model.network.recipe, question).unwrap();
        let inside = query.ids.len() - model.network.recipe.query_masks;
        let ids = &query.ids[1..inside];
        assert!(ids.iter().all(|id| !special.contains(id)), "{question}: {ids:?}");
        let read: String =
            query.tokens[1..inside].iter().map(|token| token.text.as_str()).collect();
        if question.is_ascii() {
            assert_eq!(read, question);
        }
        assert_eq!(query.tokens[0].text, "<query>");
        assert!(query.tokens[inside..].iter().all(|token| token.text == "<mask>"));
        model.encode_queries(&[question]).unwrap();
    }
}

fn name(model: &Retriever<NeoMme>, id: u32) -> String {
    let query =
        ["<pad>", "<bos>", "<eos>", "<unk>", "<mask>", "<doc>", "<img>", "<query>", "<row>"];
    assert_eq!(model.network.tokens.image, 6);
    query[id as usize].into()
}

#[test]
fn questions_of_no_and_of_ten_thousand_tokens_are_encoded() {
    questions_of_any_length_are_encoded(&load(&hf()).unwrap());
}

#[test]
fn spans_and_spelling_say_what_tokens_stand_for() {
    let model = load(&hf()).unwrap();
    let question = "total 日 page";
    let query = &model.encode_queries(&[question]).unwrap()[0];
    let told: Vec<(&str, Option<&str>, bool)> = query
        .tokens()
        .iter()
        .map(|t| (t.text.as_str(), t.span.clone().map(|span| &question[span]), t.spelled))
        .collect();
    assert_eq!(told[0], ("<query>", None, true));
    assert!(told.iter().any(|(text, ..)| *text == "page"), "{told:?}");
    // The three bytes of a letter that the tokenizer has no piece for.
    let unspelled: Vec<_> = told.iter().filter(|(_, _, spelled)| !spelled).collect();
    assert_eq!(unspelled.len(), 3, "{told:?}");
    assert!(unspelled.iter().all(|(_, span, _)| *span == Some("日")), "{told:?}");
    assert!(query.is_spelled());
    assert!(!model.encode_queries(&["日本語の文字列です。日本"]).unwrap()[0].is_spelled());
}

#[test]
fn queries_need_nothing_of_pages() {
    queries_stand_alone(&hf(), load_with);
}

#[test]
fn each_precision_is_as_near_to_f32_as_its_bits_allow() {
    let least = [
        (Precision::F16, 0.999_99),
        (Precision::Bf16, 0.995),
        (Precision::Q8, 0.995),
        (Precision::Q4, 0.9),
    ];
    precisions_are_near(&hf(), load_with, least);
}

#[test]
fn an_adapter_is_merged_into_its_base() {
    let (whole, layer) = (hf(), "model.layers.2.self_attn.output_projection.o_proj");
    let adapter = Adapter::of(layer, [128, 64]);
    adapter_is_merged(&adapter, [&whole, &whole], Tensors::new(), load_with);
}

#[test]
fn a_recipe_leaves_out_merges_and_makes_smaller() {
    let whole = load(&hf()).unwrap();
    let half = with_json(&hf(), load_with, r#"{"max_side": 64}"#.into());
    assert_eq!(half.picture(A4), PictureSize { width_px: 45, height_px: 64 });
    assert_ne!(half.model_id(), whole.model_id());
    let size = whole.picture(A4);
    // Print on the left half alone.
    let mut rgb = page(size, 2).into_rgb();
    for line in rgb.chunks_exact_mut(size.width_px as usize * 3) {
        line[48 * 3..].fill(255);
    }
    let page = PageImage::new(size.width_px, size.height_px, rgb).unwrap();
    let all = encoded(&whole, &page);
    let pruned = with_json(&hf(), load_with, r#"{"prune_blank": 16}"#.into());
    let some = encoded(&pruned, &page);
    assert_eq!(some.layout(), all.layout());
    assert!(some.vectors().len() < all.vectors().len() / 2 + 20);
    let dim = whole.dim();
    for row in 0..some.vectors().len() {
        let place = some.vectors().place(row);
        let area = some.layout().area(place).expect("only patches are kept");
        assert!(area.x0 < 0.53, "{area:?}");
        let of =
            |page: &EncodedPage, row: usize| page.vectors().values()[row * dim..][..dim].to_vec();
        assert_eq!(of(&some, row), of(&all, place));
    }
    vectors_are_left_out_and_merged(&hf(), load_with, 1);
    what_cannot_be_is_refused(&hf(), load_with, &NeoMmeRecipe::names());
}

#[test]
fn what_is_wrong_with_a_checkpoint_is_named() {
    let key = "model.layers.3.mlp.up_proj.weight";
    let shown = |folder: &Path| load(folder).unwrap_err().to_string();
    let folder = copied();
    change_weights(folder.path(), |tensors| drop(tensors.remove(key)));
    assert!(shown(folder.path()).ends_with(&format!("lacks the tensor {key}")));
    let folder = copied();
    change_weights(folder.path(), |tensors| {
        let extra = tensors[key].clone();
        tensors.insert("model.layers.5.mlp.up_proj.weight".into(), extra.clone());
        tensors.insert("lm_head.bias".into(), extra);
    });
    let error = shown(folder.path());
    assert!(
        error.contains("has 2 tensors that the model does not know, the first is lm_head.bias")
    );
    let folder = copied();
    change_weights(folder.path(), |tensors| drop(tensors.remove("multi_vector_head.proj.weight")));
    assert!(shown(folder.path()).ends_with("lacks the tensor multi_vector_head.proj.weight"));
    let error = inspect_checkpoint(&at(folder.path()), &LoadOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), shown(folder.path()));
    let folder = copied();
    let tokenizer = fs::read_to_string(folder.path().join("tokenizer.json")).unwrap();
    fs::write(folder.path().join("tokenizer.json"), tokenizer.replace("<row>", "<end>")).unwrap();
    assert!(shown(folder.path()).contains("it has no <row>"));
}

#[test]
fn hostile_settings_are_refused_by_name() {
    let cases = [
        ("config.json", "/hidden_size", json!(0)),
        ("config.json", "/hidden_size", json!(u64::MAX)),
        ("config.json", "/hidden_size", json!(63)),
        ("config.json", "/num_hidden_layers", json!(1_000_000_000)),
        ("config.json", "/num_hidden_layers", json!(4)),
        ("config.json", "/num_key_value_heads", json!(3)),
        ("config.json", "/head_dim", json!(1)),
        ("config.json", "/patch_size", json!(100_000)),
        ("config.json", "/patch_size", json!(16)),
        ("config.json", "/attention_bias", json!(true)),
        ("config.json", "/hidden_act", json!("silu")),
        ("config.json", "/norm_eps", json!(-1.0)),
        ("config.json", "/residual_multiplier", json!(0)),
        ("config.json", "/layer_types", json!(["chunked_attention"])),
        ("config.json", "/layer_types", json!(vec!["sliding_attention"; 5])),
        ("config.json", "/rope_parameters", json!({"full_attention": {"rope_type": "yarn"}})),
        (
            "config.json",
            "/rope_parameters",
            json!({"full_attention": {"partial_rotary_factor": 9}}),
        ),
        ("config.json", "/image_token_id", json!(17)),
        ("config.json", "/vocab_size", json!(12)),
        ("processor_config.json", "/image_processor/max_side", json!(1_000_000_000)),
        ("processor_config.json", "/image_processor/resample", json!(3)),
        (
            "processor_config.json",
            "/image_processor/size",
            json!({"min_pixels": 9, "max_pixels": u64::MAX}),
        ),
    ];
    settings_are_refused(&hf(), load_with, cases);
}

#[test]
fn damaged_files_never_panic() {
    damage_never_panics(&hf(), load_with, 256);
}

#[test]
fn published_settings_parse_with_what_they_leave_out() {
    let folder = copied();
    let config = r#"{"model_type": "neomme"}"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    fs::write(
        folder.path().join("processor_config.json"),
        r#"{"image_processor": {"max_side": 2048}}"#,
    )
    .unwrap();
    let config = super::config::Config::read(&folder.path().join("config.json").as_path().into());
    let config = config.unwrap();
    let windows: Vec<Option<usize>> = config.layers.iter().map(|layer| layer.window).collect();
    let (short, long) = (Some(256), Some(1024));
    assert_eq!(
        windows,
        [
            short, long, short, long, short, None, long, short, long, short, long, None, short,
            long, short, long, None
        ]
    );
    let values: Vec<usize> = (0..17).filter(|&n| config.layers[n].value_embedding).collect();
    assert_eq!(values, [5, 16]);
    assert_eq!((config.rotations.full.rows, config.rotations.sliding.rows), (16, 64));
    assert!((config.residual - 34f32.powf(-0.5)).abs() < 1e-7);
    // The published number of parameters, from the sizes of the class alone.
    let options = LoadOptions::default();
    let checkpoint = Checkpoint::open(&at(&hf()), &options).unwrap();
    let weights = OpenedNeoMme::read(&checkpoint, &options).unwrap().opened.weights;
    let entries = inventory::all(&config, &weights);
    let count: usize = entries.iter().map(|entry| entry.shape.iter().product::<usize>()).sum();
    assert_eq!(count, 263_068_978);
}

#[test]
fn a_checkpoint_says_what_a_page_costs() {
    let folder = copied();
    fs::write(folder.path().join("README.md"), "---\nlicense: apache-2.0\n---\n# Small").unwrap();
    let info = looks_are_true(folder.path(), load_with, ("neomme", 307_534));
    assert_eq!((info.licence.as_deref(), info.dim), (Some("apache-2.0"), 128));
    assert_eq!(info.page.picture, PictureSize { width_px: 91, height_px: 128 });
    let model = load(folder.path()).unwrap();
    let page = encoded(&model, &page(info.page.picture, 1));
    let patches = page.layout().runs().iter().find_map(|run| match run {
        Run::Patches { cols, rows, .. } => Some((*cols, *rows)),
        _ => None,
    });
    assert_eq!(patches, Some((12, 16)));
}
