//! Damage is named, never served, and mended as far as it goes; indexes move and age well.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::random::Random;
use crate::sync::model;
use crate::{Place, fixtures, hits, of_type};

const FILES: [&str; 4] =
    ["debian/install-tables.pdf", "papers/chart.pdf", "form.pdf", "slides.pdf"];

/// An index of a few documents, with pages, words, vectors and deleted rows.
fn indexed() -> Place {
    let place = Place::with(&FILES);
    place.add("debian/history-ru.pdf", "gone.pdf");
    place.json(0, &["index", "--json", "--no-ocr", "--model", &model(), "."]);
    fs::remove_file(place.path().join("gone.pdf")).unwrap();
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    place
}

/// What questions answer, with scores; `None` where the program refuses.
fn answers(place: &Place) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    for arguments in [
        &["query", "--json", "-k", "50", "table of hardware"][..],
        &["query", "--json", "-k", "50", "--channel", "text", "travel expense"],
        &["query", "--json", "-k", "50", "--channel", "visual", "a chart"],
        &["status", "--json"],
    ] {
        let ran = place.run(arguments);
        match ran.code {
            0 => all.extend(ran.out.lines().map(without_times)),
            2 => {
                assert!(ran.err.contains("error: "), "{}", ran.err);
                return None;
            }
            code => panic!("{arguments:?} ended with {code}: {}{}", ran.out, ran.err),
        }
    }
    Some(all)
}

fn without_times(line: &str) -> Value {
    let mut value: Value = serde_json::from_str(line).unwrap();
    // With damaged codes a search reads the vectors themselves, and says so.
    for key in ["ms", "code", "pages_reranked", "notice", "notices"] {
        value.as_object_mut().unwrap().remove(key);
    }
    value
}

/// Answers without the scale that a channel's scores are added up on. It is taken from what a search
/// scans: codes, or where they are damaged the vectors themselves, which differ in the third digit.
/// Pages, their order and the scores of each channel stay.
fn ranked(mut answers: Vec<Value>) -> Vec<Value> {
    for hit in answers.iter_mut().filter(|line| line["type"] == "hit") {
        for channel in hit["channels"].as_array_mut().unwrap() {
            for key in ["z", "part"] {
                channel.as_object_mut().unwrap().remove(key);
            }
        }
        for key in ["score", "probability"] {
            hit.as_object_mut().unwrap().remove(key);
        }
    }
    answers
}

/// The files that the snapshot names, its pointer, and their copies.
fn named_files(place: &Place) -> Vec<PathBuf> {
    let index = place.path().join(".pagesight");
    let pointer = fs::read_to_string(index.join("snapshot.json")).unwrap();
    let snapshot: Value = serde_json::from_str(pointer.lines().next().unwrap()).unwrap();
    let mut files: Vec<PathBuf> =
        snapshot["files"].as_object().unwrap().keys().map(|name| index.join(name)).collect();
    files.push(index.join("snapshot.json"));
    files.extend(fs::read_dir(index.join("snapshots")).unwrap().map(|e| e.unwrap().path()));
    files
}

/// Asks `verify`, which must end well or with damage: the files that it names.
fn damaged(place: &Place) -> Vec<String> {
    let ran = place.run(&["verify", "--json"]);
    assert!([0, 2].contains(&ran.code), "{}{}", ran.out, ran.err);
    let lines: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).expect(l)).collect();
    let damages = of_type(&lines, "damage");
    assert_eq!(ran.code == 0, damages.is_empty());
    damages.iter().map(|damage| damage["file"].as_str().unwrap().to_string()).collect()
}

/// The same with its vectors in codes alone, in two segments.
fn compacted() -> Place {
    let place = indexed();
    place.json(0, &["compact", "--json", "--max-loss", "100%"]);
    place.add("rotated.pdf", "later.pdf");
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    place
}

