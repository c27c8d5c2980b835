//! Vectors that were made elsewhere.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pagesight_core::testing::FakeOcr;
use pagesight_core::{
    DocumentRecord, DocumentStatus, EncodedPage, FailureKind, ModelId, ModelRecord, PageVectors,
    PatchLayout, VectorError,
};
use pagesight_indexer::{AddError, add};

use super::{Place, counts};

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
