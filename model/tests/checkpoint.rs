//! A checkpoint from a folder: equal to the reference, the same alone and in a batch, and
//! refused when anything about it is wrong.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, safetensors};
use pagesight_core::seam::{Model, PageEncoder, QueryEncoder};
use pagesight_core::testing::{page_encoder_contract, query_encoder_contract};
use pagesight_core::{
    Area, EncodedPage, ModelId, ModelSource, PageImage, PageSize, PictureSize, Slices,
};
use pagesight_model::{
    ColPali, LoadOptions, ModelError, Pooler, Recipe, RecipeChoice, inspect_checkpoint, parity,
    verify_checkpoint,
};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity")
}

fn at(folder: &Path) -> ModelSource {
    ModelSource::Folder(folder.into())
}

fn load(folder: &Path) -> Result<ColPali, ModelError> {
    ColPali::load(&at(folder), &LoadOptions::default())
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
    assert_eq!(model.layout().vectors(), 70);
    // A model whose queries are the bare words.
    query_encoder_contract(&ColPali::nano().unwrap());
}

/// Tensors made by `training/parity.py --rows`, as said there: again whenever the weights change.
#[test]
fn the_trained_model_equals_the_reference() {
    let stages = parity(&fixture().join("../nano")).unwrap();
    let failed: Vec<_> = stages.iter().filter(|stage| !stage.passed()).collect();
    assert!(failed.is_empty() && stages.len() > 10, "of {}: {failed:#?}", stages.len());
}

/// An adapter that `training/adapt/adapt.py` wrote, over the model inside; tensors made by
/// `training/parity.py --adapter`.
#[test]
fn the_adapted_model_equals_the_reference() {
    let stages = parity(&fixture().join("../nano-adapted")).unwrap();
    let failed: Vec<_> = stages.iter().filter(|stage| !stage.passed()).collect();
    assert!(failed.is_empty() && stages.len() > 10, "of {}: {failed:#?}", stages.len());
}

#[test]
fn the_model_inside_is_the_one_in_its_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("nano");
    // A folder's weights are not known to be these, so by themselves they would be f32 on a CPU
    // without bf16.
    let alike = LoadOptions { whole_numbers: Some(true), ..LoadOptions::default() };
    let inside = ColPali::nano().unwrap();
    let outside = ColPali::load(&at(&folder), &alike).unwrap();
    assert_eq!(inside.model_id(), outside.model_id());
    let ask = |model: &ColPali| model.encode_queries(&["Net sales by region, 2024"]).unwrap();
    assert_eq!(ask(&inside), ask(&outside));
    let PictureSize { width_px, height_px } = inside.picture(A4);
    let page = page_with_print(width_px, height_px);
    let encode = |model: &ColPali| model.encode_pages(std::slice::from_ref(&page)).unwrap();
    assert_eq!(encode(&inside), encode(&outside));
    let options = LoadOptions::default();
    let info = inspect_checkpoint(&ModelSource::Nano, &options).unwrap();
    assert_eq!((&info.model_id, info.folder), (inside.model_id(), None));
    let verified = verify_checkpoint(&ModelSource::Nano, &options, &mut |_| {}).unwrap();
    assert!(verified.numbers > 1_000_000);
    assert_eq!(inside.record().source, Some(ModelSource::Nano));
    assert_eq!(outside.record().source, Some(at(&folder)));
    assert!(load(Path::new("no/such/folder")).is_err());
}

