//! Keeping an index in step with its folder, whatever happens in between.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::{Place, fixtures, hits, of_type};

/// What a run did with each path.
fn statuses(lines: &[Value]) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_string();
    of_type(lines, "document").iter().map(|d| (text(&d["path"]), text(&d["status"]))).collect()
}

/// Everything that a user can see of an index, without times and versions.
fn content(place: &Place) -> (Vec<Value>, Vec<Vec<(String, u64)>>) {
    let mut documents = place.json(0, &["status", "--json"]);
    documents.retain(|line| line["type"] == "document");
    let ask = |query: &&str| hits(&place.json(0, &["query", "--json", "-k", "50", query]));
    (documents, ["Debian release", "table of hardware", "travel"].iter().map(ask).collect())
}

pub fn model() -> String {
    fixtures().join("parity/hf").to_str().unwrap().into()
}

/// Pages of a file that can no longer be read stay, with a note; once it is whole, nothing is left of it.
#[test]
fn a_note_that_pages_are_behind_their_file_goes_when_they_are_not() {
    let place = Place::with(&["form.pdf"]);
    place.json(0, &["index", "--json", "."]);
    let seen = || {
        let documents = place.json(0, &["status", "--json"]);
        let found = hits(&place.json(0, &["query", "--json", "travel expense claim"]));
        (of_type(&documents, "document")[0].clone(), found)
    };
    let before = seen();
    let (path, whole) = (place.path().join("form.pdf"), place.path().join("form.whole"));
    for same_time in [true, false] {
        fs::rename(&path, &whole).unwrap();
        File::create(&path).unwrap().set_len(3 << 20).unwrap();
        place.json(3, &["index", "--json", "--max-file-size", "2", "."]);
        let (document, found) = seen();
        let notes = document["notes"].to_string();
        assert!(notes.contains("shows what it was before"), "{notes}");
        assert_eq!(found, before.1, "its pages stay");
        if same_time {
            fs::rename(&whole, &path).unwrap()
        } else {
            fs::copy(&whole, &path).unwrap();
        }
        place.json(0, &["index", "--json", "."]);
        assert_eq!(seen(), before);
    }
}

#[test]
fn a_second_run_reads_only_what_changed() {
    let place = Place::with(&["debian/history-ru.pdf", "form.pdf", "slides.pdf"]);
    place.json(0, &["index", "--json", "."]);
    let again = place.json(0, &["index", "--json", "."]);
    assert!(statuses(&again).values().all(|status| status == "skipped"), "{again:?}");
    assert_eq!(of_type(&again, "summary")[0]["pages"]["indexed"], 0);

    // One renamed, one changed, one gone, one new, one copied.
    fs::rename(place.path().join("form.pdf"), place.path().join("claim.pdf")).unwrap();
    place.add("papers/chart.pdf", "slides.pdf");
    fs::remove_file(place.path().join("history-ru.pdf")).unwrap();
    place.add("debian/install-tables.pdf", "new/tables.pdf");
    place.add("debian/install-tables.pdf", "new/copy.pdf");
    let lines = place.json(0, &["index", "--json", "."]);
    let summary = of_type(&lines, "summary")[0];
    let count = |what: &str| summary["documents"][what].as_u64().unwrap();
    assert_eq!((count("indexed"), count("renamed"), count("dropped")), (2, 2, 2), "{summary}");
    assert_eq!(summary["pages"]["indexed"], 2 + 6);
    let found =
        |query: &str| hits(&place.json(0, &["query", "--json", "-k", "1", query]))[0].clone();
    assert_eq!(found("travel expense claim"), ("claim.pdf".into(), 1));
    assert_eq!(found("Lua programming language"), ("slides.pdf".into(), 1));
    let gone = place.run(&["query", "--json", "Мэрдок основал"]);
    assert_eq!(gone.code, 1, "{}", gone.out);
    // A touched file is read and found to be the same.
    let claim = File::options().append(true).open(place.path().join("claim.pdf")).unwrap();
    claim.set_modified(std::time::SystemTime::now() + Duration::from_secs(5)).unwrap();
    let lines = place.json(0, &["index", "--json", "."]);
    assert_eq!(statuses(&lines)["claim.pdf"], "skipped");
    assert_eq!(of_type(&lines, "summary")[0]["pages"]["indexed"], 0);
}

