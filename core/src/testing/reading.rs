//! Fakes and contract suites of the seams that read PDFs and pictures of words.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::document::{Attachment, DocumentId};
use crate::failure::FailureKind;
use crate::geometry::{PageSize, PictureSize};
use crate::image::PageImage;
use crate::reading::{DrawSize, OcrText, PageText};
use crate::seam::{BoxError, Ocr, PdfDocument, PdfError, PdfReader};

/// Reads documents in a format of its own, plain text that [`FakePdfReader::pdf`] writes, so that
/// tests of the write path need no PDF library and no processes.
///
/// A page is text. Two kinds of first lines mean something else: `!KIND`, with a word of
/// [`FailureKind`], is a page that fails so, and `@WIDTHxHEIGHT` is the size of the page in points
/// (A4 without it). The picture of a page depends on its text; a page without text is white.
#[derive(Debug, Default)]
pub struct FakePdfReader {
    passwords: Vec<String>,
    opened: AtomicU64,
}

const FAKE_HEAD: &str = "%PDF-fake";

impl FakePdfReader {
    /// A reader that tries `passwords` on encrypted documents.
    pub fn with_passwords(passwords: &[&str]) -> Self {
        let passwords = passwords.iter().map(ToString::to_string).collect();
        Self { passwords, opened: AtomicU64::new(0) }
    }

    /// A document with these pages.
    pub fn pdf(pages: &[&str]) -> Vec<u8> {
        format!("{FAKE_HEAD}\n{}", pages.join("\u{c}")).into_bytes()
    }

    /// A document with these pages, to which these PDFs are attached, by their names.
    pub fn carrier_pdf(pages: &[&str], attached: &[(&str, &[u8])]) -> Vec<u8> {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let file = |(name, bytes): &(&str, &[u8])| format!("\u{1c}{name}\u{1d}{}", hex(bytes));
        let attached: String = attached.iter().map(file).collect();
        [Self::pdf(pages), attached.into_bytes()].concat()
    }

    /// The same, encrypted.
    pub fn encrypted_pdf(password: &str, pages: &[&str]) -> Vec<u8> {
        format!("{FAKE_HEAD} {password}\n{}", pages.join("\u{c}")).into_bytes()
    }

    /// How many documents were opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

impl PdfReader for FakePdfReader {
    fn has_passwords(&self) -> bool {
        !self.passwords.is_empty()
    }

    fn open(
        &self,
        _document: DocumentId,
        bytes: Arc<Vec<u8>>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Box<dyn PdfDocument>, PdfError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let damaged = |what: &str| PdfError::failed(FailureKind::Damaged, what);
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("not a PDF"))?;
        let (head, body) = text.split_once('\n').ok_or_else(|| damaged("not a PDF"))?;
        let password = head.strip_prefix(FAKE_HEAD).ok_or_else(|| damaged("not a PDF"))?.trim();
        if !password.is_empty() && !self.passwords.iter().any(|known| known == password) {
            return Err(PdfError::failed(FailureKind::Encrypted, "encrypted"));
        }
        let mut parts = body.split('\u{1c}');
        let pages = parts.next().unwrap_or_default().split('\u{c}').map(String::from).collect();
        let (mut attachments, mut files) = (Vec::new(), Vec::new());
        for (part, index) in parts.zip(0..) {
            let (name, hex) = part.split_once('\u{1d}').ok_or_else(|| damaged("no file"))?;
            let digits = hex.as_bytes().chunks(2).filter_map(|two| std::str::from_utf8(two).ok());
            let bytes = digits.map(|two| u8::from_str_radix(two, 16)).collect::<Result<_, _>>();
            attachments.push(Attachment::new(index, name.into()));
            files.push(bytes.map_err(|_| damaged("no file"))?);
        }
        Ok(Box::new(FakePdf { pages, attachments, files, stop: Arc::clone(stop) }))
    }
}

struct FakePdf {
    pages: Vec<String>,
    attachments: Vec<Attachment>,
    files: Vec<Vec<u8>>,
    stop: Arc<AtomicBool>,
}

impl FakePdf {
    fn page(&self, number: u32) -> Result<(PageSize, &str), PdfError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(PdfError::failed(FailureKind::Other, "the run was stopped"));
        }
        let index = (number as usize).checked_sub(1);
        let page = index.and_then(|index| self.pages.get(index)).ok_or_else(|| {
            let count = self.pages.len();
            PdfError::failed(FailureKind::Damaged, format!("the document has {count} pages"))
        })?;
        let (first, rest) = page.split_once('\n').unwrap_or((page, ""));
        if let Some(kind) = first.strip_prefix('!') {
            return Err(PdfError::failed(FailureKind::parse(kind), format!("fails as {kind}")));
        }
        let sides = first.strip_prefix('@').and_then(|sides| sides.split_once('x'));
        let sides = sides.and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        Ok(match sides {
            Some((width_pt, height_pt)) => (PageSize { width_pt, height_pt }, rest),
            None => (PageSize { width_pt: 595.0, height_pt: 842.0 }, page.as_str()),
        })
    }
}

