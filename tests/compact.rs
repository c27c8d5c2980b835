//! A compact index: measured, a fraction of the bytes, and a whole index in all else.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::random::Random;
use crate::sync::model;
use crate::{Place, hits, of_type};

fn indexed() -> Place {
    let place = Place::with(&["papers/chart.pdf", "form.pdf", "scan.pdf", "slides.pdf"]);
    place.json(0, &["index", "--json", "--no-ocr", "--model", &model(), "."]);
    place
}

fn status(place: &Place) -> Value {
    of_type(&place.json(0, &["status", "--json"]), "summary")[0].clone()
}

fn ask(place: &Place, query: &str) -> (Vec<(String, u64)>, Vec<f64>, Value) {
    let lines = place.json(0, &["query", "--json", "-k", "50", "--channel", "visual", query]);
    let scores = of_type(&lines, "hit").iter().map(|hit| hit["score"].as_f64().unwrap()).collect();
    (hits(&lines), scores, of_type(&lines, "summary")[0].clone())
}

/// Bytes of the index folder.
fn bytes(place: &Place) -> u64 {
    fn of(folder: &std::path::Path) -> u64 {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .map(|path| if path.is_dir() { of(&path) } else { path.metadata().unwrap().len() })
            .sum()
    }
    of(&place.path().join(".pagesight"))
}

