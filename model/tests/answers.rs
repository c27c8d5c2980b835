//! PaliGemma against the reference, in every published layout, and with what a stranger may give it.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use candle_core::{Device as CandleDevice, Tensor, safetensors};
use pagesight_core::seam::{Model, QueryEncoder};
use pagesight_core::{ModelSource, PageImage};
use pagesight_model::{
    Choice, ColPali, Decoding, Device, Generated, LoadOptions, ModelError, PaliGemma, Precision,
    RecipeChoice, Sampling, Stop, Task,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity-paligemma").join(name)
}

fn load(folder: &Path) -> Result<PaliGemma, ModelError> {
    PaliGemma::load(&ModelSource::Folder(folder.into()), &LoadOptions::default())
}

fn page(n: usize) -> PageImage {
    let picture = image::open(fixture(&format!("images/image{n}.png"))).unwrap().to_rgb8();
    let (width, height) = picture.dimensions();
    PageImage::new(width, height, picture.into_raw()).unwrap()
}

fn copied(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// All tensors of a checkpoint, under other names, as one file.
fn renamed(name: &str, rename: impl Fn(&str) -> String) -> tempfile::TempDir {
    let folder = copied(name);
    let mut all: HashMap<String, Tensor> = HashMap::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            let tensors = safetensors::load(&path, &CandleDevice::Cpu).unwrap();
            all.extend(tensors.into_iter().map(|(key, tensor)| (rename(&key), tensor)));
            fs::remove_file(path).unwrap();
        }
    }
    fs::remove_file(folder.path().join("model.safetensors.index.json")).unwrap();
    safetensors::save(&all, folder.path().join("model.safetensors")).unwrap();
    folder
}