/// Does `harm` to the sound bytes of `times` random files of `place`; each time `verify` names the
/// file, and questions get the sound answer or none.
fn every_harm_is_detected(
    place: &Place,
    times: usize,
    seed: u64,
    harm: fn(&mut Random, &Path, &[u8]),
) {
    let sound_answers = answers(place).expect("a sound index answers");
    assert_eq!(damaged(place), [] as [String; 0]);
    let files = named_files(place);
    let mut random = Random::new(seed);
    let (mut named, mut refused) = (0, 0);
    for _ in 0..times {
        let file = &files[random.below(files.len())];
        let bytes = fs::read(file).unwrap();
        if bytes.is_empty() {
            continue;
        }
        harm(&mut random, file, &bytes);
        let name = file.strip_prefix(place.path().join(".pagesight")).unwrap();
        let name = name.to_str().unwrap().to_string();
        let damages = damaged(place);
        assert!(damages.contains(&name), "{name} is not among {damages:?}");
        named += 1;
        match answers(place) {
            Some(given) if name.starts_with("codes/") => {
                assert_eq!(ranked(given), ranked(sound_answers.clone()), "with a damaged {name}");
            }
            Some(given) => assert_eq!(given, sound_answers, "with a damaged {name}"),
            None => refused += 1,
        }
        fs::write(file, bytes).unwrap();
    }
    assert_eq!(damaged(place), [] as [String; 0]);
    println!("{times} harms: {named} named by verify; queries: {refused} refused, the rest exact");
    assert_eq!(named, times);
}

