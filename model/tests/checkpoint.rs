//! A checkpoint from a folder: equal to the reference, the same alone and in a batch, and
//! refused when anything about it is wrong.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, safetensors};
use pagesight_core::seam::{PageEncoder, QueryEncoder};
use pagesight_core::testing::{page_encoder_contract, query_encoder_contract};
use pagesight_core::{PageImage, Slices};
use pagesight_model::{ColPali, LoadOptions, ModelError, ModelInfo, Pooler, Recipe, parity};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity")
}

fn load(folder: &Path) -> Result<ColPali, ModelError> {
    ColPali::load(folder, &LoadOptions::default())
}

/// A copy of the checkpoint that a test may spoil.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture().join("hf")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn change_weights(folder: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let file = folder.join("model.safetensors");
    let mut tensors = safetensors::load(&file, &Device::Cpu).unwrap();
    change(&mut tensors);
    safetensors::save(&tensors, file).unwrap();
}

#[test]
fn every_stage_equals_the_reference() {
    let stages = parity(&fixture()).unwrap();
    for stage in &stages {
        println!("{:36} {:8.0e} {:.3e}", stage.stage, stage.tolerance, stage.max_difference);
    }
    let failed: Vec<_> = stages.iter().filter(|stage| !stage.passed()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for name in [
        "modes.cmyk.rgb",
        "resized_u8",
        "vision.layer.1",
        "hf.page.embeddings",
        "hf.scores",
        "engine_0.3.13_on.scores",
        "causal.scores",
        "double_bos.page.embeddings",
        "long.embeddings",
        "pool.factor3.page0.labels",
        "simmap.query0.page0.normalized",
        "orig.scores",
        "lora.scores",
    ] {
        assert!(stages.iter().any(|stage| stage.stage == name), "{name} is compared");
    }
}

#[test]
fn a_wrong_model_is_seen_by_the_stages() {
    // The comparison itself must be able to fail: one changed weight of the last layer shows in
    // that layer and after it, not before.
    let folder = tempfile::tempdir().unwrap();
    for name in ["expected.safetensors", "fixture.json"] {
        fs::copy(fixture().join(name), folder.path().join(name)).unwrap();
    }
    for name in ["hf", "images"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        for entry in fs::read_dir(fixture().join(name)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(name).join(entry.file_name())).unwrap();
        }
    }
    change_weights(&folder.path().join("hf"), |tensors| {
        let key = "vlm.language_model.model.layers.1.mlp.down_proj.weight";
        let changed = (&tensors[key] + 0.01).unwrap();
        tensors.insert(key.into(), changed);
    });
    let failed: Vec<String> = parity(folder.path())
        .unwrap()
        .into_iter()
        .filter(|stage| !stage.passed())
        .map(|stage| stage.stage)
        .collect();
    assert!(failed.contains(&"hf.page.lm.layer.1".to_string()), "{failed:?}");
    assert!(failed.contains(&"hf.page.embeddings".to_string()), "{failed:?}");
    assert!(!failed.iter().any(|s| s.starts_with("vision") || s == "hf.page.lm.layer.0"));
}

#[test]
fn the_encoder_keeps_the_contracts() {
    let model = load(&fixture().join("hf")).unwrap();
    page_encoder_contract(&model);
    query_encoder_contract(&model);
    assert_eq!(model.patch_grid().vectors(), 70);
}

/// Tensors made by `training/parity.py --rows`, as said there: again whenever the weights change.
#[test]
fn the_trained_model_equals_the_reference() {
    let stages = parity(&fixture().join("../nano")).unwrap();
    let failed: Vec<_> = stages.iter().filter(|stage| !stage.passed()).collect();
    assert!(failed.is_empty() && stages.len() > 10, "of {}: {failed:#?}", stages.len());
}