#[test]
fn a_page_in_slices_is_its_slices_side_by_side() {
    let slices = Slices::grid(2, 3);
    let options = LoadOptions { slices: Some(slices), ..LoadOptions::default() };
    let folder = fixture().join("hf");
    let (sliced, whole) = (ColPali::load(&at(&folder), &options).unwrap(), load(&folder).unwrap());
    assert_ne!(sliced.model_id(), whole.model_id());
    let edge = whole.input_px();
    let (width, height) = (edge * 2, edge * 3);
    let noise = (0..width * height * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
    let page = PageImage::new(width, height, noise.collect()).unwrap();
    let joined = &sliced.encode_pages(std::slice::from_ref(&page)).unwrap()[0];
    assert_eq!(joined.vectors().len(), sliced.layout().vectors());
    // The last slice's first patch is where that slice begins on the page.
    let place = 5 * (sliced.layout().vectors() / 6);
    let Area { x0, y0, .. } = joined.layout().area(place).unwrap();
    assert_eq!((x0, y0), (0.5, 2.0 / 3.0));
    let mut expected = Vec::new();
    for row in 0..3 {
        for column in 0..2 {
            let slice = page.crop(column * edge, row * edge, edge, edge);
            expected.extend_from_slice(whole.encode_pages(&[slice]).unwrap()[0].vectors().values());
        }
    }
    assert_eq!(joined.vectors().values(), expected);
}

const A4: PageSize = PageSize { width_pt: 595.0, height_pt: 842.0 };

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
        let options = LoadOptions { recipe: Some(recipe.into()), slices, ..LoadOptions::default() };
        ColPali::load(&at(&folder), &options).unwrap()
    };
    let with = |prune_blank| with_pooler(prune_blank, 1, Pooler::default());
    let (whole, pruned) = (with(None), with(Some(16)));
    page_encoder_contract(&pruned);
    assert_ne!(whole.model_id(), pruned.model_id());
    let edge = whole.input_px();
    let encode = |model: &ColPali, page: &PageImage| {
        let encoded = model.encode_pages(std::slice::from_ref(page)).unwrap().remove(0);
        assert_eq!(encoded.layout(), model.layout());
        encoded.into_parts().0
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
    assert_ne!(pooled[0].model_id(), pooled[1].model_id());
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
        ColPali::load(&at(&folder), &LoadOptions { slices, ..LoadOptions::default() }).unwrap()
    };
    let (pyramid, fine, whole) = (with("1x1+2x2"), with("2x2"), with("1x1"));
    let edge = whole.input_px();
    let page = page_with_print(2 * edge, 2 * edge);
    let small = pagesight_simd::resize_bicubic(&page, edge, edge);
    let encode = |model: &ColPali, page: &PageImage| {
        let encoded = model.encode_pages(std::slice::from_ref(page)).unwrap().remove(0);
        assert_eq!(encoded.layout(), model.layout());
        encoded.into_parts().0
    };
    let expected = [encode(&whole, &small).values(), encode(&fine, &page).values()].concat();
    let joined = encode(&pyramid, &page);
    assert_eq!((joined.values(), joined.len()), (&expected[..], pyramid.layout().vectors()));
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
    assert_ne!(before.model_id(), after.model_id());
    assert_eq!(after.recipe().slices, Slices::grid(1, 2));
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
    assert_ne!(before.model_id(), changed.model_id());
}

/// Indexes remember the id of their model: these must never change. The first is in the golden
/// indexes of `fixtures/index`; the second was computed from nano's files and recipe by a program
/// of its own.
#[test]
fn known_checkpoints_keep_their_ids() {
    let id = |id: &str| ModelId(id.into());
    let fixture = load(&fixture().join("hf")).unwrap();
    let golden = "6ba48faa1f1df337888b7b94a85075800fe99c391263afb70c4f52ceab438577";
    assert_eq!(*fixture.model_id(), id(golden));
    let nano = "835b66f9ee116dc8f4510f7562a492f4ac62afd634dfafb01d23df149f954395";
    assert_eq!(*ColPali::nano().unwrap().model_id(), id(nano));
}

#[test]
fn the_record_brings_the_same_model_back() {
    let folder = fixture().join("lora");
    let recipe = Recipe { pooling: 2, ..Recipe::named("colpali-v1.3").unwrap() };
    let options = LoadOptions {
        recipe: Some(recipe.into()),
        slices: Some(Slices::grid(1, 2)),
        base: Some(at(&fixture().join("orig"))),
        ..LoadOptions::default()
    };
    let model = ColPali::load(&at(&folder), &options).unwrap();
    let record = model.record();
    assert_eq!((&record.id, record.dim), (model.model_id(), model.dim()));
    assert_eq!(record.fusion, model.recipe().fusion);
    let again = LoadOptions {
        recipe: record.recipe.clone().map(RecipeChoice::Json),
        base: record.base.clone(),
        ..LoadOptions::default()
    };
    let again = pagesight_model::load(&record.source.clone().unwrap(), &again).unwrap();
    assert_eq!(again.record(), record);
    assert!(again.encodes_pages());
    let queries = LoadOptions { query_only: true, ..LoadOptions::default() };
    let queries = pagesight_model::load(&ModelSource::Nano, &queries).unwrap();
    assert!(!queries.encodes_pages());
}

