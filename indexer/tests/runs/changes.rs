//! Folders that change, runs that stop, files that fail.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pagesight_core::testing::FakePdfReader;
use pagesight_core::{DocumentStatus, FailureKind, OcrChoice};
use pagesight_indexer::{BatchSize, Event, IndexError, Limits, Outcome, sync};

use super::{Place, counts};

/// Ctrl-C before the folders were walked: nothing is known of them, so nothing is said or dropped.
#[test]
fn a_run_that_is_stopped_during_the_walk_knows_nothing() {
    let mut place = Place::new();
    place.write("a.pdf", &["apples"]);
    place.run();
    place.write("b.pdf", &["bread"]);
    fs::remove_file(place.path("a.pdf")).unwrap();
    place.options.stop.store(true, Ordering::Relaxed);
    let mut told = 0;
    let summary = place
        .run_told(&mut |event| told += i32::from(!matches!(event, Event::Planned { .. })))
        .unwrap();
    assert!(summary.interrupted);
    assert_eq!((counts(&summary), told, summary.emptied), ([0; 5], 0, Vec::new()));
    assert_eq!(place.texts(), ["apples"]);
}

#[test]
fn a_folder_is_read_once_and_then_followed() {
    let mut place = Place::new();
    place.write("a.pdf", &["apples", "pears"]);
    place.write("b.pdf", &["quinces"]);
    place.write("copy.pdf", &["quinces"]);
    let mut planned = (0, 0);
    let mut told = 0;
    let summary = place.run_told(&mut |event| match event {
        Event::Planned { documents, bytes } => planned = (documents, bytes),
        Event::Page { bytes, .. } | Event::Document { bytes, .. } => told += bytes,
        _ => {}
    });
    assert_eq!(counts(&summary.unwrap()), [2, 0, 1, 0, 0]);
    assert_eq!((planned.0, told), (3, planned.1), "every byte of the plan is reported once");
    assert_eq!(place.texts(), ["apples", "pears", "quinces"]);
    assert_eq!(place.reader.opened(), 2, "equal files are read once");
    // Nothing new, then another name, other bytes, and a file that is gone.
    assert_eq!(counts(&place.run()), [0, 3, 0, 0, 0]);
    fs::rename(place.path("a.pdf"), place.path("z.pdf")).unwrap();
    place.write("b.pdf", &["quinces and", "medlars"]);
    fs::remove_file(place.path("copy.pdf")).unwrap();
    assert_eq!(counts(&place.run()), [1, 0, 1, 2, 0]);
    assert_eq!(place.texts(), ["apples", "medlars", "pears", "quinces and"]);
    assert_eq!(place.reader.opened(), 3);
    assert!(place.record("a.pdf").is_none() && place.record("z.pdf").is_some());
}

