//! `pagesight eval` on the labelled fixtures.

use std::fs;

use serde_json::Value;

use crate::{Place, fixtures, of_type};

fn indexed() -> Place {
    let place = Place::new();
    for entry in fs::read_to_string(fixtures().join("queries.jsonl")).unwrap().lines() {
        let query: Value = serde_json::from_str(entry).unwrap();
        let doc = query["doc"].as_str().unwrap();
        if doc != "scan.pdf" && !place.path().join("pdf").join(doc).exists() {
            place.add(doc, &format!("pdf/{doc}"));
        }
    }
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    place
}

#[test]
fn words_find_the_labelled_pages() {
    let place = indexed();
    let queries = fixtures().join("queries.jsonl");
    let queries = queries.to_str().unwrap();
    let arguments =
        ["eval", "--queries", queries, "--per-document", "--json", "--run", "run.jsonl"];
    let lines = place.json(0, &arguments);
    let corpus = of_type(&lines, "summary")[0];
    assert_eq!((&corpus["channel"], &corpus["setting"]), (&"text".into(), &"corpus".into()));
    assert_eq!(corpus["queries"], 29);
    // Two of the questions are about the scan, which has no words without OCR.
    assert!(corpus["ndcg@5"].as_f64() > Some(0.80), "{corpus}");
    assert!(corpus["recall@10"].as_f64() > Some(0.85), "{corpus}");
    let inside = of_type(&lines, "summary")[1];
    assert_eq!(inside["setting"], "per-document");
    assert!(inside["ndcg@5"].as_f64() >= corpus["ndcg@5"].as_f64(), "{inside}");

    // The run file says what was measured: the measure again, from it.
    let run = fs::read_to_string(place.path().join("run.text.corpus.jsonl")).unwrap();
    let labels = fs::read_to_string(queries).unwrap();
    let first_is_right = |(ranking, label): (&str, &str)| {
        let ranking: Value = serde_json::from_str(ranking).unwrap();
        let label: Value = serde_json::from_str(label).unwrap();
        assert_eq!(ranking["id"], label["id"]);
        let Some(best) = ranking["results"].get(0) else { return false };
        best[0] == label["doc"] && label["pages"].as_array().unwrap().contains(&best[1])
    };
    let first_right = run.lines().zip(labels.lines()).filter(|&pair| first_is_right(pair)).count();
    let first_right = first_right as f64;
    let recall1 = corpus["recall@1"].as_f64().unwrap();
    // Questions with two pages count half when one of them is first.
    assert!(recall1 * 29.0 <= first_right + 0.01 && recall1 * 29.0 >= first_right - 1.5);

    let table = place.run(&["eval", "--queries", queries]);
    assert!(table.out.contains("nDCG@5"), "{}", table.out);
}

#[test]
fn labels_that_fit_no_document_are_misses() {
    let place = Place::with(&["form.pdf"]);
    place.json(0, &["index", "--json", "."]);
    let line = r#"{"id": "a", "query": "travel", "doc": "other.pdf", "pages": [1]}"#;
    fs::write(place.path().join("q.jsonl"), line).unwrap();
    let ran = place.run(&["eval", "--queries", "q.jsonl", "--json"]);
    assert!(ran.err.contains("other.pdf"), "{}", ran.err);
    assert!(ran.out.contains(r#""ndcg@5":0.0"#), "{}", ran.out);
    fs::write(place.path().join("q.jsonl"), "{\"id\": 1}").unwrap();
    let ran = place.run(&["eval", "--queries", "q.jsonl"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("line 1"), "{}", ran.err);
}
