//! nano, the model inside the program: what a user gets who names none.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Place, Ran, fixtures, hits, of_type};

/// As a user types it, who has set nothing.
fn fresh(place: &Place, arguments: &[&str]) -> Ran {
    let mut command = place.command(arguments);
    Ran::from(command.env_remove("PAGESIGHT_MODEL").output().unwrap())
}

fn lines(ran: &Ran) -> Vec<Value> {
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    ran.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// `scan.pdf` has no text layer, and nothing is read by tesseract.
#[test]
fn a_fresh_install_searches_pictures_of_pages() {
    let place = Place::with(&["scan.pdf", "form.pdf"]);
    let ran = fresh(&place, &["index", "--no-ocr", "--json", "."]);
    let id = of_type(&lines(&ran), "summary")[0]["model_id"].clone();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("model/nano");
    let info = lines(&fresh(&place, &["model", "info", "--json", folder.to_str().unwrap()]));
    assert_eq!(info[0]["model_id"], id, "the model inside is the one in the folder");

    let question = "booting the installer from a USB memory stick";
    let ask = ["query", "--json", "--explain", "--channel", "visual", "-k", "3", question];
    let found = lines(&fresh(&place, &ask));
    assert_eq!(hits(&found)[0].0, "scan.pdf");
    let best = of_type(&found, "hit")[0];
    assert!(best["text"].is_null() && best["visual"]["rank"] == 1, "{best}");
    assert_eq!(of_type(&found, "summary")[0]["model_id"], id);
    // Blank patches are left out, and what is left knows where it is.
    let (width, height) = (best["size_pt"][0].as_f64(), best["size_pt"][1].as_f64());
    let matches = best["matches"].as_array().unwrap();
    let rects: Vec<&Value> = matches.iter().map(|found| &found["rect_pt"]).collect();
    assert!(!rects.is_empty());
    for rect in &rects {
        assert!(rect[0].as_f64() >= Some(0.0) && rect[2].as_f64() <= width, "{rect} {width:?}");
        assert!(rect[1].as_f64() >= Some(0.0) && rect[3].as_f64() <= height, "{rect} {height:?}");
    }
    assert!(rects.iter().any(|rect| *rect != rects[0]), "{matches:?}");

    let told = fresh(&place, &["model", "info"]).out;
    assert!(told.contains("nano (inside this program)") && told.contains("new index"), "{told}");
    assert!(told.contains(id.as_str().unwrap()), "{told}");
    assert!(fresh(&place, &["status"]).out.contains("nano"));
    let words = lines(&fresh(&place, &["query", "--json", "--model", "none", "travel expenses"]));
    assert!(of_type(&words, "summary")[0]["model_id"].is_null());
    // An index keeps its model.
    let other = fixtures().join("parity/hf").display().to_string();
    let ran = fresh(&place, &["index", "--model", &other, "."]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("needs a new index"), "{}", ran.err);
}

/// Where a CPU has no instructions for bf16, nano multiplies whole numbers or f32: it is the same
/// model, and what one kind of CPU began, another one goes on with and searches.
#[test]
fn an_index_goes_from_one_kind_of_cpu_to_another() {
    let older = if cfg!(target_arch = "x86_64") { "avx2" } else { "portable" };
    let on = |kind: Option<&str>, place: &Place, arguments: &[&str]| {
        let kind = kind.map(|kind| ["--instructions", kind]);
        let kind: Vec<&str> = kind.iter().flatten().copied().collect();
        lines(&fresh(place, &[kind.as_slice(), arguments].concat()))
    };
    let place = Place::with(&["scan.pdf"]);
    let first = on(None, &place, &["index", "--no-ocr", "--json", "."]);
    place.add("slides.pdf", "slides.pdf");
    let second = on(Some(older), &place, &["index", "--no-ocr", "--json", "."]);
    let [first, second] = [&first, &second].map(|ran| of_type(ran, "summary")[0].clone());
    assert_eq!(first["model_id"], second["model_id"]);
    assert!(second["pages"]["indexed"].as_u64() > Some(0), "{second}");
    for question in ["booting the installer from a USB memory stick", "booting from a memory stick"]
    {
        let ask = ["query", "--json", "--channel", "visual", "-k", "10", question];
        let [newer, older] = [None, Some(older)].map(|kind| hits(&on(kind, &place, &ask)));
        assert_eq!(newer[0], older[0], "{question}");
        let kept = newer.iter().filter(|hit| older.contains(hit)).count();
        assert!(kept + 1 >= newer.len(), "{question}: {newer:?} {older:?}");
    }
}

#[test]
fn an_index_of_words_stays_one_until_a_model_is_named() {
    let place = Place::with(&["form.pdf"]);
    lines(&fresh(&place, &["index", "--json", "--model", "none", "."]));
    place.add("scan.pdf", "scan.pdf");
    let ran = fresh(&place, &["index", "--json", "--no-ocr", "."]);
    assert_eq!(of_type(&lines(&ran), "summary")[0]["pages"]["indexed"], 3);
    assert!(ran.err.contains("--model nano"), "{}", ran.err);
    let ran = fresh(&place, &["model", "info"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("--model nano"), "{}", ran.out);
    let ran = fresh(&place, &["index", "--json", "--no-ocr", "--model", "nano", "."]);
    let run = lines(&ran);
    assert_eq!(of_type(&run, "summary")[0]["pages"]["indexed"], 5, "all is read again");
    let ask = ["query", "--json", "--channel", "visual", "booting from a memory stick"];
    assert_eq!(hits(&lines(&fresh(&place, &ask))).len(), 5);
}

/// What the quality gate asks about: the labelled fixtures, without those that nano cannot read
/// (other scripts, print on its side) and without the 21 pages of history.pdf, for time.
const GATE: [&str; 6] = [
    "debian/install-tables.pdf",
    "papers/two-columns.pdf",
    "papers/chart.pdf",
    "slides.pdf",
    "form.pdf",
    "scan.pdf",
];

/// nano finds what it found when fixtures/nano/quality.json was recorded, `make record-nano`.
#[test]
fn nano_finds_as_much_as_it_did() {
    let place = Place::new();
    GATE.iter().for_each(|file| place.add(file, &format!("pdf/{file}")));
    let labels = fs::read_to_string(fixtures().join("queries.jsonl")).unwrap();
    let asked = |line: &&str| {
        let query: Value = serde_json::from_str(line).unwrap();
        GATE.contains(&query["doc"].as_str().unwrap())
    };
    let asked: Vec<&str> = labels.lines().filter(asked).collect();
    fs::write(place.path().join("q.jsonl"), asked.join("\n")).unwrap();
    lines(&fresh(&place, &["index", "--no-ocr", "--json", "pdf"]));
    let measure = |channel| {
        let ask = ["eval", "--queries", "q.jsonl", "--channel", channel, "--json"];
        of_type(&lines(&fresh(&place, &ask)), "summary")[0]["ndcg@5"].as_f64().unwrap()
    };
    let [visual, text, both] = ["visual", "text", "both"].map(measure);
    let file = fixtures().join("nano/quality.json");
    if std::env::var_os("PAGESIGHT_RECORD").is_some() {
        let seen = json!({"queries": asked.len(), "visual ndcg@5": visual, "margin": 0.03});
        fs::write(&file, format!("{seen:#}\n")).unwrap();
    }
    let seen: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let recorded = |key: &str| seen[key].as_f64().unwrap();
    assert_eq!(asked.len() as f64, recorded("queries"));
    assert!(visual >= recorded("visual ndcg@5") - recorded("margin"), "{visual}, recorded {seen}");
    // Two of the questions are about the scan: words alone cannot answer them.
    assert!(both > text, "both {both}, text {text}");
}