impl PdfDocument for FakePdf {
    fn page_count(&self) -> u32 {
        self.pages.len() as u32
    }

    fn title(&self) -> Option<&str> {
        None
    }

    fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    fn attached(&mut self, attachment: &Attachment, most_bytes: u64) -> Result<Vec<u8>, PdfError> {
        let file = &self.files[attachment.index as usize];
        if file.len() as u64 > most_bytes {
            return Err(PdfError::failed(FailureKind::TooLarge, "an attached file is too large"));
        }
        Ok(file.clone())
    }

    fn text(&mut self, number: u32, most_bytes: usize) -> Result<PageText, PdfError> {
        let (size, text) = self.page(number)?;
        let kept = &text[..text.floor_char_boundary(most_bytes)];
        Ok(PageText::new(size, kept, kept.len() < text.len()))
    }

    fn draw(&mut self, number: u32, size: DrawSize) -> Result<PageImage, PdfError> {
        let (page, text) = self.page(number)?;
        let (width, height) = match size {
            DrawSize::Exact { size, .. } => (size.width_px, size.height_px),
            DrawSize::Width(width) => {
                (width, (width as f32 * page.height_pt / page.width_pt).round() as u32)
            }
            DrawSize::Dpi(dpi) => {
                let side = |pt: f32| (pt * dpi as f32 / 72.0).round() as u32;
                (side(page.width_pt), side(page.height_pt))
            }
        };
        let (width, height) = (width.max(1), height.max(1));
        // Four by four fields, each of a grey that the text decides.
        let hash = DocumentId::of(text.as_bytes()).0;
        let grey = |field: u32| if text.trim().is_empty() { 255 } else { hash[field as usize] };
        let rgb = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| [grey(y * 4 / height * 4 + x * 4 / width); 3])
            .collect();
        Ok(PageImage::new(width, height, rgb).expect("both sides are at least 1"))
    }
}

/// OCR that finds the same text in every picture that is not of one colour.
#[derive(Debug, Clone)]
pub struct FakeOcr {
    text: String,
}

impl FakeOcr {
    /// Finds `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

impl Ocr for FakeOcr {
    fn dpi(&self) -> u32 {
        72
    }

    fn read(&self, page: &PageImage, stop: &AtomicBool) -> Result<OcrText, BoxError> {
        if stop.load(Ordering::Relaxed) {
            return Err("the run was stopped".into());
        }
        let first = &page.rgb()[..3];
        let blank = page.rgb().chunks_exact(3).all(|pixel| pixel == first);
        Ok(OcrText::new(if blank { "" } else { &self.text }))
    }
}

/// A document for [`pdf_reader_contract`].
#[derive(Debug, Clone, Copy)]
pub struct PdfSample<'a> {
    /// The file.
    pub bytes: &'a [u8],
    /// How many pages it has, at least 1.
    pub pages: u32,
    /// A word of its first page.
    pub word: &'a str,
}

/// The promises of [`PdfReader`] and [`PdfDocument`], checked on two different documents of which
/// the first page is not white.
///
/// # Panics
/// Where the contract is broken.
pub fn pdf_reader_contract(reader: &dyn PdfReader, samples: [PdfSample<'_>; 2]) {
    const ALL: usize = 1 << 20;
    let never = Arc::new(AtomicBool::new(false));
    let open = |bytes: &[u8]| reader.open(DocumentId::of(bytes), Arc::new(bytes.to_vec()), &never);
    reader.ready().expect("a reader that works is ready");
    for bytes in [&b""[..], b"neither here nor there"] {
        match open(bytes) {
            Err(PdfError::Failed(failure)) => assert_eq!(failure.kind, FailureKind::Damaged),
            Err(PdfError::Reader(why)) => panic!("a broken file is no reason to stop: {why}"),
            Ok(_) => panic!("{bytes:?} is no PDF"),
        }
    }
    let read_all = |sample: &PdfSample<'_>| {
        let mut document = open(sample.bytes).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(document.page_count(), sample.pages);
        let whole = document.text(1, ALL).expect("the page reads");
        assert!(whole.text.contains(sample.word), "{:?} has {}", whole.text, sample.word);
        assert!(!whole.cut && whole.size.width_pt > 0.0 && whole.size.height_pt > 0.0);
        for most in [0, 1, 2, 3, 7] {
            let part = document.text(1, most).expect("the page reads");
            assert_eq!(part.size, whole.size);
            assert!(part.text.len() <= most && whole.text.starts_with(&part.text));
            assert!(part.cut || most == 0 || part.text == whole.text, "{most} bytes");
        }
        let size = PictureSize { width_px: 90, height_px: 50 };
        let exact = DrawSize::exact(size);
        let first = document.draw(1, exact).expect("the page draws");
        assert_eq!((first.width_px(), first.height_px()), (90, 50), "the size is exact");
        assert!(first.rgb().iter().any(|&value| value < 128), "something is on it");
        for number in [0, sample.pages + 1] {
            let text = document.text(number, ALL).map(drop);
            assert!(matches!(text, Err(PdfError::Failed(_))), "there is no page {number}");
            let drawn = document.draw(number, DrawSize::Width(8)).map(drop);
            assert!(matches!(drawn, Err(PdfError::Failed(_))), "there is no page {number}");
        }
        let again = document.draw(1, exact).expect("it draws after an error");
        assert!(first == again, "the same page is the same picture");
        let wide = document.draw(1, DrawSize::Width(120)).expect("the page draws");
        let shape = whole.size.height_pt / whole.size.width_pt;
        assert_eq!(wide.width_px(), 120);
        assert!((wide.height_px() as f32 - 120.0 * shape).abs() <= 1.0, "its own shape");
        let dpi = document.draw(1, DrawSize::Dpi(36)).expect("the page draws");
        assert!((dpi.width_px() as f32 - whole.size.width_pt / 2.0).abs() <= 1.0, "36 dpi");
        (whole.text, first)
    };
    // One after the other, and from two threads at once: nobody gets the other one's pages.
    let alone = samples.map(|sample| read_all(&sample));
    assert!(alone[0] != alone[1], "the samples differ");
    thread::scope(|scope| {
        let both = samples.map(|sample| scope.spawn(move || read_all(&sample)));
        for (thread, alone) in both.into_iter().zip(&alone) {
            assert!(thread.join().expect("no panic") == *alone, "the same beside others");
        }
    });
    if let Some(document) = reader.opened(DocumentId::of(samples[0].bytes)) {
        assert_eq!(document.page_count(), samples[0].pages, "it is the one that was asked for");
    }
    assert!(reader.opened(DocumentId::of(b"never opened")).is_none());
}