fn change(folder: &Path, file: &str, from: &str, to: &str) {
    let path = folder.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn greedy(model: &PaliGemma, n: usize, task: &str) -> Generated {
    model.write(&page(n), &task.parse().unwrap(), Decoding::GREEDY).unwrap()
}

const TABLES: &str = "<loc0341><loc0077><loc0505><loc0946> table ; \
                      <loc0560><loc0120><loc0930><loc0930> chart";

#[test]
fn every_stage_is_the_reference() {
    let stages = pagesight_model::parity(&fixture("")).unwrap();
    for stage in &stages {
        let (name, tolerance) = (&stage.stage, stage.tolerance);
        assert!(stage.passed(), "{name}: {} over {tolerance}", stage.max_difference);
    }
    // Nothing was left out.
    for (part, count) in [("pg1-112.", 27), ("pg2-56.", 25), ("paste.", 4), ("masks", 1)] {
        let found = stages.iter().filter(|stage| stage.stage.starts_with(part)).count();
        assert!(found >= count, "{part} {found}");
    }
}

#[test]
fn every_layout_and_an_output_layer_of_its_own_write_the_same() {
    let expected = greedy(&load(&fixture("pg2-56")).unwrap(), 0, "detect table ; chart");
    assert_eq!((expected.text.as_str(), expected.stop), (TABLES, Stop::End));
    assert_eq!(expected.objects().objects.len(), 2);
    assert!(expected.least_probability() <= expected.mean_probability());
    let in_memory =
        |key: &str| format!("model.{}", key.replace("language_model.model.", "language_model."));
    let base = |key: &str| format!("model.{key}");
    for folder in [renamed("pg2-56", in_memory), renamed("pg2-56", base)] {
        let model = load(folder.path()).unwrap();
        assert_eq!(greedy(&model, 0, "detect table ; chart"), expected);
        // The same table once more as the output layer changes nothing.
        let path = folder.path().join("model.safetensors");
        let mut tensors = safetensors::load(&path, &CandleDevice::Cpu).unwrap();
        let key = tensors.keys().find(|key| key.ends_with("embed_tokens.weight")).unwrap().clone();
        let own = if key.contains(".model.embed") {
            "model.language_model.lm_head.weight"
        } else {
            "lm_head.weight"
        };
        let table = tensors[&key].clone();
        tensors.insert(own.into(), table.clone());
        safetensors::save(&tensors, &path).unwrap();
        assert_eq!(greedy(&load(folder.path()).unwrap(), 0, "detect table ; chart"), expected);
        // Another one is used: here every token has the logits of its neighbour.
        let rows = table.dim(0).unwrap();
        let first = table.narrow(0, 0, 1).unwrap();
        let rest = table.narrow(0, 1, rows - 1).unwrap();
        tensors.insert(own.into(), Tensor::cat(&[&rest, &first], 0).unwrap().contiguous().unwrap());
        safetensors::save(&tensors, &path).unwrap();
        let other = greedy(&load(folder.path()).unwrap(), 0, "detect table ; chart");
        assert_eq!(other.ids[0] + 1, expected.ids[0]);
    }
}

#[test]
fn several_pages_at_once_write_what_each_writes_alone() {
    let model = load(&fixture("pg1-112")).unwrap();
    let pages: Vec<PageImage> = (0..3).map(page).collect();
    let drawn = Choice::Sampling(Sampling { temperature: 2.5, seed: 4, ..Sampling::default() });
    for choice in [Choice::Greedy, drawn] {
        let decoding = Decoding::GREEDY.with_choice(choice).with_most_tokens(20);
        let task: Task = "caption".parse().unwrap();
        // More pages than a group of the kernels has positions.
        let many: Vec<&PageImage> = pages.iter().cycle().take(35).collect();
        let all = model.write_all(&many, &task, decoding).unwrap();
        for (at, got) in all.iter().enumerate() {
            assert_eq!(*got, model.write(&pages[at % 3], &task, decoding).unwrap(), "{at}");
        }
        // They end at different times.
        assert!(choice == drawn || all[0].ids.len() != all[1].ids.len());
    }
    assert!(model.write_all(&[], &Task::Ocr, Decoding::GREEDY).unwrap().is_empty());
}

#[test]
fn a_text_comes_in_pieces_of_whole_letters_and_its_reader_may_end_it() {
    let model = load(&fixture("pg1-112")).unwrap();
    let task = Task::answer("Où est la clé ?");
    let mut pieces = Vec::new();
    let written = model.write_to(&page(2), &task, Decoding::GREEDY, &mut |piece| {
        pieces.push(piece.to_string());
        ControlFlow::Continue(())
    });
    let written = written.unwrap();
    assert_eq!((written.text.as_str(), written.stop), ("la clé est à la page 3", Stop::End));
    assert_eq!(pieces.concat(), written.text);
    assert!(pieces.iter().any(|piece| piece == "é") && !written.text.contains('\u{fffd}'));
    let mut pieces = 0;
    let written = model.write_to(&page(2), &task, Decoding::GREEDY, &mut |_| {
        pieces += 1;
        if pieces == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let written = written.unwrap();
    assert_eq!((pieces, written.stop), (3, Stop::Reader));
    assert!("la clé est à la page 3".starts_with(&written.text));
    for most in [0, 1] {
        let decoding = Decoding::GREEDY.with_most_tokens(most);
        let written = model.write(&page(2), &task, decoding).unwrap();
        assert_eq!((written.ids.len(), written.stop), (most, Stop::Length));
    }
}

#[test]
fn chance_repeats_by_its_seed_and_beams_give_the_best_text() {
    let model = load(&fixture("pg2-56")).unwrap();
    let task = Task::answer("What is the total revenue in 2024?");
    let drawn = |seed| {
        let sampling = Sampling { temperature: 8.0, top_k: Some(400), top_p: Some(0.99), seed };
        let decoding = Decoding::GREEDY.with_choice(Choice::Sampling(sampling));
        model.write(&page(0), &task, decoding.with_most_tokens(12)).unwrap()
    };
    let texts: Vec<Generated> = (0..6).map(drawn).collect();
    assert_eq!(texts[1], drawn(1));
    assert!(texts.iter().any(|text| text.ids != texts[0].ids));
    let beams = Decoding::GREEDY.with_choice(Choice::Beams(3));
    let best = model.write(&page(0), &task, beams).unwrap();
    let greedy = model.write(&page(0), &task, Decoding::GREEDY).unwrap();
    assert_eq!((best.text.as_str(), best.stop), ("42 million", Stop::End));
    assert_eq!(best.ids, greedy.ids);
    assert!((best.probabilities[0] - greedy.mean_probability()).abs() < 1e-4);
}

/// Any id that one of the files names ends the text.
#[test]
fn a_text_ends_at_any_stop_of_any_file() {
    let plain = greedy(&load(&fixture("pg2-56")).unwrap(), 0, "caption");
    let second = plain.ids[1];
    for (file, from, to) in [
        (
            "generation_config.json",
            "\"eos_token_id\": 1",
            format!("\"eos_token_id\": [1, {second}]"),
        ),
        ("config.json", "   10\n  ]", format!("   {second}\n  ]")),
        ("config.json", "\"eos_token_id\": 1,", format!("\"eos_token_id\": {second},")),
    ] {
        let folder = copied("pg2-56");
        change(folder.path(), file, from, &to);
        let ended = greedy(&load(folder.path()).unwrap(), 0, "caption");
        assert_eq!((&ended.ids[..], ended.stop), (&plain.ids[..2], Stop::End), "{file}");
    }
    let folder = copied("pg2-56");
    fs::remove_file(folder.path().join("generation_config.json")).unwrap();
    assert_eq!(greedy(&load(folder.path()).unwrap(), 0, "caption"), plain);
}

#[test]
fn a_retriever_and_what_answers_share_a_base() {
    let source = ModelSource::Folder(fixture("pg1-112-retriever"));
    let alone = load(&fixture("pg1-112")).unwrap();
    let answers = PaliGemma::load(&source, &LoadOptions::default()).unwrap();
    assert_eq!(greedy(&answers, 0, "detect table ; chart").text, TABLES);
    assert_eq!(greedy(&answers, 1, "ocr"), greedy(&alone, 1, "ocr"));
    let retriever = |adapter: &str, precision| {
        let recipe = RecipeChoice::Json(format!("{{\"adapter\": \"{adapter}\"}}"));
        let options = LoadOptions {
            recipe: Some(recipe),
            precision: Some(precision),
            device: Device::Cpu,
            ..LoadOptions::default()
        };
        ColPali::load(&source, &options).unwrap()
    };
    let vectors = |model: &ColPali| model.encode_queries(&["total revenue"]).unwrap().remove(0);
    let exact = retriever("merged", Precision::F32);
    let off = |model: &ColPali| {
        let (exact, got) = (vectors(&exact), vectors(model));
        let pairs = exact.values().iter().zip(got.values());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let apart = retriever("apart", Precision::F32);
    assert!(off(&apart) < 1e-5, "{}", off(&apart));
    // An index takes vectors of one of the two.
    assert_ne!(apart.record().id, exact.record().id);
    for (precision, most) in [(Precision::Bf16, 0.05), (Precision::Q8, 0.1)] {
        for adapter in ["merged", "apart"] {
            let off = off(&retriever(adapter, precision));
            assert!(off < most, "{precision} {adapter}: {off}");
        }
    }
}

#[test]
fn what_does_not_answer_is_named() {
    // A retriever that was merged.
    let merged = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity/hf");
    let error = load(&merged).unwrap_err();
    assert!(matches!(&error, ModelError::Setting { key, .. } if key == "model_type"), "{error}");
    // A PaliGemma 2 finds no pages.
    let source = ModelSource::Folder(fixture("pg2-56"));
    assert!(pagesight_model::load(&source, &LoadOptions::default()).is_err());
    if !Device::Cuda.is_built_in() {
        let on_gpu = LoadOptions { device: Device::Cuda, ..LoadOptions::default() };
        let error = PaliGemma::load(&source, &on_gpu).unwrap_err();
        assert!(matches!(error, ModelError::DeviceNotBuilt { .. }), "{error}");
    }
    for (from, to, key) in [
        ("\"gemma2\"", "\"gemma3\"", "text_config.model_type"),
        ("\"attn_logit_softcapping\": 12.0", "\"attn_logit_softcapping\": 0.0", "attn_logit"),
        ("\"query_pre_attn_scalar\": 40.0", "\"query_pre_attn_scalar\": -1", "query_pre_attn"),
        ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "num_key_value_heads"),
        ("\"image_token_index\": 1625", "\"image_token_index\": 1624", "<image>"),
        ("\"num_hidden_layers\": 4", "\"num_hidden_layers\": 3", "layers.3"),
        ("\"vocab_size\": 1664", "\"vocab_size\": 1663", "embed_tokens"),
    ] {
        let folder = copied("pg2-56");
        change(folder.path(), "config.json", from, to);
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
    // Weights of another framework.
    let folder = copied("pg2-56");
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("safetensors") {
            fs::remove_file(path).unwrap();
        }
    }
    fs::write(folder.path().join("paligemma-3b-mix-448.npz"), b"PK").unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(matches!(error, ModelError::OtherFramework { .. }), "{error}");
}

/// The bounds and the scale of Gemma 2 come from the file, and each changes what is written.
#[test]
fn the_numbers_of_gemma_2_are_those_of_the_file() {
    let task = Task::answer("What is the total revenue in 2024?");
    let sure = |folder: &Path| {
        let model = load(folder).unwrap();
        model.write(&page(0), &task, Decoding::GREEDY.with_most_tokens(3)).unwrap().probabilities
    };
    let expected = sure(&fixture("pg2-56"));
    for (from, to) in [
        ("\"attn_logit_softcapping\": 12.0", "\"attn_logit_softcapping\": null"),
        ("\"final_logit_softcapping\": 9.0", "\"final_logit_softcapping\": null"),
        ("\"query_pre_attn_scalar\": 40.0", "\"query_pre_attn_scalar\": 24"),
    ] {
        let folder = copied("pg2-56");
        change(folder.path(), "config.json", from, to);
        let got = sure(folder.path());
        let off = expected.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off > 1e-4, "{from}: {off}");
    }
    // A window is not looked at.
    let folder = copied("pg2-56");
    change(folder.path(), "config.json", "\"sliding_window\": 4096", "\"sliding_window\": 8");
    assert_eq!(sure(folder.path()), expected);
}
