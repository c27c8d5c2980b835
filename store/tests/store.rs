//! The store on disk: the seams' contract, and what survives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use pagesight_core::seam::{Batch, PageSink, TextIndex, VectorSource};
use pagesight_core::testing::{document_record, page_record, store_contract};
use pagesight_core::{
    DocumentId, Failure, FailureKind, ModelId, ModelRecord, ModelSource, PageFailure, PageId,
    PatchLayout, Quality, Run, VectorError,
};
use pagesight_store::{Compact, Reader, StoreError, Tuning, Writer};

struct Place {
    folder: PathBuf,
    _dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { folder: dir.path().join("index"), _dir: dir }
    }

    fn create(&self) -> Writer {
        Writer::create(&self.folder).unwrap()
    }

    fn write(&self) -> Result<Writer, StoreError> {
        Writer::open(&self.folder)
    }

    fn read(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.folder)
    }
}

fn model(id: &str) -> ModelRecord {
    model_of(id, 2)
}

fn model_of(id: &str, dim: usize) -> ModelRecord {
    ModelRecord::new(ModelId(id.into()), dim)
}

fn document(name: &str, pages: u32, words: &str) -> Batch {
    let id = DocumentId::of(name.as_bytes());
    let page = |n| page_record(id, n, &format!("{words} page{n}"), Some((2, &[1.0, n as f32])));
    Batch {
        documents: vec![document_record(name, id, pages)],
        pages: (1..=pages).map(page).collect(),
        ..Batch::default()
    }
}

/// Everything that a reader sees.
fn content(reader: &Reader) -> (Vec<String>, BTreeMap<PageId, usize>, usize) {
    let mut pages = BTreeMap::new();
    let visit = &mut |batch: &[(PageId, pagesight_core::PageVectors)]| {
        pages.extend(batch.iter().map(|(id, vectors)| (*id, vectors.len())));
    };
    reader.scan(None, visit).unwrap();
    let paths = reader.documents().unwrap().into_iter().map(|d| d.path).collect();
    (paths, pages, reader.search_text("words", 100, None).unwrap().pages.len())
}

#[test]
fn the_store_keeps_the_contract_of_the_seams() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m")).unwrap();
    store_contract(writer, |_| place.read().unwrap());
}

#[test]
fn pages_with_hardly_a_word_are_known() {
    let place = Place::new();
    let id = DocumentId::of(b"a");
    let words = ["a page of some more words than a stamp has", "received 2024", ""];
    let pages = (1..).zip(words).map(|(n, text)| page_record(id, n, text, None)).collect();
    let documents = vec![document_record("a b c d e f g h i j.pdf", id, 3)];
    place.create().commit(Batch { documents, pages, ..Batch::default() }).unwrap();
    let page = |number| PageId { document: id, number };
    let all = [1, 2, 3, 4].map(page);
    let wordless = place.read().unwrap().wordless(&all).unwrap();
    assert_eq!(wordless, std::collections::HashSet::from([2, 3].map(page)));
}

#[test]
fn a_reader_keeps_its_snapshot_while_a_writer_goes_on() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m")).unwrap();
    writer.commit(document("a.pdf", 3, "words")).unwrap();
    let reader = place.read().unwrap();
    let before = content(&reader);
    let dropped_paths = vec!["a.pdf".to_string()];
    writer.commit(Batch { dropped_paths, ..document("b.pdf", 90, "words") }).unwrap();
    writer.maintain(&AtomicBool::new(false)).unwrap();
    assert_eq!(content(&reader), before);
    let after = content(&place.read().unwrap());
    assert_eq!((after.0, after.1.len(), after.2), (vec!["b.pdf".to_string()], 90, 90));
}