/// An empty folder in the place of a full one is more often a drive that is not mounted.
#[test]
fn an_emptied_root_drops_nothing_unless_that_is_meant() {
    let mut place = Place::new();
    let share = place.path("share");
    fs::create_dir(&share).unwrap();
    place.write("share/a.pdf", &["apples"]);
    place.write("share/b.pdf", &["pears"]);
    place.write("other.pdf", &["quinces"]);
    let roots = [share.clone(), place.path("other.pdf")];
    let run = |place: &mut Place, warnings: &mut Vec<String>| {
        let base = place.path("");
        let tell = &mut |event: Event<'_>| {
            if let Event::Warning { text } = event {
                warnings.push(text);
            }
        };
        sync(&mut place.store, &place.engines, &base, &roots, &place.options, tell).unwrap()
    };
    let mut warnings = Vec::new();
    assert_eq!(counts(&run(&mut place, &mut warnings)), [3, 0, 0, 0, 0]);
    let away = place.path("away");
    fs::rename(&share, &away).unwrap();
    fs::create_dir(&share).unwrap();
    let summary = run(&mut place, &mut warnings);
    assert_eq!(counts(&summary), [0, 1, 0, 0, 0], "the other root goes on");
    assert_eq!((summary.emptied[0].root.clone(), summary.emptied[0].documents), (share.clone(), 2));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("share") && warnings[0].contains('2'), "{warnings:?}");
    // Back again, nothing is read.
    fs::remove_dir(&share).unwrap();
    fs::rename(&away, &share).unwrap();
    let summary = run(&mut place, &mut warnings);
    assert_eq!((counts(&summary), summary.emptied.len()), ([0, 3, 0, 0, 0], 0));
    assert_eq!(place.reader.opened(), 3);
    // One of two is gone: that is no empty folder. Then the other, and it is meant.
    fs::remove_file(share.join("a.pdf")).unwrap();
    assert_eq!(counts(&run(&mut place, &mut warnings)), [0, 2, 0, 1, 0]);
    fs::remove_file(share.join("b.pdf")).unwrap();
    place.options.drop_emptied = true;
    let summary = run(&mut place, &mut warnings);
    assert_eq!((counts(&summary), summary.emptied.len()), ([0, 1, 0, 1, 0], 1));
    assert_eq!((place.texts(), warnings.len()), (vec!["quinces".to_string()], 1));
}

/// The same of a folder within a root, such as the place of a drive.
#[test]
fn an_emptied_folder_within_a_root_drops_nothing_unless_that_is_meant() {
    let mut place = Place::new();
    let drive = place.path("home/drive");
    let fill = |place: &Place| {
        fs::create_dir_all(drive.join("2024")).unwrap();
        place.write("home/drive/a.pdf", &["apples"]);
        place.write("home/drive/2024/b.pdf", &["pears"]);
    };
    let empty = || {
        fs::remove_dir_all(&drive).unwrap();
        fs::create_dir_all(&drive).unwrap();
    };
    fill(&place);
    place.write("home/other.pdf", &["quinces"]);
    place.run();
    empty();
    let mut warnings = Vec::new();
    let mut tell = |event: Event<'_>| {
        if let Event::Warning { text } = event {
            warnings.push(text);
        }
    };
    let summary = place.run_told(&mut tell).unwrap();
    assert_eq!(counts(&summary), [0, 1, 0, 0, 0]);
    let emptied = summary.emptied.iter().map(|emptied| (emptied.root.as_path(), emptied.documents));
    assert_eq!(emptied.collect::<Vec<_>>(), [(drive.as_path(), 2)]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("home/drive, which held 2 documents"), "{warnings:?}");
    // A file that says which drive belongs there changes nothing. Back again, nothing is read.
    fs::write(drive.join(".drive"), "archive").unwrap();
    assert_eq!(counts(&place.run()), [0, 1, 0, 0, 0]);
    fill(&place);
    let opened = place.reader.opened();
    let summary = place.run();
    assert_eq!((summary.documents_dropped, summary.emptied.len()), (0, 0));
    assert_eq!((place.reader.opened(), place.texts().len()), (opened, 3));

    // What was moved out of it is missed nowhere; the rest of what it held is one document.
    fs::rename(drive.join("a.pdf"), place.path("home/a.pdf")).unwrap();
    empty();
    let summary = place.run();
    assert_eq!((counts(&summary), summary.emptied.len()), ([0, 1, 1, 2, 0], 0));
    fill(&place);
    place.run();
    // A folder that is deleted is no empty folder, and neither is one that holds something else.
    fs::remove_dir_all(&drive).unwrap();
    let summary = place.run();
    assert_eq!((summary.documents_dropped, summary.emptied.len()), (2, 0));
    fill(&place);
    place.run();
    empty();
    fs::write(drive.join("notes.txt"), "all PDFs are read").unwrap();
    assert_eq!(place.run().documents_dropped, 2);
    fs::remove_file(drive.join("notes.txt")).unwrap();
    fill(&place);
    place.run();
    empty();
    place.options.drop_emptied = true;
    let summary = place.run();
    assert_eq!((summary.documents_dropped, summary.emptied.len()), (2, 1));
}