#[test]
fn the_model_inside_is_the_one_in_its_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("nano");
    let (inside, outside) = (ColPali::nano().unwrap(), load(&folder).unwrap());
    assert_eq!(PageEncoder::model_id(&inside), PageEncoder::model_id(&outside));
    let ask = |model: &ColPali| model.encode_queries(&["Net sales by region, 2024"]).unwrap();
    assert_eq!(ask(&inside), ask(&outside));
    let edge = inside.input();
    let page = page_with_print(edge.width_px(), edge.height_px());
    let encode = |model: &ColPali| model.encode_pages(std::slice::from_ref(&page)).unwrap();
    assert_eq!(encode(&inside), encode(&outside));
    let nano = Path::new(ColPali::NANO);
    let info = ModelInfo::read(nano, &LoadOptions::default()).unwrap();
    assert_eq!(&info.model_id, PageEncoder::model_id(&inside));
    assert!(
        ModelInfo::verify(nano, &LoadOptions::default(), &mut |_| {}).unwrap().numbers > 1_000_000
    );
    assert!(load(Path::new("embedded:other")).is_err());
}

#[test]
fn a_page_in_slices_is_its_slices_side_by_side() {
    let slices = Slices::grid(2, 3);
    let options = LoadOptions { slices: Some(slices), ..LoadOptions::default() };
    let folder = fixture().join("hf");
    let (sliced, whole) = (ColPali::load(&folder, &options).unwrap(), load(&folder).unwrap());
    assert_ne!(PageEncoder::model_id(&sliced), PageEncoder::model_id(&whole));
    let edge = whole.input().edge_px;
    let (width, height) = (edge * 2, edge * 3);
    let noise = (0..width * height * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
    let page = PageImage::new(width, height, noise.collect()).unwrap();
    let joined = &sliced.encode_pages(std::slice::from_ref(&page)).unwrap()[0];
    assert_eq!(joined.len(), sliced.patch_grid().vectors());
    let mut expected = Vec::new();
    for row in 0..3 {
        for column in 0..2 {
            let slice = page.crop(column * edge, row * edge, edge, edge);
            expected.extend_from_slice(whole.encode_pages(&[slice]).unwrap()[0].values());
        }
    }
    assert_eq!(joined.values(), expected);
}

/// A page with print in its upper left corner alone.
fn page_with_print(width: u32, height: u32) -> PageImage {
    let value = |i: u32| match (i / 3 % width, i / 3 / width) {
        (x, y) if x < 30 && y < 20 => (i.wrapping_mul(2_654_435_761) >> 24) as u8,
        _ => 255,
    };
    PageImage::new(width, height, (0..width * height * 3).map(value).collect()).unwrap()
}

#[test]
fn what_is_pruned_is_left_out_and_the_rest_says_its_place() {
    let (folder, slices) = (fixture().join("hf"), Slices::grid(2, 1));
    let with_pooler = |prune_blank, pooling, pooler| {
        let recipe = Recipe { prune_blank, pooling, pooler, ..Recipe::default() };
        let slices = Some(slices.clone());
        let options = LoadOptions { recipe: Some(recipe), slices, ..LoadOptions::default() };
        ColPali::load(&folder, &options).unwrap()
    };
    let with = |prune_blank| with_pooler(prune_blank, 1, Pooler::default());
    let (whole, pruned) = (with(None), with(Some(16)));
    page_encoder_contract(&pruned);
    assert_ne!(PageEncoder::model_id(&whole), PageEncoder::model_id(&pruned));
    let edge = whole.input().edge_px;
    let encode = |model: &ColPali, page: &PageImage| {
        model.encode_pages(std::slice::from_ref(page)).unwrap().remove(0)
    };
    let page = page_with_print(2 * edge, edge);
    let (all, some) = (encode(&whole, &page), encode(&pruned, &page));
    assert_eq!((all.places(), all.len()), (None, 140));
    // Patches of 14 px in rows of eight.
    assert_eq!(some.places(), Some(&[0, 1, 2, 8, 9, 10][..]));
    for row in 0..some.len() {
        let of = |vectors: &pagesight_core::PageVectors, row: usize| {
            vectors.values()[row * vectors.dim()..][..vectors.dim()].to_vec()
        };
        assert_eq!(of(&some, row), of(&all, some.place(row)));
    }
    let pooled = [Pooler::Hierarchical, Pooler::KMeans].map(|p| with_pooler(Some(16), 2, p));
    assert_ne!(PageEncoder::model_id(&pooled[0]), PageEncoder::model_id(&pooled[1]));
    for pooled in &pooled {
        let fewer = encode(pooled, &page);
        assert_eq!(fewer.len(), 3);
        assert!(fewer.places().unwrap().iter().all(|place| some.places().unwrap().contains(place)));
    }
    let blank = PageImage::new(2 * edge, edge, vec![255; (2 * edge * edge * 3) as usize]).unwrap();
    assert_eq!(encode(&pruned, &blank).places(), Some(&[0][..]));
}

#[test]
fn a_pyramid_is_its_grids_one_after_the_other() {
    let folder = fixture().join("hf");
    let with = |slices: &str| {
        let slices = Some(slices.parse().unwrap());
        ColPali::load(&folder, &LoadOptions { slices, ..LoadOptions::default() }).unwrap()
    };
    let (pyramid, fine, whole) = (with("1x1+2x2"), with("2x2"), with("1x1"));
    let edge = whole.input().edge_px;
    let page = page_with_print(2 * edge, 2 * edge);
    let small = pagesight_simd::resize_bicubic(&page, edge, edge);
    let encode = |model: &ColPali, page: &PageImage| {
        model.encode_pages(std::slice::from_ref(page)).unwrap().remove(0)
    };
    let expected = [encode(&whole, &small).values(), encode(&fine, &page).values()].concat();
    let joined = encode(&pyramid, &page);
    assert_eq!((joined.values(), joined.len()), (&expected[..], pyramid.patch_grid().vectors()));
}

#[test]
fn any_tensor_that_is_missing_left_over_or_misshapen_is_named() {
    let key = "vlm.vision_tower.vision_model.post_layernorm.bias";
    let folder = copy();
    change_weights(folder.path(), |tensors| drop(tensors.remove(key)));
    match load(folder.path()) {
        Err(ModelError::MissingTensor { key: got, .. }) => assert_eq!(got, key),
        other => panic!("{other:?}"),
    }
    let folder = copy();
    change_weights(folder.path(), |tensors| {
        tensors.insert("vlm.extra.weight".into(), tensors[key].clone());
    });
    match load(folder.path()) {
        Err(ModelError::UnknownTensor { key, count: 1, .. }) => assert_eq!(key, "vlm.extra.weight"),
        other => panic!("{other:?}"),
    }
    let folder = copy();
    change_weights(folder.path(), |tensors| {
        let cut = tensors[key].narrow(0, 0, 39).unwrap();
        tensors.insert(key.into(), cut);
    });
    match load(folder.path()) {
        Err(ModelError::Shape { key: got, expected, .. }) => {
            assert_eq!((got.as_str(), expected), (key, vec![40]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_tied_output_layer_may_be_there() {
    let folder = copy();
    change_weights(folder.path(), |tensors| {
        let tied = tensors["vlm.language_model.model.embed_tokens.weight"].clone();
        tensors.insert("vlm.language_model.lm_head.weight".into(), tied);
    });
    load(folder.path()).unwrap();
}

#[test]
fn files_that_are_cut_missing_or_pickled_are_named() {
    let folder = copy();
    let weights = folder.path().join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    for length in [0, 4, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&weights, &bytes[..length]).unwrap();
        match load(folder.path()) {
            Err(ModelError::Truncated { path, got, .. }) => {
                assert_eq!((path, got), (weights.clone(), length as u64));
            }
            other => panic!("{length} bytes: {other:?}"),
        }
    }
    fs::remove_file(&weights).unwrap();
    assert!(matches!(load(folder.path()), Err(ModelError::Io { .. })));
    let pickle = folder.path().join("pytorch_model.bin");
    fs::write(&pickle, b"\x80\x04").unwrap();
    match load(folder.path()) {
        Err(ModelError::Pickle { path }) => assert_eq!(path, pickle),
        other => panic!("{other:?}"),
    }
    for name in ["config.json", "tokenizer.json", "preprocessor_config.json"] {
        let folder = copy();
        fs::remove_file(folder.path().join(name)).unwrap();
        match load(folder.path()) {
            Err(ModelError::Io { path, .. }) => assert!(path.ends_with(name)),
            other => panic!("{other:?}"),
        }
        fs::write(folder.path().join(name), "{\"a\": ").unwrap();
        let error = load(folder.path()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn shards_are_read_and_may_not_lead_elsewhere() {
    let folder = copy();
    let file = folder.path().join("model.safetensors");
    let tensors = safetensors::load(&file, &Device::Cpu).unwrap();
    let whole = load(folder.path()).unwrap();
    fs::remove_file(&file).unwrap();
    let mut shards = [HashMap::new(), HashMap::new()];
    let mut map = serde_json::Map::new();
    for (i, (name, tensor)) in tensors.into_iter().enumerate() {
        map.insert(name.clone(), format!("part-{}.safetensors", i % 2).into());
        shards[i % 2].insert(name, tensor);
    }
    for (i, shard) in shards.iter().enumerate() {
        safetensors::save(shard, folder.path().join(format!("part-{i}.safetensors"))).unwrap();
    }
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    let sharded = load(folder.path()).unwrap();
    let ask = |model: &ColPali| model.encode_queries(&["page 3"]).unwrap();
    assert_eq!(ask(&sharded), ask(&whole));
    fs::write(&index, r#"{"weight_map": {"a": "../hf/model.safetensors"}}"#).unwrap();
    assert!(matches!(load(folder.path()), Err(ModelError::Io { .. })));
}

#[test]
fn settings_that_would_give_other_vectors_are_refused() {
    for (name, from, to, key) in [
        ("config.json", "\"image_token_index\": 425", "\"image_token_index\": 9", "tokenizer"),
        ("config.json", "\"head_dim\": 32", "\"head_dim\": 33", "head_dim"),
        (
            "config.json",
            "\"num_hidden_layers\": 2",
            "\"num_hidden_layers\": 0",
            "text_config.num_hidden_layers",
        ),
        ("config.json", "\"patch_size\": 14", "\"patch_size\": 15", "image_size"),
        (
            "config.json",
            "\"head_dim\": 32",
            "\"head_dim\": 32, \"hidden_act\": \"relu\"",
            "hidden_act",
        ),
        ("preprocessor_config.json", "\"resample\": 3", "\"resample\": 2", "resample"),
        ("preprocessor_config.json", "\"height\": 112", "\"height\": 224", "size"),
    ] {
        let folder = copy();
        let path = folder.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replace(from, to)).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn the_recipe_is_part_of_the_model() {
    let folder = copy();
    let before = load(folder.path()).unwrap();
    let recipe = folder.path().join("recipe.json");
    fs::write(&recipe, r#"{"query_prefix": "<bos>Query: ", "slices": "1x2"}"#).unwrap();
    let after = load(folder.path()).unwrap();
    assert_ne!(PageEncoder::model_id(&before), PageEncoder::model_id(&after));
    assert_eq!(after.input().slices, Slices::grid(1, 2));
    assert_ne!(before.encode_queries(&["x"]).unwrap(), after.encode_queries(&["x"]).unwrap());
    for wrong in [r#"{"querry_prefix": ""}"#, r#"{"slices": "0x1"}"#, r#"{"slices": "99x1"}"#] {
        fs::write(&recipe, wrong).unwrap();
        match load(folder.path()) {
            Err(ModelError::Config { path, .. }) => assert_eq!(path, recipe),
            other => panic!("{other:?}"),
        }
    }
    fs::remove_file(&recipe).unwrap();
    change_weights(folder.path(), |tensors| {
        let key = "embedding_proj_layer.bias";
        let changed = (&tensors[key] + 1e-3).unwrap();
        tensors.insert(key.into(), changed);
    });
    let changed = load(folder.path()).unwrap();
    assert_ne!(PageEncoder::model_id(&before), PageEncoder::model_id(&changed));
}