#[test]
fn a_commit_that_was_cut_off_before_the_pointer_is_undone() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m")).unwrap();
    writer.commit(document("a.pdf", 3, "words")).unwrap();
    let before = content(&place.read().unwrap());
    let pointer = place.folder.join("snapshot.json");
    let published = fs::read(&pointer).unwrap();
    // What a reader holds stays on disk.
    let reader = place.read().unwrap();
    let dropped_paths = vec!["a.pdf".to_string()];
    writer.commit(Batch { dropped_paths, ..document("b.pdf", 2, "words") }).unwrap();
    drop((writer, reader));
    // As if the machine had stopped before the rename.
    fs::write(&pointer, published).unwrap();
    assert_eq!(content(&place.read().unwrap()), before);
    let mut writer = place.write().unwrap();
    assert_eq!(content(&place.read().unwrap()), before);
    writer.commit(document("c.pdf", 1, "words")).unwrap();
    let (paths, pages, words) = content(&place.read().unwrap());
    assert_eq!((paths.join(" "), pages.len(), words), ("a.pdf c.pdf".into(), 4, 4));
}

#[test]
fn a_commit_that_fails_leaves_the_index_as_it_was() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m")).unwrap();
    writer.commit(document("a.pdf", 2, "words")).unwrap();
    // The pointer's temporary file cannot be written where a folder stands.
    let blocked = place.folder.join("snapshot.json.new");
    fs::create_dir(&blocked).unwrap();
    assert!(writer.commit(document("b.pdf", 2, "words")).is_err());
    assert_eq!(content(&place.read().unwrap()).0, ["a.pdf"]);
    fs::remove_dir(&blocked).unwrap();
    writer.commit(document("c.pdf", 2, "words")).unwrap();
    let (paths, pages, words) = content(&place.read().unwrap());
    assert_eq!((paths.join(" "), pages.len(), words), ("a.pdf c.pdf".into(), 4, 4));
}

