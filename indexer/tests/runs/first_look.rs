//! Pages that OCR reads when all documents have been looked at.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pagesight_core::seam::{BoxError, Ocr};
use pagesight_core::testing::{FakeEncoder, FakeOcr};
use pagesight_core::{
    Area, DocumentRecord, DocumentStatus, OcrText, OcrWord, PageImage, PageRecord, Slices,
    TextSource, Turn,
};
use pagesight_indexer::{Event, Summary};

use super::Place;

const WORDS: &str = "long enough to be the text of a page";

/// Says that every picture with words lies on its head, until it is turned.
struct OnItsHead;

impl Ocr for OnItsHead {
    fn dpi(&self) -> u32 {
        72
    }

    fn read(&self, page: &PageImage, _: &AtomicBool) -> Result<OcrText, BoxError> {
        // The fake draws a page darker towards its end.
        let is_upright = page.rgb()[0] > page.rgb()[page.rgb().len() - 1];
        let (text, confidence) =
            if is_upright { ("upright words of it", 0.9) } else { ("bu!pea1 s! s!y1", 0.3) };
        let mut found = OcrText::new(text);
        let word = |text: &str| OcrWord::new(text, Area::PAGE, confidence);
        found.words = text.split_whitespace().map(word).collect();
        Ok(found)
    }

    fn turn(&self, _: &PageImage, _: &AtomicBool) -> Result<Option<Turn>, BoxError> {
        Ok(Some(Turn::Around))
    }
}

fn place(look_first: Option<Duration>) -> (Place, FakeEncoder) {
    let mut place = Place::new();
    let encoder = FakeEncoder::new(8, Slices::grid(2, 1));
    place.engines.encoder = Some(Arc::new(encoder.clone()));
    place.engines.ocr = Some(Arc::new(FakeOcr::new("words of the scan")));
    place.options.look_first = look_first;
    place.write("a.pdf", &[WORDS, "another page with words of its own"]);
    place.write("mixed.pdf", &["- 1 -", WORDS, "- 3 -", ""]);
    place.write("scan.pdf", &["- 7 -", "- 8 -"]);
    fs::copy(place.path("scan.pdf"), place.path("the same scan.pdf")).unwrap();
    (place, encoder)
}

/// What an index holds: pages, and records by path without the time of their files.
fn contents(place: &mut Place) -> (Vec<PageRecord>, Vec<DocumentRecord>) {
    use pagesight_core::seam::PageSink;
    let mut records = place.store.documents().unwrap();
    records.iter_mut().for_each(|record| record.modified_ns = 0);
    (place.store.pages(), records)
}

fn without_times(summary: &Summary) -> Summary {
    let mut summary = summary.clone();
    summary.stages = Default::default();
    summary
}

#[test]
fn all_pages_are_found_by_their_looks_before_ocr_reads_any() {
    let (mut plain, _) = place(None);
    let expected = without_times(&plain.run());
    let (mut place, encoder) = place(Some(Duration::ZERO));
    let (store, mut seen, mut looked) = (place.store.clone(), 0, None);
    let mut last = None;
    let summary = place
        .run_told(&mut |event| match event {
            Event::Seen { .. } => seen += 1,
            Event::Looked { waiting } => looked = Some((waiting, store.pages())),
            Event::Progress(progress) => last = Some(progress),
            _ => {}
        })
        .unwrap();
    let (waiting, pages) = looked.expect("there are scans");
    assert_eq!((seen, waiting), (5, 5));
    // The folder has eight different pages. They are committed with their vectors.
    assert_eq!(pages.len(), 8);
    assert!(pages.iter().all(|page| page.vectors.is_some() && page.text_source != TextSource::Ocr));
    let last = last.unwrap();
    assert_eq!((last.pages_done, last.pages_waiting, last.pages), (8, 0, 8));
    // In the end it is as if each page had been read at its turn, and none was encoded twice.
    assert_eq!(contents(&mut place), contents(&mut plain));
    assert_eq!(without_times(&summary), expected);
    assert_eq!(encoder.encoded(), 8);
    let read = place.store.pages().into_iter().filter(|page| page.text_source == TextSource::Ocr);
    assert_eq!(read.count(), 4);
    // And nothing is left to do.
    assert_eq!(place.run().documents_skipped, 4);
}

