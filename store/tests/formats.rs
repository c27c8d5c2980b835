//! Golden indexes of every format (fixtures/index) are read as they are and carried on in today's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use pagesight_core::seam::{Batch, PageSink, PassageEncoder, TextIndex, VectorSource};
use pagesight_core::testing::{FakePassageEncoder, document_record, page_record};
use pagesight_core::{
    DocumentId, DocumentRecord, ModelSource, PageId, PageRecord, PatchLayout, Slices,
};
use pagesight_store::{FORMAT, Reader, Writer};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/index")
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The golden index of `format`, where it can be written to.
fn golden(format: u32) -> (PathBuf, tempfile::TempDir) {
    let place = tempfile::tempdir().unwrap();
    let index = place.path().join("index");
    copy_tree(&fixtures().join(format!("format-{format}")), &index);
    (index, place)
}

/// Everything in an index: the ledger, and the pages with vectors and layouts.
fn content(index: &Path) -> (Vec<DocumentRecord>, Vec<PageRecord>) {
    let reader = Reader::open(index).unwrap();
    let documents = reader.documents().unwrap();
    let ids: Vec<PageId> = documents
        .iter()
        .flat_map(|record| {
            let document = record.document.unwrap();
            (1..=record.page_count).map(move |number| PageId { document, number })
        })
        .collect();
    let pages = reader.pages_with_vectors(&ids).unwrap();
    assert_eq!(pages.len(), ids.len(), "every page is there");
    // A scan gives the same vectors.
    let mut scanned = BTreeMap::new();
    reader.scan(None, &mut |batch| scanned.extend(batch.iter().cloned())).unwrap();
    let with_vectors = pages.iter().filter_map(|page| Some((page.id, page.vectors.clone()?)));
    assert_eq!(scanned, with_vectors.collect::<BTreeMap<_, _>>());
    (documents, pages)
}

#[test]
fn there_is_a_golden_index_of_each_format() {
    for format in 1..=FORMAT {
        let (index, _place) = golden(format);
        assert_eq!(Reader::open(&index).unwrap().snapshot().format(), format);
    }
    assert!(!fixtures().join(format!("format-{}", FORMAT + 1)).exists());
}

/// How the index of the last format was made: that of format 5 carried on, its text encoded.
#[test]
#[ignore = "writes fixtures/index/format-6, once"]
fn the_index_of_format_6_is_written() {
    let (index, _place) = golden(5);
    let mut writer = Writer::open(&index).unwrap();
    assert_eq!(writer.snapshot().format(), 6);
    let encoder = FakePassageEncoder::default();
    writer.set_embedder(Some(encoder.record())).unwrap();
    let pages = writer.pages_to_embed().unwrap();
    let texts = writer.texts(&pages).unwrap();
    let of_pages: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
    let encoded = encoder.encode_texts(&of_pages).unwrap();
    let pages = texts.iter().zip(encoded).filter_map(|((id, _), page)| Some((*id, page?)));
    writer.add_passages(&pages.collect::<Vec<_>>()).unwrap();
    writer.collect_garbage().unwrap();
    drop(writer);
    let _ = fs::remove_file(index.join("write.lock"));
    copy_tree(&index, &fixtures().join("format-6"));
}

#[test]
fn passages_of_format_6_are_found() {
    let (index, _place) = golden(6);
    let reader = Reader::open(&index).unwrap();
    let encoder = FakePassageEncoder::default();
    assert_eq!(reader.snapshot().embedder(), Some(&encoder.record()));
    let passages = reader.passages().unwrap().unwrap();
    assert_eq!(passages.pages().count(), passages.tokens.living().len());
    for slot in passages.pooled.living() {
        let page = reader.pages(&[passages.pooled.id(slot)]).unwrap().pop().unwrap();
        let cut = encoder.passages(&page.text).unwrap();
        let view = passages.pooled.page(slot).unwrap();
        assert_eq!(view.vectors(), cut.len());
        let question = encoder.encode_question(&page.text[cut[0].clone()]).unwrap();
        assert!(view.best_rows(&question.pooled).unwrap()[0].1 > 0.98);
    }
}