#[test]
fn what_fails_is_named_with_its_kind() {
    let mut place = Place::new();
    place.write("partial.pdf", &["fine", "!timeout", "!crashed", "also fine"]);
    place.write("none.pdf", &["!crashed"]);
    fs::write(place.path("broken.pdf"), "nothing").unwrap();
    fs::write(place.path("locked.pdf"), FakePdfReader::encrypted_pdf("open", &["x"])).unwrap();
    fs::write(place.path("large.pdf"), vec![b'x'; 2000]).unwrap();
    place.options.limits = Limits { file_bytes: 1000, ..Limits::default() };
    let summary = place.run();
    assert_eq!(counts(&summary), [1, 0, 0, 0, 4]);
    assert_eq!((summary.pages_indexed, summary.pages_failed), (2, 3));
    let paths: Vec<&str> = summary.failures.iter().map(|record| record.path.as_str()).collect();
    assert_eq!(paths, ["broken.pdf", "large.pdf", "locked.pdf", "none.pdf", "partial.pdf"]);
    for (path, status, expected) in [
        ("broken.pdf", DocumentStatus::Failed, FailureKind::Damaged),
        ("large.pdf", DocumentStatus::Failed, FailureKind::TooLarge),
        ("locked.pdf", DocumentStatus::Failed, FailureKind::Encrypted),
        ("none.pdf", DocumentStatus::Failed, FailureKind::Crashed),
    ] {
        let record = place.record(path).unwrap();
        assert_eq!((record.status, record.failure.unwrap().kind), (status, expected), "{path}");
    }
    let partial = place.record("partial.pdf").unwrap();
    assert_eq!((partial.status, partial.failure), (DocumentStatus::Partial, None));
    let failed: Vec<(u32, FailureKind)> =
        partial.failed_pages.iter().map(|failed| (failed.page, failed.failure.kind)).collect();
    assert_eq!(failed, [(2, FailureKind::Timeout), (3, FailureKind::Crashed)]);
    // Nothing has changed, so nothing is tried again; with a password, or when asked, it is.
    assert_eq!(counts(&place.run()), [0, 5, 0, 0, 4]);
    place.options.retry_failed = true;
    assert_eq!(counts(&place.run()), [0, 1, 0, 0, 4]);
    place.options.retry_failed = false;
    place.engines.pdf = Arc::new(FakePdfReader::with_passwords(&["wrong", "open"]));
    assert_eq!(counts(&place.run()), [1, 4, 0, 0, 3]);
    assert_eq!(place.record("locked.pdf").unwrap().status, DocumentStatus::Ok);
    place.options.limits.file_bytes = 10_000;
    place.run();
    let now = place.record("large.pdf").unwrap().failure.unwrap();
    assert_eq!(now.kind, FailureKind::Damaged, "it is read now, and is no PDF");
}

#[test]
fn a_file_that_cannot_be_read_for_a_while_keeps_its_pages() {
    let mut place = Place::new();
    place.write("a.pdf", &["apples"]);
    place.run();
    // It has changed, and is not read: here because it is too large.
    let store = place.store.clone();
    place.options.limits.file_bytes = 3;
    place.write("a.pdf", &["apples and pears"]);
    let summary = place.run();
    assert_eq!(counts(&summary), [0, 0, 0, 0, 1]);
    let record = place.record("a.pdf").unwrap();
    assert_eq!(record.status, DocumentStatus::Ok);
    assert_eq!(record.stale.unwrap().kind, FailureKind::TooLarge);
    assert_eq!(store.pages().len(), 1);
    // The next run looks again.
    place.options.limits = Limits::default();
    assert_eq!(counts(&place.run()), [1, 0, 0, 0, 0]);
    assert_eq!(place.record("a.pdf").unwrap().stale, None);
    assert_eq!(place.texts(), ["apples and pears"]);
}

