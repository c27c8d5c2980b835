//! A corpus of hostile, broken and odd PDFs against what its manifest expects. Long, and not in
//! the repository: `make robustness DIR=...`, a folder with `manifest.jsonl` and `files/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Place, fixtures};

/// Resident memory of the program itself stays below, MB.
const MEMORY_MB: u64 = 1_000;

#[test]
#[ignore = "needs a corpus: make robustness DIR=..."]
fn every_file_ends_as_its_manifest_expects() {
    let corpus = std::env::var_os("PAGESIGHT_ROBUSTNESS").expect("make robustness DIR=...");
    let corpus = PathBuf::from(corpus).canonicalize().unwrap();
    let manifest = fs::read_to_string(corpus.join("manifest.jsonl")).unwrap();
    let manifest: Vec<Value> =
        manifest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let place = Place::new();
    for entry in fs::read_dir(corpus.join("files")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), place.path().join(entry.file_name())).unwrap();
    }
    // Slices make the small model's pages as large as a real one's: 448 px, drawn at 896 px.
    let model = fixtures().join("parity/hf");
    let model = model.to_str().unwrap();
    let arguments = [
        "index",
        "--json",
        "--no-ocr",
        "--model",
        model,
        "--slices",
        "4x4",
        "--max-pages",
        "1000",
        ".",
    ];
    let start = Instant::now();
    let out = fs::File::create(place.path().join("out.jsonl")).unwrap();
    let mut child = place.command(&arguments).stdout(out).stderr(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        peak = peak.max(peak_mb(child.id()).unwrap_or(0));
        sleep(Duration::from_millis(50));
    };
    let time = start.elapsed();
    assert_eq!(status.code(), Some(3), "done, and some files failed");
    let lines = fs::read_to_string(place.path().join("out.jsonl")).unwrap();
    let documents: BTreeMap<String, Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["type"] == "document")
        .map(|line| (line["path"].as_str().unwrap().to_string(), line))
        .collect();
    let mut wrong = Vec::new();
    for entry in &manifest {
        let file = entry["file"].as_str().unwrap();
        let Some(document) = documents.get(file) else {
            wrong.push(format!("{file}: not in the output"));
            continue;
        };
        if let Err(what) = judge(entry, document) {
            wrong.push(format!("{file}: expected {}: {what}: {document}", entry["expect"]));
        }
    }
    println!(
        "{} of {} files as expected, {:.0} s, {peak} MB at most in the program",
        manifest.len() - wrong.len(),
        manifest.len(),
        time.as_secs_f64()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(peak < MEMORY_MB, "{peak} MB");
}

fn judge(entry: &Value, document: &Value) -> Result<(), &'static str> {
    let status = document["status"].as_str().unwrap();
    let (pages, failed) =
        (document["pages"].as_u64().unwrap(), document["failed_pages"].as_u64().unwrap());
    let reason = document["reason"].as_str().unwrap_or_default();
    if status != "ok" && status != "skipped" && reason.is_empty() {
        return Err("no reason");
    }
    let clean = match entry["expect"].as_str().unwrap() {
        "pages" => {
            let all = entry["pages"].as_u64().is_none_or(|n| n.min(1000) == pages);
            // The manifest counts the pages that a file claims and has drawn the first few. Of a
            // damaged file, those after them may be beyond pdfium; each must say so.
            let drawn = entry["pdfium"]["rendered"].as_u64().unwrap_or_default();
            let beyond = entry["kind"] == "corrupt"
                && entry["pages"] == pages + failed
                && document["failures"].as_array().unwrap().iter().all(|failure| {
                    failure["page"].as_u64() > Some(drawn)
                        && failure["reason"] == "the page is damaged and cannot be loaded"
                });
            (["ok", "skipped"].contains(&status) && all) || beyond
        }
        "pages_some_fail" => pages + failed > 0,
        "error:password" => status == "failed" && reason.contains("encrypted"),
        "error" => status == "failed",
        "error_or_pages" | "pages_or_error" | "survive" => true,
        _ => return Err("an expectation that is not known"),
    };
    if clean { Ok(()) } else { Err("another end") }
}

/// The most memory that process `pid` has had resident, MB.
fn peak_mb(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}
