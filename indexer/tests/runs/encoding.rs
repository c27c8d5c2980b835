//! Pages become vectors with their layout.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pagesight_core::seam::{BoxError, PageEncoder};
use pagesight_core::testing::FakeEncoder;
use pagesight_core::{
    EncodedPage, ModelId, PageImage, PageSize, PageVectors, PatchLayout, PictureSize, Slices,
};
use pagesight_indexer::IndexError;

use super::{Place, counts};

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
