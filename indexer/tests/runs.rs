//! Whole runs over folders, with fakes in the place of PDF library, model, OCR and store.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pagesight_core::seam::{Batch, BoxError, PageEncoder, PageSink};
use pagesight_core::testing::{FakeEncoder, FakeOcr, FakePdfReader, FakeStore};
use pagesight_core::{
    DocumentId, DocumentRecord, DocumentStatus, EncodedPage, FailureKind, ModelId, ModelRecord,
    OcrChoice, PageImage, PageSize, PageVectors, PatchLayout, PictureSize, Slices, TextSource,
    VectorError,
};
use pagesight_indexer::{
    AddError, BatchSize, Engines, Event, IndexError, Limits, Outcome, Summary, SyncOptions, add,
    sync,
};

/// A folder, an index of it, and what reads.
struct Place {
    folder: tempfile::TempDir,
    store: FakeStore,
    reader: Arc<FakePdfReader>,
    engines: Engines,
    options: SyncOptions,
}

impl Place {
    fn new() -> Self {
        Self::with(FakePdfReader::default())
    }

    fn with(reader: FakePdfReader) -> Self {
        let reader = Arc::new(reader);
        Self {
            folder: tempfile::tempdir().unwrap(),
            store: FakeStore::default(),
            engines: Engines::new(Arc::clone(&reader) as _),
            reader,
            options: SyncOptions { workers: Some(3), ..SyncOptions::default() },
        }
    }

    fn encoder(&mut self) {
        self.engines.encoder = Some(Arc::new(FakeEncoder::new(8, Slices::grid(2, 1))));
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, pages: &[&str]) {
        fs::write(self.path(name), FakePdfReader::pdf(pages)).unwrap();
    }

    fn run_told(&mut self, tell: &mut dyn FnMut(Event<'_>)) -> Result<Summary, IndexError> {
        let base = self.path("");
        let roots = [base.clone()];
        sync(&mut self.store, &self.engines, &base, &roots, &self.options, tell)
    }

    fn run(&mut self) -> Summary {
        self.run_told(&mut |_| {}).unwrap()
    }

    fn record(&mut self, path: &str) -> Option<DocumentRecord> {
        self.store.documents().unwrap().into_iter().find(|record| record.path == path)
    }

    fn texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.store.pages().into_iter().map(|page| page.text).collect();
        texts.sort();
        texts
    }
}

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

