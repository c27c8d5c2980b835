//! The façade, as a program embeds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pagesight::index::SyncOptions;
use pagesight::model::{
    BoxError, EncodedPage, LoadOptions, Model, ModelId, ModelRecord, ModelSource, PageEncoder,
    PageImage, PageSize, PageVectors, PatchLayout, PictureSize, QueryEncoder, QueryVectors,
};
use pagesight::pdf::RenderOptions;
use pagesight::search::{Channel, Effort};
use pagesight::{Answer, Error, Index};
use pagesight_core::testing::FakeEncoder;

use crate::{PROGRAM, Place, fixtures, pdfium};

/// An index whose pages are drawn by the program under test: the test binary is no worker.
pub fn index(place: &Place) -> Index {
    let index = Index::open_or_create(place.path().join(".pagesight")).unwrap();
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
    let index = index(&place);
    let model = ModelSource::Folder(fixtures().join("parity/hf"));
    index.load_model(&model, &LoadOptions::default()).unwrap();
    let summary = index.sync(place.path(), &SyncOptions::default()).unwrap();
    assert_eq!((summary.documents_indexed, summary.pages_indexed), (2, 4));

    let answer = index.search("mileage for private cars").k(2).run().unwrap();
    assert_eq!(answer.hits.len(), 2);
    assert!(answer.notice().is_none() && answer.model.is_some());
    assert_eq!(answer.snapshot, index.snapshot().number());
    let words = index.search("mileage for private cars").channels([Channel::Words]).run().unwrap();
    let hit = &words.hits[0];
    assert_eq!((hit.page.path(), hit.page.number(), hit.rank), ("form.pdf", 2, 1));
    assert!(hit.page.text().contains("EUR 0.30 per kilometre"));
    let image = hit.page.image(200).unwrap();
    assert_eq!(image.width_px(), 200);
    assert!(image.rgb().iter().any(|&value| value < 128), "something is drawn");

    let documents = [hit.page.document()];
    let within = index.search("A").documents(documents).run().unwrap();
    assert!(within.hits.iter().all(|hit| hit.page.path() == "form.pdf"));
    let error = index.page("form.pdf", 3).map(drop).unwrap_err();
    assert!(matches!(error, Error::NoSuchPage { page: 3, .. }), "{error}");
}

#[test]
fn a_run_stops_when_asked_and_another_process_may_write() {
    let place = Place::with(&["form.pdf", "papers/chart.pdf"]);
    let first = index(&place);
    let options = SyncOptions::default();
    options.stop.store(true, Ordering::Relaxed);
    let summary = first.sync(place.path(), &options).unwrap();
    assert!(summary.interrupted);
    let second = index(&place);
    second.sync(place.path(), &SyncOptions::default()).unwrap();
    // The first index shows its snapshot until it is told to look again.
    assert_eq!(first.documents().unwrap().len(), 0);
    first.refresh().unwrap();
    assert_eq!(first.documents().unwrap().len(), 2);
    assert_eq!(first.search("travel").run().unwrap().hits.len(), 2);
}

