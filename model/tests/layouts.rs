//! The same weights in every published layout give the same vectors; what contradicts itself is
//! refused by name.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, safetensors};
use pagesight_core::seam::{Model, PageEncoder, QueryEncoder};
use pagesight_core::{ModelSource, PageImage, PatchLayout, Slices};
use pagesight_model::{
    ColPali, HubCache, LoadOptions, ModelError, Models, Precision, RecipeChoice,
    inspect_checkpoint, verify_checkpoint,
};

type Tensors = HashMap<String, Tensor>;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity").join(name)
}

fn at(folder: &Path) -> ModelSource {
    ModelSource::Folder(folder.into())
}

fn load(folder: &Path) -> Result<ColPali, ModelError> {
    ColPali::load(&at(folder), &LoadOptions::default())
}

/// The fixture's layouts store the same weights in different types.
fn in_f32(folder: &Path) -> Result<ColPali, ModelError> {
    let options = LoadOptions { precision: Some(Precision::F32), ..LoadOptions::default() };
    ColPali::load(&at(folder), &options)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// A copy that a test may spoil.
fn copied(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixture(name), folder.path());
    folder
}

fn change(file: &Path, change: impl FnOnce(&mut Tensors)) {
    let mut tensors = safetensors::load(file, &Device::Cpu).unwrap();
    change(&mut tensors);
    safetensors::save(&tensors, file).unwrap();
}