fn counts(summary: &Summary) -> [u64; 5] {
    [
        summary.documents_indexed,
        summary.documents_skipped,
        summary.documents_renamed,
        summary.documents_dropped,
        summary.documents_failed,
    ]
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

/// What fonts with wrong tables make of words is not indexed as it is.
#[test]
fn garbled_text_gives_way_to_what_the_page_shows() {
    const WORDS: &str = "Annual maintenance of hydraulic turbines in the power station, and of the \
        spillway gates which were repaired last autumn";
    let moved: String = WORDS.chars().map(|c| char::from_u32(c as u32 + 4).unwrap()).collect();
    let private = "\u{E012}\u{E013}\u{E014} ".repeat(200);
    let little = "Xli wtmppae} kexiw";
    let ideographs = "乤乥乧乪乮乯乲乴乷乺乻乼乽乿亀亁亄亅";
    let digits = "18429 30017 44298 163";
    let mut place = Place::new();
    place.engines.ocr = Some(Arc::new(FakeOcr::new("turbines as they are seen")));
    place.write("garbled.pdf", &[WORDS, &moved, &private, little, ideographs, digits]);
    place.run();
    let mut pages = place.store.pages();
    pages.sort_by_key(|page| page.id.number);
    let read: Vec<(&str, TextSource)> =
        pages.iter().map(|page| (page.text.as_str(), page.text_source)).collect();
    let expected = [
        (WORDS, TextSource::Layer),
        (WORDS, TextSource::Layer),
        ("turbines as they are seen", TextSource::Ocr),
        ("turbines as they are seen", TextSource::Ocr),
        ("turbines as they are seen", TextSource::Ocr),
        ("turbines as they are seen", TextSource::Ocr),
    ];
    assert_eq!(read, expected);
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
fn pages_get_vectors_with_their_layout() {
    let mut place = Place::new();
    let pages: Vec<String> = (0..20).map(|n| format!("page {n}")).collect();
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    place.write("a.pdf", &pages);
    place.run();
    assert!(place.store.pages().iter().all(|page| page.vectors.is_none()));
    // With a model, the same files are read again.
    place.encoder();
    assert_eq!(counts(&place.run()), [1, 0, 0, 0, 0]);
    let stored = place.store.pages();
    assert_eq!(stored.len(), 20);
    for page in &stored {
        let vectors = page.vectors.as_ref().expect("it was encoded");
        page.layout.as_ref().expect("it has a layout").check(vectors).unwrap();
    }
    assert_ne!(stored[0].vectors, stored[1].vectors);
    assert_eq!(counts(&place.run()), [0, 1, 0, 0, 0]);
    // Without one, vectors that are there are kept.
    place.engines.encoder = None;
    assert_eq!(counts(&place.run()), [0, 1, 0, 0, 0]);
}

/// A model that wants pictures in the shape of the page.
struct Shaped {
    model: ModelId,
    asked: AtomicU32,
}

impl PageEncoder for Shaped {
    fn model_id(&self) -> &ModelId {
        &self.model
    }

    fn dim(&self) -> usize {
        2
    }

    fn picture(&self, page: PageSize) -> PictureSize {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let side = |pt: f32| (pt / 100.0).ceil() as u32;
        PictureSize { width_px: side(page.width_pt), height_px: side(page.height_pt) }
    }

    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError> {
        let encode = |page: &PageImage| {
            let layout = PatchLayout::grid(page.width_px(), page.height_px());
            let rows = [1.0, 0.0].repeat(layout.vectors());
            Ok(EncodedPage::new(PageVectors::from_f32(2, &rows)?, layout)?)
        };
        pages.iter().map(encode).collect()
    }
}

#[test]
fn each_page_is_drawn_in_the_size_that_the_model_wants_of_it() {
    let mut place = Place::new();
    place.write("a.pdf", &["@400x200\nwide", "@200x500\ntall", "@400x200\n"]);
    let shaped = Arc::new(Shaped { model: ModelId("shaped".into()), asked: AtomicU32::new(0) });
    place.engines.encoder = Some(Arc::clone(&shaped) as _);
    place.run();
    let layouts: Vec<_> =
        place.store.pages().into_iter().map(|page| page.layout.unwrap()).collect();
    let expected = [(4, 2), (2, 5), (4, 2)].map(|(cols, rows)| PatchLayout::grid(cols, rows));
    assert_eq!(layouts, expected);
    assert_eq!(shaped.asked.load(Ordering::Relaxed), 3);
}

#[test]
fn pages_without_words_are_read_by_ocr() {
    let mut place = Place::new();
    // White, hardly a word, and enough of them.
    place.write("a.pdf", &["", "- 1 -", "long enough to be the text of a page"]);
    place.run();
    let notes = place.record("a.pdf").unwrap().notes;
    let note = "some pages have no text, and nothing reads them: neither the weights of the \
                embedded reader are there nor tesseract for eng";
    assert_eq!(notes, [note]);
    place.options.ocr = OcrChoice::Off;
    place.write("unasked.pdf", &["", "- 3 -"]);
    place.run();
    assert_eq!(place.record("unasked.pdf").unwrap().notes, [""; 0]);
    place.engines.ocr = Some(Arc::new(FakeOcr::new("words of the scan")));
    place.write("b.pdf", &["", "- 2 -", "again long enough to be the text"]);
    place.run();
    let b = place.record("b.pdf").unwrap();
    assert_eq!(b.notes, [""; 0]);
    let pages = place.store.pages().into_iter().filter(|page| Some(page.id.document) == b.document);
    let read: Vec<_> = pages.map(|page| (page.text, page.text_source)).collect();
    let expected = [
        ("", TextSource::None),
        ("words of the scan", TextSource::Ocr),
        ("again long enough to be the text", TextSource::Layer),
    ];
    assert_eq!(read, expected.map(|(text, source)| (text.to_string(), source)));
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

/// An encoder that answers something else than it was asked.
struct Broken(FakeEncoder, bool);

impl PageEncoder for Broken {
    fn model_id(&self) -> &ModelId {
        self.0.model_id()
    }

    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn picture(&self, page: PageSize) -> PictureSize {
        self.0.picture(page)
    }

    fn encode_pages(&self, _: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError> {
        assert!(self.1, "a panic of the model");
        Ok(Vec::new())
    }
}

#[test]
fn an_encoder_that_fails_ends_the_run_and_names_the_page() {
    for answers in [true, false] {
        let mut place = Place::new();
        place.write("a.pdf", &["apples"]);
        let broken = Broken(FakeEncoder::new(8, Slices::grid(1, 1)), answers);
        place.engines.encoder = Some(Arc::new(broken));
        let error = place.run_told(&mut |_| {}).unwrap_err();
        assert!(
            matches!(&error, IndexError::Encode { path, page: 1, .. } if path == "a.pdf"),
            "{error}"
        );
    }
}

/// What an encoder and a store know of each other.
#[derive(Default)]
struct Meeting {
    /// Pages that were drawn.
    drawn: AtomicU32,
    /// Calls of the encoder that have begun.
    calls: AtomicU32,
    commits: AtomicU32,
}

impl Meeting {
    /// Waits until `count` is at least `least`.
    fn wait(count: &AtomicU32, least: u32, what: &str) -> Result<(), BoxError> {
        let start = Instant::now();
        while count.load(Ordering::SeqCst) < least {
            if start.elapsed() > Duration::from_secs(20) {
                return Err(format!("{what} stood still").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// An encoder whose second call is done when a commit has begun.
struct Meets(FakeEncoder, Arc<Meeting>);

impl PageEncoder for Meets {
    fn model_id(&self) -> &ModelId {
        self.0.model_id()
    }

    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn picture(&self, page: PageSize) -> PictureSize {
        self.1.drawn.fetch_add(1, Ordering::SeqCst);
        self.0.picture(page)
    }

    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError> {
        match self.1.calls.fetch_add(1, Ordering::SeqCst) {
            // The queue from one reader holds two pages: by then the second has left it.
            0 => Meeting::wait(&self.1.drawn, 5, "reading")?,
            1 => Meeting::wait(&self.1.commits, 1, "the store")?,
            _ => {}
        }
        self.0.encode_pages(pages)
    }
}

/// A store whose first commit is done when the encoder has been called again.
struct MeetsAtCommit<'a>(&'a mut FakeStore, Arc<Meeting>);

impl PageSink for MeetsAtCommit<'_> {
    fn documents(&mut self) -> Result<Vec<DocumentRecord>, BoxError> {
        self.0.documents()
    }

    fn commit(&mut self, batch: Batch) -> Result<(), BoxError> {
        Meeting::wait(&self.1.calls, 2, "the encoder")?;
        self.1.commits.fetch_add(1, Ordering::SeqCst);
        self.0.commit(batch)
    }
}

#[test]
fn pages_are_read_and_encoded_while_a_batch_is_committed() {
    let mut place = Place::new();
    let pages = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
    place.write("a.pdf", &pages);
    let meeting = Arc::new(Meeting::default());
    let encoder = FakeEncoder::new(8, Slices::grid(1, 1));
    place.engines.encoder = Some(Arc::new(Meets(encoder, Arc::clone(&meeting))));
    place.options.workers = Some(1);
    place.options.batch.pages = 1;
    let base = place.path("");
    let mut sink = MeetsAtCommit(&mut place.store, Arc::clone(&meeting));
    let roots = [base.clone()];
    sync(&mut sink, &place.engines, &base, &roots, &place.options, &mut |_| {}).unwrap();
    let stored: Vec<String> = place.store.pages().into_iter().map(|page| page.text).collect();
    assert_eq!(stored, pages, "in order, each once");
}

fn encoded(dim: usize, rows: &[f32]) -> EncodedPage {
    let vectors = PageVectors::from_f32(dim, rows).unwrap();
    let layout = PatchLayout::grid(vectors.len() as u32, 1);
    EncodedPage::new(vectors, layout).unwrap()
}

fn model(name: &str) -> ModelRecord {
    ModelRecord::new(ModelId(name.into()), 2)
}

fn add_to(
    place: &mut Place,
    file: &str,
    model: &ModelRecord,
    pages: Vec<EncodedPage>,
) -> Result<DocumentRecord, AddError> {
    let (base, file) = (place.path(""), place.path(file));
    let options = place.options.clone();
    add(&mut place.store, &place.engines, &base, Path::new(&file), model, pages, &options)
}

#[test]
fn vectors_made_elsewhere_come_with_the_words_of_the_pdf() {
    let mut place = Place::new();
    place.write("a.pdf", &["apples of this orchard", "", "!crashed"]);
    place.write("copy.pdf", &["apples of this orchard", "", "!crashed"]);
    place.run();
    place.engines.ocr = Some(Arc::new(FakeOcr::new("never seen on a white page")));
    let pages = || {
        vec![encoded(2, &[1.0, 0.0, 0.6, 0.8]), encoded(2, &[0.0, 1.0]), encoded(2, &[1.0, 0.0])]
    };
    let record = add_to(&mut place, "a.pdf", &model("ours"), pages()).unwrap();
    assert_eq!((record.status, record.pages_indexed), (DocumentStatus::Partial, 2));
    assert_eq!(record.failed_pages[0].page, 3);
    assert_eq!(record.model, Some(ModelId("ours".into())));
    assert_eq!(place.record("a.pdf").unwrap(), record);
    assert_eq!(place.record("copy.pdf").unwrap().model, record.model, "it has the same pages");
    let stored = place.store.pages();
    assert_eq!((stored.len(), stored[0].text.as_str()), (2, "apples of this orchard"));
    assert_eq!(stored[0].vectors, Some(pages()[0].vectors().clone()));
    assert_eq!(stored[0].layout, Some(PatchLayout::grid(2, 1)));
    // Again, it is replaced; a run without a model leaves it as it is.
    add_to(&mut place, "a.pdf", &model("ours"), pages()).unwrap();
    assert_eq!(place.store.pages().len(), 2);
    assert_eq!(counts(&place.run()), [0, 2, 0, 0, 0]);
    assert_eq!(place.store.pages()[0].vectors, Some(pages()[0].vectors().clone()));
}

#[test]
fn vectors_that_do_not_fit_are_refused_and_nothing_is_committed() {
    let mut place = Place::new();
    place.write("a.pdf", &["apples", "pears"]);
    place.write("bad.pdf", &["!timeout"]);
    fs::write(place.path("text.pdf"), "no PDF").unwrap();
    let good = || encoded(2, &[1.0, 0.0]);
    let ours = model("ours");
    let error = add_to(&mut place, "a.pdf", &ours, vec![good()]).unwrap_err();
    assert!(matches!(error, AddError::Pages { expected: 2, got: 1, .. }), "{error}");
    let wide = vec![good(), encoded(3, &[1.0, 0.0, 0.0])];
    let error = add_to(&mut place, "a.pdf", &ours, wide).unwrap_err();
    assert!(matches!(error, AddError::Dim { page: 2, expected: 2, got: 3, .. }), "{error}");
    let long = vec![good(), encoded(2, &[1.0, 0.0, 3.0, 4.0])];
    let error = add_to(&mut place, "a.pdf", &ours, long).unwrap_err();
    let AddError::Vectors { page: 2, source: VectorError::NotUnit { row: 1, .. }, .. } = error
    else {
        panic!("{error}");
    };
    let error = add_to(&mut place, "nowhere.pdf", &ours, vec![good()]).unwrap_err();
    assert!(matches!(error, AddError::File { .. }), "{error}");
    for (file, kind) in [("text.pdf", FailureKind::Damaged), ("bad.pdf", FailureKind::Timeout)] {
        let error = add_to(&mut place, file, &ours, vec![good()]).unwrap_err();
        assert!(
            matches!(&error, AddError::Document { failure, .. } if failure.kind == kind),
            "{error}"
        );
    }
    place.options.stop.store(true, Ordering::Relaxed);
    let error = add_to(&mut place, "a.pdf", &ours, vec![good(), good()]).unwrap_err();
    assert!(matches!(error, AddError::Stopped { .. }), "{error}");
    place.options.stop.store(false, Ordering::Relaxed);
    assert_eq!((place.store.pages().len(), place.store.commits()), (0, 0));
    add_to(&mut place, "a.pdf", &ours, vec![good(), good()]).unwrap();
    let error = add_to(&mut place, "a.pdf", &model("theirs"), vec![good(), good()]).unwrap_err();
    let AddError::Model { expected, got } = error else { panic!("{error}") };
    assert_eq!((expected.0.as_str(), got.0.as_str()), ("ours", "theirs"));
    assert_eq!(place.store.pages().len(), 2);
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
