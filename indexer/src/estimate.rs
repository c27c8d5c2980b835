//! How far a run is, and how long it will still take.
//!
//! Pages are counted, by what they take to read: one that is a picture goes through OCR, which may
//! take ten times as long as one with words. What a page of each kind takes is what those of this run
//! have taken so far. Documents that nobody has looked into yet count as the mean of the others.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::event::Progress;

/// What a page takes to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has words of its own.
    Words,
    /// It has none, so that OCR looks at it.
    Picture,
}

/// Pages of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Pages {
    pub words: f64,
    pub pictures: f64,
}

impl Pages {
    fn all(self) -> f64 {
        self.words + self.pictures
    }

    fn of(&mut self, kind: Kind) -> &mut f64 {
        match kind {
            Kind::Words => &mut self.words,
            Kind::Picture => &mut self.pictures,
        }
    }

    fn add(&mut self, more: Self, factor: f64) {
        self.words = (self.words + factor * more.words).max(0.0);
        self.pictures = (self.pictures + factor * more.pictures).max(0.0);
    }

    /// As many pages in all, in the same proportion; pages with words where there is none.
    fn scaled(self, all: f64) -> Self {
        match self.all() {
            0.0 => Self { words: all, pictures: 0.0 },
            now => Self { words: self.words * all / now, pictures: self.pictures * all / now },
        }
    }
}

/// A page that is a picture takes as long as this many with words, until one was read here: on two
/// cores without the instructions that make nano quick, OCR beside nano.
const PICTURE: f64 = 4.0;

/// No time is named before a run has gone on for so long.
const SOON: Duration = Duration::from_secs(2);

/// A document that is known and not finished.
#[derive(Debug, Clone, Copy)]
struct Document {
    done: Pages,
    to_come: Pages,
    is_planned: bool,
    /// Somebody has looked which kind its pages are; else they are taken to be like those that were
    /// read of it, or like those of the others.
    is_looked: bool,
}

impl Document {
    fn pages(&self) -> Pages {
        let mut pages = self.done;
        pages.add(self.to_come, 1.0);
        pages
    }
}

/// What is known of a run's pages and of the time that they take.
pub(crate) struct Estimate {
    /// Documents of the plan of which nothing is known.
    unknown: usize,
    /// Documents of the plan of which something is known, and their pages.
    known: usize,
    known_pages: Pages,
    /// Documents that are known and not finished, by path, and their pages that are to come.
    open: HashMap<String, Document>,
    to_come: Pages,
    /// Documents of the plan that are being read or finished.
    begun: HashSet<String>,
    done: Pages,
    /// Pages that were indexed by their looks.
    looked_at: f64,
    /// Pages whose words wait, here or since an earlier run, and those that have been read of them.
    waiting: f64,
    read_later: f64,
    /// Seconds that readers took for pages of each kind, and how many pages these are.
    read: [(f64, f64); 2],
    /// Seconds that the encoder took, and for how many pages.
    encoded: (f64, f64),
    /// Pages that are read side by side.
    readers: f64,
}

impl Estimate {
    /// Of a plan with so many documents, read by so many threads.
    pub fn new(documents: usize, readers: usize) -> Self {
        Self {
            unknown: documents,
            known: 0,
            known_pages: Pages::default(),
            open: HashMap::new(),
            to_come: Pages::default(),
            begun: HashSet::new(),
            done: Pages::default(),
            looked_at: 0.0,
            waiting: 0.0,
            read_later: 0.0,
            read: [(0.0, 0.0); 2],
            encoded: (0.0, 0.0),
            readers: readers.max(1) as f64,
        }
    }

    /// Somebody looked into the document at `path`, which has these pages to read.
    pub fn looked(&mut self, path: &str, pages: Pages) {
        // It may be read, and even finished, by then.
        if self.begun.contains(path) {
            return;
        }
        (self.unknown, self.known) = (self.unknown.saturating_sub(1), self.known + 1);
        let done = Pages::default();
        let document = Document { done, to_come: pages, is_planned: true, is_looked: true };
        self.change(path, Some(document));
    }

    /// The document at `path` is being read, so many pages. `is_planned` is false for a document
    /// within another one.
    pub fn opened(&mut self, path: &str, pages: u32, is_planned: bool) {
        let pages = f64::from(pages);
        let is_first = self.begin(path, is_planned);
        let document = match self.open.get(path) {
            Some(before) => Document { to_come: before.to_come.scaled(pages), ..*before },
            None => {
                if is_first {
                    (self.unknown, self.known) = (self.unknown.saturating_sub(1), self.known + 1);
                }
                let to_come = self.known_pages.scaled(pages);
                Document { done: Pages::default(), to_come, is_planned, is_looked: false }
            }
        };
        self.change(path, Some(document));
    }

