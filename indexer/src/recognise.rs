//! When a page is read by OCR, which way up, and what becomes of the words that it has already.
//!
//! * A page with hardly a word of its own is a picture, unless it is blank.
//! * Text that is no language is what a font with a wrong table makes of words; the page shows them.
//!   So may be a few letters, numbers without words, and ideographs that nobody uses; what is drawn
//!   decides.
//! * A page may have words and show others: a scan with a stamped number, a photograph of a sign, a
//!   drawing with lettering. Letters in its picture that stand where its text does not are counted.
//!
//! OCR costs seconds, so each of these is asked first, the cheap ones before the dear.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use pagesight_core::seam::{BoxError, Ocr, PdfDocument, PdfError};
use pagesight_core::{DrawSize, OcrText, PageImage, TextSource, Turn, chain};

use crate::ink::{self, unread_letters};
use crate::legible::{has_doubtful_lines, is_doubtful, is_garbled, is_meaningless_text, words};
use crate::page::PageRead;
use crate::scan::{is_blank, needs_ocr};

/// A page with so many letters outside its text is read: five or six words, and two or three where
/// the page is an image with a line of text.
const UNREAD_LETTERS: usize = 30;
const UNREAD_LETTERS_OF_IMAGE: usize = 12;

/// Words of which OCR is less sure do not count.
const SURE: f32 = 0.5;

/// What came of looking at the picture of a page.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Why OCR could not read it.
    pub note: Option<String>,
    /// How its picture must be turned so that its words stand upright.
    pub turn: Turn,
}

/// Why a page should be read by OCR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    NoWords,
    Garbled,
    Doubtful,
    Unread,
}

/// Reads a page with OCR when its own text does not say what it shows, and puts together what both
/// say. A page that OCR cannot read keeps what it has; the note that comes back says why.
///
/// # Errors
/// [`PdfError::Reader`] alone.
pub(crate) fn recognise(
    pdf: &mut dyn PdfDocument,
    page: &mut PageRead,
    ocr: &dyn Ocr,
    stop: &AtomicBool,
) -> Result<Looked, PdfError> {
    let number = page.number;
    let not_drawn = |error| match error {
        PdfError::Failed(why) => {
            let note = Some(format!("page {number} could not be drawn for OCR: {why}"));
            Ok(Looked { note, ..Looked::default() })
        }
        error => Err(error),
    };
    let why = match why(pdf, page) {
        Ok(Some(why)) => why,
        Ok(None) => return Ok(Looked::default()),
        Err(error) => return not_drawn(error),
    };
    let image = match pdf.draw(number, DrawSize::Dpi(ocr.dpi())) {
        Ok(image) => image,
        Err(error) => return not_drawn(error),
    };
    if is_blank(&image) {
        return Ok(Looked::default());
    }
    match read_upright(ocr, &image, stop) {
        Ok((found, turn)) => {
            if let Some(text) = joined(&page.text, &found, why) {
                page.text = text;
                page.text_source = TextSource::Ocr;
            }
            Ok(Looked { note: None, turn })
        }
        Err(error) => {
            let note = format!("page {number} could not be read by OCR: {}", chain(&*error));
            Ok(Looked { note: Some(note), ..Looked::default() })
        }
    }
}

