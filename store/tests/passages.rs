//! The passages of pages in the store: in step with the texts, whatever happens in between.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use pagesight_core::seam::{Batch, PageSink, PassageEncoder};
use pagesight_core::testing::{FakePassageEncoder, document_record, page_record};
use pagesight_core::{DocumentId, EncodedPassages, PageId};
use pagesight_store::{Reader, StoreError, Writer, export, import, repair, verify};

fn batch(name: &str, texts: &[&str]) -> Batch {
    let id = DocumentId::of(name.as_bytes());
    let pages = (1..).zip(texts).map(|(number, text)| page_record(id, number, text, None));
    Batch {
        documents: vec![document_record(name, id, texts.len() as u32)],
        pages: pages.collect(),
        ..Batch::default()
    }
}

fn page(name: &str, number: u32) -> PageId {
    PageId { document: DocumentId::of(name.as_bytes()), number }
}

/// As a run of indexing does; how many pages it encoded.
fn embed(writer: &mut Writer, encoder: &FakePassageEncoder) -> usize {
    writer.set_embedder(Some(encoder.record())).unwrap();
    let missing = writer.pages_to_embed().unwrap();
    let texts = writer.texts(&missing).unwrap();
    let of_pages: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
    let encoded = encoder.encode_texts(&of_pages).unwrap();
    let pages: Vec<(PageId, EncodedPassages)> =
        texts.iter().zip(encoded).filter_map(|((id, _), page)| Some((*id, page?))).collect();
    writer.add_passages(&pages).unwrap();
    pages.len()
}

fn encoded(folder: &Path) -> BTreeSet<PageId> {
    let reader = Reader::open(folder).unwrap();
    let passages = reader.passages().unwrap().expect("an embedder");
    let tokens: BTreeSet<PageId> = passages.tokens.ids().collect();
    assert_eq!(tokens, passages.pages().collect());
    tokens
}

struct Place {
    folder: PathBuf,
    dir: tempfile::TempDir,
}