#[test]
fn an_index_is_measured_made_compact_and_lives_on() {
    let place = indexed();
    let (whole, scores, _) = ask(&place, "travel expenses");
    let before = bytes(&place);
    // What would be lost is more than nothing: nothing changes.
    let ran = place.run(&["compact", "--max-loss", "0"]);
    assert_eq!(ran.code, 2, "{}", ran.out);
    assert!(ran.err.contains("would be lost") && ran.err.contains("--max-loss"), "{}", ran.err);
    let dry = place.json(0, &["compact", "--json", "--max-loss", "100%", "--dry-run"]);
    assert_eq!(of_type(&dry, "compact")[0]["done"], false);
    assert_eq!(status(&place)["compact"], Value::Null);
    assert_eq!(ask(&place, "travel expenses").2["code"], "int8");

    let done = place.json(0, &["compact", "--json", "--max-loss", "100%"]);
    let done = of_type(&done, "compact")[0].clone();
    assert_eq!(done["done"], true);
    let cost = status(&place)["compact"].clone();
    assert_eq!(cost["questions"], done["questions"]);
    let figure = |value: &Value| value.as_f64().unwrap();
    assert!((figure(&cost["overlap10"]) - figure(&done["overlap@10"])).abs() < 1e-6);
    // Whole vectors and their codes are gone from the disk.
    let after = bytes(&place);
    assert!(after < before / 2, "{before} {after}");
    assert_eq!(place.run(&["verify"]).code, 0);

    let (found, near, summary) = ask(&place, "travel expenses");
    assert_eq!(found.len(), whole.len());
    assert!(whole.iter().all(|page| found.contains(page)));
    assert!((near[0] - scores[0]).abs() < 0.1 * scores[0].abs(), "{near:?} {scores:?}");
    assert_eq!((&summary["code"], &summary["exact"]), (&"residual".into(), &false.into()));
    assert_eq!((&summary["exact_ranks"], &summary["pages_reranked"]), (&0.into(), &0.into()));
    assert_eq!(summary["compact"]["questions"], cost["questions"]);
    let notice = summary["notice"].as_str().unwrap();
    assert!(notice.contains("4 bits; overlap@10"), "{notice}");
    // Reasons are those of the codes: they add up to the score.
    let explained = place
        .json(0, &["query", "--json", "-k", "1", "--explain", "--channel", "visual", "travel"]);
    let hit = of_type(&explained, "hit")[0];
    let matches = hit["matches"].as_array().unwrap();
    let sum: f64 = matches.iter().map(|m| m["similarity"].as_f64().unwrap()).sum();
    let bare = figure(&hit["score"]) + figure(&hit["channels"][0]["background"]);
    assert!((sum - bare).abs() < 0.02 * sum.abs(), "{hit}");
    assert!(matches.iter().any(|m| m["rect_pt"].is_array()));
    // A filter, and words, are as they were.
    let only = ["query", "--json", "--channel", "visual", "--path", "slides.pdf", "x"];
    assert!(hits(&place.json(0, &only)).iter().all(|(path, _)| path == "slides.pdf"));
    let words = place.json(0, &["query", "--json", "--channel", "text", "travel expenses"]);
    assert_eq!(hits(&words)[0].0, "form.pdf");

    // What comes later is kept the same way; what goes is gone.
    place.add("rotated.pdf", "more.pdf");
    fs::remove_file(place.path().join("form.pdf")).unwrap();
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    assert_eq!(status(&place)["compact"], cost);
    let (found, _, _) = ask(&place, "travel expenses");
    assert!(found.iter().any(|(path, _)| path == "more.pdf"));
    assert!(found.iter().all(|(path, _)| path != "form.pdf"));
    assert_eq!(place.run(&["verify"]).code, 0);
    place.json(0, &["gc", "--json"]);
    assert_eq!(ask(&place, "travel expenses").0, found);

    // What measures goes on; what needs whole vectors says that there are none.
    let recall = place.json(0, &["verify", "--recall", "--json"]);
    let recall = of_type(&recall, "recall")[0];
    assert_eq!((&recall["overlap@10"], &recall["against"]), (&1.0.into(), &"residual".into()));
    let tuned = place.json(0, &["tune", "--json", "--compare", "10"]);
    assert!(of_type(&tuned, "rung").is_empty());
    let summary = ask_few(&place);
    assert_eq!((&summary["code"], &summary["reranked_in"]), (&"sketch".into(), &"residual".into()));
    assert!(summary["notice"].as_str().unwrap().contains("4 bits"), "{summary}");
    let again = place.json(0, &["compact", "--json"]);
    assert_eq!(of_type(&again, "compact")[0]["done"], false);
    let ran = place.run(&["export", "away"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("compact") && ran.err.contains("copy its folder"), "{}", ran.err);
}

fn ask_few(place: &Place) -> Value {
    let lines = place.json(0, &["query", "--json", "-k", "2", "--channel", "visual", "travel"]);
    of_type(&lines, "summary")[0].clone()
}

#[test]
fn many_small_commits_are_joined_and_found() {
    let place = indexed();
    place.json(0, &["compact", "--json", "--max-loss", "100%"]);
    for n in 0..12 {
        let mut bytes = fs::read(crate::fixtures().join("pdf/rotated.pdf")).unwrap();
        bytes.extend(format!("\n% variant {n}\n").bytes());
        fs::write(place.path().join(format!("{n}.pdf")), bytes).unwrap();
        place.json(0, &["index", "--json", "--no-ocr", "."]);
    }
    let codes = fs::read_dir(place.path().join(".pagesight/codes")).unwrap().count();
    assert!(codes < 12, "{codes} segments");
    let (found, scores, _) = ask(&place, "travel expenses");
    let of = |n: usize| found.iter().position(|(path, _)| *path == format!("{n}.pdf")).unwrap();
    // The same page, whichever segment it lies in.
    assert!((1..12).all(|n| scores[of(n)] == scores[of(0)]), "{scores:?}");
    assert_eq!(place.run(&["verify"]).code, 0);
}

#[test]
fn an_index_of_words_has_nothing_to_make_compact() {
    let place = Place::with(&["form.pdf"]);
    place.json(0, &["index", "--json", "--model", "none", "."]);
    let ran = place.run(&["compact"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("model"), "{}", ran.err);
}

/// Killed at any moment, the index is what it was or compact, and whole.
fn survives_kills(times: usize, seed: u64) {
    let mut random = Random::new(seed);
    let start = indexed();
    let whole = ask(&start, "a chart").1;
    let mut compact = Vec::new();
    let mut longest = Duration::from_millis(500);
    let (mut before, mut amid, mut after) = (0, 0, 0);
    for round in 0..=times {
        let place = Place::new();
        crate::damage::copy_tree(
            &start.path().join(".pagesight"),
            &place.path().join(".pagesight"),
        );
        let mut command = place.command(&["compact", "--json", "--max-loss", "100%"]);
        let began = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if round == 0 {
            // To the end, to know how long it takes and what comes of it.
            assert!(child.wait().unwrap().success());
            longest = began.elapsed();
            compact = ask(&place, "a chart").1;
            assert_ne!(compact, whole);
            continue;
        }
        // Most of the time is the model's; writing comes last.
        sleep(longest.mul_f64(0.6 + 0.6 * random.below(1000) as f64 / 1000.0));
        child.kill().unwrap();
        child.wait().unwrap();
        let verified = place.json(0, &["verify", "--json"]);
        let left = &of_type(&verified, "summary")[0]["leftovers"];
        amid += usize::from(left.as_u64() > Some(0));
        let is_compact = status(&place)["compact"] != Value::Null;
        let expected = if is_compact { &compact } else { &whole };
        assert_eq!(&ask(&place, "a chart").1, expected);
        // What it left behind does not stand in the way.
        place.json(0, &["compact", "--json", "--max-loss", "100%"]);
        assert_eq!(ask(&place, "a chart").1, compact);
        assert_eq!(place.run(&["verify"]).code, 0);
        *(if is_compact { &mut after } else { &mut before }) += 1;
    }
    println!(
        "{times} kills: {before} before it was compact, {after} after; {amid} left files behind"
    );
}

#[test]
fn a_killed_compaction_loses_nothing() {
    survives_kills(4, 1);
}

#[test]
#[ignore = "minutes: make torture"]
fn torture_100_killed_compactions() {
    survives_kills(100, 2);
}