#[test]
fn pages_of_every_format_have_the_layout_of_their_vectors() {
    for format in 1..=FORMAT {
        let (index, _place) = golden(format);
        let (_, pages) = content(&index);
        assert_eq!(pages.len(), 4, "format {format}");
        let pyramid: Slices = "1x1+1x2".parse().unwrap();
        let expected = match format {
            3 | 5 | 6 => PatchLayout::slices(&pyramid, 8, 6),
            _ => PatchLayout::slices(&Slices::default(), 8, 6),
        };
        for page in &pages {
            let (layout, vectors) = (page.layout.as_ref().unwrap(), page.vectors.as_ref().unwrap());
            assert_eq!(layout, &expected, "format {format}");
            layout.check(vectors).unwrap();
        }
        let reader = Reader::open(&index).unwrap();
        let snapshot = reader.snapshot();
        let model = snapshot.model().unwrap();
        assert_eq!(model.source, Some(ModelSource::Folder("/model".into())), "format {format}");
        assert_eq!(model.dim, 128);
        assert_eq!(snapshot.compact().is_some(), format == 4);
        let slices = snapshot.slices().map(Slices::to_string);
        let expected = match format {
            1 | 2 | 4 => Some("1x1".into()),
            3 => Some(pyramid.to_string()),
            _ => None,
        };
        assert_eq!(slices, expected, "format {format}");
    }
}

#[test]
fn an_index_of_every_format_is_carried_on_and_nothing_is_lost() {
    for format in 1..=FORMAT {
        let (index, _place) = golden(format);
        let before = content(&index);
        let sound = |what: &str| {
            let damage = pagesight_store::verify(&index).unwrap().damage;
            assert!(damage.is_empty(), "format {format}, {what}: {damage:?}");
        };
        let found = || {
            let reader = Reader::open(&index).unwrap();
            reader.search_text("travel expense", 9, None).unwrap().pages
        };
        let words = found();
        assert!(!words.is_empty());
        sound("as it was written");
        // A reader of before goes on, whatever is written.
        let old = Reader::open(&index).unwrap();
        let mut writer = Writer::open(&index).unwrap();
        assert_eq!(writer.snapshot().format(), FORMAT);
        assert_eq!(content(&index), before, "format {format}");
        sound("carried on");
        // Old pages and new ones side by side, each with its layout.
        let id = DocumentId::of(b"new");
        let row: Vec<f32> = (0..3 * 128).map(|n| f32::from(n % 128 == n / 128)).collect();
        let mut page = page_record(id, 1, "more words", Some((128, &row)));
        page.layout = Some(PatchLayout::grid(1, 3));
        let documents = vec![document_record("new.pdf", id, 1)];
        writer.commit(Batch { documents, pages: vec![page], ..Batch::default() }).unwrap();
        writer.maintain(&AtomicBool::new(false)).unwrap();
        sound("with a new page");
        let after = content(&index);
        let new = after.1.iter().find(|page| page.id.document == id).unwrap();
        assert_eq!(new.layout, Some(PatchLayout::grid(1, 3)));
        let old_pages: Vec<_> =
            after.1.iter().filter(|page| page.id.document != id).cloned().collect();
        assert_eq!(old_pages, before.1, "format {format}");
        let dropped_paths = vec!["new.pdf".to_string()];
        writer.commit(Batch { dropped_paths, ..Batch::default() }).unwrap();
        drop(writer);
        assert_eq!(pagesight_store::repair(&index).unwrap().mended, [] as [String; 0]);
        assert_eq!(content(&index), before, "format {format}");
        // The first writer analysed the words of an older index anew: the same pages are found.
        let pages =
            |found: Vec<(PageId, f32)>| found.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(pages(found()), pages(words), "format {format}");
        // Format 1 has no copy of its pointer that a reader could hold.
        if format > 1 {
            assert_eq!(old.documents().unwrap(), before.0);
        }
        assert_eq!(old.snapshot().format(), format);
    }
}

#[test]
fn an_export_of_an_old_index_keeps_the_layouts() {
    for format in (1..=FORMAT).filter(|&format| format != 4) {
        let (index, place) = golden(format);
        let before = content(&index);
        let (export, copy) = (place.path().join("export"), place.path().join("copy"));
        pagesight_store::export(&index, &export).unwrap();
        let imported = pagesight_store::import(&copy, &export).unwrap();
        assert_eq!(imported.format(), FORMAT);
        assert_eq!(content(&copy), before, "format {format}");
    }
}

#[test]
fn a_damaged_pointer_of_every_format_that_has_copies_is_restored() {
    for format in 2..=FORMAT {
        let (index, _place) = golden(format);
        let before = content(&index);
        let pointer = index.join("snapshot.json");
        let mut bytes = fs::read(&pointer).unwrap();
        bytes[40] ^= 1;
        fs::write(&pointer, &bytes).unwrap();
        assert!(Reader::open(&index).is_err());
        let repaired = pagesight_store::repair(&index).unwrap();
        // With the pointer, the words of an older analysis come up to date; nothing else changes.
        assert!(repaired.mended[0].starts_with("snapshot.json"), "{repaired:?}");
        assert!(repaired.mended[1..].iter().all(|line| line.starts_with("text:")), "{repaired:?}");
        assert_eq!(content(&index), before, "format {format}");
    }
}