/// Whether OCR should read a page. What cannot be told now is told by [`recognise`].
///
/// # Errors
/// [`PdfError::Reader`] alone.
pub(crate) fn should_be_read(pdf: &mut dyn PdfDocument, page: &PageRead) -> Result<bool, PdfError> {
    match why(pdf, page) {
        Ok(why) => Ok(why.is_some()),
        Err(PdfError::Failed(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn why(pdf: &mut dyn PdfDocument, page: &PageRead) -> Result<Option<Why>, PdfError> {
    if is_garbled(&page.text) {
        return Ok(Some(Why::Garbled));
    }
    if is_doubtful(&page.text) {
        return Ok(Some(Why::Doubtful));
    }
    if needs_ocr(&page.text) {
        return Ok(Some(Why::NoWords));
    }
    if has_doubtful_lines(&page.text) {
        return Ok(Some(Why::Unread));
    }
    if !may_show_more(page) {
        return Ok(None);
    }
    let areas = pdf.text_areas(page.number)?;
    let image = pdf.draw(page.number, DrawSize::Dpi(ink::DPI))?;
    let is_image = page.images >= 0.5 && letters(&page.text) < 300;
    let enough = if is_image { UNREAD_LETTERS_OF_IMAGE } else { UNREAD_LETTERS };
    Ok((unread_letters(&image, &areas) >= enough).then_some(Why::Unread))
}

/// Whether a page has images or shapes in which there is room for words beside its own. To look
/// costs as much as a drawing of the page.
fn may_show_more(page: &PageRead) -> bool {
    const MANY_LETTERS: usize = 1_200;
    const MANY_PATHS: u32 = 400;
    let letters = letters(&page.text);
    page.images >= 0.25
        || (page.images >= 0.05 && letters < MANY_LETTERS)
        || (page.paths >= MANY_PATHS && letters < page.paths as usize)
}

/// Reads a picture that may stand on its side or its head: as it is first, and when that makes no
/// sense, the way that the engine says or, when it cannot say, the one that makes most.
fn read_upright(
    ocr: &dyn Ocr,
    image: &PageImage,
    stop: &AtomicBool,
) -> Result<(OcrText, Turn), BoxError> {
    const FEW: usize = 8;
    let as_it_is = ocr.read(image, stop)?;
    let is_sideways = is_sideways(&as_it_is, image);
    // Without letters of any kind it is a picture of something else.
    let has_letters = letters(&as_it_is.text) >= FEW;
    if !has_letters || (makes_sense(&as_it_is) && !is_sideways) {
        return Ok((as_it_is, Turn::None));
    }
    let told = ocr.turn(image, stop)?;
    let turns = match told {
        Some(Turn::None) => return Ok((as_it_is, Turn::None)),
        Some(turn) => vec![turn],
        None => vec![Turn::Around, Turn::Right, Turn::Left],
    };
    let mut best = (as_it_is, Turn::None);
    for turn in turns {
        let found = ocr.read(&image.turned(turn), stop)?;
        let (sense, most) = (sure_letters(&found), sure_letters(&best.0));
        // What is guessed makes twice as much sense; engines read some lines that stand on end.
        let enough = if told.is_some() || is_sideways { most * 4 / 5 } else { most * 2 };
        if sense > enough && sense >= FEW {
            best = (found, turn);
        }
    }
    Ok(best)
}

/// Whether most longer words stand on end.
fn is_sideways(found: &OcrText, image: &PageImage) -> bool {
    let long = found.words.iter().filter(|word| letters(&word.text) >= 4);
    let (mut on_end, mut all) = (0, 0);
    for word in long {
        let (width, height) = (word.area.x1 - word.area.x0, word.area.y1 - word.area.y0);
        all += 1;
        if height * image.height_px() as f32 > width * image.width_px() as f32 {
            on_end += 1;
        }
    }
    all >= 2 && on_end * 2 > all
}

/// Whether most of what was read is words of which the engine is sure.
fn makes_sense(found: &OcrText) -> bool {
    if found.words.is_empty() {
        return !found.text.trim().is_empty() && !is_garbled(&found.text);
    }
    let all: usize = found.words.iter().map(|word| letters(&word.text)).sum();
    all >= 8 && sure_letters(found) * 10 >= all * 7 && !is_scattered(found)
}

/// Whether there are hardly any words, but single letters and scraps: what a reader that is sure of
/// each of them makes of a page on its head. Letters alone count, and scripts with spaces.
fn is_scattered(found: &OcrText) -> bool {
    const WORD: usize = 4;
    let is_spaced = |c: char| c.is_alphabetic() && u32::from(c) < 0x2E80;
    let (mut whole, mut all) = (0, 0);
    for word in &found.words {
        let letters = word.text.chars().filter(|c| is_spaced(*c)).count();
        all += letters;
        if letters >= WORD {
            whole += letters;
        }
    }
    // Three quarters of the letters of a text are in such words, half of those of a table.
    all >= 8 && whole * 10 < all * 3
}

/// Letters of words of which the engine is sure.
fn sure_letters(found: &OcrText) -> usize {
    if found.words.is_empty() {
        return if is_garbled(&found.text) { 0 } else { letters(&found.text) };
    }
    let sure = found.words.iter().filter(|word| word.confidence >= 0.7);
    sure.map(|word| letters(&word.text)).sum()
}

fn letters(text: &str) -> usize {
    text.chars().filter(|c| c.is_alphanumeric()).count()
}

/// The text of a page that has `layer` and of which OCR `found` something; `None` when OCR found
/// nothing to add.
fn joined(layer: &str, found: &OcrText, why: Why) -> Option<String> {
    let layer = layer.trim();
    let own: HashSet<String> = words(layer).collect();
    let seen: HashSet<String> = words(&found.text).collect();
    let common = own.intersection(&seen).count();
    match why {
        _ if seen.is_empty() => {
            // A single letter or digit is no word, and all that some pages have.
            let only = found.text.trim();
            (own.is_empty() && letters(only) > letters(layer)).then(|| only.to_string())
        }
        // The page shows what the text says: it was a language that we do not know, or a part of it
        // alone is none.
        Why::Garbled
            if !is_meaningless_text(layer)
                && common > 0
                && common * 2 >= own.len().min(seen.len()) =>
        {
            with_lines_in_doubt(layer, found, &own)
        }
        Why::Garbled => (letters(&found.text) >= 8).then(|| found.text.trim().to_string()),
        // The page shows other words, and clear ones.
        Why::Doubtful if common * 2 < own.len().min(seen.len()) && is_clear(found) => {
            Some(found.text.trim().to_string())
        }
        Why::Doubtful if !needs_ocr(layer) => with_lines_in_doubt(layer, found, &own),
        // All that the page shows was read, with its own words among it.
        _ if common * 10 >= own.len() * 8 => {
            let more = seen.len() > own.len();
            more.then(|| with_missing(found.text.trim(), layer, &seen))
        }
        Why::NoWords | Why::Doubtful | Why::Unread => {
            let added = new_lines(found, &own);
            (!added.is_empty()).then(|| format!("{layer}\n{added}"))
        }
    }
}

/// `layer`, some lines of which are no language, and what OCR `found` in their place; `None` when it
/// found no language either.
fn with_lines_in_doubt(layer: &str, found: &OcrText, own: &HashSet<String>) -> Option<String> {
    if !has_doubtful_lines(layer) || has_doubtful_lines(&found.text) {
        return None;
    }
    let added = new_lines(found, own);
    (!added.is_empty()).then(|| format!("{layer}\n{added}"))
}

/// Whether OCR found words, and is sure of most.
fn is_clear(found: &OcrText) -> bool {
    makes_sense(found) && letters(&found.text) >= 8 && !is_doubtful(&found.text)
}

/// `text`, and those lines of `layer` that have a word which is not `seen` in it, or letters that
/// stand alone and are not there; a single one is the number of the page.
fn with_missing(text: &str, layer: &str, seen: &HashSet<String>) -> String {
    let is_missing = |line: &&str| {
        let mut words = words(line).peekable();
        if words.peek().is_none() {
            return letters(line) > 1 && !text.contains(line.trim());
        }
        words.any(|word| !seen.contains(&word))
    };
    let missing = layer.lines().filter(is_missing);
    missing.fold(text.to_string(), |text, line| format!("{text}\n{}", line.trim()))
}

/// What OCR found and the page's own text has not: lines with new words, and of those where the
/// engine says how sure it is, lines of which it is.
fn new_lines(found: &OcrText, own: &HashSet<String>) -> String {
    let unsure: HashSet<&str> = found
        .words
        .iter()
        .filter(|word| word.confidence < SURE)
        .map(|word| word.text.as_str())
        .collect();
    let lines = found.text.lines().filter(|line| {
        let is_new = words(line).any(|word| !own.contains(&word));
        let all = line.split_whitespace().count();
        let sure = line.split_whitespace().filter(|word| !unsure.contains(word)).count();
        is_new && sure * 2 > all
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use pagesight_core::{Area, OcrWord};

    use super::*;

    fn sure_of(text: &str, confidence: f32) -> OcrText {
        let word = |text: &str| OcrWord::new(text, Area::PAGE, confidence);
        let mut found = OcrText::new(text);
        found.words = text.split_whitespace().map(word).collect();
        found
    }

    #[test]
    fn what_both_say_is_put_together() {
        let scan = "Fennel soup of the abbey\nBates ABC 4711";
        let long = "\u{E001}\u{E002} \u{E003}".repeat(60);
        let partly = "Ihqqho#vrxs#ri#wkh#deeh|\nWith bread and salt at noon";
        let rare = "乤乥乧乪乮乯 乲乴乷\nWith bread and salt at noon";
        let seen = "Fennel soup of the abbey\nWith bread and salt at noon";
        let (headed, soup) = (format!("Soup\n{long}"), "Soup\nFennel soup of the abbey");
        for (layer, found, why, expected) in [
            // A picture.
            ("", scan, Why::NoWords, Some(scan.to_string())),
            ("", "7", Why::NoWords, Some("7".into())),
            ("", "", Why::NoWords, None),
            ("12", "", Why::NoWords, None),
            // Letters that stand alone are no words, and stay.
            ("Ż ł ć", "oh no", Why::NoWords, Some("oh no\nŻ ł ć".into())),
            // A stamp that OCR reads too, and one that it does not.
            ("Bates ABC 4711", scan, Why::Unread, Some(scan.into())),
            ("Exhibit Q", scan, Why::Unread, Some(format!("Exhibit Q\n{scan}"))),
            ("Fennel soup of the abbey with bread and salt", "Fennel soup", Why::Unread, None),
            // Garbage, however long, gives way to words; a language that nobody knows does not.
            (&long, scan, Why::Garbled, Some(scan.into())),
            (&long, "", Why::Garbled, None),
            // So does garbage under a heading that says what it is.
            (&headed, "Soup\nFennel soup of the abbey", Why::Garbled, Some(soup.into())),
            ("Xqzvk wvxzq jqxv", "Xqzvk wvxzq jqxv", Why::Garbled, None),
            (rare, seen, Why::Doubtful, Some(format!("{rare}\nFennel soup of the abbey"))),
            (partly, seen, Why::Garbled, Some(format!("{partly}\nFennel soup of the abbey"))),
            // A table of codes that is drawn as it is written stays, and so does what OCR cannot read.
            ("QX-4711 ZV-0815 JK-42 XQ-7", "QX-4711 ZV-0815 JK-42", Why::Doubtful, None),
            ("18429 30017 44298 163", "xq zvk qj", Why::Doubtful, None),
            ("18429 30017 44298 163", scan, Why::Doubtful, Some(scan.into())),
            ("乤乥乧乪乮乯乲乴乷", scan, Why::Doubtful, Some(scan.into())),
        ] {
            assert_eq!(joined(layer, &OcrText::new(found), why), expected, "{layer} {found}");
        }
    }

    #[test]
    fn a_smudge_adds_nothing_to_a_page_with_words() {
        let layer = "A page with a photograph of a hedge";
        assert_eq!(joined(layer, &sure_of("wv,. ]|i ~~ ft", 0.2), Why::Unread), None);
        let found = sure_of("STATION ROAD", 0.9);
        let expected = format!("{layer}\nSTATION ROAD");
        assert_eq!(joined(layer, &found, Why::Unread), Some(expected));
    }

    /// Reads what is upright, and noise otherwise. Upright is what has its first pixel black.
    struct Feeder {
        knows: Option<Turn>,
    }

    impl Ocr for Feeder {
        fn dpi(&self) -> u32 {
            72
        }

        fn read(&self, page: &PageImage, _: &AtomicBool) -> Result<OcrText, BoxError> {
            let is_upright = page.rgb()[0] == 0 && page.width_px() > page.height_px();
            Ok(if is_upright {
                sure_of("upright words", 0.9)
            } else {
                sure_of("bu!pea1 s! s!y1", 0.3)
            })
        }

        fn turn(&self, _: &PageImage, _: &AtomicBool) -> Result<Option<Turn>, BoxError> {
            Ok(self.knows)
        }
    }

    #[test]
    fn pictures_are_turned_until_they_make_sense() {
        let mut rgb = vec![255; 3 * 2 * 3];
        rgb[..3].fill(0);
        let upright = PageImage::new(3, 2, rgb).unwrap();
        let stop = AtomicBool::new(false);
        for turn in [Turn::None, Turn::Right, Turn::Around, Turn::Left] {
            let scan = upright.turned(turn.back());
            for knows in [None, Some(turn)] {
                let (found, got) = read_upright(&Feeder { knows }, &scan, &stop).unwrap();
                assert_eq!((found.text.as_str(), got), ("upright words", turn), "{knows:?}");
            }
        }
        // What makes no sense in any way stays as it is.
        let grey = PageImage::new(3, 2, vec![99; 18]).unwrap();
        let (_, turn) = read_upright(&Feeder { knows: None }, &grey, &stop).unwrap();
        assert_eq!(turn, Turn::None);
    }

    #[test]
    fn scraps_are_no_words_however_sure_a_reader_is() {
        // What the embedded reader is sure to see in a page of print on its head.
        let on_its_head = "sea n ay Mmri i i ing ner w w ac. Mis g g sety";
        for (text, makes) in [
            (on_its_head, false),
            ("The members discussed the pruning of quince hedges", true),
            ("Q1 Q2 Q3 Total\n12 14 9 35\nNet sales 4,711 815", true),
            ("1 2 3 4 5 6 7 8 9 10 11 12", true),
            ("第 三 章 安 装 说 明 书", true),
            ("a b c", false),
        ] {
            assert_eq!(makes_sense(&sure_of(text, 0.9)), makes, "{text}");
        }
    }
}