/// The promises of [`Ocr`], on a `picture` on which `word` stands.
///
/// # Panics
/// Where the contract is broken.
pub fn ocr_contract(ocr: &dyn Ocr, picture: &PageImage, word: &str) {
    assert!(ocr.dpi() > 0);
    let never = AtomicBool::new(false);
    let found = ocr.read(picture, &never).expect("a picture of a page reads");
    assert!(found.text.contains(word), "{:?} has {word}", found.text);
    for word in &found.words {
        assert!(found.text.contains(&word.text), "{} is in the text", word.text);
        let area = word.area;
        assert!(0.0 <= area.x0 && area.x0 < area.x1 && area.x1 <= 1.0, "{area:?}");
        assert!(0.0 <= area.y0 && area.y0 < area.y1 && area.y1 <= 1.0, "{area:?}");
        assert!((0.0..=1.0).contains(&word.confidence));
    }
    let again = ocr.read(picture, &never).expect("it reads again");
    assert_eq!(again, found, "the same picture, the same words");
    let white = PageImage::new(200, 100, vec![255; 200 * 100 * 3]).expect("the size fits");
    let nothing = ocr.read(&white, &never).expect("a white page is no error");
    assert!(nothing.text.trim().is_empty() && nothing.words.is_empty(), "{nothing:?}");
    assert!(ocr.read(picture, &AtomicBool::new(true)).is_err(), "it gives up when it is stopped");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fake_reader_keeps_the_contract() {
        let one = FakePdfReader::pdf(&["the first page", "@400x100\nthe second"]);
        let two = FakePdfReader::pdf(&["@300x300\nanother document"]);
        let samples = [
            PdfSample { bytes: &one, pages: 2, word: "first" },
            PdfSample { bytes: &two, pages: 1, word: "another" },
        ];
        pdf_reader_contract(&FakePdfReader::default(), samples);
    }

    #[test]
    fn the_fake_reader_fails_as_it_is_told() {
        let stop = Arc::default();
        let open = |reader: &FakePdfReader, bytes: Vec<u8>| {
            reader.open(DocumentId::of(&bytes), Arc::new(bytes), &stop)
        };
        let reader = FakePdfReader::with_passwords(&["open"]);
        let mut pdf = open(&reader, FakePdfReader::pdf(&["!timeout", "fine"])).unwrap();
        let kind = |error| match error {
            Err(PdfError::Failed(failure)) => Some(failure.kind),
            _ => None,
        };
        assert_eq!(kind(pdf.text(1, 9)), Some(FailureKind::Timeout));
        assert_eq!(pdf.text(2, 9).unwrap().text, "fine");
        assert!(open(&reader, FakePdfReader::encrypted_pdf("open", &["x"])).is_ok());
        let locked = open(&reader, FakePdfReader::encrypted_pdf("other", &["x"])).map(drop);
        assert!(matches!(locked, Err(PdfError::Failed(f)) if f.kind == FailureKind::Encrypted));
    }

    #[test]
    fn the_fake_ocr_keeps_the_contract() {
        let mut rgb = vec![255; 300];
        rgb[0] = 0;
        let picture = PageImage::new(10, 10, rgb).unwrap();
        ocr_contract(&FakeOcr::new("found words"), &picture, "words");
    }
}