#[test]
fn a_model_of_no_family_is_refused_by_name() {
    let folder = copy();
    let path = folder.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"colpali\"", "\"colqwen9\"", 1)).unwrap();
    match pagesight_model::load(&at(folder.path()), &LoadOptions::default()) {
        Err(ModelError::UnknownFamily { path: got, got: said, known }) => {
            assert_eq!((got, said.as_str()), (path.clone(), "colqwen9"));
            assert_eq!(known[..2], ["colpali", "neomme"]);
        }
        other => panic!("{:?}", other.map(|model| model.record())),
    }
    // Where the configuration does not say what it is, the names of the tensors do.
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config.as_object_mut().unwrap().remove("model_type");
    fs::write(&path, config.to_string()).unwrap();
    pagesight_model::load(&at(folder.path()), &LoadOptions::default()).unwrap();
    let recipe = Some(RecipeChoice::Named("no-such-recipe".into()));
    let options = LoadOptions { recipe, ..LoadOptions::default() };
    match pagesight_model::load(&at(folder.path()), &options) {
        Err(ModelError::UnknownRecipe { name, known }) => {
            assert!(name == "no-such-recipe" && known.contains(&"colpali-v1.3"));
        }
        other => panic!("{:?}", other.map(|model| model.record())),
    }
}

#[test]
fn every_page_gives_the_same_picture_and_layout() {
    let model = load(&fixture().join("hf")).unwrap();
    let wide = PageSize { width_pt: 1000.0, height_pt: 100.0 };
    assert_eq!(model.picture(A4), PictureSize { width_px: 112, height_px: 112 });
    assert_eq!(model.picture(wide), model.picture(A4));
    let page = page_with_print(112, 112);
    let encoded: EncodedPage = model.encode_pages(&[page]).unwrap().remove(0);
    assert_eq!(encoded.layout().vectors(), 70);
    assert_eq!(encoded.layout().area(9), Some(Area { x0: 0.125, y0: 0.125, x1: 0.25, y1: 0.25 }));
    assert_eq!(encoded.layout().area(64), None, "of the prompt");
}

/// The parts of `question` that its tokens stand for, each with whether it is spelled; and how many
/// tokens stand for nothing of it.
fn spans(model: &ColPali, question: &str) -> (Vec<(String, bool)>, usize) {
    let query = model.encode_queries(&[question]).unwrap().remove(0);
    let tokens = query.tokens();
    let of = |span: std::ops::Range<usize>| question[span].to_string();
    let parts = tokens.iter().filter_map(|t| Some((of(t.span.clone()?), t.spelled)));
    (parts.collect(), tokens.iter().filter(|token| token.span.is_none()).count())
}

#[test]
fn tokens_say_which_part_of_the_question_they_stand_for() {
    let prefixed = load(&fixture().join("hf")).unwrap();
    let nano = ColPali::nano().unwrap();
    let questions = [
        "What is the total revenue in 2024?",
        "Où est la clé ?",
        "naïve  Café — crème brûlée",
        "売上高 日本",
        "sales 📈 up 👩\u{200d}🚀",
        "  spaces around  ",
        "x",
        "",
    ];
    for question in questions {
        for model in [&prefixed, &nano] {
            let query = model.encode_queries(&[question]).unwrap().remove(0);
            let mut covered = vec![false; question.len()];
            for token in query.tokens() {
                let Some(span) = token.span.clone() else { continue };
                // Whole characters; a token of white space alone stands for it, and others for
                // words without the white space around them.
                let part = &question[span.clone()];
                assert!(part.trim() == part || part.trim().is_empty(), "{token:?}");
                covered[span].fill(true);
            }
            // Every letter and digit is of some token.
            for (at, letter) in question.char_indices().filter(|(_, c)| c.is_alphanumeric()) {
                assert!(covered[at], "{letter} at {at} of {question:?}: {:?}", query.tokens());
            }
        }
    }
    // Prefix, padding and suffix stand for nothing of the question.
    let (parts, special) = spans(&prefixed, "page 3");
    let parts: Vec<&str> = parts.iter().map(|(part, _)| part.as_str()).collect();
    assert!(parts.concat().replace(' ', "") == "page3", "{parts:?}");
    let (_, of_nothing) = spans(&prefixed, "");
    assert!(special >= 12 && of_nothing >= special - 1, "{special} {of_nothing}");
    // nano's queries are the bare words.
    assert_eq!(spans(&nano, "net sales").1, 0);
}

#[test]
fn letters_without_a_piece_are_not_spelled() {
    let nano = ColPali::nano().unwrap();
    // The bytes of a character share its place.
    let (parts, _) = spans(&nano, "日");
    let of_bytes: Vec<_> = parts.iter().filter(|(_, spelled)| !spelled).collect();
    assert!(of_bytes.len() >= 3 && of_bytes.iter().all(|(part, _)| part == "日"), "{parts:?}");
    for (question, spelled) in [
        ("net sales by region", true),
        ("日本の売上高", false),
        ("the annual report of 日", true),
        ("?!", false),
    ] {
        let query = &nano.encode_queries(&[question]).unwrap()[0];
        assert_eq!(query.is_spelled(), spelled, "{question}: {:?}", query.tokens());
    }
}
