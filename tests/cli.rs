//! The verbs, as a user types them.

use std::fs;

use serde_json::Value;

use crate::{Place, fixtures, hits, of_type};

#[test]
fn a_folder_becomes_ranked_pages() {
    let place = Place::new();
    for name in ["debian/history.pdf", "debian/install-tables.pdf", "papers/chart.pdf", "form.pdf"]
    {
        place.add(name, name);
    }
    let ran = place.run(&["index", "."]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("indexed 4 documents, 31 pages"), "{}", ran.out);
    assert!(ran.err.contains("no vision model"), "{}", ran.err);
    assert!(place.path().join(".pagesight/snapshot.json").exists());

    let ran = place.run(&["query", "-k", "2", "Who led Debian between 2001 and 2002?"]);
    assert_eq!(ran.code, 0);
    let mut lines = ran.out.lines();
    assert!(lines.next().unwrap().starts_with("  1. debian/history.pdf#2  "), "{}", ran.out);
    assert!(lines.next().unwrap().contains("*led*"), "{}", ran.out);
    assert!(ran.err.contains("words alone answer"));

    // From a folder below, and under the other name of the verb.
    let mut below = place.command(&["search", "--json", "travel expense total"]);
    let output = below.current_dir(place.path().join("papers")).output().unwrap();
    let first = String::from_utf8(output.stdout).unwrap();
    assert!(
        first.starts_with(r#"{"v":1,"type":"hit","rank":1,"path":"form.pdf","page":1,"#),
        "{first}"
    );
}

#[test]
fn answers_in_json_have_what_a_program_needs() {
    let place = Place::with(&["debian/install-tables.pdf", "form.pdf"]);
    let lines = place.json(0, &["index", "--json", "."]);
    for document in of_type(&lines, "document") {
        assert_eq!((&document["v"], &document["status"]), (&1.into(), &"ok".into()));
        assert!(document["pages"].as_u64() > Some(0) && document["failed_pages"] == 0);
    }
    let summary = of_type(&lines, "summary")[0];
    assert_eq!(summary["documents"]["indexed"], 2);
    assert_eq!(summary["pages"]["indexed"], 8);

    let lines = place.json(0, &["query", "--json", "minimum RAM without desktop"]);
    let hit = &lines[0];
    assert_eq!((hit["path"].as_str(), hit["page"].as_u64()), (Some("install-tables.pdf"), Some(4)));
    assert_eq!(hit["text"]["rank"], 1);
    assert!(hit["visual"].is_null());
    let snippet: Vec<char> = hit["snippet"].as_str().unwrap().chars().collect();
    let marks = hit["marks"].as_array().unwrap();
    let at = |mark: &serde_json::Value, end: usize| mark[end].as_u64().unwrap() as usize;
    let marked: Vec<String> =
        marks.iter().map(|m| snippet[at(m, 0)..at(m, 1)].iter().collect()).collect();
    assert!(marked.iter().any(|word| word == "RAM"), "{marked:?}");
    let summary = of_type(&lines, "summary")[0];
    assert!(summary["ms"]["total"].as_f64() > Some(0.0) && summary["model_id"].is_null());
    assert!(summary["snapshot"].as_u64() > Some(1));

    let lines = place.json(0, &["query", "--json", "--path", "form*", "RAM hotel"]);
    assert!(hits(&lines).iter().all(|(path, _)| path == "form.pdf"));
    assert_eq!(place.run(&["query", "zzyzx qwertz"]).code, 1);
    assert_eq!(place.run(&["query", "--path", "[", "x"]).code, 2);
    let ran = place.run(&["query", "--channel", "visual", "x"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("needs a model"), "{}", ran.err);
}

#[test]
fn a_page_found_by_its_name_alone_says_so() {
    let place = Place::new();
    place.add("form.pdf", "zeppelin.pdf");
    place.add("papers/chart.pdf", "other.pdf");
    place.json(0, &["index", "--json", "."]);
    let by_name = |query: &str| -> Vec<bool> {
        let lines = place.json(0, &["query", "--json", query]);
        of_type(&lines, "hit").iter().map(|hit| hit["by_name"].as_bool().unwrap()).collect()
    };
    assert_eq!(by_name("zeppelin"), [true, true]);
    assert!(!by_name("travel")[0]);
    let ran = place.run(&["query", "zeppelin"]);
    assert!(ran.out.contains("(rank 1, by its name)"), "{}", ran.out);
}

#[test]
fn what_is_filled_into_a_form_is_found() {
    let place = Place::with(&["form.pdf", "slides.pdf"]);
    place.json(0, &["index", "--json", "."]);
    let lines = place.json(0, &["query", "--json", "river gauge calibration Ljubljana"]);
    assert_eq!(hits(&lines)[0], ("form.pdf".into(), 1));
}

/// Languages that nobody has: the other pages are indexed all the same.
#[test]
fn unknown_languages_of_scans_stop_nothing() {
    let place = Place::with(&["scan.pdf", "form.pdf"]);
    let arguments = ["index", "--json", "--ocr", "tesseract", "--ocr-lang", "tlh", "."];
    let lines = place.json(0, &arguments);
    assert_eq!(of_type(&lines, "summary")[0]["pages"]["indexed"], 5);
    let scan = lines.iter().find(|line| line["path"] == "scan.pdf").unwrap();
    assert!(scan["notes"][0].as_str().unwrap().contains("tlh"), "{scan}");
}

#[test]
fn a_page_is_given_as_words_and_as_a_picture() {
    let place = Place::with(&["rotated.pdf", "encrypted.pdf"]);
    place.json(0, &["index", "--json", "--password", "wrong", "--password", "pagesight", "."]);
    let ran = place.run(&["get", "rotated.pdf#1"]);
    assert!(ran.out.contains("Supported Hardware"), "{}", ran.out);
    for (name, head) in [("page.png", &b"\x89PNG"[..]), ("page.webp", b"RIFF")] {
        let ran = place.run(&["get", "rotated.pdf#1", "--image", name, "--width", "300"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(fs::read(place.path().join(name)).unwrap().starts_with(head));
    }
    let output = place.command(&["get", "rotated.pdf#2", "--image", "-"]).output().unwrap();
    assert!(output.stdout.starts_with(b"\x89PNG"));
    // The rotated page lies on its side: wider than high.
    let header = fs::read(place.path().join("page.png")).unwrap();
    let side = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
    assert_eq!(side(16), 300);
    assert!(side(20) < 300, "{}", side(20));

    for (page, words) in [
        ("rotated.pdf#9", "has 2 pages"),
        ("other.pdf#1", "not in the index"),
        ("rotated.pdf", "PATH#PAGE"),
        ("rotated.pdf#0", "PATH#PAGE"),
    ] {
        let ran = place.run(&["get", page]);
        assert_eq!(ran.code, 2, "{page}");
        assert!(ran.err.contains(words), "{page}: {}", ran.err);
    }
    let ran = place.run(&["get", "encrypted.pdf#1", "--image", "e.png"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--password"), "{}", ran.err);
    let ran = place.run(&["get", "encrypted.pdf#1", "--image", "e.png", "--password", "pagesight"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(place.run(&["get", "rotated.pdf#1", "--image", "e.gif"]).code, 2);
    fs::write(place.path().join("rotated.pdf"), "other").unwrap();
    let ran = place.run(&["get", "rotated.pdf#1", "--image", "e.png"]);
    assert!(ran.err.contains("changed since it was indexed"), "{}", ran.err);
}

#[test]
fn what_cannot_be_read_fails_alone_and_is_named() {
    let place = Place::with(&["broken.pdf", "encrypted.pdf", "form.pdf"]);
    fs::write(place.path().join("empty.pdf"), "").unwrap();
    fs::write(place.path().join("text.pdf"), "just words").unwrap();
    let lines = place.json(3, &["index", "--json", "."]);
    let reason = |path: &str| {
        let line = lines.iter().find(|line| line["path"] == path).unwrap();
        assert_eq!((&line["status"], &line["pages"]), (&"failed".into(), &0.into()));
        line["reason"].as_str().unwrap().to_string()
    };
    assert!(reason("encrypted.pdf").contains("--password"));
    assert!(reason("broken.pdf").contains("damaged"));
    assert!(reason("empty.pdf").contains("empty"));
    assert!(reason("text.pdf").contains("not a PDF"));
    assert_eq!(of_type(&lines, "summary")[0]["documents"]["failed"], 4);

    // Still failed in a second run, which does not read them again; and in the ledger.
    let ran = place.run(&["index", "."]);
    assert_eq!(ran.code, 3);
    assert!(ran.out.contains("failed: broken.pdf: damaged"), "{}", ran.out);
    let status = place.json(0, &["status", "--json"]);
    let failed = status.iter().filter(|line| line["status"] == "failed").count();
    assert_eq!(failed, 4);
    // A password is a reason to try again.
    let lines = place.json(3, &["index", "--json", "--password", "pagesight", "."]);
    let line = lines.iter().find(|line| line["path"] == "encrypted.pdf").unwrap();
    assert_eq!((line["status"].as_str(), line["pages"].as_u64()), (Some("ok"), Some(2)));
}

#[test]
fn wrong_calls_say_what_to_do() {
    let place = Place::new();
    for (arguments, code, words) in [
        (&["query", "x"][..], 2, "pagesight index FOLDER"),
        (&["status"], 2, "pagesight index FOLDER"),
        (&["index", "missing"], 2, "missing"),
        (&["index", "."], 1, "no PDFs below ."),
        (&["index"], 2, "Usage"),
        (&["index", "--slices", "9x", "."], 2, "COLSxROWS"),
        (&["index", "--slices", "2x2", "."], 2, "--model"),
        (&["index", "--model", "nowhere", "."], 2, "pagesight model list"),
        (&["index", "--recipe", "colpali-v1.3", "."], 2, "--model"),
        (&["index", "--precision", "q8", "."], 2, "--model"),
        (&["index", "--precision", "q5", "."], 2, "f32, f16, bf16, q8 or q4"),
        (&["index", "--device", "gpu", "."], 2, "auto, cpu, cuda or metal"),
        (&["eval", "--queries", "nowhere.jsonl"], 2, "nowhere.jsonl"),
        (&["--index", "nowhere", "query", "x"], 2, "nowhere"),
        (&["frobnicate"], 2, "Usage"),
    ] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(words), "{arguments:?}: {}", ran.err);
    }
}

/// What `--help` lists under "Commands".
fn verbs(help: &str) -> Vec<String> {
    let list = help.split_once("Commands:\n").map_or("", |(_, list)| list);
    let lines = list.lines().take_while(|line| !line.is_empty());
    // A verb stands two blanks in; what continues its description stands further in.
    let verbs = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let verbs = verbs.filter_map(|line| line.split_whitespace().next());
    verbs.filter(|verb| *verb != "help").map(String::from).collect()
}

#[test]
fn every_verb_helps_with_an_example() {
    let place = Place::new();
    let mut waiting = vec![Vec::new()];
    let mut asked = Vec::new();
    while let Some(path) = waiting.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let ran = place.run(&words);
        assert_eq!(ran.code, 0, "{words:?}: {}", ran.err);
        assert!(ran.out.contains("Example"), "{words:?} shows no example:\n{}", ran.out);
        for verb in verbs(&ran.out) {
            waiting.push([&path[..], &[verb]].concat());
        }
        asked.push(path.join(" "));
    }
    for verb in ["index", "query", "tune", "completions", "model", "model info"] {
        assert!(asked.iter().any(|path| path == verb), "{verb} is not in {asked:?}");
    }
    assert!(place.run(&["completions", "bash"]).out.contains("pagesight"));
    assert!(place.run(&["paths", "--json"]).out.contains(r#""type":"paths""#));
    assert_eq!(place.run(&["--version"]).code, 0);
}

#[test]
fn the_manual_has_a_page_for_each_verb() {
    let place = Place::new();
    let folder = place.path().join("man1");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(place.run(&["manual", "man1"]).code, 0);
    let page = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    for verb in verbs(&place.run(&["--help"]).out) {
        let page = page(&format!("pagesight-{verb}.1"));
        assert!(page.starts_with(".ie") && page.contains(".SH NAME"), "{verb}: {page}");
    }
    assert!(page("pagesight.1").contains("pagesight\\-query"), "{}", page("pagesight.1"));
    assert!(page("pagesight-model-info.1").contains("Example"));
}

#[test]
fn doctor_checks_the_machine_and_the_model() {
    let place = Place::new();
    let checks = place.json(0, &["doctor", "--json"]);
    let pdfium = checks.iter().find(|line| line["check"] == "pdfium").unwrap();
    assert_eq!(pdfium["ok"], true);
    let kernels = |of: &[Value]| -> Vec<Value> {
        of_type(of, "kernel").into_iter().map(|kernel| kernel["by"].clone()).collect()
    };
    // The instructions of an older CPU, that every CPU has.
    let plain = place.json(0, &["doctor", "--json", "--instructions", "portable"]);
    assert!(kernels(&plain).iter().all(|by| by.as_str().unwrap().ends_with("plain loops")));
    assert_eq!(kernels(&plain).len(), kernels(&checks).len());
    let lacking = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    let ran = place.run(&["doctor", "--instructions", lacking]);
    assert!(ran.code == 2 && ran.err.contains(lacking), "{}", ran.err);
    let ran = place.run(&["doctor", "--pdfium", "/nowhere/libpdfium.so"]);
    assert_eq!(ran.code, 2);
    assert!(ran.out.contains("/nowhere/libpdfium.so"), "{}", ran.out);

    let parity = fixtures().join("parity");
    let stages = place.json(0, &["doctor", "--json", "--parity", parity.to_str().unwrap()]);
    assert!(of_type(&stages, "stage").len() > 30);
    assert_eq!(of_type(&stages, "summary")[0]["failed"], 0);
    assert_eq!(place.run(&["doctor", "--parity", "."]).code, 2);
}
