//! PDFs that lie inside other PDFs.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pagesight_core::seam::PageSink;
use pagesight_core::testing::FakePdfReader;
use pagesight_core::{DocumentId, DocumentStatus, FailureKind};
use pagesight_indexer::Event;

use super::Place;

/// Attached PDFs are documents that come, stay, move and go with what carries them.
#[test]
fn attached_pdfs_are_documents_of_their_own() {
    let mut place = Place::new();
    let (annex, plan) = (FakePdfReader::pdf(&["annex"]), FakePdfReader::pdf(&["plan", "map"]));
    let middle = FakePdfReader::carrier_pdf(&["middle"], &[("annex.pdf", &annex)]);
    let attached: [(&str, &[u8]); 3] =
        [("plan.pdf", &plan), ("middle.pdf", &middle), ("plan.pdf", b"torn")];
    let outer = FakePdfReader::carrier_pdf(&["cover"], &attached);
    fs::write(place.path("outer.pdf"), &outer).unwrap();
    place.write("alone.pdf", &["alone"]);
    let paths = |place: &mut Place| {
        let mut paths: Vec<String> =
            place.store.documents().unwrap().into_iter().map(|record| record.path).collect();
        paths.sort();
        paths
    };
    let inner = |outer: &str| {
        ["!2-plan.pdf", "!middle.pdf", "!middle.pdf!annex.pdf", "!plan.pdf"]
            .map(|name| format!("{outer}{name}"))
    };
    let with = |outer: &str, others: &[&str]| {
        let mut paths: Vec<String> = others.iter().map(|path| (*path).into()).collect();
        paths.push(outer.into());
        paths.extend(inner(outer));
        paths.sort();
        paths
    };

    let summary = place.run();
    assert_eq!((summary.documents_indexed, summary.documents_failed), (5, 1));
    assert_eq!(paths(&mut place), with("outer.pdf", &["alone.pdf"]));
    assert_eq!(place.texts(), ["alone", "annex", "cover", "map", "middle", "plan"]);
    let torn = place.record("outer.pdf!2-plan.pdf").unwrap();
    assert_eq!(torn.failure.unwrap().kind, FailureKind::Damaged);
    let note = place.record("outer.pdf").unwrap().notes.join("; ");
    assert!(note.contains("3 attached PDFs are documents of their own"), "{note}");

    // Nothing has changed: nothing is opened, and all is counted.
    let opened = place.reader.opened();
    let summary = place.run();
    assert_eq!((summary.documents_skipped, summary.documents_dropped), (6, 0));
    assert_eq!(place.reader.opened(), opened);

    // It has another name, and is a copy: so is what it carries, and nothing is read.
    fs::rename(place.path("outer.pdf"), place.path("moved.pdf")).unwrap();
    let summary = place.run();
    assert_eq!((summary.documents_renamed, summary.documents_dropped), (5, 5));
    assert_eq!(paths(&mut place), with("moved.pdf", &["alone.pdf"]));
    assert_eq!(place.reader.opened(), opened);
    assert_eq!(place.texts().len(), 6);

    // It carries less than before.
    let less = FakePdfReader::carrier_pdf(&["cover"], &[("plan.pdf", &plan)]);
    fs::write(place.path("moved.pdf"), less).unwrap();
    let summary = place.run();
    assert_eq!(summary.documents_dropped, 3);
    assert_eq!(paths(&mut place), ["alone.pdf", "moved.pdf", "moved.pdf!plan.pdf"]);
    assert_eq!(place.texts(), ["alone", "cover", "map", "plan"]);

    // What cannot be read this time keeps what it carries; what is gone does not.
    place.options.limits.file_bytes = 10;
    fs::write(place.path("moved.pdf"), outer).unwrap();
    place.run();
    assert_eq!(paths(&mut place), ["alone.pdf", "moved.pdf", "moved.pdf!plan.pdf"]);
    fs::remove_file(place.path("moved.pdf")).unwrap();
    place.run();
    assert_eq!(paths(&mut place), ["alone.pdf"]);
    assert_eq!(place.texts(), ["alone"]);
}

