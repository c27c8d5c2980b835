//! `pagesight model`, and models called by name.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{Place, Ran, fixtures, of_type};

/// A user whose models, caches and hub lie in the test's folder.
fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    for (variable, folder) in [
        ("XDG_DATA_HOME", "data"),
        ("XDG_CACHE_HOME", "cache"),
        ("HF_HOME", "hf"),
        ("HOME", "home"),
    ] {
        command.env(variable, place.path().join(folder));
    }
    for variable in ["HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"] {
        command.env_remove(variable);
    }
    command
}

fn run(place: &Place, arguments: &[&str]) -> Ran {
    Ran::from(command(place, arguments).output().unwrap())
}

fn json(place: &Place, code: i32, arguments: &[&str]) -> Vec<Value> {
    let ran = run(place, arguments);
    assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.out, ran.err);
    ran.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn checkpoint(name: &str) -> String {
    fixtures().join("parity").join(name).display().to_string()
}

#[test]
fn an_imported_model_is_used_by_name_and_checked() {
    let place = Place::with(&["form.pdf"]);
    let ran = run(&place, &["model", "list"]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1));
    assert!(ran.out.starts_with("nano "), "{}", ran.out);
    assert!(ran.err.contains("pagesight model fetch"), "{}", ran.err);

    let (lora, tiny) = (checkpoint("lora"), "tiny");
    let lines = json(&place, 0, &["model", "import", &lora, "--name", tiny, "--quiet", "--json"]);
    assert_eq!(lines[0]["type"], "imported");
    let ran = run(&place, &["model", "import", &lora, "--name", tiny, "--quiet"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--name"), "{}", ran.err);

    let lines = json(&place, 0, &["model", "list", "--json"]);
    assert_eq!((&lines[0]["name"], &lines[0]["folder"]), (&"nano".into(), &Value::Null));
    assert_eq!((&lines[1]["name"], &lines[1]["revision"]), (&tiny.into(), &Value::Null));
    assert_eq!(lines[1]["layout"], "adapter over colpali-engine");
    let info = &json(&place, 0, &["model", "info", tiny, "--json"])[0];
    assert_eq!(info["parameters"], 181_432);
    assert_eq!((&info["input_px"], &info["dim"]), (&112.into(), &128.into()));
    let there = &json(&place, 0, &["model", "info", &lora, "--json"])[0];
    assert_eq!(info["model_id"], there["model_id"], "where it lies does not matter");
    let ran = run(&place, &["model", "info", tiny]);
    assert!(ran.out.contains("112 x 112 px, 64 patches"), "{}", ran.out);
    let verified = &json(&place, 0, &["model", "verify", tiny, "--json"])[0];
    assert_eq!(verified["model_id"], info["model_id"]);
    assert!(verified["hashes"].as_u64() > Some(5) && verified["numbers"].as_u64() > Some(181_432));

    let lines = json(&place, 0, &["index", "--model", tiny, "--json", "."]);
    assert_eq!(of_type(&lines, "summary")[0]["model_id"], info["model_id"]);
    let lines = json(&place, 0, &["query", "--channel", "visual", "--json", "travel"]);
    assert_eq!(of_type(&lines, "summary")[0]["model_id"], info["model_id"]);

    let file =
        place.path().join("data/pagesight/models/tiny/base/model-00002-of-00002.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let ran = run(&place, &["model", "verify", tiny]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("model-00002-of-00002.safetensors"), "{}", ran.err);
}

#[test]
fn an_index_keeps_the_recipe_that_it_was_made_with() {
    let place = Place::with(&["form.pdf"]);
    let hf = checkpoint("hf");
    let made = ["index", "--model", &hf, "--recipe", "colpali-v1.3", "--json", "."];
    let model = of_type(&json(&place, 0, &made), "summary")[0]["model_id"].clone();
    let plain = json(&place, 0, &["model", "info", &hf, "--json"])[0]["model_id"].clone();
    assert_ne!(model, plain);
    let ask = ["query", "--channel", "visual", "--json", "travel"];
    let lines = json(&place, 0, &ask);
    assert_eq!(of_type(&lines, "summary")[0]["model_id"], model);
    json(&place, 0, &["index", "--json", "."]);
    let ran = run(&place, &["query", "--model", &hf, "--recipe", "colpali-v1.2", "travel"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("the index was made with model"), "{}", ran.err);

    let file = place.path().join("mine.json");
    fs::write(&file, r#"{"query_prefix": "<bos>Query: "}"#).unwrap();
    let mine =
        ["query", "--model", &hf, "--recipe", "mine.json", "--channel", "visual", "--json", "x"];
    assert_eq!(of_type(&json(&place, 0, &mine), "summary")[0]["model_id"], model);
    let ran = run(&place, &["model", "info", &hf, "--recipe", "colpali-v9"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("colpali-v1.3"), "{}", ran.err);
}

#[test]
fn an_index_keeps_the_precision_that_it_was_made_in() {
    let place = Place::with(&["form.pdf"]);
    let hf = checkpoint("hf");
    let made = ["index", "--model", &hf, "--precision", "q8", "--json", "."];
    let model = of_type(&json(&place, 0, &made), "summary")[0]["model_id"].clone();
    let info = &json(&place, 0, &["model", "info", &hf, "--precision", "q8", "--json"])[0];
    assert_eq!((&info["model_id"], &info["precision"]), (&model, &"q8".into()));
    let on_cpu = ["model", "info", &hf, "--device", "cpu", "--json"];
    assert_eq!(json(&place, 0, &on_cpu)[0]["device"], "cpu");
    let ask = ["query", "--channel", "visual", "--json", "travel"];
    assert_eq!(of_type(&json(&place, 0, &ask), "summary")[0]["model_id"], model);
    json(&place, 0, &["index", "--json", "."]);
    let ran = run(&place, &["query", "--model", &hf, "--precision", "bf16", "travel"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("the index was made with model"), "{}", ran.err);
}

#[test]
fn a_gpu_that_the_program_was_not_built_for_is_refused() {
    let place = Place::with(&["form.pdf"]);
    for device in ["cuda", "metal"] {
        if device.parse::<pagesight::model::Device>().unwrap().is_built_in() {
            continue;
        }
        let ran = run(&place, &["index", "--model", &checkpoint("hf"), "--device", device, "."]);
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains(&format!("--features {device}")), "{}", ran.err);
    }
}

#[test]
fn what_was_fetched_is_found_by_its_name() {
    let place = Place::with(&["form.pdf"]);
    let ran = run(&place, &["index", "--model", "tiny/colpali-v1.3", "."]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("pagesight model fetch tiny/colpali-v1.3"), "{}", ran.err);
    let fetch = ["model", "fetch", "tiny/colpali-v1.3", "--quiet"];
    if cfg!(not(feature = "hub")) {
        let ran = run(&place, &fetch);
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("hf download tiny/colpali-v1.3"), "{}", ran.err);
    }
    let nobody = "http://127.0.0.1:1";
    if cfg!(feature = "hub") {
        let ran = Ran::from(command(&place, &fetch).env("HF_HUB_OFFLINE", "1").output().unwrap());
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("HF_HUB_OFFLINE"), "{}", ran.err);
        let ran = Ran::from(command(&place, &fetch).env("HF_ENDPOINT", nobody).output().unwrap());
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains(nobody) && ran.err.contains("connection"), "{}", ran.err);
    }

    let model = place.path().join("hf/hub/models--tiny--colpali-v1.3");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    copy(&fixtures().join("parity/orig"), &model.join("snapshots").join(commit));
    fs::create_dir(model.join("refs")).unwrap();
    fs::write(model.join("refs/main"), commit).unwrap();
    if cfg!(feature = "hub") {
        let ran = Ran::from(command(&place, &fetch).env("HF_ENDPOINT", nobody).output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.contains(commit) && ran.err.contains("cache is used"), "{}", ran.err);
    }

    let lines = json(&place, 0, &["model", "list", "--json"]);
    assert_eq!(
        (&lines[1]["name"], &lines[1]["revision"]),
        (&"tiny/colpali-v1.3".into(), &commit.into())
    );
    let info = &json(&place, 0, &["model", "info", "tiny/colpali-v1.3", "--json"])[0];
    assert_eq!(info["recipe"]["query_prefix"], "<bos>Query: ");
    let lines = json(&place, 0, &["index", "--model", "tiny/colpali-v1.3", "--json", "."]);
    assert_eq!(of_type(&lines, "summary")[0]["model_id"], info["model_id"]);
}

#[test]
fn an_adapter_without_its_base_says_where_to_get_it() {
    let place = Place::with(&["form.pdf"]);
    let folder = place.path().join("adapter");
    copy(&fixtures().join("parity/lora"), &folder);
    let config = folder.join("adapter_config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("../orig", "vidore/base")).unwrap();
    let ran = run(&place, &["model", "info", "adapter"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("pagesight model fetch vidore/base"), "{}", ran.err);
    let base = checkpoint("orig");
    assert_eq!(run(&place, &["model", "info", "adapter", "--base-model", &base]).code, 0);
    assert_eq!(run(&place, &["model", "verify", "adapter", "--base-model", &base]).code, 0);
    // Said once, an index remembers it.
    let ran = run(&place, &["index", "--model", "adapter", "--base-model", &base, "."]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for again in [&["index", "."][..], &["query", "--channel", "visual", "name"]] {
        let ran = run(&place, again);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
}

#[test]
fn a_quantized_model_is_a_model() {
    let place = Place::with(&["form.pdf"]);
    let (hf, small) = (checkpoint("hf"), place.path().join("small").display().to_string());
    let made = &json(&place, 0, &["model", "quantize", &hf, &small, "--to", "q8", "--json"])[0];
    assert_eq!((&made["type"], &made["precision"]), (&"quantized".into(), &"q8".into()));
    assert!(made["bytes_after"].as_u64() < made["bytes_before"].as_u64(), "{made}");
    json(&place, 0, &["model", "verify", &small, "--json"]);
    let ran = run(&place, &["index", "--no-ocr", "--quiet", "--model", &small, "."]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = run(&place, &["model", "quantize", &hf, &small, "--to", "q8"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("is there already"), "{}", ran.err);
    assert_eq!(run(&place, &["model", "quantize", &hf, &small, "--to", "q5"]).code, 2);
}

/// The adapter was made by training/adapt/adapt.py.
#[test]
fn an_adapter_of_nano_is_imported_and_used_by_name() {
    let place = Place::with(&["form.pdf"]);
    let adapter = fixtures().join("nano-adapted/adapter");
    let from = adapter.display().to_string();
    json(&place, 0, &["model", "import", &from, "--as", "hand", "--quiet", "--json"]);
    let listed = run(&place, &["model", "list"]).out;
    assert!(listed.contains("adapter over HF-native"), "{listed}");
    let info = json(&place, 0, &["model", "info", "hand", "--json"]);
    assert_eq!(info[0]["licence"], "OFL-1.1");
    json(&place, 0, &["index", "--model", "hand", "--no-ocr", "--meaning", "off", "--json", "."]);
    let ask = ["query", "--json", "--channel", "visual", "--all", "travel expense claim"];
    let found = json(&place, 0, &ask);
    assert_eq!(of_type(&found, "hit")[0]["page"], 1);
    assert_eq!(of_type(&found, "summary")[0]["model_id"], info[0]["model_id"]);
    // One that was made for other weights.
    let copied = place.path().join("old");
    copy(&adapter, &copied);
    let config = copied.join("adapter_config.json");
    let text = fs::read_to_string(&config).unwrap();
    let at = text.find("\"revision\": \"").unwrap() + 13;
    fs::write(&config, format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..])).unwrap();
    let ran = run(&place, &["model", "import", "old"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("adapts a nano") && ran.err.contains("adapt.py"), "{}", ran.err);
}
