//! Who may depend on whom, read from cargo.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Each crate of ours, and which others of ours it may use (not in its tests).
const RULES: [(&str, &[&str]); 13] = [
    ("pagesight-core", &[]),
    ("pagesight-simd", &["pagesight-core"]),
    ("pagesight-maxsim", &["pagesight-core", "pagesight-simd"]),
    ("pagesight-model", &["pagesight-core", "pagesight-simd", "pagesight-maxsim"]),
    ("pagesight-store", &["pagesight-core", "pagesight-maxsim"]),
    ("pagesight-pdf", &["pagesight-core", "pagesight-simd"]),
    ("pagesight-ocr", &["pagesight-core", "pagesight-simd"]),
    ("pagesight-indexer", &["pagesight-core"]),
    ("pagesight-query", &["pagesight-core", "pagesight-maxsim"]),
    (
        "pagesight",
        &[
            "pagesight-core",
            "pagesight-maxsim",
            "pagesight-model",
            "pagesight-store",
            "pagesight-pdf",
            "pagesight-ocr",
            "pagesight-indexer",
            "pagesight-query",
        ],
    ),
    ("pagesight-python", &["pagesight", "pagesight-features"]),
    ("xtask", &[]),
    ("pagesight-features", &[]),
];

/// Heavy or telling dependencies, and the only crates that may name them.
const ONLY_IN: [(&str, &[&str]); 29] = [
    ("candle-core", &["pagesight-model"]),
    ("candle-nn", &["pagesight-model"]),
    ("tokenizers", &["pagesight-model"]),
    ("hf-hub", &["pagesight-model"]),
    ("ureq", &["pagesight", "pagesight-model"]),
    ("lancedb", &["pagesight-store"]),
    ("lance", &["pagesight-store"]),
    ("object_store", &["pagesight-store"]),
    ("tantivy", &["pagesight-store"]),
    ("arrow", &["pagesight-store"]),
    ("pdfium-render", &["pagesight-pdf"]),
    ("landlock", &["pagesight-pdf"]),
    ("seccompiler", &["pagesight-pdf"]),
    ("rten", &["pagesight-ocr"]),
    ("rten-onnx", &["pagesight-ocr"]),
    ("rten-tensor", &["pagesight-ocr"]),
    ("inotify", &["pagesight-indexer"]),
    ("jpeg-encoder", &["pagesight"]),
    ("frostem", &["pagesight-store"]),
    ("whatlang", &["pagesight-store"]),
    ("clap", &["pagesight"]),
    ("pyo3", &["pagesight-python"]),
    ("axum", &["pagesight"]),
    ("hyper", &["pagesight", "pagesight-features"]),
    ("metrics", &["pagesight"]),
    ("metrics-exporter-prometheus", &["pagesight"]),
    ("rmcp", &["pagesight"]),
    ("schemars", &["pagesight"]),
    ("tower-http", &["pagesight"]),
];

/// What serves, named below `src/serve` alone.
const ONLY_IN_SERVE: [&str; 11] = [
    "axum",
    "bytes",
    "chrono",
    "futures",
    "hyper",
    "hyper_util",
    "metrics",
    "rmcp",
    "schemars",
    "tokio",
    "tower_http",
];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Names of normal and build dependencies.
fn dependencies(package: &Value) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().unwrap().iter();
    all.filter(|d| d["kind"] != "dev").map(|d| d["name"].as_str().unwrap().to_string()).collect()
}

#[test]
fn every_dependency_points_one_way() {
    let packages = packages();
    assert_eq!(packages.len(), RULES.len(), "a new crate needs its rule here");
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let (_, allowed) = RULES.iter().find(|(n, _)| *n == name).unwrap_or_else(|| {
            panic!("{name} has no rule");
        });
        for dependency in dependencies(package) {
            let ours = RULES.iter().any(|(n, _)| *n == dependency);
            assert!(!ours || allowed.contains(&&*dependency), "{name} uses {dependency}");
            if let Some((_, rooms)) = ONLY_IN.iter().find(|(n, _)| *n == dependency) {
                assert!(rooms.contains(&name), "{name} uses {dependency}");
            }
        }
    }
}

#[test]
fn the_library_needs_nothing_of_the_program() {
    let packages = packages();
    let root = packages.iter().find(|p| p["name"] == "pagesight").unwrap();
    let all = root["dependencies"].as_array().unwrap().iter();
    for dependency in all.filter(|dependency| dependency["kind"] != "dev") {
        let name = dependency["name"].as_str().unwrap();
        let of_program = ["clap", "clap_complete", "anyhow", "indicatif", "signal-hook"];
        let serves = ONLY_IN_SERVE.map(|name| name.replace('_', "-"));
        if of_program.contains(&name) || serves.iter().any(|serving| serving == name) {
            assert_eq!(dependency["optional"], true, "{name} is not optional");
        }
    }
}

#[test]
fn what_serves_is_named_in_the_server_alone() {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![src.clone()];
    let mut looked = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path != src.join("serve") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                looked += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                for line in code {
                    for name in ONLY_IN_SERVE {
                        let named = line.contains(&format!(" {name}::"));
                        assert!(!named, "{}: {line}", path.display());
                    }
                }
            }
        }
    }
    assert!(looked > 40, "{looked} files");
}
