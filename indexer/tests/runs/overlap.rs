//! Stages of a run that go on at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pagesight_core::seam::{Batch, BoxError, PageEncoder, PageSink};
use pagesight_core::testing::{FakeEncoder, FakeStore};
use pagesight_core::{
    DocumentRecord, EncodedPage, ModelId, PageImage, PageSize, PictureSize, Slices,
};
use pagesight_indexer::sync;

use crate::Place;

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