#[test]
fn the_second_writer_is_told_who_the_first_is() {
    let place = Place::new();
    let writer = place.create();
    match place.write().map(drop) {
        Err(StoreError::Locked { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("{other:?}"),
    }
    drop(writer);
    place.write().unwrap();
    let again = Writer::create(&place.folder);
    assert!(matches!(again.map(drop), Err(StoreError::Exists { .. })));
}

#[test]
fn what_is_no_index_or_a_newer_one_is_named() {
    let place = Place::new();
    assert!(matches!(place.read().map(drop), Err(StoreError::Missing { .. })));
    drop(place.create());
    let pointer = place.folder.join("snapshot.json");
    fs::write(&pointer, r#"{"format": 99, "other": "fields"}"#).unwrap();
    assert!(matches!(
        place.read().map(drop),
        Err(StoreError::NewerFormat { got: 99, expected: pagesight_store::FORMAT, .. })
    ));
    fs::write(&pointer, "{\"format\": 1, ").unwrap();
    assert!(matches!(place.write().map(drop), Err(StoreError::Pointer { .. })));
}

#[test]
fn a_model_and_its_dim_are_kept() {
    let place = Place::new();
    let mut writer = place.create();
    // Words first, a model of another dim later: the words stay.
    let id = DocumentId::of(b"w");
    let words = Batch {
        documents: vec![document_record("w.pdf", id, 1)],
        pages: vec![page_record(id, 1, "words alone", None)],
        ..Batch::default()
    };
    writer.commit(words).unwrap();
    writer.set_model(model("m")).unwrap();
    let mut batch = document("a.pdf", 1, "words");
    batch.documents[0].model = Some(ModelId("m".into()));
    writer.commit(batch).unwrap();
    let (_, pages, words) = content(&place.read().unwrap());
    assert_eq!((pages.len(), words), (1, 2));
    assert!(matches!(writer.set_model(model("n")), Err(StoreError::OtherModel { .. })));
    assert!(matches!(
        writer.set_model(model_of("m", 3)),
        Err(StoreError::OtherDim { expected: 2, got: 3, .. })
    ));
    let wide = page_record(id, 2, "", Some((3, &[1.0, 0.0, 0.0])));
    let error = writer.commit(Batch { pages: vec![wide], ..Batch::default() });
    assert!(error.unwrap_err().to_string().contains("dim 2"));
}

#[test]
fn pages_are_the_same_by_a_filter_and_by_their_places() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m")).unwrap();
    for name in ["a.pdf", "b.pdf", "c.pdf"] {
        writer.commit(document(name, 20, name)).unwrap();
    }
    let check = |expected: usize| {
        let reader = place.read().unwrap();
        let mut ids: Vec<PageId> = content(&reader).1.into_keys().rev().collect();
        assert_eq!(ids.len(), expected);
        ids.insert(7, PageId { document: DocumentId::of(b"another"), number: 1 });
        let vectors = || {
            let mut found = reader.vectors_of(&ids).unwrap();
            found.sort_by_key(|(id, _)| *id);
            found
        };
        // The first call filters.
        let (pages, all) = (reader.pages(&ids).unwrap(), vectors());
        assert_eq!((pages.len(), all.len()), (expected, expected));
        ids.remove(7);
        assert!(pages.iter().map(|page| page.id).eq(ids.iter().copied()));
        assert!(all.iter().all(|(id, page)| page.values()[1].to_f32() == id.number as f32));
        assert_eq!(reader.pages(&ids).unwrap(), pages);
        assert_eq!(place.read().unwrap().vectors_of(&ids).unwrap().len(), expected);
        assert!(reader.pages(&[]).unwrap().is_empty());
    };
    check(60);
    // Rows that are gone, and rows that moved.
    let dropped_paths = vec!["a.pdf".to_string()];
    writer.commit(Batch { dropped_paths, ..document("d.pdf", 90, "words") }).unwrap();
    check(130);
    writer.maintain(&AtomicBool::new(false)).unwrap();
    check(130);
}

#[test]
fn a_renamed_document_is_found_by_its_new_name() {
    let place = Place::new();
    let mut writer = place.create();
    let id = DocumentId::of(b"x");
    let page = page_record(id, 1, "some text", None);
    let documents = vec![document_record("old-quince.pdf", id, 1)];
    writer.commit(Batch { documents, pages: vec![page], ..Batch::default() }).unwrap();
    let found = |query| place.read().unwrap().search_text(query, 9, None).unwrap().pages.len();
    assert_eq!((found("quince"), found("medlar")), (1, 0));
    writer
        .commit(Batch {
            documents: vec![document_record("NewMedlar.pdf", id, 1)],
            dropped_paths: vec!["old-quince.pdf".into()],
            ..Batch::default()
        })
        .unwrap();
    assert_eq!((found("quince"), found("medlar"), found("text")), (0, 1, 1));
}

#[test]
fn changed_bytes_are_never_given_out_as_a_page() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m")).unwrap();
    writer.commit(document("a.pdf", 40, "words")).unwrap();
    drop(writer);
    let good = place.read().unwrap();
    let ids: Vec<PageId> = content(&good).1.into_keys().collect();
    let pages = good.pages(&ids).unwrap();
    let vectors = content(&good).1;
    let data = fs::read_dir(place.folder.join("pages.lance/data")).unwrap();
    let file = data.map(|entry| entry.unwrap().path()).next().unwrap();
    let sound = fs::read(&file).unwrap();
    let mut seen = 0;
    for at in (0..sound.len()).step_by(sound.len() / 60) {
        flip(&file, &sound, at);
        let Ok(reader) = place.read() else {
            seen += 1;
            continue;
        };
        let mut scanned = BTreeMap::new();
        let scan = reader.scan(None, &mut |batch| {
            scanned.extend(batch.iter().map(|(id, v)| (*id, v.len())));
        });
        // By a filter, and by places.
        match (scan, reader.pages(&ids), reader.pages(&ids)) {
            // Padding was hit, or the page count of a chunk's statistics: nothing differs.
            (Ok(()), Ok(read), Ok(again)) => {
                assert_eq!((read, scanned), (pages.clone(), vectors.clone()));
                assert_eq!(again, pages);
            }
            _ => seen += 1,
        }
    }
    assert!(seen > 10, "{seen} of 60 flips were seen");
}

fn flip(file: &Path, sound: &[u8], at: usize) {
    let mut bytes = sound.to_vec();
    bytes[at] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

fn cost() -> Compact {
    Compact::new(Quality { overlap10: 0.93, ndcg_ratio: 0.99, questions: 50 }, 2)
}

#[test]
fn a_compact_index_has_its_vectors_in_codes_and_what_comes_later_too() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m")).unwrap();
    assert!(!writer.compact(cost()).unwrap(), "nothing to make compact");
    writer.commit(document("a", 3, "words")).unwrap();
    let before = content(&place.read().unwrap());
    let old = place.read().unwrap();
    assert!(writer.compact(cost()).unwrap());
    assert!(!writer.compact(cost()).unwrap(), "it is already");
    let reader = place.read().unwrap();
    assert_eq!(content(&reader), before);
    assert_eq!(reader.snapshot().compact(), Some(&cost()));
    // The snapshot before is whole for who holds it.
    assert_eq!(content(&old), before);
    assert_eq!(old.snapshot().compact(), None);
    let id = |name: &str, number| PageId { document: DocumentId::of(name.as_bytes()), number };
    let near = |reader: &Reader, page: PageId| {
        let found = reader.vectors_of(&[page, id("none", 1)]).unwrap();
        assert_eq!(found.len(), 1);
        let values: Vec<f32> = found[0].1.values().iter().map(|v| v.to_f32()).collect();
        assert!((values[0] - 1.0).abs() < 0.01, "{values:?}");
        assert!((values[1] - page.number as f32).abs() < 0.1, "{values:?}");
    };
    near(&reader, id("a", 2));
    // Later pages, with places, and one that goes.
    let mut later = document("b", 4, "words");
    let placed = later.pages[2].vectors.take().unwrap().with_places(vec![77]).unwrap();
    later.pages[2].vectors = Some(placed);
    later.pages[2].layout = Some(PatchLayout::grid(10, 10));
    later.dropped_paths = vec!["a".into()];
    writer.commit(later).unwrap();
    drop(writer);
    place.write().unwrap().maintain(&AtomicBool::new(false)).unwrap();
    let reader = place.read().unwrap();
    let (paths, pages, words) = content(&reader);
    assert_eq!((paths, pages.len(), words), (vec!["b".to_string()], 4, 4));
    near(&reader, id("b", 4));
    let placed = reader.vectors_of(&[id("b", 3)]).unwrap().remove(0).1;
    assert_eq!(placed.places(), Some(&[77][..]));
    assert!(reader.vectors_of(&[id("a", 1)]).unwrap().is_empty());
}

/// OCR reads pages when all else is done: their vectors, and the codes of these, stay as they are.
#[test]
fn other_words_leave_vectors_and_codes_alone() {
    for is_compact in [false, true] {
        let place = Place::new();
        let mut writer = place.create();
        writer.set_model(model("m")).unwrap();
        let mut laid_out = document("a", 3, "words");
        laid_out.pages.iter_mut().for_each(|page| page.layout = Some(PatchLayout::grid(1, 1)));
        writer.commit(laid_out).unwrap();
        if is_compact {
            writer.compact(cost()).unwrap();
        }
        let (before, codes) = (place.read().unwrap(), codes(&place.folder));
        let id = DocumentId::of(b"a");
        let reworded = |n| page_record(id, n, "what was read on it", None);
        let words = vec![reworded(1), reworded(3)];
        writer.commit(Batch { words, ..Batch::default() }).unwrap();
        let after = place.read().unwrap();
        let pages: Vec<PageId> = (1..=3).map(|number| PageId { document: id, number }).collect();
        let vectors = |reader: &Reader| BTreeMap::from_iter(reader.vectors_of(&pages).unwrap());
        assert_eq!(vectors(&after), vectors(&before));
        assert_eq!(content(&after).1, content(&before).1);
        let found = |words: &str| after.search_text(words, 9, None).unwrap().pages.len();
        assert_eq!((found("read"), found("words")), (2, 1));
        let layouts: Vec<_> =
            after.pages(&pages).unwrap().into_iter().map(|page| page.layout).collect();
        assert_eq!(layouts, vec![Some(PatchLayout::grid(1, 1)); 3]);
        assert_eq!(self::codes(&place.folder), codes);
        let found = pagesight_store::verify(&place.folder).unwrap();
        assert!(found.damage.is_empty(), "{found:?}");
    }
}

/// The files of codes.
fn codes(index: &Path) -> Vec<String> {
    let files = fs::read_dir(index.join("codes")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn another_model_begins_with_whole_vectors() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m")).unwrap();
    let mut encoded = document("a", 3, "words");
    encoded.documents[0].model = Some(ModelId("m".into()));
    writer.commit(encoded).unwrap();
    assert!(writer.compact(cost()).unwrap());
    assert!(writer.set_model(model("other")).is_err(), "its vectors are there");
    writer.commit(Batch { dropped_paths: vec!["a".into()], ..Batch::default() }).unwrap();
    writer.set_model(model("other")).unwrap();
    assert_eq!(writer.snapshot().compact(), None);
    writer.commit(document("b", 2, "words")).unwrap();
    let reader = place.read().unwrap();
    let page = PageId { document: DocumentId::of(b"b"), number: 2 };
    let vectors = reader.vectors_of(&[page]).unwrap().remove(0).1;
    assert_eq!(vectors.values().iter().map(|v| v.to_f32()).collect::<Vec<_>>(), [1.0, 2.0]);
}

/// What a model of many shapes gives: each page has its own layout.
fn laid_out() -> Batch {
    let mut batch = document("a", 3, "words");
    let placed = batch.pages[1].vectors.take().unwrap().with_places(vec![5]).unwrap();
    batch.pages[1].vectors = Some(placed);
    batch.pages[1].layout = Some(PatchLayout::new(vec![
        Run::Text(3),
        Run::Patches {
            cols: 2,
            rows: 3,
            area: pagesight_core::Area { x0: 1.0 / 3.0, y0: 0.1, x1: 2.0 / 3.0, y1: 0.7 },
            row_end: 1,
        },
    ]));
    batch.pages[2].layout = None;
    batch
}

#[test]
fn each_page_keeps_its_layout_through_everything() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m")).unwrap();
    writer.commit(laid_out()).unwrap();
    let expected = laid_out().pages;
    let ids: Vec<PageId> = expected.iter().map(|page| page.id).collect();
    let check = |what: &str| {
        let reader = place.read().unwrap();
        assert_eq!(reader.pages_with_vectors(&ids).unwrap(), expected, "{what}");
        // By row ids, the second time.
        assert_eq!(reader.pages_with_vectors(&ids).unwrap(), expected, "{what}");
        let bare = reader.pages(&ids[1..2]).unwrap().remove(0);
        assert_eq!((bare.vectors, bare.layout), (None, expected[1].layout.clone()), "{what}");
        let scanned = content(&reader).1;
        assert!(scanned.keys().eq(ids.iter()), "{what}");
        let damage = pagesight_store::verify(&place.folder).unwrap().damage;
        assert!(damage.is_empty(), "{what}: {damage:?}");
    };
    check("committed");
    let renamed = Batch {
        documents: vec![document_record("b", ids[0].document, 3)],
        dropped_paths: vec!["a".into()],
        ..Batch::default()
    };
    writer.commit(renamed).unwrap();
    for n in 0..12 {
        let name = format!("more{n}");
        writer.commit(document(&name, 1, "words")).unwrap();
        let dropped_paths = vec![name];
        writer.commit(Batch { dropped_paths, ..Batch::default() }).unwrap();
    }
    writer.maintain(&AtomicBool::new(false)).unwrap();
    drop(writer);
    check("joined");
    let export = place.folder.with_extension("export");
    pagesight_store::export(&place.folder, &export).unwrap();
    fs::remove_dir_all(&place.folder).unwrap();
    pagesight_store::import(&place.folder, &export).unwrap();
    check("moved");
    // Residual codes keep where vectors stand, and about what they are.
    assert!(place.write().unwrap().compact(cost()).unwrap());
    let pages = place.read().unwrap().pages_with_vectors(&ids).unwrap();
    for (page, expected) in pages.iter().zip(&expected) {
        assert_eq!(page.layout, expected.layout);
        let places = |page: &pagesight_core::PageRecord| {
            page.vectors.as_ref().unwrap().places().map(<[u32]>::to_vec)
        };
        assert_eq!(places(page), places(expected));
    }
}

/// The layout of 17 slices is 1.6 kB of JSON, in every row.
#[test]
fn a_layout_that_pages_share_takes_hardly_any_room() {
    let bytes_of = |layout: Option<PatchLayout>| -> u64 {
        let place = Place::new();
        let mut writer = place.create();
        let mut batch = document("a", 512, "words");
        for page in &mut batch.pages {
            page.vectors = None;
            page.layout.clone_from(&layout);
        }
        writer.commit(batch).unwrap();
        let data = fs::read_dir(place.folder.join("pages.lance/data")).unwrap();
        data.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    };
    let layout = PatchLayout::slices(&"1x1+4x4".parse().unwrap(), 32, 6);
    let per_page = (bytes_of(Some(layout)) - bytes_of(None)) as f64 / 512.0;
    println!("{per_page:.1} bytes a page");
    assert!(per_page < 32.0, "{per_page} bytes a page");
}

#[test]
fn what_the_ledger_says_of_failures_comes_back() {
    let place = Place::new();
    let mut writer = place.create();
    let id = DocumentId::of(b"a");
    let mut record = document_record("a.pdf", id, 3);
    record.failed_pages = vec![
        PageFailure::new(2, Failure::new(FailureKind::Timeout, "took longer than 9 s")),
        PageFailure::lost(3),
    ];
    record.waiting_pages = vec![1];
    record.stale = Some(Failure::new(FailureKind::Unreadable, "cannot be read"));
    let mut failed = document_record("b.pdf", id, 0);
    failed.document = None;
    failed.failure = Some(Failure::new(FailureKind::Encrypted, "no password fits"));
    let records = vec![record, failed];
    writer.commit(Batch { documents: records.clone(), ..Batch::default() }).unwrap();
    assert_eq!(place.read().unwrap().documents().unwrap(), records);
    drop(writer);
    assert_eq!(place.write().unwrap().documents().unwrap(), records);
}

#[test]
fn what_the_index_remembers_comes_back() {
    let place = Place::new();
    let mut writer = place.create();
    let mut hub = model("m");
    hub.source =
        Some(ModelSource::Hub { name: "vidore/colpali".into(), revision: Some("v1".into()) });
    hub.base = Some(ModelSource::Folder("/base".into()));
    hub.recipe = Some("{}".into());
    hub.fusion.visual_margin = 0.1;
    writer.set_model(hub.clone()).unwrap();
    let quality = Quality { overlap10: 0.987654, ndcg_ratio: 1.0, questions: 9 };
    let tuning = Tuning::new(Some(200), quality, 2);
    writer.set_tuning(Some(tuning.clone())).unwrap();
    drop(writer);
    let reader = place.read().unwrap();
    let snapshot = reader.snapshot();
    assert_eq!((snapshot.model(), snapshot.tuning()), (Some(&hub), Some(&tuning)));
    assert_eq!((snapshot.number(), snapshot.format()), (3, pagesight_store::FORMAT));
    assert_eq!((snapshot.documents(), snapshot.pages(), snapshot.dim()), (0, 0, 2));
    assert_eq!((snapshot.slices(), snapshot.compact()), (None, None));
    assert!(snapshot.bytes() > 0 && snapshot.created_s() > 1_600_000_000);
}

#[test]
fn pages_that_do_not_fit_the_index_are_refused_and_nothing_changes() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m")).unwrap();
    writer.commit(document("a", 1, "words")).unwrap();
    let before = content(&place.read().unwrap());
    let refused = |writer: &mut Writer, change: &dyn Fn(&mut Batch)| {
        let mut batch = document("b", 2, "words");
        change(&mut batch);
        *writer.commit(batch).unwrap_err().downcast::<StoreError>().unwrap()
    };
    let b = |number| PageId { document: DocumentId::of(b"b"), number };

    let wide = page_record(b(2).document, 2, "", Some((3, &[1.0, 0.0, 0.0])));
    let error = refused(&mut writer, &|batch| batch.pages[1] = wide.clone());
    assert!(matches!(error, StoreError::OtherDim { expected: 2, got: 3, .. }), "{error}");

    let error = refused(&mut writer, &|batch| batch.documents[0].model = Some(ModelId("n".into())));
    let StoreError::OtherModel { expected, got, .. } = error else { panic!("{error}") };
    assert_eq!((expected.0.as_str(), got.0.as_str()), ("m", "n"));

    let error =
        refused(&mut writer, &|batch| batch.pages[1].layout = Some(PatchLayout::grid(2, 2)));
    let StoreError::Vectors { page, source, .. } = error else { panic!("{error}") };
    assert_eq!((page, source), (b(2), VectorError::Layout { expected: 4, got: 1 }));

    let error = refused(&mut writer, &|batch| {
        let placed = batch.pages[0].vectors.take().unwrap().with_places(vec![7]).unwrap();
        batch.pages[0].vectors = Some(placed);
    });
    let StoreError::Vectors { page, source, .. } = error else { panic!("{error}") };
    assert_eq!((page, source), (b(1), VectorError::PlaceOutside { row: 0, place: 7, vectors: 1 }));

    assert_eq!(content(&place.read().unwrap()), before);
    writer.commit(document("b", 2, "words")).unwrap();
    assert_eq!(content(&place.read().unwrap()).1.len(), 3);
}

