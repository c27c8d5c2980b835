//! Hostile, broken and odd PDFs in number. Long: `make robustness DIR=...`, a folder with
//! `manifest.jsonl` and `files/`, which is not in the repository; the others need none. A small
//! part of each runs by default.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::observed::{Observed, observe};
use crate::{Place, bombs, fixtures};

/// Resident memory of the program itself stays below, MB.
const MEMORY_MB: u64 = 1_000;

/// What a worker may address, MB.
const WORKER_MB: u64 = 1_024;

/// Indexes a folder as a large model would have it: slices make the small model's pages as large
/// as a real one's, 448 px, drawn at 896 px.
fn index(place: &Place, more: &[&str]) -> Observed {
    let model = fixtures().join("parity/hf");
    let model = model.to_str().unwrap();
    let arguments = ["index", "--json", "--no-ocr", "--model", model, "--slices", "4x4"];
    let observed = observe(place.command(&[&arguments[..], more, &["."]].concat()));
    assert!(observed.program_mb < MEMORY_MB, "{}", observed.figures());
    assert!(observed.worker_address_mb <= WORKER_MB, "{}", observed.figures());
    observed
}

/// Every document has an end, and a reason where it is not whole.
fn with_reasons(observed: &Observed, files: usize) {
    assert!([Some(0), Some(3)].contains(&observed.status.code()), "{}", observed.status);
    assert_eq!(observed.documents().count(), files, "each file is in the output");
    for document in observed.documents() {
        let whole = document["status"] == "ok" || document["status"] == "skipped";
        assert_eq!(document["reason"].is_null(), whole, "{document}");
    }
}

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
    let observed = index(&place, &["--max-pages", "1000"]);
    assert_eq!(observed.status.code(), Some(3), "done, and some files failed");
    let path = |line: &Value| line["path"].as_str().unwrap().to_string();
    let documents: BTreeMap<String, &Value> =
        observed.documents().map(|line| (path(line), line)).collect();
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
    let (right, of) = (manifest.len() - wrong.len(), manifest.len());
    println!("{right} of {of} files as expected; {}", observed.figures());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn some_mutated_pdfs_end_well() {
    mutated(60);
}

#[test]
#[ignore = "long: make robustness"]
fn a_thousand_mutated_pdfs_end_well() {
    mutated(1_000);
}

/// Indexes `count` mutations of the fixtures.
fn mutated(count: usize) {
    let mut originals = Vec::new();
    for folder in ["pdf", "pdf/debian", "pdf/papers", "fonts"] {
        let entries = fs::read_dir(fixtures().join(folder)).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.retain(|file| file.is_file());
        originals.extend(files.iter().map(|file| fs::read(file).unwrap()));
    }
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let place = Place::new();
    for n in 0..count {
        let bytes = mutate(&originals[n % originals.len()], &originals, &mut random);
        fs::write(place.path().join(format!("{n:04}.pdf")), bytes).unwrap();
    }
    let observed = index(&place, &["--page-timeout", "10"]);
    with_reasons(&observed, count);
    let of = |status: &str| observed.documents().filter(|d| d["status"] == status).count();
    let (ok, partial, failed) = (of("ok") + of("skipped"), of("partial"), of("failed"));
    println!(
        "{count} mutated: {ok} whole, {partial} in part, {failed} failed; {}",
        observed.figures()
    );
    let pages: u64 = observed.documents().map(|d| d["pages"].as_u64().unwrap()).sum();
    assert!(pages > count as u64, "mutations leave much to read: {pages} pages");
    assert!(ok < count, "and are felt");
}

/// xorshift64, so that each run has the same files.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// Damages a PDF in one to eight places: bits, bytes, numbers, names, blocks, the end.
fn mutate(original: &[u8], others: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const NUMBERS: [&str; 6] = ["0", "-1", "4294967296", "99999999999999999999", "1e30", "0.0001"];
    let mut bytes = original.to_vec();
    for _ in 0..1 + random.below(8) {
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(4_000)).min(bytes.len());
        match random.below(9) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.below(256) as u8,
            2 => bytes[at..end].fill(random.below(256) as u8),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let block = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, block);
            }
            // A number of the file's structure becomes one that nobody expects.
            5 | 6 => {
                let digits = |from: usize| bytes[from..].iter().position(u8::is_ascii_digit);
                let Some(from) = digits(at).map(|n| at + n) else { continue };
                let to = bytes[from..].iter().position(|b| !b.is_ascii_digit());
                let to = to.map_or(bytes.len(), |n| from + n);
                bytes.splice(from..to, NUMBERS[random.below(NUMBERS.len())].bytes());
            }
            7 => {
                let other = &others[random.below(others.len())];
                let from = random.below(other.len());
                let until = (from + 4_000).min(other.len());
                bytes.splice(at..end, other[from..until].iter().copied());
            }
            _ if random.below(4) == 0 => bytes.truncate(at + 1),
            _ => {}
        }
    }
    bytes
}

#[test]
#[ignore = "long: make robustness"]
fn each_bomb_ends_at_its_limit() {
    for bomb in bombs::all() {
        let place = Place::with(&["form.pdf"]);
        fs::write(place.path().join(bomb.name), &bomb.bytes).unwrap();
        let observed = index(&place, &["--page-timeout", "20", "--max-pages", "100"]);
        with_reasons(&observed, 2);
        let line = |name: &str| observed.documents().find(|line| line["path"] == name).unwrap();
        assert_eq!(line("form.pdf")["pages"], 2);
        let bomb_line = line(bomb.name);
        let why = bomb_line["reason"].as_str().or(bomb_line["notes"][0].as_str());
        println!(
            "{}, {} kB: {} pages, {}; {}",
            bomb.name,
            bomb.bytes.len() / 1000,
            bomb_line["pages"],
            why.unwrap_or("whole"),
            observed.figures()
        );
        assert!(observed.time < Duration::from_secs(30), "{}: {:?}", bomb.name, observed.time);
    }
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
