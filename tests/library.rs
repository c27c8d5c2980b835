//! The façade, as a program embeds it.

use std::sync::atomic::Ordering;

use pagesight::{Channel, Error, Index, LoadOptions, RenderOptions, SyncOptions};

use crate::{PROGRAM, Place, fixtures, pdfium};

fn index(place: &Place) -> Index {
    let mut index = Index::open_or_create(place.path().join(".pagesight")).unwrap();
    index.set_renderer(RenderOptions {
        pdfium: Some(pdfium()),
        worker_program: Some(PROGRAM.into()),
        ..RenderOptions::default()
    });
    index
}

#[test]
fn sync_search_and_show() {
    let place = Place::with(&["form.pdf", "papers/chart.pdf"]);
    let mut index = index(&place);
    index.load_model(&fixtures().join("parity/hf"), &LoadOptions::default()).unwrap();
    let summary = index.sync(place.path(), &SyncOptions::default()).unwrap();
    assert_eq!((summary.documents_indexed, summary.pages_indexed), (2, 4));

    let answer = index.search("mileage for private cars").k(2).run().unwrap();
    assert_eq!(answer.hits.len(), 2);
    assert!(answer.notice.is_none() && answer.model.is_some());
    assert_eq!(answer.snapshot, index.snapshot().number);
    let words = index.search("mileage for private cars").channel(Channel::Text).run().unwrap();
    let hit = &words.hits[0];
    assert_eq!((hit.page.path(), hit.page.number(), hit.rank), ("form.pdf", 2, 1));
    assert!(hit.page.text().contains("EUR 0.30 per kilometre"));
    let image = hit.page.image(200).unwrap();
    assert_eq!(image.width_px(), 200);
    assert!(image.rgb().iter().any(|&value| value < 128), "something is drawn");

    let documents = [hit.page.document()];
    let within = index.search("A").documents(documents).run().unwrap();
    assert!(within.hits.iter().all(|hit| hit.page.path() == "form.pdf"));
    let error = index.page(place.path(), "form.pdf", 3).map(drop).unwrap_err();
    assert!(matches!(error, Error::NoSuchPage { page: 3, .. }), "{error}");
}

#[test]
fn a_run_stops_when_asked_and_another_process_may_write() {
    let place = Place::with(&["form.pdf", "papers/chart.pdf"]);
    let mut first = index(&place);
    let options = SyncOptions::default();
    options.stop.store(true, Ordering::Relaxed);
    let summary = first.sync(place.path(), &options).unwrap();
    assert!(summary.interrupted);
    let mut second = index(&place);
    second.sync(place.path(), &SyncOptions::default()).unwrap();
    // The first index shows its snapshot until it is told to look again.
    assert_eq!(first.documents().count(), 0);
    first.refresh().unwrap();
    assert_eq!(first.documents().count(), 2);
    assert_eq!(first.search("travel").run().unwrap().hits.len(), 2);
}

#[test]
fn without_libpdfium_the_places_are_named() {
    let place = Place::with(&["form.pdf"]);
    let mut index = Index::create(place.path().join("index")).unwrap();
    index.set_renderer(RenderOptions {
        pdfium: Some("/nowhere/libpdfium.so".into()),
        worker_program: Some(PROGRAM.into()),
        ..RenderOptions::default()
    });
    let error = index.sync(place.path(), &SyncOptions::default()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/libpdfium.so"), "{error}");
}