/// Vectors of a question and of a page.
fn vectors(model: &ColPali) -> (Vec<f32>, Vec<f32>) {
    let query = model.encode_queries(&["Où est la clé ?"]).unwrap().remove(0);
    let edge = model.input_px();
    let noise = (0..edge * edge * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
    let page = PageImage::new(edge, edge, noise.collect()).unwrap();
    let page = model.encode_pages(&[page]).unwrap().remove(0);
    (query.values().to_vec(), page.vectors().values().iter().map(|v| v.to_f32()).collect())
}

#[test]
fn every_layout_gives_the_same_vectors() {
    let native = in_f32(&fixture("hf")).unwrap();
    let expected = vectors(&native);
    assert_eq!(vectors(&in_f32(&fixture("orig")).unwrap()), expected);
    for (name, config, renames) in [
        (
            "HF-native (4.52)",
            "hf",
            [
                ("vlm.language_model.model.", "vlm.model.language_model."),
                ("vlm.vision_tower.", "vlm.model.vision_tower."),
                ("vlm.multi_modal_projector.", "vlm.model.multi_modal_projector."),
                ("embedding_proj_layer.", "embedding_proj_layer."),
            ],
        ),
        (
            "colpali-engine (4.52)",
            "orig",
            [
                ("vlm.language_model.model.", "model.model.language_model."),
                ("vlm.vision_tower.", "model.model.vision_tower."),
                ("vlm.multi_modal_projector.", "model.model.multi_modal_projector."),
                ("embedding_proj_layer.", "custom_text_proj."),
            ],
        ),
    ] {
        let folder = copied("hf");
        fs::copy(fixture(config).join("config.json"), folder.path().join("config.json")).unwrap();
        change(&folder.path().join("model.safetensors"), |tensors| {
            let rename = |(key, tensor): (String, Tensor)| {
                let (from, to) = renames.iter().find(|(from, _)| key.starts_with(from)).unwrap();
                (key.replacen(from, to, 1), tensor)
            };
            *tensors = std::mem::take(tensors).into_iter().map(rename).collect();
        });
        // The file's name says nothing either.
        let named = folder.path().join("weights.safetensors");
        fs::rename(folder.path().join("model.safetensors"), named).unwrap();
        assert_eq!(vectors(&in_f32(folder.path()).unwrap()), expected, "{name}");
        let info = inspect_checkpoint(&at(folder.path()), &LoadOptions::default()).unwrap();
        assert_eq!((info.layout.as_str(), info.parameters), (name, 181_432));
    }
}

#[test]
fn queries_need_no_vision_tower() {
    let options = LoadOptions { query_only: true, ..LoadOptions::default() };
    let whole = load(&fixture("hf")).unwrap();
    let query = ColPali::load(&at(&fixture("hf")), &options).unwrap();
    assert_eq!(query.model_id(), whole.model_id());
    let ask = |model: &ColPali| model.encode_queries(&["page 3"]).unwrap();
    assert_eq!(ask(&query), ask(&whole));
    let edge = whole.input_px();
    let page = PageImage::new(edge, edge, vec![255; (edge * edge * 3) as usize]).unwrap();
    let error = query.encode_pages(&[page]).unwrap_err();
    assert!(error.to_string().contains("without what pages need"), "{error}");

    // Nothing of the tower is looked at; but it must be there.
    let folder = copied("hf");
    let file = folder.path().join("model.safetensors");
    let key = "vlm.vision_tower.vision_model.post_layernorm.bias";
    change(&file, |tensors| {
        for (key, tensor) in tensors.iter_mut().filter(|(key, _)| key.contains("vision_tower")) {
            assert!(!key.is_empty());
            *tensor = (tensor.zeros_like().unwrap() * f64::NAN).unwrap();
        }
    });
    assert_eq!(ask(&ColPali::load(&at(folder.path()), &options).unwrap()), ask(&whole));
    change(&file, |tensors| drop(tensors.remove(key)));
    match ColPali::load(&at(folder.path()), &options) {
        Err(ModelError::MissingTensor { key: got, .. }) => assert_eq!(got, key),
        other => panic!("{other:?}"),
    }
}

/// A cache as the hub's programs make it, with the base in it.
fn hub(name: &str) -> (tempfile::TempDir, HubCache) {
    let root = tempfile::tempdir().unwrap();
    let cache = HubCache::new(root.path());
    let model = cache.model_folder(name);
    copy(&fixture("orig"), &model.join("snapshots/0123"));
    fs::create_dir_all(model.join("refs")).unwrap();
    fs::write(model.join("refs/main"), "0123").unwrap();
    (root, cache)
}

#[test]
fn an_adapter_finds_its_base_beside_it_in_a_cache_or_where_told() {
    let expected = vectors(&load(&fixture("lora")).unwrap());
    assert_ne!(expected, vectors(&load(&fixture("orig")).unwrap()));
    let (root, cache) = hub("tiny/base");
    let lora = copied("lora");
    let config = lora.path().join("adapter_config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("../orig", "tiny/base")).unwrap();
    match load(lora.path()) {
        Err(ModelError::NoBase { name, path, .. }) => {
            assert_eq!((name.as_str(), path), ("tiny/base", config.clone()));
        }
        other => panic!("{other:?}"),
    }
    let from_hub = LoadOptions { hub: Some(cache.clone()), ..LoadOptions::default() };
    assert_eq!(vectors(&ColPali::load(&at(lora.path()), &from_hub).unwrap()), expected);
    let told = LoadOptions { base: Some(at(&fixture("orig"))), ..LoadOptions::default() };
    assert_eq!(vectors(&ColPali::load(&at(lora.path()), &told).unwrap()), expected);
    // An adapter that lies in a cache looks there without being told.
    let inside = cache.model_folder("tiny/lora").join("snapshots/4567");
    copy(lora.path(), &inside);
    assert_eq!(vectors(&load(&inside).unwrap()), expected);
    let models = Models { own: None, hub: Some(cache) };
    // A name is pinned to the commit that was found, and leads there again.
    let pinned = ModelSource::Hub { name: "tiny/lora".into(), revision: Some("4567".into()) };
    assert_eq!(models.find("tiny/lora").unwrap(), pinned);
    assert_eq!(models.find("tiny/lora@4567").unwrap(), pinned);
    assert_eq!(models.folder(&pinned).unwrap().as_deref(), Some(inside.as_path()));
    let hub = LoadOptions { hub: models.hub.clone(), ..LoadOptions::default() };
    let from_hub = ColPali::load(&pinned, &hub).unwrap();
    assert_eq!(vectors(&from_hub), expected);
    assert_eq!(from_hub.record().source, Some(pinned.clone()));
    // Without the cache there is no such model.
    match ColPali::load(&pinned, &LoadOptions::default()) {
        Err(ModelError::NotFound { name, .. }) => assert_eq!(name, "tiny/lora@4567"),
        other => panic!("{other:?}"),
    }
    let model_folder = root.path().join("models--tiny--lora");
    assert_eq!(models.find(model_folder.to_str().unwrap()).unwrap(), at(&inside));
    match models.find("tiny/none") {
        Err(ModelError::NotFound { looked, .. }) => assert_eq!(looked.len(), 2),
        other => panic!("{other:?}"),
    }
    let listed: Vec<(String, bool)> =
        models.list().into_iter().map(|entry| (entry.name, entry.state.is_ok())).collect();
    let expected = ["nano", "tiny/base", "tiny/lora"].map(|name| (name.to_string(), true));
    assert_eq!(listed, expected);
}

#[test]
fn an_adapter_of_nano_fits_the_weights_inside_and_no_others() {
    let adapter = fixture("../nano-adapted/adapter");
    let adapted = load(&adapter).unwrap();
    let nano = ColPali::nano().unwrap();
    let asked = |model: &ColPali| model.encode_queries(&["the wine which he drank"]).unwrap();
    assert_ne!(asked(&adapted), asked(&nano));
    assert_eq!(adapted.recipe(), nano.recipe());
    // Told, and from its folder, it is the same base.
    for base in [ModelSource::Nano, at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("nano"))] {
        let told = LoadOptions { base: Some(base), ..LoadOptions::default() };
        assert_eq!(ColPali::load(&at(&adapter), &told).unwrap().model_id(), adapted.model_id());
    }
    // Imported it has its base with it, and its card.
    let root = tempfile::tempdir().unwrap();
    let models = Models { own: Some(root.path().join("models")), hub: None };
    let options = LoadOptions::default();
    let imported = models.import(&at(&adapter), "mine", &options, &mut |_| {}).unwrap();
    assert!(imported.join("base/model.safetensors").exists());
    let info = inspect_checkpoint(&at(&imported), &options).unwrap();
    assert_eq!(&info.model_id, adapted.model_id());
    assert_eq!(info.licence.as_deref(), Some("OFL-1.1"));
    assert_eq!(asked(&load(&imported).unwrap()), asked(&adapted));
    // Made for other weights, or for none that are named.
    let copied = tempfile::tempdir().unwrap();
    copy(&adapter, copied.path());
    let config = copied.path().join("adapter_config.json");
    let text = fs::read_to_string(&config).unwrap();
    let start = text.find("\"revision\": ").unwrap() + 12;
    let end = start + text[start..].find(',').unwrap();
    let other = "a".repeat(64);
    for (revision, expected) in [(format!("\"{other}\""), other.as_str()), ("null".into(), "none")]
    {
        fs::write(&config, format!("{}{revision}{}", &text[..start], &text[end..])).unwrap();
        for base in [None, Some(ModelSource::Nano)] {
            let options = LoadOptions { base, ..LoadOptions::default() };
            match ColPali::load(&at(copied.path()), &options) {
                Err(ModelError::OtherBase { path, name, got, .. }) => {
                    assert_eq!(
                        (path, name.as_str(), got.as_str()),
                        (config.clone(), "nano", expected)
                    );
                }
                other => panic!("{:?}", other.map(|model| model.model_id().clone())),
            }
        }
    }
}

#[test]
fn adapters_in_peft_s_newer_names_are_the_same() {
    let (_root, cache) = hub("tiny/base");
    let options = LoadOptions { hub: Some(cache), base: None, ..LoadOptions::default() };
    let lora = copied("lora");
    let config = lora.path().join("adapter_config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("../orig", "tiny/base")).unwrap();
    change(&lora.path().join("adapter_model.safetensors"), |tensors| {
        let rename = |(key, tensor): (String, Tensor)| {
            let key = key.replace(".weight", ".default.weight");
            let to = "base_model.model.model.model.language_model.";
            (key.replace("base_model.model.model.language_model.model.", to), tensor)
        };
        *tensors = std::mem::take(tensors).into_iter().map(rename).collect();
    });
    let expected = vectors(&load(&fixture("lora")).unwrap());
    assert_eq!(vectors(&ColPali::load(&at(lora.path()), &options).unwrap()), expected);
    // alpha over r, or over its root, is taken from the configuration.
    for (from, to, same) in [
        ("\"lora_alpha\": 8", "\"lora_alpha\": 16", false),
        ("\"use_rslora\": false", "\"use_rslora\": true", false),
    ] {
        let before = fs::read_to_string(&config).unwrap();
        assert!(before.contains(from));
        fs::write(&config, before.replace(from, to)).unwrap();
        let changed = vectors(&ColPali::load(&at(lora.path()), &options).unwrap());
        assert_eq!(changed == expected, same, "{to}");
        fs::write(&config, before).unwrap();
    }
}

#[test]
fn an_adapter_that_does_not_fit_is_refused_by_name() {
    let layer = "base_model.model.model.language_model.model.layers.0.mlp.up_proj";
    let spoil = |spoil: &dyn Fn(&mut Tensors)| {
        let lora = copied("lora");
        change(&lora.path().join("adapter_model.safetensors"), |tensors| spoil(tensors));
        let options = LoadOptions { base: Some(at(&fixture("orig"))), ..LoadOptions::default() };
        ColPali::load(&at(lora.path()), &options).unwrap_err()
    };
    let half = format!("{layer}.lora_B.weight");
    match spoil(&|tensors| drop(tensors.remove(&half))) {
        ModelError::MissingTensor { key, path } => {
            assert_eq!(key, half);
            assert!(path.ends_with("adapter_model.safetensors"));
        }
        other => panic!("{other:?}"),
    }
    match spoil(&|tensors| {
        let cut = tensors[&half].narrow(1, 0, 3).unwrap();
        tensors.insert(half.clone(), cut);
    }) {
        ModelError::Shape { key, expected, got, .. } => {
            assert_eq!((key, expected, got), (half.clone(), vec![128, 4], vec![128, 3]));
        }
        other => panic!("{other:?}"),
    }
    for strange in ["layers.9", "layers.0.mlp.up_proj.extra"] {
        match spoil(&|tensors| {
            for factor in ["lora_A", "lora_B"] {
                let key = format!("{layer}.{factor}.weight");
                let tensor = tensors[&key].clone();
                tensors.insert(key.replace("layers.0.mlp.up_proj", strange), tensor);
            }
        }) {
            ModelError::UnknownTensor { key, .. } => assert!(key.contains(strange), "{key}"),
            other => panic!("{other:?}"),
        }
    }
    let settings = [
        ("\"use_dora\": false", "\"use_dora\": true", "use_dora"),
        ("\"bias\": \"none\"", "\"bias\": \"all\"", "bias"),
        ("\"rank_pattern\": {}", "\"rank_pattern\": {\"q_proj\": 8}", "rank_pattern"),
        ("\"peft_type\": \"LORA\"", "\"peft_type\": \"IA3\"", "peft_type"),
        ("\"r\": 4", "\"r\": 0", "r"),
        ("\"r\": 4", "\"r\": 5", "Shape"),
    ];
    for (from, to, key) in settings {
        let lora = copied("lora");
        let config = lora.path().join("adapter_config.json");
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&config, text.replace(from, to)).unwrap();
        let options = LoadOptions { base: Some(at(&fixture("orig"))), ..LoadOptions::default() };
        match ColPali::load(&at(lora.path()), &options).unwrap_err() {
            ModelError::Setting { key: got, path, .. } => {
                assert_eq!((got, path), (key.into(), config))
            }
            ModelError::Shape { .. } => assert_eq!(key, "Shape"),
            other => panic!("{other:?}"),
        }
    }
    let options = LoadOptions { base: Some(at(&fixture("lora"))), ..LoadOptions::default() };
    let error = ColPali::load(&at(&fixture("lora")), &options).unwrap_err();
    assert!(matches!(error, ModelError::AdapterOfAdapter { .. }), "{error:?}");
}

#[test]
fn an_index_and_its_shards_agree_or_are_refused() {
    let index = "model.safetensors.index.json";
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let edit = |from: &str, to: &str| {
        let folder = copied("orig");
        let path = folder.path().join(index);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replace(from, to)).unwrap();
        let error = load(folder.path()).unwrap_err();
        (folder, error)
    };
    let key = "custom_text_proj.bias";
    let entry = format!("\"{key}\": \"{second}\"");
    match edit(&entry, &format!("\"{key}\": \"{first}\"")).1 {
        ModelError::ShardIndex { key: got, expected, got: shard, .. } => {
            assert_eq!((got.as_str(), expected.as_str(), shard.as_str()), (key, first, second));
        }
        other => panic!("{other:?}"),
    }
    match edit(&entry, &format!("\"strange\": \"{second}\"")).1 {
        ModelError::ShardIndex { key: got, expected, .. } => {
            assert_eq!((got.as_str(), expected.as_str()), (key, "no shard"));
        }
        other => panic!("{other:?}"),
    }
    match edit(&entry, &format!("{entry}, \"strange\": \"{second}\"")).1 {
        ModelError::ShardIndex { key: got, got: shard, .. } => {
            assert_eq!((got.as_str(), shard.as_str()), ("strange", "no shard"));
        }
        other => panic!("{other:?}"),
    }
    match edit(second, "model-00003-of-00002.safetensors") {
        (folder, ModelError::Io { path, .. }) => {
            assert_eq!(path, folder.path().join("model-00003-of-00002.safetensors"));
        }
        other => panic!("{other:?}"),
    }
    match edit(second, "pytorch_model-00002-of-00002.bin") {
        (_, ModelError::Pickle { path }) => assert!(path.extension().unwrap() == "bin"),
        other => panic!("{other:?}"),
    }
    // Shards without an index belong to nothing.
    let folder = copied("orig");
    fs::remove_file(folder.path().join(index)).unwrap();
    match load(folder.path()) {
        Err(ModelError::Io { path, .. }) => assert!(path.ends_with(index)),
        other => panic!("{other:?}"),
    }
    // A shard that is cut off.
    let folder = copied("orig");
    let shard = folder.path().join(second);
    let bytes = fs::read(&shard).unwrap();
    fs::write(&shard, &bytes[..bytes.len() - 2]).unwrap();
    match load(folder.path()) {
        Err(ModelError::Truncated { path, expected, got }) => {
            assert_eq!((path, expected - got), (shard, 2));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn headers_are_checked_before_offsets_are_trusted() {
    let folder = copied("hf");
    let file = folder.path().join("model.safetensors");
    let write = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        fs::write(&file, bytes).unwrap();
        load(folder.path()).unwrap_err()
    };
    let tensor = |offsets: &str, shape: &str| {
        format!(r#"{{"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}"#)
    };
    for (header, data) in [
        (tensor("[0, 8]", "[1]"), 8), // longer than its shape
        (tensor("[4, 8]", "[1]"), 8), // a hole
        (tensor("[0, 4]", "[4294967296, 4294967296]"), 4), // overflows
        (tensor("[8, 4]", "[1]"), 8), // ends before it begins
        (tensor("[0, 18446744073709551615]", "[1]"), 4),
        (r#"{"a": 3}"#.into(), 4),
        ("[[[[[[".into(), 4),
    ] {
        match write(&header, data) {
            ModelError::Weights { path, .. } => assert_eq!(path, file, "{header}"),
            other => panic!("{header}: {other:?}"),
        }
    }
    assert!(matches!(write(&tensor("[0, 4]", "[1]"), 3), ModelError::Truncated { .. }));
    assert!(matches!(write(&tensor("[0, 4]", "[1]"), 5), ModelError::Truncated { .. }));
    match write(&tensor("[0, 4]", "[1]"), 4) {
        ModelError::UnknownLayout { key, .. } => assert_eq!(key, "a"),
        other => panic!("{other:?}"),
    }
    // A header that would be longer than any file.
    fs::write(&file, u64::MAX.to_le_bytes()).unwrap();
    assert!(matches!(load(folder.path()), Err(ModelError::Weights { .. })));
}

#[test]
fn another_tokenizer_and_other_types_are_refused() {
    let folder = copied("hf");
    change(&folder.path().join("model.safetensors"), |tensors| {
        let key = "vlm.language_model.model.layers.0.mlp.up_proj.weight";
        let whole = tensors[key].to_dtype(DType::I64).unwrap();
        tensors.insert(key.into(), whole);
    });
    let error = load(folder.path()).unwrap_err();
    assert!(format!("{error:?}").contains("up_proj"), "{error:?}");

    let folder = copied("hf");
    let path = folder.path().join("tokenizer.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("<image>", "<picture>")).unwrap();
    match load(folder.path()) {
        Err(ModelError::Tokenizer { path: got, reason }) => {
            assert_eq!(got, path);
            assert!(reason.contains("425"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    for (key, to) in [("gemma", "gemma2"), ("siglip_vision_model", "clip_vision_model")] {
        let folder = copied("hf");
        let path = folder.path().join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&format!("\"{key}\""), &format!("\"{to}\""))).unwrap();
        match load(folder.path()) {
            Err(ModelError::Setting { expected, got, .. }) => {
                // What is expected is named, and may be explained.
                assert_eq!((expected.split(' ').next(), got.as_str()), (Some(key), to));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_recipe_is_the_checkpoint_s_own_or_the_one_of_its_name() {
    let prefix = |folder: &Path| load(folder).unwrap().recipe().query_prefix.clone();
    let root = tempfile::tempdir().unwrap();
    let named = root.path().join("colpali-v1.3-hf");
    copy(&fixture("hf"), &named);
    assert_eq!(prefix(&named), "<bos>Query: ");
    assert_eq!(prefix(&fixture("hf")), "<bos>Question: ");
    // The name on the hub is that of the folder above the snapshots.
    let cache = HubCache::new(root.path().join("hub"));
    let snapshot = cache.model_folder("vidore/colpali-v1.3").join("snapshots/0123");
    copy(&fixture("orig"), &snapshot);
    assert_eq!(prefix(&snapshot), "<bos>Query: ");
    // transformers 5 writes prompts and preprocessing in one file.
    let processor = r#"{"query_prefix": "Ask: ", "visual_prompt_prefix": "Look."}"#;
    fs::write(named.join("processor_config.json"), processor).unwrap();
    let model = load(&named).unwrap();
    assert_eq!(model.recipe().query_prefix, "<bos>Ask: ");
    assert_eq!(model.recipe().page_prompt, "<bos>Look.\n");
    fs::write(named.join("recipe.json"), r#"{"query_prefix": "<bos>"}"#).unwrap();
    assert_eq!(prefix(&named), "<bos>");
    let recipe = Some(RecipeChoice::Named("colpali-v1.2".into()));
    let options = LoadOptions { recipe, ..LoadOptions::default() };
    let told = ColPali::load(&at(&named), &options).unwrap();
    assert_eq!(told.recipe().query_prefix, "<bos>Question: ");
    assert_ne!(told.model_id(), load(&named).unwrap().model_id());
}

#[test]
fn an_imported_model_stands_alone_and_knows_when_it_is_damaged() {
    let root = tempfile::tempdir().unwrap();
    let models = Models { own: Some(root.path().join("models")), hub: None };
    for name in ["hf", "orig", "lora"] {
        let from = fixture(name);
        let mut files = 0;
        let options = LoadOptions::default();
        let folder = models.import(&at(&from), name, &options, &mut |_| files += 1).unwrap();
        assert_eq!(models.find(name).unwrap(), at(&folder));
        let (there, here) = (load(&from).unwrap(), load(&folder).unwrap());
        assert_eq!(there.model_id(), here.model_id(), "{name}");
        assert_eq!(vectors(&there), vectors(&here));
        let verified = verify_checkpoint(&at(&folder), &options, &mut |_| {}).unwrap();
        assert_eq!(verified.hashes, files + 1); // and the recipe
        assert!(verified.numbers >= 181_432);
    }
    match models.import(&at(&fixture("hf")), "hf", &LoadOptions::default(), &mut |_| {}) {
        Err(ModelError::Io { source, .. }) => {
            assert_eq!(source.kind(), std::io::ErrorKind::AlreadyExists);
        }
        other => panic!("{other:?}"),
    }
    for strange in ["", "..", "a/b", ".x"] {
        let imported =
            models.import(&at(&fixture("hf")), strange, &LoadOptions::default(), &mut |_| {});
        assert!(matches!(imported, Err(ModelError::Io { .. })), "{strange}");
    }
    assert_eq!(models.list().len(), 4); // and nano, which is always there
    // One bit.
    let lora = models.folder(&models.find("lora").unwrap()).unwrap().unwrap();
    let file = lora.join("base/model-00001-of-00002.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let verify = |name| {
        let source = models.find(name).unwrap();
        verify_checkpoint(&source, &LoadOptions::default(), &mut |_| {})
    };
    match verify("lora") {
        Err(ModelError::Hash { path, .. }) => assert_eq!(path, file),
        other => panic!("{other:?}"),
    }
    // A number that is none, in a folder without checksums.
    let folder = copied("hf");
    let key = "vlm.language_model.model.norm.weight";
    change(&folder.path().join("model.safetensors"), |tensors| {
        let spoilt = (tensors[key].zeros_like().unwrap() / 0.0).unwrap();
        tensors.insert(key.into(), spoilt);
    });
    match verify_checkpoint(&at(folder.path()), &LoadOptions::default(), &mut |_| {}) {
        Err(ModelError::NotFinite { key: got, .. }) => assert_eq!(got, key),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_input_size_of_paligemma_works() {
    for edge in [224, 448, 896] {
        let folder = copied("hf");
        for (file, from, to) in [
            ("config.json", "\"image_size\": 112", format!("\"image_size\": {edge}")),
            ("preprocessor_config.json", "112", edge.to_string()),
        ] {
            let path = folder.path().join(file);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{from}");
            fs::write(path, text.replace(from, &to)).unwrap();
        }
        let positions = "vlm.vision_tower.vision_model.embeddings.position_embedding.weight";
        match load(folder.path()) {
            Err(ModelError::Shape { key, .. }) => assert_eq!(key, positions),
            other => panic!("{other:?}"),
        }
        let side = edge as usize / 14;
        change(&folder.path().join("model.safetensors"), |tensors| {
            let table = Tensor::arange(0f32, (side * side * 40) as f32, &Device::Cpu).unwrap();
            let table = (table.sin().unwrap() * 0.1).unwrap().reshape((side * side, 40)).unwrap();
            tensors.insert(positions.into(), table);
        });
        let model = load(folder.path()).unwrap();
        assert_eq!(model.input_px(), edge);
        assert_eq!(*model.layout(), PatchLayout::slices(&Slices::default(), side as u32, 6));
        let (_, page) = vectors(&model);
        assert_eq!(page.len(), (side * side + 6) * 128);
        for row in page.chunks_exact(128) {
            let length: f32 = row.iter().map(|value| value * value).sum();
            assert!((length - 1.0).abs() < 5e-3, "{length}"); // f16
        }
    }
}

#[test]
fn published_configurations_parse_with_what_they_leave_out() {
    // Sizes of the real model would need its weights: only the first refusal counts, and it is
    // about the weights, not about the configuration.
    for (image_size, tokens) in [(224, 256), (448, 1024), (896, 4096)] {
        let vision = serde_json::json!({
            "hidden_size": 1152, "image_size": image_size, "intermediate_size": 4304,
            "model_type": "siglip_vision_model", "num_attention_heads": 16,
            "num_hidden_layers": 27, "num_image_tokens": tokens, "patch_size": 14,
            "projection_dim": 2048, "projector_hidden_act": "gelu_fast", "vision_use_head": false,
        });
        let text = serde_json::json!({
            "hidden_size": 2048, "intermediate_size": 16384, "model_type": "gemma",
            "num_attention_heads": 8, "num_hidden_layers": 18, "num_image_tokens": tokens,
            "num_key_value_heads": 1, "torch_dtype": "float32", "vocab_size": 257_216,
        });
        let inner = serde_json::json!({
            "bos_token_id": 2, "eos_token_id": 1, "hidden_size": 2048, "ignore_index": -100,
            "image_token_index": 425, "model_type": "paligemma", "pad_token_id": 0,
            "projection_dim": 2048, "text_config": text, "vision_config": vision,
        });
        let outer = serde_json::json!({
            "model_type": "colpali", "embedding_dim": 128, "vlm_config": inner, "text_config": text,
        });
        for config in [inner, outer] {
            let folder = copied("hf");
            fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
            let preprocessor = folder.path().join("preprocessor_config.json");
            let text = fs::read_to_string(&preprocessor).unwrap();
            fs::write(&preprocessor, text.replace("112", &image_size.to_string())).unwrap();
            match inspect_checkpoint(&at(folder.path()), &LoadOptions::default()) {
                Err(ModelError::Shape { key, expected, .. }) => {
                    assert!(key.ends_with("patch_embedding.weight"), "{key}");
                    assert_eq!(expected, [1152, 3, 14, 14]);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