    /// Whether the document is one of the plan that had not been begun.
    fn begin(&mut self, path: &str, is_planned: bool) -> bool {
        is_planned && self.begun.insert(path.into())
    }

    /// Puts what is known now of a document in place of what was, and into the sums.
    fn change(&mut self, path: &str, now: Option<Document>) {
        if let Some(before) = self.open.remove(path) {
            self.to_come.add(before.to_come, -1.0);
            if before.is_planned {
                self.known_pages.add(before.pages(), -1.0);
                if now.is_none() {
                    self.known_pages.add(before.done, 1.0);
                }
            }
        }
        if let Some(now) = now {
            self.to_come.add(now.to_come, 1.0);
            if now.is_planned {
                self.known_pages.add(now.pages(), 1.0);
            }
            self.open.insert(path.into(), now);
        }
    }

    /// A page was read, which took a thread so long.
    pub fn read(&mut self, kind: Kind, took: Duration) {
        let (seconds, pages) = &mut self.read[kind as usize];
        *seconds += took.as_secs_f64();
        *pages += 1.0;
    }

    /// The encoder took so long for so many pages.
    pub fn encoded(&mut self, pages: usize, took: Duration) {
        self.encoded.0 += took.as_secs_f64();
        self.encoded.1 += pages as f64;
    }

    /// A page whose words waited was read, which took a thread so long.
    pub fn read_waiting(&mut self, took: Duration) {
        // Its looks were another page's work.
        let look = mean(self.read[Kind::Words as usize]).unwrap_or_default();
        self.read(Kind::Picture, took + Duration::from_secs_f64(look));
    }

    /// A page of the document at `path` is finished.
    pub fn page_done(&mut self, path: &str, kind: Kind) {
        *self.done.of(kind) += 1.0;
        self.page_came(path, kind);
    }

    /// A page of the document at `path` is indexed by its looks; its words wait.
    pub fn page_seen(&mut self, path: &str) {
        (self.looked_at, self.waiting) = (self.looked_at + 1.0, self.waiting + 1.0);
        self.page_came(path, Kind::Picture);
    }

    /// The words of so many pages wait since an earlier run.
    pub fn waits(&mut self, pages: usize) {
        self.waiting += pages as f64;
    }

    /// The words of a page that waited have been read.
    pub fn waiting_done(&mut self) {
        (self.waiting, self.read_later) = ((self.waiting - 1.0).max(0.0), self.read_later + 1.0);
    }

    /// So many pages do not wait any more in this run.
    pub fn put_off(&mut self, pages: usize) {
        self.waiting = (self.waiting - pages as f64).max(0.0);
    }

    fn page_came(&mut self, path: &str, kind: Kind) {
        let Some(mut document) = self.open.get(path).copied() else { return };
        *document.done.of(kind) += 1.0;
        if document.is_looked {
            // What was looked at is a sample.
            let other = if kind == Kind::Words { Kind::Picture } else { Kind::Words };
            let from = if *document.to_come.of(kind) >= 1.0 { kind } else { other };
            *document.to_come.of(from) = (*document.to_come.of(from) - 1.0).max(0.0);
        } else {
            document.to_come = document.done.scaled((document.to_come.all() - 1.0).max(0.0));
        }
        self.change(path, Some(document));
    }

    /// The document at `path` is finished, whether its pages came or not.
    pub fn closed(&mut self, path: &str, is_planned: bool) {
        let is_first = self.begin(path, is_planned);
        if self.open.contains_key(path) {
            self.change(path, None);
        } else if is_first {
            (self.unknown, self.known) = (self.unknown.saturating_sub(1), self.known + 1);
        }
    }