/// All that a program does with an index, on whatever thread it is called.
fn whole_life() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m")).unwrap();
    writer.commit(document("a.pdf", 70, "words")).unwrap();
    let reader = place.read().unwrap();
    assert_eq!(content(&reader).1.len(), 70);
    writer.commit(document("b.pdf", 2, "words")).unwrap();
    let newer = reader.newer().unwrap().unwrap();
    assert_eq!(content(&newer).1.len(), 72);
    assert!(newer.newer().unwrap().is_none());
    let ids: Vec<PageId> = content(&newer).1.into_keys().collect();
    assert_eq!(newer.vectors_of(&ids).unwrap().len(), 72);
    assert_eq!(newer.pages(&ids).unwrap().len(), 72);
    writer.maintain(&AtomicBool::new(false)).unwrap();
    drop(writer);
    assert!(pagesight_store::verify(&place.folder).unwrap().damage.is_empty());
    assert_eq!(pagesight_store::repair(&place.folder).unwrap().mended, [] as [String; 0]);
    let export = place.folder.with_extension("export");
    pagesight_store::export(&place.folder, &export).unwrap();
    pagesight_store::import(&place.folder.with_extension("copy"), &export).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_task_of_a_multi_thread_runtime_may_do_everything() {
    whole_life();
    tokio::spawn(async { whole_life() }).await.unwrap();
    tokio::task::spawn_blocking(whole_life).await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_task_of_a_current_thread_runtime_may_do_everything() {
    whole_life();
    tokio::task::spawn_blocking(whole_life).await.unwrap();
}

#[test]
fn what_a_runtime_holds_is_dropped_with_it() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m")).unwrap();
    writer.commit(document("a", 1, "words")).unwrap();
    let reader = std::sync::Arc::new(place.read().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let held = std::sync::Arc::clone(&reader);
    runtime.spawn(async move {
        // As a server's state, at shutdown.
        let _held = (held, writer);
        std::future::pending::<()>().await;
    });
    drop(runtime);
    assert_eq!(content(&reader).1.len(), 1);
}