/// An index of two documents whose pages are encoded.
fn place() -> (Place, Writer, FakePassageEncoder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("index");
    let mut writer = Writer::create(&folder).unwrap();
    writer.commit(batch("a", &["red house\ngreen door", "", "blue sky"])).unwrap();
    writer.commit(batch("b", &["one two three"])).unwrap();
    let encoder = FakePassageEncoder::default();
    // The page without words is asked for and has none.
    assert_eq!(embed(&mut writer, &encoder), 3);
    (Place { folder, dir }, writer, encoder)
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("codes")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

#[test]
fn every_page_with_words_is_encoded_once() {
    let (place, mut writer, encoder) = place();
    let all = BTreeSet::from([page("a", 1), page("a", 3), page("b", 1)]);
    assert_eq!(encoded(&place.folder), all);
    let number = writer.snapshot().number();
    assert_eq!(embed(&mut writer, &encoder), 0);
    assert_eq!(writer.snapshot().number(), number, "nothing to say, nothing published");
    // The codes are those of the model.
    let reader = Reader::open(&place.folder).unwrap();
    let passages = reader.passages().unwrap().unwrap();
    let pooled = &passages.pooled;
    let slot = pooled.living().iter().find(|slot| pooled.id(slot) == page("a", 1)).unwrap();
    let view = passages.pooled.page(slot).unwrap();
    assert_eq!(view.vectors(), 2);
    let question = encoder.encode_question("green door").unwrap();
    let (row, similarity) = view.best_rows(&question.pooled).unwrap()[0];
    assert!(row == 1 && similarity > 0.98, "{row} {similarity}");
    assert!(verify(&place.folder).unwrap().damage.is_empty());
    assert!(reader.snapshot().passage_bytes() > 0);
}

#[test]
fn passages_go_with_their_text_and_come_with_it() {
    let (place, mut writer, encoder) = place();
    let gone = Batch { dropped_paths: vec!["b".into()], ..Batch::default() };
    writer.commit(gone).unwrap();
    assert_eq!(encoded(&place.folder), BTreeSet::from([page("a", 1), page("a", 3)]));
    // Another text of a page: in the same snapshot, no passage says what the page no longer does.
    let mut other = batch("a", &["red house\ngreen door", "", "grey sky"]);
    other.pages.retain(|page| page.id.number == 3);
    writer.commit(other).unwrap();
    assert!(encoded(&place.folder).is_empty());
    drop(writer);
    let mut writer = Writer::open(&place.folder).unwrap();
    assert_eq!(embed(&mut writer, &encoder), 2);
    writer.commit(batch("c", &["later words"])).unwrap();
    assert_eq!(encoded(&place.folder).len(), 2);
    assert_eq!(embed(&mut writer, &encoder), 1);
    assert_eq!(encoded(&place.folder).len(), 3);
    assert!(verify(&place.folder).unwrap().damage.is_empty());
}

#[test]
fn another_model_encodes_the_stored_text_and_off_takes_all_out() {
    let (place, mut writer, _) = place();
    let words = |folder: &Path| Reader::open(folder).unwrap().snapshot().pages();
    let other = FakePassageEncoder::named("other");
    assert_eq!(embed(&mut writer, &other), 3);
    let reader = Reader::open(&place.folder).unwrap();
    assert_eq!(reader.snapshot().embedder(), Some(&other.record()));
    drop(reader);
    writer.set_embedder(None).unwrap();
    assert!(writer.snapshot().wants_no_passages() && writer.snapshot().embedder().is_none());
    assert_eq!((writer.snapshot().passage_bytes(), words(&place.folder)), (0, 4));
    writer.collect_garbage().unwrap();
    assert!(
        files(&place.folder, ".passages").is_empty() && files(&place.folder, ".tokens").is_empty()
    );
    // A later writer knows.
    drop(writer);
    let writer = Writer::open(&place.folder).unwrap();
    assert!(writer.snapshot().wants_no_passages());
}

#[test]
fn vectors_of_another_length_are_refused() {
    let (place, mut writer, encoder) = place();
    let page_of = |text: &str| encoder.encode_texts(&[text]).unwrap().remove(0).unwrap();
    let narrow = EncodedPassages {
        pooled: pagesight_core::PageVectors::from_f32(2, &[1.0, 0.0]).unwrap(),
        ..page_of("red")
    };
    let refused = writer.add_passages(&[(page("a", 1), narrow)]);
    assert!(matches!(refused, Err(StoreError::OtherDim { expected: 16, got: 2, .. })));
    assert_eq!(encoded(&place.folder).len(), 3);
    // And the writer goes on.
    writer.commit(batch("c", &["later words"])).unwrap();
    assert_eq!(embed(&mut writer, &encoder), 1);
}

#[test]
fn many_small_files_are_joined_and_say_the_same() {
    let (place, mut writer, encoder) = place();
    for n in 0..12 {
        writer.commit(batch(&format!("d{n}"), &["some words", "and more"])).unwrap();
        assert_eq!(embed(&mut writer, &encoder), 2);
    }
    writer.commit(Batch { dropped_paths: vec!["d3".into()], ..Batch::default() }).unwrap();
    let before = encoded(&place.folder);
    writer.maintain(&AtomicBool::new(false)).unwrap();
    assert_eq!(encoded(&place.folder), before);
    writer.collect_garbage().unwrap();
    assert!(files(&place.folder, ".passages").len() < 8);
    assert!(verify(&place.folder).unwrap().damage.is_empty());
    drop(writer);
    let mut writer = Writer::open(&place.folder).unwrap();
    assert_eq!(embed(&mut writer, &encoder), 0);
}

#[test]
fn damage_is_named_and_costs_no_page() {
    for ending in [".passages", ".tokens"] {
        let (place, writer, encoder) = place();
        drop(writer);
        let file = files(&place.folder, ending).pop().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        let at = bytes.len() - 100;
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        let found = verify(&place.folder).unwrap();
        assert!(found.damage.iter().any(|damage| damage.file.ends_with(ending)), "{found:?}");
        // Words are found all the same.
        assert!(Reader::open(&place.folder).is_ok());
        let repaired = repair(&place.folder).unwrap();
        assert!(repaired.to_read.is_empty(), "no PDF is read again");
        assert!(repaired.mended.iter().any(|line| line.contains("passages")), "{repaired:?}");
        assert!(verify(&place.folder).unwrap().damage.is_empty());
        let mut writer = Writer::open(&place.folder).unwrap();
        assert_eq!(embed(&mut writer, &encoder), 3);
    }
}

#[test]
fn what_a_search_reports_is_encoded_again() {
    let (place, writer, encoder) = place();
    drop(writer);
    Reader::open(&place.folder).unwrap().report_damaged_passages();
    let mut writer = Writer::open(&place.folder).unwrap();
    assert_eq!(embed(&mut writer, &encoder), 3);
    assert_eq!(embed(&mut writer, &encoder), 0, "once");
}

#[test]
fn an_export_takes_passages_along() {
    let (place, writer, encoder) = place();
    drop(writer);
    let (out, again) = (place.dir.path().join("out"), place.dir.path().join("again"));
    export(&place.folder, &out).unwrap();
    import(&again, &out).unwrap();
    assert_eq!(encoded(&again), encoded(&place.folder));
    let mut writer = Writer::open(&again).unwrap();
    assert_eq!(embed(&mut writer, &encoder), 0);
    writer.commit(batch("c", &["later words"])).unwrap();
    assert_eq!(embed(&mut writer, &encoder), 1);
    assert_eq!(encoded(&again).len(), 4);
    // A changed file of the export is refused.
    let (changed, never) = (place.dir.path().join("changed"), place.dir.path().join("never"));
    export(&place.folder, &changed).unwrap();
    let file = fs::read_dir(&changed).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.to_string_lossy().ends_with(".tokens")).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[0] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(matches!(import(&never, &changed), Err(StoreError::Export { .. })));
}