    /// How far a run is that began `elapsed` ago.
    pub fn progress(&self, elapsed: Duration) -> Progress {
        let mut to_come = self.to_come;
        if self.known > 0 {
            to_come.add(self.known_pages, self.unknown as f64 / self.known as f64);
        }
        let is_counted = self.unknown == 0;
        let done = self.done.all() + self.read_later;
        let pages = done + self.waiting + to_come.all();
        let [words, pictures] = self.seconds_a_page();
        let worth = |pages: Pages| pages.words * words + pages.pictures * pictures;
        // To look at a picture takes as long as a page with words.
        let reading = (pictures - words).max(0.0);
        let so_far =
            worth(self.done) + self.looked_at * words.min(pictures) + self.read_later * reading;
        let rest = worth(to_come) + self.waiting * reading;
        let part = if so_far > 0.0 { so_far / (so_far + rest) } else { 0.0 };
        let is_known = so_far > 0.0 && elapsed >= SOON && (self.known > 0 || is_counted);
        let left = is_known.then(|| elapsed.mul_f64((rest / so_far).min(1e6)));
        Progress {
            pages_done: done as u64,
            pages_waiting: self.waiting as u64,
            pages: pages.round() as u64,
            is_counted,
            part,
            left,
        }
    }

    /// What a page of each kind takes of the run's time, up to a factor.
    fn seconds_a_page(&self) -> [f64; 2] {
        let encoded = mean(self.encoded).unwrap_or_default();
        let of =
            |kind: Kind| mean(self.read[kind as usize]).map(|read| read / self.readers + encoded);
        // A page that failed at once took something too.
        let least = 1e-6;
        match (of(Kind::Words), of(Kind::Picture)) {
            (Some(words), Some(pictures)) => [words.max(least), pictures.max(least)],
            (Some(words), None) => [words.max(least), PICTURE * words.max(least)],
            (None, Some(pictures)) => [pictures.max(least) / PICTURE, pictures.max(least)],
            (None, None) => [1.0, PICTURE],
        }
    }
}

