//! The store on disk: the seams' contract, and what survives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use pagesight_core::seam::{Batch, PageSink, TextIndex, VectorSource};
use pagesight_core::testing::{document_record, page_record, store_contract};
use pagesight_core::{DocumentId, ModelId, PageId, PatchGrid, Slices};
use pagesight_store::{BlockingReader, BlockingWriter, Compact, StoreError, StoredModel};
use tokio::runtime::Runtime;

struct Place {
    folder: PathBuf,
    runtime: Runtime,
    _dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { folder: dir.path().join("index"), runtime: Runtime::new().unwrap(), _dir: dir }
    }

    fn create(&self) -> BlockingWriter {
        BlockingWriter::create(&self.folder, self.runtime.handle().clone()).unwrap()
    }

    fn write(&self) -> Result<BlockingWriter, StoreError> {
        BlockingWriter::open(&self.folder, self.runtime.handle().clone())
    }

    fn read(&self) -> Result<BlockingReader, StoreError> {
        BlockingReader::open(&self.folder, self.runtime.handle().clone())
    }
}

fn model(id: &str) -> StoredModel {
    let grid = PatchGrid { slices: Slices::default(), side: 1, text: 0 };
    StoredModel { id: ModelId(id.into()), folder: "/model".into(), grid, recipe: None, base: None }
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
fn content(reader: &BlockingReader) -> (Vec<String>, BTreeMap<PageId, usize>, usize) {
    let mut pages = BTreeMap::new();
    let visit = &mut |batch: &[(PageId, pagesight_core::PageVectors)]| {
        pages.extend(batch.iter().map(|(id, vectors)| (*id, vectors.len())));
    };
    reader.scan(None, visit).unwrap();
    let paths = reader.documents().unwrap().into_iter().map(|d| d.path).collect();
    (paths, pages, reader.search_text("words", 100, None).unwrap().len())
}

#[test]
fn the_store_keeps_the_contract_of_the_seams() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m"), 2).unwrap();
    store_contract(writer, |_| place.read().unwrap());
}

#[test]
fn pages_with_hardly_a_word_are_told_apart() {
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
    writer.set_model(model("m"), 2).unwrap();
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
    writer.set_model(model("m"), 2).unwrap();
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
    writer.set_model(model("m"), 2).unwrap();
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
    let again = BlockingWriter::create(&place.folder, place.runtime.handle().clone());
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
    writer.set_model(model("m"), 2).unwrap();
    let mut batch = document("a.pdf", 1, "words");
    batch.documents[0].model = Some(ModelId("m".into()));
    writer.commit(batch).unwrap();
    let (_, pages, words) = content(&place.read().unwrap());
    assert_eq!((pages.len(), words), (1, 2));
    assert!(matches!(writer.set_model(model("n"), 2), Err(StoreError::OtherModel { .. })));
    assert!(matches!(
        writer.set_model(model("m"), 3),
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
    writer.set_model(model("m"), 2).unwrap();
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
    let found = |query| place.read().unwrap().search_text(query, 9, None).unwrap().len();
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
    writer.set_model(model("m"), 2).unwrap();
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
    Compact { overlap10: 0.93, ndcg_ratio: 0.99, questions: 50, snapshot: 2 }
}

#[test]
fn a_compact_index_has_its_vectors_in_codes_and_what_comes_later_too() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m"), 2).unwrap();
    assert!(!writer.compact(cost()).unwrap(), "nothing to make compact");
    writer.commit(document("a", 3, "words")).unwrap();
    let before = content(&place.read().unwrap());
    let old = place.read().unwrap();
    assert!(writer.compact(cost()).unwrap());
    assert!(!writer.compact(cost()).unwrap(), "it is already");
    let reader = place.read().unwrap();
    assert_eq!(content(&reader), before);
    assert_eq!(reader.snapshot().compact, Some(cost()));
    // The snapshot before is whole for who holds it.
    assert_eq!(content(&old), before);
    assert_eq!(old.snapshot().compact, None);
    let id = |name: &str, number| PageId { document: DocumentId::of(name.as_bytes()), number };
    let near = |reader: &BlockingReader, page: PageId| {
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

#[test]
fn another_model_begins_with_whole_vectors() {
    let place = Place::new();
    let mut writer = place.create();
    writer.set_model(model("m"), 2).unwrap();
    let mut encoded = document("a", 3, "words");
    encoded.documents[0].model = Some(ModelId("m".into()));
    writer.commit(encoded).unwrap();
    assert!(writer.compact(cost()).unwrap());
    assert!(writer.set_model(model("other"), 2).is_err(), "its vectors are there");
    writer.commit(Batch { dropped_paths: vec!["a".into()], ..Batch::default() }).unwrap();
    writer.set_model(model("other"), 2).unwrap();
    assert_eq!(writer.snapshot().compact, None);
    writer.commit(document("b", 2, "words")).unwrap();
    let reader = place.read().unwrap();
    let page = PageId { document: DocumentId::of(b"b"), number: 2 };
    let vectors = reader.vectors_of(&[page]).unwrap().remove(0).1;
    assert_eq!(vectors.values().iter().map(|v| v.to_f32()).collect::<Vec<_>>(), [1.0, 2.0]);
}