fn flip(random: &mut Random, file: &Path, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let bit = random.below(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(file, bytes).unwrap();
}

fn cut_or_remove(random: &mut Random, file: &Path, bytes: &[u8]) {
    match random.below(2) {
        0 => fs::remove_file(file).unwrap(),
        _ => fs::write(file, &bytes[..random.below(bytes.len())]).unwrap(),
    }
}

#[test]
fn flipped_bits_are_named_and_never_served() {
    every_harm_is_detected(&indexed(), 12, 1, flip);
    every_harm_is_detected(&compacted(), 6, 7, flip);
}

#[test]
fn cut_and_missing_files_are_named_and_never_served() {
    every_harm_is_detected(&indexed(), 12, 2, cut_or_remove);
    every_harm_is_detected(&compacted(), 6, 8, cut_or_remove);
}

#[test]
#[ignore = "minutes: make torture"]
fn torture_200_flipped_bits() {
    every_harm_is_detected(&indexed(), 200, 3, flip);
    every_harm_is_detected(&compacted(), 200, 9, flip);
}

#[test]
#[ignore = "minutes: make torture"]
fn torture_100_cut_or_missing_files() {
    every_harm_is_detected(&indexed(), 100, 4, cut_or_remove);
    every_harm_is_detected(&compacted(), 100, 10, cut_or_remove);
}

/// Harms one file of `place` that `pick` chooses, repairs, indexes, and compares with what was.
fn is_mended(
    place: &Place,
    pick: fn(&str) -> bool,
    harm: fn(&mut Random, &Path, &[u8]),
) -> (Value, u64) {
    let before = answers(place).unwrap();
    let files = named_files(place);
    let index = place.path().join(".pagesight");
    let name = |file: &Path| file.strip_prefix(&index).unwrap().to_str().unwrap().to_string();
    let file = files.iter().find(|file| pick(&name(file))).expect("there is such a file");
    harm(&mut Random::new(5), file, &fs::read(file).unwrap());
    assert_eq!(place.run(&["verify"]).code, 2);
    let repaired = place.json(0, &["repair", "--json"]);
    assert_eq!(damaged(place), [] as [String; 0], "after {repaired:?}");
    let run = place.json(0, &["index", "--json", "--no-ocr", "."]);
    let read = of_type(&run, "summary")[0]["pages"]["indexed"].as_u64().unwrap();
    assert_eq!(damaged(place), [] as [String; 0]);
    let hits = |lines: &[Value]| -> Vec<Value> {
        lines.iter().filter(|line| line["type"] != "summary").cloned().collect()
    };
    assert_eq!(hits(&answers(place).unwrap()), hits(&before));
    let summary = of_type(&repaired, "summary")[0].clone();
    assert_eq!(summary["to_read"].as_u64().unwrap(), read, "{summary}");
    (summary, read)
}

#[test]
fn what_can_be_made_again_is_mended_without_reading_a_pdf() {
    let remove: fn(&mut Random, &Path, &[u8]) = |_, file, _| fs::remove_file(file).unwrap();
    for (what, pick) in [
        ("pointer", (|name| name == "snapshot.json") as fn(&str) -> bool),
        ("ledger", |name| name.starts_with("documents.lance/data/")),
        ("manifest", |name| name.starts_with("pages.lance/_versions/")),
        ("words", |name| name.starts_with("text/") && name.ends_with(".idx")),
        ("copy", |name| name.starts_with("snapshots/")),
        ("codes", |name| name.starts_with("codes/")),
    ] {
        for harm in [remove, flip] {
            let (summary, read) = is_mended(&indexed(), pick, harm);
            assert_eq!(read, 0, "{what}: {summary}");
        }
    }
}

#[test]
fn pages_that_are_lost_are_read_again_and_only_those() {
    let middle: fn(&mut Random, &Path, &[u8]) = |_, file, bytes| {
        let mut bytes = bytes.to_vec();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(file, bytes).unwrap();
    };
    let pages: fn(&str) -> bool = |name| name.starts_with("pages.lance/data/");
    let (summary, read) = is_mended(&indexed(), pages, middle);
    // One bit is one page.
    assert!((1..=2).contains(&read), "{summary}");
    // Of a compact index pages are lost with their codes, too: one in the first segment, and all of
    // the second, whose centres the first has.
    let place = compacted();
    let (summary, read) = is_mended(&place, |name| name.starts_with("codes/"), middle);
    assert_eq!(read, 1, "{summary}");
    let last: fn(&str) -> bool = |name| name.starts_with("codes/") && !name.starts_with("codes/1");
    let remove: fn(&mut Random, &Path, &[u8]) = |_, file, _| fs::remove_file(file).unwrap();
    let place = compacted();
    let (summary, read) = is_mended(&place, last, remove);
    assert!(read > 0, "{summary}");
}

/// With no segment left nothing says how pages are coded: all are read again, and kept whole.
#[test]
fn a_compact_index_that_lost_all_codes_is_made_again_whole() {
    let place = indexed();
    let whole = answers(&place).unwrap();
    place.json(0, &["compact", "--json", "--max-loss", "100%"]);
    for entry in fs::read_dir(place.path().join(".pagesight/codes")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let ran = place.run(&["query", "--channel", "visual", "a chart"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("repair` mends it"), "{}", ran.err);
    let repaired = place.json(0, &["repair", "--json"]);
    let lost = of_type(&repaired, "summary")[0]["to_read"].as_u64().unwrap();
    assert_eq!(damaged(&place), [] as [String; 0]);
    let run = place.json(0, &["index", "--json", "--no-ocr", "."]);
    assert_eq!(of_type(&run, "summary")[0]["pages"]["indexed"], lost);
    let hits = |lines: Vec<Value>| -> Vec<Value> {
        lines.into_iter().filter(|line| line["type"] == "hit").collect()
    };
    assert_eq!(hits(answers(&place).unwrap()), hits(whole));
    assert_eq!(
        of_type(&place.json(0, &["status", "--json"]), "summary")[0]["compact"],
        Value::Null
    );
}

#[test]
fn an_index_moves_to_another_machine_and_back() {
    let place = indexed();
    let before = answers(&place).unwrap();
    let target = Place::new();
    let export = target.path().join("export");
    let export = export.to_str().unwrap();
    let lines = place.json(0, &["export", "--json", export]);
    assert_eq!(of_type(&lines, "summary")[0]["documents"], 4);
    assert_eq!(place.run(&["export", export]).code, 2, "an export is not written over");
    let lines = target.json(0, &["import", "--json", export]);
    assert_eq!(of_type(&lines, "summary")[0]["documents"], 4);
    let alike = |value: &Value| {
        let mut value = value.clone();
        for key in ["snapshot", "index", "bytes"] {
            value.as_object_mut().unwrap().remove(key);
        }
        value
    };
    let given = answers(&target).unwrap();
    assert!(before.iter().map(alike).eq(given.iter().map(alike)), "{before:?}\n{given:?}");
    assert_eq!(damaged(&target), [] as [String; 0]);
    assert_eq!(target.run(&["import", export]).code, 2, "an index is not written over");
    // Beside the same PDFs, nothing is read again.
    for file in FILES {
        target.add(file, Path::new(file).file_name().unwrap().to_str().unwrap());
    }
    let lines = target.json(0, &["index", "--json", "--no-ocr", "."]);
    assert_eq!(of_type(&lines, "summary")[0]["pages"]["indexed"], 0);
    // A damaged export is refused.
    for name in ["pages.arrow", "documents.arrow", "export.json"] {
        let file = Path::new(export).join(name);
        let sound = fs::read(&file).unwrap();
        flip(&mut Random::new(6), &file, &sound);
        let ran = Place::new().run(&["import", export]);
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains(name), "{}", ran.err);
        fs::write(&file, sound).unwrap();
    }
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to.join(entry.file_name()))
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Every format that was ever written is kept in fixtures/index; each opens, searches, and becomes
/// one of today's.
#[test]
fn indexes_of_all_formats_are_read_and_carried_on() {
    let mut formats = 0;
    for entry in fs::read_dir(fixtures().join("index")).unwrap() {
        let golden = entry.unwrap().path();
        if !golden.is_dir() {
            continue;
        }
        formats += 1;
        let place = Place::new();
        copy_tree(&golden, &place.path().join(".pagesight"));
        let ask = || {
            let text = place
                .json(0, &["query", "--json", "-k", "9", "--channel", "text", "travel expense"]);
            let model = ["--model", &model()].map(String::from);
            let visual = ["query", "--json", "-k", "9", "--channel", "visual", "a chart"];
            let visual: Vec<&str> =
                visual.into_iter().chain(model.iter().map(String::as_str)).collect();
            (hits(&text), hits(&place.json(0, &visual)))
        };
        let found = ask();
        let page = |path: &str, page| (path.to_string(), page);
        assert_eq!(found.0[0], page("pdf/form.pdf", 1), "{}", golden.display());
        assert_eq!(found.1.len(), 4, "{}", golden.display());
        assert_eq!(damaged(&place), [] as [String; 0], "{}", golden.display());
        // Beside its PDFs, nothing is read again, and it is of today's format.
        place.add("form.pdf", "pdf/form.pdf");
        place.add("papers/chart.pdf", "pdf/chart.pdf");
        let ran = place.run(&["index", "--json", "--no-ocr", "--model", &model(), "pdf"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        // Words are cut in another way since each of them was written.
        assert!(ran.err.contains("those of 4 pages are analysed anew"), "{}", ran.err);
        let run: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(of_type(&run, "summary")[0]["pages"]["indexed"], 0);
        let status = place.json(0, &["status", "--json"]);
        assert_eq!(of_type(&status, "summary")[0]["format"], pagesight::index::FORMAT);
        assert_eq!(ask(), found);
        assert_eq!(damaged(&place), [] as [String; 0]);
    }
    assert_eq!(formats, pagesight::index::FORMAT, "a golden index of each format");
}

#[test]
fn two_indexes_with_two_models_live_side_by_side() {
    let place = Place::with(&["papers/chart.pdf", "form.pdf"]);
    let ids: BTreeMap<&str, String> = [("one", "1x1"), ("four", "2x2")]
        .into_iter()
        .map(|(index, slices)| {
            let arguments =
                ["--index", index, "index", "--json", "--model", &model(), "--slices", slices, "."];
            let lines = place.json(0, &arguments);
            (index, of_type(&lines, "summary")[0]["model_id"].as_str().unwrap().to_string())
        })
        .collect();
    assert_ne!(ids["one"], ids["four"]);
    for (index, id) in &ids {
        let lines =
            place.json(0, &["--index", index, "query", "--json", "--channel", "visual", "chart"]);
        assert_eq!(of_type(&lines, "summary")[0]["model_id"], id.as_str());
        assert_eq!(hits(&lines).len(), 4);
    }
}

/// The index pins the hash of the model's files.
#[test]
fn a_model_that_changed_on_disk_is_refused() {
    let place = Place::with(&["form.pdf"]);
    let folder = place.path().join("model");
    copy_tree(Path::new(&model()), &folder);
    place.json(0, &["index", "--json", "--model", "model", "form.pdf"]);
    let ask = ["query", "--json", "--channel", "visual", "x"];
    place.json(0, &ask);
    let weights = folder.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    for arguments in [&ask[..], &["index", "form.pdf"]] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}");
        assert!(ran.err.contains("the index was made with model"), "{}", ran.err);
    }
}
