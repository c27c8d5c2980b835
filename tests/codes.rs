//! Searches over codes: exact, explained, measured, and whole when the codes are not.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::{Place, fixtures, hits, of_type};

fn model() -> String {
    fixtures().join("parity/hf").to_str().unwrap().into()
}

fn indexed() -> Place {
    let place = Place::with(&["papers/chart.pdf", "form.pdf", "scan.pdf", "slides.pdf"]);
    place.json(0, &["index", "--json", "--no-ocr", "--model", &model(), "."]);
    place
}

fn segments(place: &Place) -> Vec<PathBuf> {
    let folder = place.path().join(".pagesight/codes");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn ranking(place: &Place) -> (Vec<(String, u64)>, Vec<Value>, Value) {
    let lines = place.json(0, &["query", "--json", "--channel", "visual", "travel expenses"]);
    let scores = of_type(&lines, "hit").iter().map(|hit| hit["score"].clone()).collect();
    (hits(&lines), scores, of_type(&lines, "summary")[0].clone())
}

#[test]
fn codes_rank_as_the_vectors_do_and_damage_to_them_is_survived() {
    let place = indexed();
    let (by_codes, scores, summary) = ranking(&place);
    assert_eq!((&summary["code"], &summary["notice"]), (&"int8".into(), &Value::Null));
    assert!(summary["pages_reranked"].as_u64() > Some(0));
    assert_eq!(summary["exact_ranks"], 10);
    // Beside words too, pictures are settled as far as hits go.
    let both = place.json(0, &["query", "--json", "-k", "3", "travel expenses"]);
    assert_eq!(of_type(&both, "summary")[0]["exact_ranks"], 3);
    for segment in segments(&place) {
        let good = fs::read(&segment).unwrap();
        // A flipped bit in the codes, in the list of pages, a cut, and no file at all.
        for (what, bytes) in [
            ("codes", Some([&[good[0] ^ 1], &good[1..]].concat())),
            (
                "list",
                Some(
                    [
                        &good[..good.len() - 100],
                        &[!good[good.len() - 100]],
                        &good[good.len() - 99..],
                    ]
                    .concat(),
                ),
            ),
            ("cut", Some(good[..good.len() / 2].to_vec())),
            ("gone", None),
        ] {
            match bytes {
                Some(bytes) => fs::write(&segment, bytes).unwrap(),
                None => fs::remove_file(&segment).unwrap(),
            }
            let (by_vectors, exact, summary) = ranking(&place);
            assert_eq!((&by_vectors, &exact), (&by_codes, &scores), "{what}");
            assert_eq!(summary["code"], "f16", "{what}");
            assert!(summary["notice"].as_str().unwrap().contains("all vectors"), "{summary}");
        }
    }
    // The next run that changes anything derives them again.
    place.add("rotated.pdf", "more.pdf");
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    assert_eq!(ranking(&place).2["code"], "int8");
}

/// A search that meets damage says so, and the next run, though nothing else changed, mends it.
#[test]
fn damaged_codes_are_derived_again_by_the_next_run() {
    let place = indexed();
    let before = ranking(&place);
    let segment = segments(&place).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[0] ^= 1;
    fs::write(&segment, bytes).unwrap();
    assert_eq!(ranking(&place).2["code"], "f16");
    assert_eq!(place.run(&["verify"]).code, 2);
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    let (found, scores, summary) = ranking(&place);
    assert_eq!((found, scores), (before.0, before.1));
    assert_eq!((&summary["code"], &summary["notice"]), (&"int8".into(), &Value::Null));
    let verified = place.run(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.out);
    let number = &summary["snapshot"];
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    assert_eq!(&ranking(&place).2["snapshot"], number, "once is enough");
}

#[test]
fn what_goes_from_the_index_goes_from_the_codes() {
    let place = indexed();
    let pages = ranking(&place).2["pages_scored"].as_u64().unwrap();
    fs::remove_file(place.path().join("form.pdf")).unwrap();
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    let (found, _, summary) = ranking(&place);
    assert_eq!(summary["pages_scored"], pages - 2);
    assert_eq!(summary["notice"], Value::Null);
    assert!(found.iter().all(|(path, _)| path != "form.pdf"));
    // A filter holds before scoring.
    let lines =
        place.json(0, &["query", "--json", "--channel", "visual", "--path", "slides.pdf", "x"]);
    let summary = of_type(&lines, "summary")[0];
    assert!(summary["pages_scored"].as_u64().unwrap() < pages - 2, "{summary}");
    assert!(hits(&lines).iter().all(|(path, _)| path == "slides.pdf"));
}

#[test]
fn an_index_without_codes_is_searched_and_gets_them() {
    let place = indexed();
    let before = ranking(&place);
    let pointer = place.path().join(".pagesight/snapshot.json");
    let text = fs::read_to_string(&pointer).unwrap();
    let mut snapshot: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    snapshot.as_object_mut().unwrap().remove("codes");
    let line = format!("{snapshot}\n");
    let hash = blake3::hash(line.as_bytes()).to_hex();
    fs::write(&pointer, format!("{line}{{\"blake3\":\"{hash}\"}}\n")).unwrap();
    let (found, scores, summary) = ranking(&place);
    assert_eq!((found, scores), (before.0.clone(), before.1.clone()));
    assert_eq!((&summary["code"], &summary["notice"]), (&"f16".into(), &Value::Null));
    place.add("rotated.pdf", "more.pdf");
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    assert_eq!(ranking(&place).2["code"], "int8");
}

#[test]
fn explain_names_the_patch_of_each_token() {
    let place = indexed();
    let question = ["query", "-k", "2", "--explain", "--channel", "visual"];
    let lines = place.json(0, &[&question[..], &["--json", "travel expenses"]].concat());
    for hit in of_type(&lines, "hit") {
        let matches = hit["matches"].as_array().unwrap();
        assert!(matches.len() > 2, "{hit}");
        let sum: f64 = matches.iter().map(|m| m["similarity"].as_f64().unwrap()).sum();
        // What the page gives to any question was taken off, and is said.
        let off = hit["channels"][0]["background"].as_f64().unwrap();
        let score = hit["score"].as_f64().unwrap() + off;
        assert!(off != 0.0 && (sum - score).abs() < 1e-3, "the tokens add up: {sum} {score}");
        let (width, height) = (hit["size_pt"][0].as_f64(), hit["size_pt"][1].as_f64());
        for rect in matches.iter().filter_map(|m| m["rect_pt"].as_array()) {
            let at = |n: usize| rect[n].as_f64();
            assert!(at(0) < at(2) && at(2) <= width.map(|w| w + 0.01), "{rect:?}");
            assert!(at(1) < at(3) && at(3) <= height.map(|h| h + 0.01), "{rect:?}");
        }
    }
    let ran = place.run(&[&question[..], &["travel expenses"]].concat());
    for words in ["pages seen", "scored again in f16", "scan", "pt\n", "snapshot"] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    let plain = place.json(0, &["query", "--json", "travel"]);
    assert_eq!(of_type(&plain, "hit")[0]["matches"], Value::Array(Vec::new()));
}

fn status(place: &Place) -> Value {
    of_type(&place.json(0, &["status", "--json"]), "summary")[0].clone()
}

#[test]
fn a_shortcut_is_chosen_said_and_undone() {
    let place = indexed();
    let pages = status(&place)["pages"].as_u64().unwrap();
    assert!(pages > 10, "{pages} pages are too few for a shortcut");
    let (exact, _, summary) = ranking(&place);
    assert_eq!((&summary["exact"], &summary["recall"]), (&true.into(), &Value::Null));
    assert_eq!(status(&place)["tuning"], Value::Null);
    let snapshot = status(&place)["snapshot"].as_u64().unwrap();
    // Measured, and not applied.
    let dry = ["tune", "--json", "--compare", "10", "--dry-run"];
    let dry = place.json(0, &dry);
    let setting = of_type(&dry, "setting")[1].clone();
    assert_eq!((&setting["compared"], &setting["applied"]), (&10.into(), &false.into()));
    assert_eq!(status(&place)["tuning"], Value::Null);

    place.json(0, &["tune", "--json", "--compare", "10"]);
    let tuning = status(&place)["tuning"].clone();
    assert_eq!(tuning["compared"], 10);
    assert_eq!(status(&place)["snapshot"], snapshot + 1);
    let shown = place.run(&["status"]);
    assert!(shown.out.contains("searches  10 pages compared: overlap@10"), "{}", shown.out);
    let ask = ["query", "--json", "-k", "2", "--channel", "visual", "travel expenses"];
    let lines = place.json(0, &ask);
    let summary = of_type(&lines, "summary")[0];
    assert_eq!((&summary["code"], &summary["exact"]), (&"sketch".into(), &false.into()));
    assert_eq!(summary["exact_ranks"], 0);
    assert_eq!((&summary["pages_reranked"], &summary["reranked_in"]), (&10.into(), &"int8".into()));
    assert_eq!(summary["recall"]["overlap@10"], tuning["overlap10"]);
    let notice = summary["notice"].as_str().unwrap();
    assert!(notice.starts_with("approximate: 10 of ") && notice.contains("nDCG ratio"), "{notice}");
    let explained = place.run(&["query", "--explain", "-k", "2", "--channel", "visual", "travel"]);
    assert!(explained.out.contains("in sketch, 10 scored again in int8"), "{}", explained.out);
    let lines = place.json(0, &["verify", "--recall", "--json"]);
    let recall = of_type(&lines, "recall")[0];
    assert_eq!(recall["compared"], 10);
    // It outlives a run of index, and pages that come later are found.
    place.add("rotated.pdf", "more.pdf");
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    assert_eq!(status(&place)["tuning"], tuning);
    assert_eq!(of_type(&place.json(0, &ask), "summary")[0]["code"], "sketch");
    // As many as there are is no shortcut.
    place.json(0, &["tune", "--json", "--compare", "100000"]);
    assert_eq!(status(&place)["tuning"]["compared"], Value::Null);
    assert_eq!(of_type(&place.json(0, &ask), "summary")[0]["exact"], true);

    place.json(0, &["tune", "--json", "--compare", "10"]);
    place.json(0, &["tune", "--reset", "--json"]);
    assert_eq!(status(&place)["tuning"], Value::Null);
    let again = ranking(&place).0;
    assert!(exact.iter().all(|hit| again.contains(hit)) && again.len() >= exact.len());
}

#[test]
fn tune_measures_the_ladder_and_the_recall() {
    let place = indexed();
    let lines = place.json(0, &["tune", "--json", "--max-loss", "100%"]);
    let rungs = of_type(&lines, "rung");
    let exact = rungs.iter().find(|rung| rung["code"] == "f16").unwrap();
    assert_eq!((&exact["overlap@10"], &exact["ndcg_ratio"]), (&1.0.into(), &1.0.into()));
    let bytes = |code: &str| {
        let rung = rungs.iter().find(|rung| rung["code"] == code && rung["rerank"] == 0);
        rung.unwrap_or_else(|| panic!("no {code}"))["bytes_per_page"].as_f64().unwrap()
    };
    assert!(bytes("f16") > bytes("int8") && bytes("int8") > bytes("4bit"));
    let chosen: Vec<_> =
        rungs.iter().filter(|rung| rung["cheapest_within_max_loss"] == true).collect();
    assert_eq!(chosen.len(), 1);
    // Nothing may be lost: only what ranks as exact MaxSim is left.
    let lines = place.json(0, &["tune", "--json", "--max-loss", "0"]);
    let rungs = of_type(&lines, "rung");
    let chosen = rungs.iter().find(|rung| rung["cheapest_within_max_loss"] == true).unwrap();
    assert_eq!(chosen["loss"], 0.0);

    // So few pages are searched exactly, and it says so.
    let settings = of_type(&lines, "setting");
    assert_eq!((&settings[0]["compared"], &settings[0]["applied"]), (&Value::Null, &true.into()));
    assert_eq!(status(&place)["tuning"]["compared"], Value::Null);

    let lines = place.json(0, &["verify", "--recall", "--json"]);
    let recall = of_type(&lines, "recall")[0];
    assert_eq!((&recall["overlap@10"], &recall["ndcg_ratio"]), (&1.0.into(), &1.0.into()));
    let queries = fixtures().join("queries.jsonl");
    let ran = place.run(&["verify", "--recall", "--queries", queries.to_str().unwrap()]);
    assert!(ran.out.contains("overlap@10 1.0000"), "{}{}", ran.out, ran.err);

    let ran = place.run(&["tune", "--max-loss", "a lot"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("1%"), "{}", ran.err);
    let words = Place::with(&["form.pdf"]);
    words.json(0, &["index", "--json", "."]);
    let ran = words.run(&["tune"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--model"), "{}", ran.err);
}