#[test]
fn limits_leave_out_the_rest_and_say_so() {
    let mut place = Place::new();
    place.write("a.pdf", &["x".repeat(3000).as_str(), "second", "third"]);
    place.options.limits = Limits { pages: 2, text_bytes: 1000, ..Limits::default() };
    place.options.ocr = OcrChoice::Off;
    place.run();
    let record = place.record("a.pdf").unwrap();
    assert_eq!((record.status, record.pages_indexed), (DocumentStatus::Ok, 2));
    let expected = [
        "of 3 pages only the first 2 are read",
        "page 1 has more than 1 KB of text, the rest is left out",
    ];
    assert_eq!(record.notes, expected);
}

#[test]
fn a_stopped_run_is_gone_on_with() {
    let mut place = Place::new();
    let pages: Vec<String> = (0..40).map(|n| format!("page {n}")).collect();
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    place.write("a.pdf", &pages);
    place.write("gone.pdf", &["gone"]);
    place.run();
    place.write("a.pdf", &[&pages[..], &["one more"]].concat());
    fs::remove_file(place.path("gone.pdf")).unwrap();
    place.options.batch = BatchSize { pages: 5, ..BatchSize::default() };
    let stop = Arc::clone(&place.options.stop);
    let summary = place.run_told(&mut |event| {
        if let Event::Committed { .. } = event {
            stop.store(true, Ordering::Relaxed);
        }
    });
    let summary = summary.unwrap();
    assert!(summary.interrupted && summary.pages_indexed < 41, "{summary:?}");
    let record = place.record("a.pdf").unwrap();
    assert_eq!(record.status, DocumentStatus::InProgress);
    assert!(place.record("gone.pdf").is_some(), "a stopped run drops nothing");
    let stored = place.store.pages();
    let done = stored.iter().filter(|page| Some(page.id.document) == record.document).count();
    assert_eq!(done as u32, record.pages_indexed, "ledger and pages are committed together");
    place.options.stop.store(false, Ordering::Relaxed);
    let summary = place.run();
    assert_eq!(summary.pages_indexed + done as u64, 41, "no page is read twice");
    assert_eq!(place.record("a.pdf").unwrap().pages_indexed, 41);
    assert!(place.record("gone.pdf").is_none());
}

#[test]
fn a_missing_root_ends_the_run_and_drops_nothing() {
    let mut place = Place::new();
    place.write("a.pdf", &["apples"]);
    place.run();
    let base = place.path("");
    let missing = [base.join("nowhere")];
    let options = place.options.clone();
    let outcome = sync(&mut place.store, &place.engines, &base, &missing, &options, &mut |_| {});
    assert!(matches!(outcome, Err(IndexError::Root { path, .. }) if path == missing[0]));
    assert_eq!(place.texts(), ["apples"]);
}

#[test]
fn events_say_what_became_of_each_document() {
    let mut place = Place::new();
    place.write("a.pdf", &["apples"]);
    place.write("b.pdf", &["apples"]);
    let mut outcomes = Vec::new();
    let mut listen = |event: Event<'_>| {
        if let Event::Document { record, outcome, .. } = event {
            outcomes.push((record.path.clone(), outcome));
        }
    };
    place.options.workers = Some(1);
    place.run_told(&mut listen).unwrap();
    place.run_told(&mut listen).unwrap();
    // One of the two is read, whichever comes first.
    let (first, second) = outcomes.split_at(2);
    assert!(first[0].1 == Outcome::Indexed && first[1].1 == Outcome::Renamed, "{first:?}");
    let names: BTreeSet<&str> = first.iter().map(|(path, _)| &**path).collect();
    assert_eq!(names, BTreeSet::from(["a.pdf", "b.pdf"]));
    let skipped = ["a.pdf", "b.pdf"].map(|path| (path.to_string(), Outcome::Skipped));
    assert_eq!(second, skipped);
}