#[test]
fn folders_that_are_not_walked_keep_their_documents() {
    let place = Place::new();
    place.add("form.pdf", "a/form.pdf");
    place.add("papers/chart.pdf", "b/chart.pdf");
    place.json(0, &["index", "--json", "a", "b"]);
    fs::remove_file(place.path().join("a/form.pdf")).unwrap();
    place.json(0, &["index", "--json", "b"]);
    assert_eq!(hits(&place.json(0, &["query", "--json", "expense"])).len(), 2);
    // A root that is missing is an error, not a reason to drop what was below it.
    fs::remove_dir(place.path().join("a")).unwrap();
    assert_eq!(place.run(&["index", "a"]).code, 2);
    assert_eq!(hits(&place.json(0, &["query", "--json", "expense"])).len(), 2);
    let lines = place.json(0, &["index", "--json", "."]);
    assert_eq!(of_type(&lines, "summary")[0]["documents"]["dropped"], 1);
}

#[cfg(unix)]
/// An empty folder in the place of a share is a drive that is not mounted, until the user says no.
#[test]
fn a_folder_that_is_suddenly_empty_keeps_its_documents() {
    let place = Place::new();
    place.add("form.pdf", "share/form.pdf");
    place.add("papers/chart.pdf", "share/chart.pdf");
    place.json(0, &["index", "--json", "share"]);
    let held = || {
        let mut documents = place.json(0, &["status", "--json"]);
        documents.retain(|line| line["type"] == "document");
        (documents, hits(&place.json(0, &["query", "--json", "travel expense claim"])))
    };
    let before = held();

    let (share, away) = (place.path().join("share"), place.path().join("away"));
    fs::rename(&share, &away).unwrap();
    fs::create_dir(&share).unwrap();
    let ran = place.run(&["index", "--json", "share"]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("share, which held 2 documents"), "{}", ran.err);
    assert!(ran.err.contains("--drop-emptied"), "{}", ran.err);
    let summary: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    assert_eq!(summary["documents"]["dropped"], 0);
    assert_eq!(summary["emptied"][0]["documents"], 2);
    assert_eq!(held(), before);

    // The drive is back: nothing is read again.
    fs::remove_dir(&share).unwrap();
    fs::rename(&away, &share).unwrap();
    let summary = place.json(0, &["index", "--json", "share"]).pop().unwrap();
    assert_eq!(summary["documents"]["skipped"], 2);

    fs::remove_dir_all(&share).unwrap();
    fs::create_dir(&share).unwrap();
    let summary = place.json(0, &["index", "--json", "--drop-emptied", "share"]).pop().unwrap();
    assert_eq!(summary["documents"]["dropped"], 2);
    assert_eq!(hits(&place.json(1, &["query", "--json", "travel"])), []);
}

#[test]
fn odd_names_and_odd_files_are_taken_as_they_are() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::with(&["form.pdf"]);
    let odd = place.path().join(OsStr::from_bytes(b"caf\xE9 'quoted'\n.pdf"));
    fs::rename(place.path().join("form.pdf"), &odd).unwrap();
    place.add("papers/chart.pdf", "x.pdf/inside.PDF");
    std::os::unix::fs::symlink(place.path(), place.path().join("loop")).unwrap();
    std::os::unix::fs::symlink("/nowhere", place.path().join("dangling.pdf")).unwrap();
    let lines = place.json(0, &["index", "--json", "."]);
    let paths: Vec<String> = statuses(&lines).into_keys().collect();
    assert_eq!(paths, ["caf%E9 'quoted'\n.pdf", "x.pdf/inside.PDF"]);
    assert_eq!(place.run(&["get", "caf%E9 'quoted'\n.pdf#1", "--image", "a.png"]).code, 0);
    let again = place.json(0, &["index", "--json", "."]);
    assert!(statuses(&again).values().all(|status| status == "skipped"));
}

#[test]
fn a_second_writer_is_told_to_wait() {
    let place = Place::with(&["form.pdf"]);
    place.json(0, &["index", "--json", "."]);
    let lock =
        File::options().write(true).open(place.path().join(".pagesight/write.lock")).unwrap();
    lock.try_lock().unwrap();
    let ran = place.run(&["index", "."]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("is being written by process"), "{}", ran.err);
    // Readers do not wait.
    assert_eq!(place.run(&["query", "travel"]).code, 0);
}

#[test]
fn an_index_of_a_newer_version_is_refused() {
    let place = Place::with(&["form.pdf"]);
    place.json(0, &["index", "--json", "."]);
    let pointer = place.path().join(".pagesight/snapshot.json");
    fs::write(&pointer, "{\"format\": 99, \"other\": \"fields\"}\n").unwrap();
    for verb in [&["index", "."][..], &["query", "x"], &["status"]] {
        let ran = place.run(verb);
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("use a newer pagesight"), "{}", ran.err);
    }
}

