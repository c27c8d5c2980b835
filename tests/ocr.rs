//! Pages that are pictures, read by the program without any other program.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::{Place, Ran, fixtures, hits, of_type};

/// The weights that `cargo xtask setup` fetched.
fn weights() -> PathBuf {
    let folder = std::env::var_os("PAGESIGHT_OCR").map(PathBuf::from);
    folder.expect(".cargo/config.toml sets PAGESIGHT_OCR; run the tests with cargo")
}

/// Runs the program where no other one can be found, tesseract neither.
fn alone(place: &Place, arguments: &[&str]) -> Ran {
    Ran::from(place.command(arguments).env("PATH", place.path()).output().unwrap())
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn scans_are_read_upright_on_their_side_and_on_their_head() {
    let place = Place::with(&["scan.pdf", "form.pdf"]);
    fs::copy(fixtures().join("pages/scans.pdf"), place.path().join("scans.pdf")).unwrap();
    let ran = alone(&place, &["index", "--json", "."]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    for document in of_type(&lines(&ran), "document") {
        assert_eq!(document["notes"].as_array().map(Vec::len), Some(0), "{document}");
    }
    let found = lines(&alone(&place, &["query", "--json", "boot from USB memory stick"]));
    assert_eq!(hits(&found)[0], ("scan.pdf".into(), 1));
    assert_eq!(of_type(&found, "hit")[0]["text_source"], "ocr");
    // Each of the four pages shows the same words, three of them turned; the first has a stamp.
    let found = lines(&alone(&place, &["query", "--json", "seedlings of purple kohlrabi"]));
    let mut pages: Vec<u64> =
        hits(&found).into_iter().filter(|hit| hit.0 == "scans.pdf").map(|hit| hit.1).collect();
    pages.sort_unstable();
    assert_eq!(pages, [1, 2, 3, 4]);
    let ran = alone(&place, &["get", "scans.pdf#2"]);
    assert!(ran.out.contains("The members discussed the pruning of"), "{}", ran.out);
    let ran = alone(&place, &["get", "scans.pdf#1"]);
    assert!(ran.out.contains("QRS-0004711") && ran.out.contains("kohlrabi"), "{}", ran.out);
}

/// A run that takes long: pages are found by their looks until they are read, also when it is killed.
#[test]
fn pages_are_looked_at_before_they_are_read() {
    let place = Place::with(&["form.pdf"]);
    fs::copy(fixtures().join("pages/scans.pdf"), place.path().join("scans.pdf")).unwrap();
    let index = ["index", "--model", "nano", "."];
    let mut command = place.command(&[&index[..], &["--look-first", "0"]].concat());
    let mut run = command.env("PATH", place.path()).stderr(Stdio::piped()).spawn().unwrap();
    let looked = "all is found by its looks; 4 pages without words are read now";
    let told = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.into_iter().any(|line| line == looked));
    run.kill().unwrap();
    run.wait().unwrap();
    let records = lines(&alone(&place, &["status", "--json"]));
    let summary = of_type(&records, "summary")[0];
    let count = |what: &str| summary["documents"][what].as_u64();
    assert_eq!((count("in_progress"), count("ok")), (Some(1), Some(1)), "{records:?}");
    let waiting = of_type(&records, "document").into_iter().map(|d| &d["waiting_pages"]);
    assert_eq!(waiting.collect::<Vec<_>>(), [0, 4]);
    let ran = alone(&place, &["status"]);
    let unfinished = "unfinished: scans.pdf: 4 of 4 pages, the words of 4 are still to be read";
    assert!(ran.out.contains(unfinished), "{}", ran.out);
    let by_looks = ["query", "--json", "--channel", "visual", "--all", "purple kohlrabi"];
    let found = lines(&alone(&place, &by_looks));
    assert_eq!(hits(&found).into_iter().filter(|hit| hit.0 == "scans.pdf").count(), 4);
    assert!(!alone(&place, &["query", "--channel", "text", "kohlrabi"]).out.contains("scans.pdf"));
    // The next run reads them, and all is as if each page had been read at its turn.
    assert_eq!(alone(&place, &index).code, 0);
    let plain = Place::with(&["form.pdf"]);
    fs::copy(fixtures().join("pages/scans.pdf"), plain.path().join("scans.pdf")).unwrap();
    assert_eq!(alone(&plain, &index).code, 0);
    for question in [&by_looks[..], &["query", "--json", "seedlings of purple kohlrabi"]] {
        let [found, expected] = [&place, &plain].map(|place| {
            let mut found = lines(&alone(place, question));
            found.retain(|line| line["type"] == "hit");
            found
        });
        assert_eq!(found, expected);
    }
    for page in ["scans.pdf#1", "scans.pdf#3"] {
        let [read, expected] = [&place, &plain].map(|place| alone(place, &["get", page]).out);
        assert_eq!(read, expected);
    }
    let ran = alone(&place, &["verify"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}

#[test]
fn without_weights_and_tesseract_the_ledger_says_so() {
    for choice in ["auto", "tesseract"] {
        let place = Place::with(&["scan.pdf", "form.pdf"]);
        let arguments = ["index", "--json", "--ocr", choice, "--ocr-weights", "/nowhere", "."];
        let ran = alone(&place, &arguments);
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        let lines = lines(&ran);
        let scan = lines.iter().find(|line| line["path"] == "scan.pdf").unwrap();
        let note = scan["notes"][0].as_str().unwrap();
        assert!(note.contains("embedded") && note.contains("tesseract"), "{note}");
        assert_eq!(of_type(&lines, "summary")[0]["pages"]["indexed"], 5);
        assert!(alone(&place, &["status"]).out.contains("tesseract"));
    }
    // Nobody asked for words, so that nothing is missing.
    for off in [&["--ocr", "off"][..], &["--no-ocr"]] {
        let place = Place::with(&["scan.pdf"]);
        let ran = alone(&place, &[&["index", "--json"][..], off, &["."]].concat());
        assert_eq!(lines(&ran)[0]["notes"].as_array().map(Vec::len), Some(0), "{}", ran.out);
    }
    let place = Place::with(&["scan.pdf"]);
    assert_eq!(alone(&place, &["index", "--no-ocr", "--ocr", "auto", "."]).code, 2);
}

#[test]
fn an_embedded_reader_that_was_asked_for_must_be_there() {
    let place = Place::with(&["scan.pdf"]);
    let arguments = ["index", "--ocr", "embedded", "--ocr-weights", "nowhere", "."];
    let ran = alone(&place, &arguments);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("nowhere") && ran.err.contains("--ocr-weights"), "{}", ran.err);
    // Other weights under the same names: the file is named, with what is expected and what it is.
    let folder = place.path().join("other");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(weights()).unwrap() {
        let name = entry.unwrap().file_name();
        fs::write(folder.join(name), "not the weights").unwrap();
    }
    let ran = alone(&place, &["index", "--ocr-weights", "other", "."]);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    for part in ["PP-OCRv6_det_small.onnx", "090f04abcd9d9a74", "--ocr tesseract"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    let checks = lines(&alone(&place, &["doctor", "--json", "--ocr-weights", "other"]));
    let check = checks.iter().find(|check| check["check"] == "reader").unwrap();
    assert_eq!((&check["ok"], &check["needed"]), (&false.into(), &false.into()));
    let checks = lines(&alone(&place, &["doctor", "--json"]));
    let check = checks.iter().find(|check| check["check"] == "reader").unwrap();
    assert_eq!(check["ok"], true, "{check}");
}
