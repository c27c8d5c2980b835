//! The meaning of the text, by the real program and a tiny model of random weights: what it finds
//! means nothing, but all that is around it must hold.

use super::{Place, fixtures};

fn model(name: &str) -> String {
    fixtures().join("embedder").join(name).display().to_string()
}

fn meaning(place: &Place) -> serde_json::Value {
    place.json(0, &["status", "--json"]).pop().unwrap()["meaning"].clone()
}

#[test]
fn pages_are_found_by_meaning_and_hits_say_which_passage() {
    let place = Place::with(&["debian/history.pdf"]);
    let ran = place.run(&["index", "--meaning", &model("bert"), "."]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(meaning(&place)["bytes"].as_u64().unwrap() > 0);
    let ask =
        ["query", "--channel", "meaning", "--json", "-k", "3", "what is the end of the page?"];
    let mut lines = place.json(0, &ask);
    let summary = lines.pop().unwrap();
    assert_eq!(summary["channels"], serde_json::json!(["passages"]));
    assert_eq!(lines.len(), 3);
    for hit in &lines {
        assert!(hit["meaning"]["score"].is_number() && hit["text"].is_null(), "{hit}");
        assert!(!hit["passage"]["text"].as_str().unwrap().is_empty());
    }
    // Together with the words, and said to a person.
    let ran = place.run(&["query", "--explain", "-k", "2", "the house"]);
    assert!(ran.out.contains("passage: ") && ran.out.contains("meaning "), "{}", ran.out);
    // The channel stays shut for letters that the model was not made for: words alone answer.
    let ask = ["query", "--json", "проект"];
    let ran = place.run(&ask);
    assert!(ran.out.contains("\"channels\":[\"words\"]"), "{}", ran.out);
    let parity = place.run(&["verify"]);
    assert_eq!(parity.code, 0, "{}", parity.out);
}

#[test]
fn another_model_reads_no_pdf_and_off_leaves_nothing() {
    let place = Place::with(&["debian/history.pdf", "slides.pdf"]);
    place.run(&["index", "--meaning", &model("bert"), "."]);
    let first = meaning(&place);
    // The same again is no work.
    let snapshot =
        |place: &Place| place.json(0, &["status", "--json"]).pop().unwrap()["snapshot"].clone();
    let before = snapshot(&place);
    place.run(&["index", "--meaning", "auto", "."]);
    assert_eq!(snapshot(&place), before);
    let ran = place.json(0, &["index", "--json", "--meaning", &model("xlm-roberta"), "."]);
    let summary = ran.last().unwrap();
    assert_eq!(summary["pages"]["indexed"], 0, "{summary}");
    let second = meaning(&place);
    assert_ne!(first["id"], second["id"]);
    assert!(second["bytes"].as_u64().unwrap() > 0);
    let hits = place.json(0, &["query", "--channel", "meaning", "--json", "the sun"]);
    assert!(hits.len() > 1);
    place.run(&["index", "--meaning", "off", "."]);
    assert!(meaning(&place).is_null());
    let ran = place.run(&["query", "--channel", "meaning", "the sun"]);
    assert!(ran.code == 2 && ran.err.contains("no channel `passages`"), "{}", ran.err);
    // It stays off.
    place.run(&["index", "--meaning", "auto", "."]);
    assert!(meaning(&place).is_null());
}

#[test]
fn a_model_that_is_gone_costs_its_channel_alone() {
    let place = Place::with(&["debian/history.pdf"]);
    let model = place.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(fixtures().join("embedder/bert").join(file), model.join(file)).unwrap();
    }
    let name = model.display().to_string();
    place.run(&["index", "--meaning", &name, "."]);
    std::fs::rename(&model, place.path().join("away")).unwrap();
    let ran = place.run(&["query", "Debian release"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("the meaning of the text is not searched"), "{}", ran.err);
    // A run of indexing says it, and takes new pages in by their words.
    place.add("slides.pdf", "slides.pdf");
    let ran = place.run(&["index", "--meaning", "auto", "."]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("not found by their meaning"), "{}", ran.err);
    let ran = place.run(&["query", "--channel", "meaning", "the sun"]);
    assert!(ran.code == 2, "{}", ran.err);
    // Back again, the pages that came meanwhile are encoded.
    std::fs::rename(place.path().join("away"), &model).unwrap();
    let before = meaning(&place)["bytes"].as_u64().unwrap();
    place.run(&["index", "--meaning", "auto", "."]);
    assert!(meaning(&place)["bytes"].as_u64().unwrap() > before);
}

#[test]
fn where_on_a_page_is_answered_by_what_its_words_mean() {
    let place = Place::with(&["debian/history.pdf"]);
    place.run(&["index", "--model", "none", "--meaning", &model("bert"), "."]);
    let page = "history.pdf#2";
    let regions = place.json(0, &["get", page, "--regions", "the end", "--channel", "meaning"]);
    assert!(!regions.is_empty());
    for region in &regions {
        let edges: Vec<f64> = (0..4).map(|at| region["rect_rel"][at].as_f64().unwrap()).collect();
        assert!(edges.iter().all(|edge| (0.0..=1.0).contains(edge)), "{region}");
        assert!(edges[0] < edges[2] && edges[1] < edges[3], "{region}");
        assert_eq!(region["snap"], "words");
        assert!(!region["text"].as_str().unwrap().is_empty());
    }
    let map = ["get", page, "--heatmap", "the end", "--channel", "meaning", "--image", "heat.png"];
    assert_eq!(place.run(&map).code, 0);
    let plain = ["get", page, "--image", "plain.png"];
    assert_eq!(place.run(&plain).code, 0);
    let read = |name: &str| std::fs::read(place.path().join(name)).unwrap();
    assert!(read("heat.png") != read("plain.png"), "no heat was laid over");
    // By its looks it has none, since no model saw it.
    let ran = place.run(&["get", page, "--regions", "the end"]);
    assert!(ran.code == 2 && ran.err.contains("no model"), "{}", ran.err);
    place.run(&["index", "--meaning", "off", "."]);
    let ran = place.run(&["get", page, "--regions", "the end", "--channel", "meaning"]);
    assert!(ran.code == 2 && ran.err.contains("what its text means"), "{}", ran.err);
}