/// What a carrier carries is found by its bytes, whatever becomes of its name and its carrier.
#[test]
fn what_is_attached_stays_with_its_carrier_through_changes() {
    let annex = |text: &str| FakePdfReader::pdf(&[text]);
    let middle =
        |text: &str, annex: &[u8]| FakePdfReader::carrier_pdf(&[text], &[("annex.pdf", annex)]);
    let outer =
        |text: &str, middle: &[u8]| FakePdfReader::carrier_pdf(&[text], &[("mid.pdf", middle)]);
    let mid = middle("middle", &annex("annex"));
    let document = |place: &mut Place, path: &str| place.record(path).unwrap().document.unwrap();
    let annex_id = |text: &str| DocumentId::of(&annex(text));

    // A carrier changes, and what it carries, and what that carries, does not.
    let mut place = Place::new();
    place.options.workers = Some(1);
    fs::write(place.path("a.pdf"), outer("one", &mid)).unwrap();
    place.run();
    fs::write(place.path("a.pdf"), outer("another", &mid)).unwrap();
    place.run();
    assert_eq!(document(&mut place, "a.pdf!mid.pdf!annex.pdf"), annex_id("annex"));
    assert_eq!(place.texts(), ["annex", "another", "middle"]);

    // It takes another name, and a document that carries others takes its old one.
    fs::rename(place.path("a.pdf"), place.path("b.pdf")).unwrap();
    fs::write(place.path("a.pdf"), outer("new", &middle("newer", &annex("newest")))).unwrap();
    place.run();
    assert_eq!(document(&mut place, "a.pdf!mid.pdf!annex.pdf"), annex_id("newest"));
    assert_eq!(document(&mut place, "b.pdf!mid.pdf!annex.pdf"), annex_id("annex"));
    assert_eq!(place.texts(), ["annex", "another", "middle", "new", "newer", "newest"]);

    // What it carried is in another carrier, by another name.
    fs::remove_file(place.path("b.pdf")).unwrap();
    place.write("a.pdf", &["bare"]);
    fs::write(place.path("c.pdf"), FakePdfReader::carrier_pdf(&["third"], &[("m.pdf", &mid)]))
        .unwrap();
    place.run();
    assert_eq!(document(&mut place, "c.pdf!m.pdf!annex.pdf"), annex_id("annex"));
    assert_eq!(place.texts(), ["annex", "bare", "middle", "third"]);

    // Copies that come in one run, and what they carry as a file, too.
    let mut place = Place::new();
    for name in ["a.pdf", "b.pdf"] {
        fs::write(place.path(name), outer("one", &mid)).unwrap();
    }
    fs::write(place.path("x.pdf"), &mid).unwrap();
    place.run();
    for path in ["a.pdf!mid.pdf!annex.pdf", "b.pdf!mid.pdf!annex.pdf", "x.pdf!annex.pdf"] {
        assert_eq!(document(&mut place, path), annex_id("annex"), "{path}");
    }
}

/// A file may be called as what another one carries: each has its own record.
#[test]
fn a_file_may_have_the_name_of_what_is_attached() {
    let mut place = Place::new();
    let inner = FakePdfReader::pdf(&["inner"]);
    let outer = FakePdfReader::carrier_pdf(&["outer"], &[("in.pdf", &inner)]);
    fs::write(place.path("a.pdf"), outer).unwrap();
    place.write("a.pdf!in.pdf", &["plain"]);
    place.run();
    let document = |place: &mut Place, path: &str| place.record(path).unwrap().document;
    assert_eq!(document(&mut place, "a.pdf!2-in.pdf"), Some(DocumentId::of(&inner)));
    assert_eq!(place.texts(), ["inner", "outer", "plain"]);
    fs::rename(place.path("a.pdf"), place.path("b.pdf")).unwrap();
    place.run();
    assert_eq!(place.record("b.pdf!in.pdf"), None);
    assert_eq!(document(&mut place, "b.pdf!2-in.pdf"), Some(DocumentId::of(&inner)));
    assert_eq!(place.texts(), ["inner", "outer", "plain"]);
}

/// A run that ends between a carrier's pages and what it carries comes back to it.
#[test]
fn a_stopped_run_comes_back_to_what_is_attached() {
    let mut place = Place::new();
    let plan = FakePdfReader::pdf(&["plan", "map", "legend"]);
    let outer = FakePdfReader::carrier_pdf(&["cover"], &[("plan.pdf", &plan)]);
    fs::write(place.path("outer.pdf"), outer).unwrap();
    for pages in 1..=4 {
        let stop = Arc::clone(&place.options.stop);
        stop.store(false, Ordering::Relaxed);
        let mut seen = 0;
        place
            .run_told(&mut |event| {
                seen += u32::from(matches!(event, Event::Page { .. }));
                if seen == 1 {
                    stop.store(true, Ordering::Relaxed);
                }
            })
            .unwrap();
        assert_eq!(place.texts().len(), pages, "one page a run");
    }
    place.options.stop.store(false, Ordering::Relaxed);
    place.run();
    for path in ["outer.pdf", "outer.pdf!plan.pdf"] {
        assert_eq!(place.record(path).unwrap().status, DocumentStatus::Ok, "{path}");
    }
}

/// A carrier within a carrier without end, and one with more than is read.
#[test]
fn what_is_attached_is_read_within_limits() {
    let mut place = Place::new();
    let mut deep = FakePdfReader::pdf(&["the deepest"]);
    for level in (0..6).rev() {
        let page = format!("level {level}");
        deep = FakePdfReader::carrier_pdf(&[&page], &[("in.pdf", &deep)]);
    }
    fs::write(place.path("deep.pdf"), deep).unwrap();
    let many: Vec<(String, Vec<u8>)> = (0..600)
        .map(|n| (format!("{n}.pdf"), FakePdfReader::pdf(&[&format!("number {n}")])))
        .collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(name, pdf)| (&**name, &**pdf)).collect();
    fs::write(place.path("many.pdf"), FakePdfReader::carrier_pdf(&["many"], &many)).unwrap();
    place.run();
    let deepest = place.record("deep.pdf!in.pdf!in.pdf!in.pdf").unwrap();
    assert!(deepest.notes.join("; ").contains("without end"), "{:?}", deepest.notes);
    assert_eq!(place.record("deep.pdf!in.pdf!in.pdf!in.pdf!in.pdf"), None);
    let note = place.record("many.pdf").unwrap().notes.join("; ");
    assert!(note.contains("of 600 attached PDFs only the first 500 are read"), "{note}");
    assert!(
        place.record("many.pdf!499.pdf").is_some() && place.record("many.pdf!500.pdf").is_none()
    );
}