#[test]
fn without_libpdfium_the_places_are_named() {
    let place = Place::with(&["form.pdf"]);
    let index = Index::create(place.path().join("index")).unwrap();
    index.set_renderer(RenderOptions {
        pdfium: Some("/nowhere/libpdfium.so".into()),
        worker_program: Some(PROGRAM.into()),
        ..RenderOptions::default()
    });
    let error = index.sync(place.path(), &SyncOptions::default()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/libpdfium.so"), "{error}");
}

/// What is loaded is shared by all handles, and a search goes on while another handle syncs.
#[test]
fn handles_are_shared_between_threads_that_search_and_one_that_syncs() {
    let place = Place::with(&["form.pdf"]);
    let index = index(&place);
    index.sync(place.path(), &SyncOptions::default()).unwrap();
    let asking = |index: Index| {
        move || {
            for _ in 0..20 {
                let answer = index.search("travel expenses").run().unwrap();
                assert_eq!(answer.hits[0].page.path(), "form.pdf");
            }
        }
    };
    place.add("papers/chart.pdf", "chart.pdf");
    std::thread::scope(|scope| {
        let threads = [index.clone(), index.clone()].map(|index| scope.spawn(asking(index)));
        index.sync(place.path(), &SyncOptions::default()).unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(index.clone().documents().unwrap().len(), 2);
}

#[test]
fn answers_outlive_their_index_and_are_json() {
    let place = Place::with(&["form.pdf"]);
    let answer: Answer = {
        let index = index(&place);
        index.sync(place.path(), &SyncOptions::default()).unwrap();
        index.search("mileage for private cars").run().unwrap()
    };
    let hit = std::thread::spawn(move || answer.hits[0].clone()).join().unwrap();
    assert!(hit.page.image(100).unwrap().width_px() == 100);
    let json = serde_json::to_value(&hit).unwrap();
    assert_eq!((json["path"].as_str(), json["rank"].as_u64()), (Some("form.pdf"), Some(1)));
    assert_eq!(json["channels"][0]["channel"], "words");
    assert_eq!(json["text"]["rank"], json["channels"][0]["rank"]);
}

/// Made, used and dropped inside every kind of runtime.
#[test]
fn nothing_panics_in_async_code() {
    let place = Place::with(&["form.pdf"]);
    let work = || {
        let index = index(&place);
        index.sync(place.path(), &SyncOptions::default()).unwrap();
        assert_eq!(index.search("travel").run().unwrap().hits.len(), 2);
        assert!(pagesight::upkeep::verify(index.folder()).unwrap().damage.is_empty());
        index.refresh().unwrap();
        drop(index);
    };
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    many.block_on(async { work() });
    let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
    one.block_on(async { work() });
    let path = place.path().join(".pagesight");
    many.block_on(async {
        // On a worker thread of the runtime, and dropped when the runtime shuts down.
        let kept = Index::open(&path).unwrap();
        let found = tokio::spawn(async move {
            let hits = kept.search("travel").run().unwrap().hits.len();
            (kept, hits)
        });
        let (kept, hits) = found.await.unwrap();
        assert_eq!(hits, 2);
        tokio::spawn(async move {
            let _kept = kept;
            std::future::pending::<()>().await;
        });
    });
    drop(many);
}

#[test]
fn vectors_that_are_not_the_pages_own_are_refused() {
    let place = Place::with(&["form.pdf"]);
    let index = index(&place);
    let pdf = place.path().join("form.pdf");
    let page = |dim: usize, rows: &[f32]| {
        let vectors = PageVectors::from_f32(dim, rows).unwrap();
        let layout = PatchLayout::grid(vectors.len() as u32, 1);
        EncodedPage::new(vectors, layout).unwrap()
    };
    let unit = || page(4, &[1.0, 0.0, 0.0, 0.0]);
    let error = index.add(&pdf, vec![unit(), unit()]).unwrap_err();
    assert!(matches!(error, Error::NoModel), "{error}");

    let encoder = pagesight_core::testing::FakeEncoder::new(8, Default::default());
    let index = index.with_model(std::sync::Arc::new(encoder)).unwrap();
    // form.pdf has two pages.
    for (pages, said) in [
        (vec![unit()], "2"),
        (vec![unit(), page(3, &[1.0, 0.0, 0.0])], "3"),
        (vec![unit(), page(4, &[3.0, 4.0, 0.0, 0.0])], "length 5"),
    ] {
        let error = index.add(&pdf, pages).unwrap_err();
        let told = pagesight_core::chain(&error);
        assert!(told.contains("form.pdf") && told.contains(said), "{told}");
        assert_eq!(index.documents().unwrap().len(), 0, "nothing was taken in");
    }
    index.add(&pdf, vec![unit(), page(4, &[0.0, 1.0, 0.0, 0.0])]).unwrap();
    let id = index.page("form.pdf", 2).unwrap().id();
    assert_eq!(index.vectors(id).unwrap().unwrap().vectors().values()[1].to_f32(), 1.0);
    let like = index.search(id).effort(Effort::Exact).run().unwrap();
    assert_eq!(like.hits.len(), 1, "another page, never itself");
}

/// A fake model that counts how often questions are encoded.
struct Counting {
    model: FakeEncoder,
    encoded: AtomicUsize,
}

impl PageEncoder for Counting {
    fn model_id(&self) -> &ModelId {
        self.model.model_id()
    }

    fn dim(&self) -> usize {
        self.model.dim()
    }

    fn picture(&self, page: PageSize) -> PictureSize {
        self.model.picture(page)
    }

    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError> {
        self.model.encode_pages(pages)
    }
}

impl QueryEncoder for Counting {
    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        self.encoded.fetch_add(1, Ordering::Relaxed);
        self.model.encode_queries(queries)
    }
}

impl Model for Counting {
    fn record(&self) -> ModelRecord {
        self.model.record()
    }
}

/// A model of billions of parameters takes a quarter of a minute for them on a CPU.
#[test]
fn neutral_questions_are_encoded_once_and_for_new_pages_alone() {
    let place = Place::with(&["form.pdf"]);
    let model = Arc::new(Counting {
        model: FakeEncoder::new(8, Default::default()),
        encoded: AtomicUsize::new(0),
    });
    let encoded = || model.encoded.load(Ordering::Relaxed);
    let open = || index(&place).with_model(Arc::clone(&model) as _).unwrap();
    let first = open();
    let sync = |index: &Index| index.sync(place.path(), &SyncOptions::default()).unwrap();
    assert_eq!((sync(&first).pages_indexed, encoded()), (2, 1));
    // The same process, with another page.
    place.add("rotated.pdf", "rotated.pdf");
    assert_eq!((sync(&first).pages_indexed > 0, encoded()), (true, 1));
    // Another process, without and with new pages.
    drop(first);
    let second = open();
    assert_eq!((sync(&second).pages_indexed, encoded()), (0, 1));
    place.add("slides.pdf", "slides.pdf");
    assert_eq!((sync(&second).pages_indexed > 0, encoded()), (true, 2));
    let measured = second.search("travel").channels([Channel::Patches]).run().unwrap();
    assert!(measured.hits.len() > 4);
    // What was measured in two runs is one measure: a search encodes its question alone.
    assert_eq!(encoded(), 3);
}