#[test]
fn with_a_model_pages_are_found_by_their_looks() {
    let place = Place::with(&["papers/chart.pdf", "form.pdf", "scan.pdf"]);
    // Words first; a model later reads everything again, once.
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    let lines = place.json(0, &["index", "--json", "--no-ocr", "--model", &model(), "."]);
    assert_eq!(of_type(&lines, "summary")[0]["pages"]["indexed"], 7);
    let id = of_type(&lines, "summary")[0]["model_id"].clone();
    assert_eq!(id.as_str().unwrap().len(), 64);
    // The index remembers its model.
    let lines = place.json(0, &["index", "--json", "--no-ocr", "."]);
    assert_eq!(of_type(&lines, "summary")[0]["pages"]["indexed"], 0);
    let lines = place.json(0, &["query", "--json", "--channel", "visual", "a chart"]);
    assert_eq!(hits(&lines).len(), 7, "every page has a MaxSim, the scan too");
    let scores: Vec<f64> =
        of_type(&lines, "hit").iter().map(|h| h["score"].as_f64().unwrap()).collect();
    assert!(scores.windows(2).all(|pair| pair[0] >= pair[1]));
    let summary = of_type(&lines, "summary")[0];
    assert_eq!((&summary["model_id"], &summary["pages_scored"]), (&id, &7.into()));
    let lines = place.json(0, &["query", "--json", "expense"]);
    // The scan, which has no words, goes where its picture puts it: with this model anywhere.
    let by_words = of_type(&lines, "hit").into_iter().find(|hit| hit["text"]["rank"] == 1);
    assert!(by_words.unwrap()["visual"]["rank"].is_u64());

    // Another model, or another grid of the same, does not mix with it.
    let sliced = place.run(&["index", "--model", &model(), "--slices", "2x2", "."]);
    assert_eq!(sliced.code, 2);
    assert!(sliced.err.contains("the index was made with model"), "{}", sliced.err);
    let other = Place::with(&["papers/chart.pdf"]);
    let lines = other.json(0, &["index", "--json", "--model", &model(), "--slices", "2x2", "."]);
    assert_ne!(of_type(&lines, "summary")[0]["model_id"], id);
    assert_eq!(hits(&other.json(0, &["query", "--json", "--channel", "visual", "x"])).len(), 2);
}

#[test]
fn a_run_that_is_killed_goes_on_where_it_was() {
    let files = ["debian/history.pdf", "debian/install-tables.pdf", "slides.pdf", "form.pdf"];
    let clean = Place::with(&files);
    clean.json(0, &["index", "--json", "--model", &model(), "."]);
    let expected = content(&clean);
    let place = Place::with(&files);
    for round in 0..6 {
        let mut command = place.command(&["index", "--quiet", "--model", &model(), "."]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(60 + 130 * round));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    place.json(0, &["index", "--json", "--model", &model(), "."]);
    assert_eq!(content(&place), expected);
}

#[cfg(unix)]
#[test]
fn ctrl_c_commits_what_is_there() {
    let place = Place::new();
    for n in 0..12 {
        // Different bytes, so that each copy is a document of its own.
        let mut bytes = fs::read(fixtures().join("pdf/debian/history.pdf")).unwrap();
        bytes.extend(format!("\n% copy {n}\n").bytes());
        fs::write(place.path().join(format!("{n:02}.pdf")), bytes).unwrap();
    }
    let model = model();
    let mut command =
        place.command(&["index", "--json", "--commit-every", "4", "--model", &model, "."]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // After the first of some sixty commits, so that there is work left on any machine.
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains(r#""type":"commit""#) {
        assert_ne!(out.read_line(&mut text).unwrap(), 0, "no commit: {text}");
    }
    let interrupt =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    out.read_to_string(&mut text).unwrap();
    let status = child.wait().unwrap();
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(status.code(), Some(130), "{text}");
    let before = of_type(&lines, "summary")[0]["pages"]["indexed"].as_u64().unwrap();
    let lines = place.json(0, &["index", "--json", "."]);
    let after = of_type(&lines, "summary")[0]["pages"]["indexed"].as_u64().unwrap();
    // What waited for the encoder is read again; nothing committed is.
    assert!(after <= 12 * 21 - before + 32, "{before} + {after}");
    let status = place.json(0, &["status", "--json"]);
    assert_eq!(of_type(&status, "summary")[0]["pages"], 12 * 21);
}