#[test]
fn a_run_that_is_stopped_while_it_reads_is_gone_on_with() {
    let (mut plain, _) = place(None);
    plain.run();
    let (mut place, encoder) = place(Some(Duration::ZERO));
    place.options.workers = Some(1);
    let stop = Arc::clone(&place.options.stop);
    let (mut is_reading, mut read) = (false, 0);
    let summary = place
        .run_told(&mut |event| match event {
            Event::Looked { .. } => is_reading = true,
            Event::Page { .. } if is_reading => {
                read += 1;
                stop.store(read == 2, Ordering::Relaxed);
            }
            _ => {}
        })
        .unwrap();
    assert!(summary.interrupted);
    let (pages, records) = contents(&mut place);
    assert_eq!(pages.len(), 8);
    let waiting: usize = records.iter().map(|record| record.waiting_pages.len()).sum();
    assert!((1..5).contains(&waiting), "{records:?}");
    let unfinished = records.iter().filter(|r| r.status == DocumentStatus::InProgress);
    assert!(unfinished.clone().count() > 0);
    assert!(unfinished.clone().all(|record| record.pages_indexed == record.page_count));
    // The next run reads what waits, whenever it would begin to leave pages for later, and encodes
    // nothing again.
    stop.store(false, Ordering::Relaxed);
    place.options.look_first = None;
    let summary = place.run();
    assert_eq!((summary.pages_indexed, summary.interrupted), (0, false));
    assert_eq!(contents(&mut place), contents(&mut plain));
    assert_eq!(encoder.encoded(), 8);
}

#[test]
fn a_page_on_its_head_is_encoded_again_the_right_way_up() {
    let (mut plain, _) = place(None);
    let (mut place, encoder) = place(Some(Duration::ZERO));
    for place in [&mut plain, &mut place] {
        place.engines.ocr = Some(Arc::new(OnItsHead));
        place.run();
    }
    assert_eq!(contents(&mut place), contents(&mut plain));
    // Of the four pages with something to read on them, those that the fake draws on their head.
    assert!((9..=12).contains(&encoder.encoded()));
}

#[test]
fn what_a_run_cannot_come_back_to_waits_for_the_next() {
    let (mut place, _) = place(Some(Duration::ZERO));
    let (scan, mut warnings) = (place.path("scan.pdf"), Vec::new());
    fs::remove_file(place.path("the same scan.pdf")).unwrap();
    let summary = place
        .run_told(&mut |event| match event {
            Event::Looked { .. } => fs::write(&scan, b"something else").unwrap(),
            Event::Warning { text } => warnings.push(text),
            _ => {}
        })
        .unwrap();
    assert_eq!((summary.pages_waiting, summary.failures.len()), (2, 0));
    let expected =
        "scan.pdf: the words of 2 pages are still to be read: changed while it was read: run again";
    assert_eq!(warnings, [expected]);
    let record = place.record("scan.pdf").unwrap();
    let found = (record.status, record.pages_indexed, &record.waiting_pages[..]);
    assert_eq!(found, (DocumentStatus::InProgress, 2, &[1, 2][..]));
    assert_eq!(place.record("mixed.pdf").unwrap().status, DocumentStatus::Ok);
    // Without OCR what is indexed is all that is wanted.
    place.write("scan.pdf", &["- 7 -", "- 8 -"]);
    place.engines.ocr = None;
    place.options.ocr = pagesight_core::OcrChoice::Off;
    assert_eq!(place.run().pages_waiting, 0);
    let record = place.record("scan.pdf").unwrap();
    assert_eq!((record.status, record.waiting_pages.len()), (DocumentStatus::Ok, 0));
}