fn mean((seconds, pages): (f64, f64)) -> Option<f64> {
    (pages > 0.0).then(|| seconds / pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document of a made-up folder.
    #[derive(Clone, Copy)]
    struct Made {
        pages: u32,
        kind: Kind,
        /// What somebody found who looked into it, if anybody did.
        looked: Option<(f64, f64)>,
    }

    fn seconds(kind: Kind) -> f64 {
        match kind {
            Kind::Words => 0.3,
            Kind::Picture => 6.1,
        }
    }

    /// Reads a folder one page after the other, and compares what was told at each page after the
    /// first tenth with what came: the largest error as a share of the truth, until little is left,
    /// and as a share of the whole run.
    fn worst(folder: &[Made]) -> (f64, f64) {
        let total: f64 = folder.iter().map(|d| f64::from(d.pages) * seconds(d.kind)).sum();
        let mut estimate = Estimate::new(folder.len(), 1);
        for (n, document) in folder.iter().enumerate() {
            if let Some((words, pictures)) = document.looked {
                estimate.looked(&n.to_string(), Pages { words, pictures });
            }
        }
        let (mut now, mut worst) = (0.0, (0.0f64, 0.0f64));
        for (n, document) in folder.iter().enumerate() {
            let path = n.to_string();
            estimate.opened(&path, document.pages, true);
            for _ in 0..document.pages {
                let took = seconds(document.kind);
                now += took;
                estimate.read(document.kind, Duration::from_secs_f64(took));
                estimate.page_done(&path, document.kind);
                let left = total - now;
                if now > total / 10.0 && left > total / 20.0 {
                    let progress = estimate.progress(Duration::from_secs_f64(now));
                    let told = progress.left.expect("a while has passed").as_secs_f64();
                    let error = (told - left).abs();
                    worst = (worst.0.max(error / left), worst.1.max(error / total));
                }
            }
            estimate.closed(&path, true);
        }
        let end = estimate.progress(Duration::from_secs_f64(now));
        assert_eq!((end.pages_done, end.is_counted), (end.pages, true));
        assert_eq!(end.left, Some(Duration::ZERO));
        assert!((end.part - 1.0).abs() < 1e-9, "{end:?}");
        worst
    }

    /// Scans and texts in turn, as reading in the order of hashes has them.
    fn mixed(looked: impl Fn(usize, u32, Kind) -> Option<(f64, f64)>) -> Vec<Made> {
        let document = |n: usize| {
            let (pages, kind) = match n % 4 {
                0 => (12, Kind::Picture),
                1 => (3, Kind::Words),
                2 => (60, Kind::Words),
                _ => (20, Kind::Words),
            };
            Made { pages, kind, looked: looked(n, pages, kind) }
        };
        (0..40).map(document).collect()
    }

    fn truth(pages: u32, kind: Kind) -> Option<(f64, f64)> {
        let pages = f64::from(pages);
        Some(if kind == Kind::Words { (pages, 0.0) } else { (0.0, pages) })
    }

    #[test]
    fn the_time_left_is_near_the_truth_after_a_tenth() {
        let (all, _) = worst(&mixed(|_, pages, kind| truth(pages, kind)));
        assert!(all < 0.02, "looked into all: {all}");
        let (wrong, _) = worst(&mixed(|_, pages, kind| {
            truth(pages, kind).map(|(words, pictures)| (words * 1.2, pictures * 0.8))
        }));
        assert!(wrong < 0.3, "a sample is wrong by a fifth: {wrong}");
        // Of documents that nobody has looked into the mean is expected.
        let (_, half) = worst(&mixed(|n, pages, kind| truth(pages, kind).filter(|_| n < 20)));
        assert!(half < 0.1, "looked into the first half: {half}");
    }

    #[test]
    fn scans_that_come_last_are_expected_before_one_was_read() {
        let mut folder = mixed(|_, pages, kind| truth(pages, kind));
        folder.sort_by_key(|document| document.kind == Kind::Picture);
        let mut estimate = Estimate::new(folder.len(), 1);
        for (n, document) in folder.iter().enumerate() {
            let (words, pictures) = document.looked.unwrap();
            estimate.looked(&n.to_string(), Pages { words, pictures });
        }
        for _ in 0..100 {
            estimate.read(Kind::Words, Duration::from_millis(300));
            estimate.page_done("0", Kind::Words);
        }
        let told = estimate.progress(Duration::from_secs(30)).left.unwrap();
        // 729 pages with words are left, 120 pictures count as four each.
        let expected = (730.0 + 4.0 * 120.0) * 0.3;
        assert!((told.as_secs_f64() - expected).abs() < 0.1 * expected, "{told:?} {expected}");
    }

    #[test]
    fn pages_that_wait_for_their_words_are_expected() {
        let mut estimate = Estimate::new(1, 1);
        estimate.opened("a", 100, true);
        let mut now = 0.0;
        let told = |estimate: &Estimate, now| {
            let progress = estimate.progress(Duration::from_secs_f64(now));
            (progress.pages_done, progress.pages_waiting, progress.left.unwrap().as_secs_f64())
        };
        // Ten pages are read whole, the others looked at, which takes as long as pages with words.
        for page in 0..100 {
            let (kind, took) = if page < 10 { (Kind::Picture, 6.1) } else { (Kind::Words, 0.3) };
            now += took;
            estimate.read(kind, Duration::from_secs_f64(took));
            if page < 10 {
                estimate.page_done("a", Kind::Picture);
            } else {
                estimate.page_seen("a");
            }
            if page == 50 {
                let left = 49.0 * 0.3 + 90.0 * 5.8;
                let (done, waiting, told) = told(&estimate, now);
                assert_eq!((done, waiting), (10, 41));
                assert!((told - left).abs() < 0.1 * left, "{told} {left}");
            }
        }
        estimate.closed("a", true);
        for page in 0..90u64 {
            let left = (90 - page) as f64 * 5.8;
            let (done, waiting, told) = told(&estimate, now);
            assert_eq!((done, waiting), (10 + page, 90 - page));
            assert!((told - left).abs() < 0.1 * left + 1.0, "{told} {left}");
            now += 5.8;
            estimate.read_waiting(Duration::from_secs_f64(5.8));
            estimate.waiting_done();
        }
        assert_eq!(told(&estimate, now), (100, 0, 0.0));
    }

    #[test]
    fn documents_that_bring_nothing_are_no_work() {
        let mut estimate = Estimate::new(3, 2);
        assert_eq!(estimate.progress(Duration::from_secs(9)).left, None);
        estimate.looked("a", Pages { words: 10.0, pictures: 0.0 });
        estimate.looked("b", Pages { words: 50.0, pictures: 0.0 });
        // One was renamed, one cannot be opened.
        estimate.closed("b", true);
        estimate.closed("c", true);
        estimate.opened("a", 10, true);
        estimate.read(Kind::Words, Duration::from_secs(1));
        estimate.encoded(1, Duration::from_secs(1));
        estimate.page_done("a", Kind::Words);
        // A document within another is none of the plan.
        estimate.opened("a/within", 9, false);
        let progress = estimate.progress(Duration::from_secs(3));
        assert_eq!((progress.pages_done, progress.pages, progress.is_counted), (1, 19, true));
        assert_eq!(progress.left, Some(Duration::from_secs(54)));
        // Nothing is named at once.
        assert_eq!(estimate.progress(Duration::from_secs(1)).left, None);
    }
}
