//! Where the words of a page come from.

use std::sync::Arc;

use pagesight_core::testing::FakeOcr;
use pagesight_core::{OcrChoice, TextSource};

use super::Place;

/// What fonts with wrong tables make of words is not indexed as it is.
#[test]
fn garbled_text_gives_way_to_what_the_page_shows() {
    const WORDS: &str = "Annual maintenance of hydraulic turbines in the power station, and of the \
        spillway gates which were repaired last autumn";
    let moved: String = WORDS.chars().map(|c| char::from_u32(c as u32 + 4).unwrap()).collect();
    let private = "\u{E012}\u{E013}\u{E014} ".repeat(200);
    let little = "Xli wtmppae} kexiw";
    let ideographs = "乤乥乧乪乮乯乲乴乷乺乻乼乽乿亀亁亄亅";
    let digits = "18429 30017 44298 163";
    let mut place = Place::new();
    place.engines.ocr = Some(Arc::new(FakeOcr::new("turbines as they are seen")));
    place.write("garbled.pdf", &[WORDS, &moved, &private, little, ideographs, digits]);
    place.run();
    let mut pages = place.store.pages();
    pages.sort_by_key(|page| page.id.number);
    let read: Vec<(&str, TextSource)> =
        pages.iter().map(|page| (page.text.as_str(), page.text_source)).collect();
    let expected = [
        (WORDS, TextSource::Layer),
        (WORDS, TextSource::Layer),
        ("turbines as they are seen", TextSource::Ocr),
        ("turbines as they are seen", TextSource::Ocr),
        ("turbines as they are seen", TextSource::Ocr),
        ("turbines as they are seen", TextSource::Ocr),
    ];
    assert_eq!(read, expected);
}

#[test]
fn pages_without_words_are_read_by_ocr() {
    let mut place = Place::new();
    // White, hardly a word, and enough of them.
    place.write("a.pdf", &["", "- 1 -", "long enough to be the text of a page"]);
    place.run();
    let notes = place.record("a.pdf").unwrap().notes;
    let note = "some pages have no text, and nothing reads them: neither the weights of the \
                embedded reader are there nor tesseract for eng";
    assert_eq!(notes, [note]);
    place.options.ocr = OcrChoice::Off;
    place.write("unasked.pdf", &["", "- 3 -"]);
    place.run();
    assert_eq!(place.record("unasked.pdf").unwrap().notes, [""; 0]);
    place.engines.ocr = Some(Arc::new(FakeOcr::new("words of the scan")));
    place.write("b.pdf", &["", "- 2 -", "again long enough to be the text"]);
    place.run();
    let b = place.record("b.pdf").unwrap();
    assert_eq!(b.notes, [""; 0]);
    let pages = place.store.pages().into_iter().filter(|page| Some(page.id.document) == b.document);
    let read: Vec<_> = pages.map(|page| (page.text, page.text_source)).collect();
    let expected = [
        ("", TextSource::None),
        ("words of the scan", TextSource::Ocr),
        ("again long enough to be the text", TextSource::Layer),
    ];
    assert_eq!(read, expected.map(|(text, source)| (text.to_string(), source)));
}
