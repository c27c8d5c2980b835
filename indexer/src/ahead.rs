//! Documents that wait for their turn, looked into before it, so that a run knows how many pages are
//! to come and how many of them OCR will read.
//!
//! One thread opens them, a tenth of its time, so that the run itself hardly notices. It asks for the
//! number of pages and for the words of a few: nothing is drawn. What cannot be opened counts as no
//! page, and is found to be so when its turn comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use pagesight_core::DocumentId;

use crate::claims::Claims;
use crate::discover::Found;
use crate::estimate::Pages;
use crate::options::{Engines, Limits};
use crate::reading::{read_file, read_words};
use crate::scan::needs_ocr;

/// A run that is over sooner has nothing to estimate.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// Of one look, how long the next one waits.
const REST: u32 = 9;

/// Pages of a document whose words are asked for, evenly spread.
const SAMPLE: u32 = 5;

/// Enough words of a page to see that it has some, bytes.
const WORDS_BYTES: usize = 400;

/// What looks into documents.
pub(crate) struct Ahead<'a> {
    pub engines: &'a Engines,
    pub limits: &'a Limits,
    pub claims: &'a Claims,
    /// The documents of the plan, in the order in which they are read.
    pub files: Vec<Found>,
    /// Those that wait.
    pub jobs: &'a Mutex<VecDeque<Found>>,
    /// Set when the run is over.
    pub over: Arc<AtomicBool>,
}

impl Ahead<'_> {
    /// Tells of each document what is to be read of it, until all have been looked into or `end` is
    /// closed.
    pub fn look_into_all(&self, tell: &Sender<(String, Pages)>, end: &Receiver<()>) {
        let mut wait = FIRST_LOOK;
        for (n, found) in self.files.iter().enumerate() {
            if !matches!(end.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
                return;
            }
            wait = Duration::ZERO;
            let waiting = self.jobs.lock().expect("no panic under the lock").len();
            if n < self.files.len() - waiting {
                // It is being read.
                continue;
            }
            let start = Instant::now();
            if tell.send((found.path.clone(), self.look(found).unwrap_or_default())).is_err() {
                return;
            }
            wait = start.elapsed() * REST;
        }
    }

    /// What is to be read of a document; `None` where it cannot be told, or is in the index already.
    fn look(&self, found: &Found) -> Option<Pages> {
        let bytes = read_file(found, self.limits.file_bytes).ok()?;
        let document = DocumentId::of(&bytes);
        if !self.claims.is_wanted(document) {
            return None;
        }
        let mut pdf = self.engines.pdf.open(document, Arc::new(bytes), &self.over).ok()?;
        let count = pdf.page_count().min(self.limits.pages);
        let all = f64::from(count);
        if self.engines.ocr.is_none() || count == 0 {
            return Some(Pages { words: all, pictures: 0.0 });
        }
        let sample = count.min(SAMPLE);
        let is_picture = |n: u32| {
            let number = 1 + (2 * n + 1) * count / (2 * sample);
            let page = read_words(&mut *pdf, number.min(count), WORDS_BYTES);
            page.is_ok_and(|page| needs_ocr(&page.text))
        };
        let pictures = (0..sample).map(is_picture).filter(|is| *is).count();
        let pictures = all * pictures as f64 / f64::from(sample);
        Some(Pages { words: all - pictures, pictures })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::sync::mpsc::channel;

    use pagesight_core::testing::{FakeOcr, FakePdfReader};

    use super::*;

    #[test]
    fn documents_that_wait_are_counted_and_others_are_not() {
        let place = tempfile::tempdir().unwrap();
        let words = "a page with a good many words of its own";
        let pages = |count: usize, text: &'static str| vec![text; count];
        let write = |name: &str, bytes: &[u8]| {
            let file = place.path().join(name);
            std::fs::write(&file, bytes).unwrap();
            Found::at(place.path(), &file).unwrap()
        };
        let known = FakePdfReader::pdf(&pages(3, words));
        let files = vec![
            write("begun.pdf", &FakePdfReader::pdf(&pages(7, words))),
            write("text.pdf", &FakePdfReader::pdf(&pages(12, words))),
            write("scan.pdf", &FakePdfReader::pdf(&pages(4, ""))),
            write("known.pdf", &known),
            write("broken.pdf", b"no PDF"),
        ];
        let claims = Claims::default();
        claims.claim(DocumentId::of(&known));
        let mut engines = Engines::new(Arc::new(FakePdfReader::default()));
        engines.ocr = Some(Arc::new(FakeOcr::new("words")));
        let (limits, jobs) = (Limits::default(), Mutex::new(files[1..].to_vec().into()));
        let over = Arc::new(AtomicBool::new(false));
        let ahead =
            Ahead { engines: &engines, limits: &limits, claims: &claims, files, jobs: &jobs, over };
        let (tell, told) = channel();
        let (reading, end) = channel();
        ahead.look_into_all(&tell, &end);
        drop(reading);
        let told: Vec<(String, Pages)> = told.try_iter().collect();
        let all = |words, pictures| Pages { words, pictures };
        let expected = [
            ("text.pdf", all(12.0, 0.0)),
            ("scan.pdf", all(0.0, 4.0)),
            ("known.pdf", all(0.0, 0.0)),
            ("broken.pdf", all(0.0, 0.0)),
        ];
        assert_eq!(told, expected.map(|(path, pages)| (path.to_string(), pages)));
        // A run that is over has nothing more to learn.
        ahead.over.store(true, Ordering::Relaxed);
        let (reading, end) = channel();
        drop(reading);
        let (tell, told) = channel();
        ahead.look_into_all(&tell, &end);
        assert_eq!(told.try_iter().count(), 0);
    }
}
