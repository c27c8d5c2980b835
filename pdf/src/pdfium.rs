//! What a worker does with libpdfium. It runs in worker processes only, because pdfium may crash,
//! hang, or take all memory that it can get.

use std::path::Path;

use pagesight_core::{DrawSize, Failure, FailureKind, PageImage, PageSize, PageText, PictureSize};
use pagesight_simd::resize_bicubic;
use pdfium_render::prelude::*;

use crate::canvas::Canvas;
use crate::fonts;
use crate::limits::{MAX_PIXELS, MAX_SIDE_PX};

/// Loads the library at `path` and keeps it from reading any font of the system.
pub fn bind(path: &Path) -> Result<Pdfium, String> {
    let bindings = Pdfium::bind_to_library(path);
    let pdfium =
        bindings.map(Pdfium::new).map_err(|error| format!("{}: {error}", path.display()))?;
    fonts::use_ours(&pdfium);
    Ok(pdfium)
}

/// Opens a document without a password or with the first of `passwords` that fits.
pub fn open<'a>(
    pdfium: &'a Pdfium,
    bytes: &'a [u8],
    passwords: &[String],
) -> Result<PdfDocument<'a>, Failure> {
    let tries = std::iter::once(None).chain(passwords.iter().map(|p| Some(p.as_str())));
    for password in tries {
        match pdfium.load_pdf_from_byte_slice(bytes, password) {
            Ok(document) => return Ok(document),
            Err(PdfiumError::PdfiumLibraryInternalError(PdfiumInternalError::PasswordError)) => {}
            Err(error) => return Err(not_opened(&error, bytes)),
        }
    }
    let reason = match passwords {
        [] => "encrypted, and no password was given",
        _ => "encrypted, and none of the passwords given fits",
    };
    Err(Failure::new(FailureKind::Encrypted, reason))
}

fn not_opened(error: &PdfiumError, bytes: &[u8]) -> Failure {
    let head = &bytes[..bytes.len().min(1024)];
    let damaged = |reason: &str| Failure::new(FailureKind::Damaged, reason);
    match error {
        _ if bytes.is_empty() => damaged("the file is empty"),
        PdfiumError::PdfiumLibraryInternalError(PdfiumInternalError::FormatError)
            if !head.windows(5).any(|w| w == b"%PDF-") =>
        {
            damaged("not a PDF")
        }
        PdfiumError::PdfiumLibraryInternalError(PdfiumInternalError::FormatError) => {
            damaged("damaged: the PDF cannot be opened")
        }
        PdfiumError::PdfiumLibraryInternalError(PdfiumInternalError::SecurityError) => {
            Failure::new(FailureKind::Encrypted, "encrypted in a way that cannot be read")
        }
        error => Failure::new(FailureKind::Other, format!("the PDF cannot be opened ({error})")),
    }
}

/// The document's title, when its metadata has a readable one.
pub fn title(document: &PdfDocument<'_>) -> Option<String> {
    let tag = document.metadata().get(PdfDocumentMetadataTagType::Title)?;
    let title: String = tag.value().chars().filter(|c| !c.is_control()).take(300).collect();
    Some(title.trim().to_string()).filter(|t| !t.is_empty())
}

/// A document whose last page stays loaded until another one is asked for, so that asking for the
/// text of a page and then for its picture loads the page once.
pub struct Pages<'a, 'd> {
    document: &'a PdfDocument<'d>,
    loaded: Option<(u32, PdfPage<'a>, PageSize)>,
}

impl<'a, 'd> Pages<'a, 'd> {
    /// The pages of `document`.
    pub fn new(document: &'a PdfDocument<'d>) -> Self {
        Self { document, loaded: None }
    }

    /// The size and words of page `number` (1-based), at most `limit` bytes of them; no words are
    /// looked for when that is 0.
    pub fn text(&mut self, number: u32, limit: usize) -> Result<PageText, Failure> {
        let (page, size) = self.load(number)?;
        if limit == 0 {
            return Ok(PageText::new(size, "", false));
        }
        let (mut text, cut) = page_text(page, limit)?;
        let cut = !field_values(page, limit, &mut text) || cut;
        Ok(PageText::new(size, text, cut))
    }

    /// Draws page `number` (1-based) on `canvas` as RGB without gaps; the size of the page, and
    /// width and height of the picture in pixels. The page is not kept: what pdfium keeps of a page
    /// that was drawn may be large.
    pub fn draw(
        &mut self,
        number: u32,
        draw: DrawSize,
        limit: u64,
        canvas: &mut Canvas,
    ) -> Result<(PageSize, (u32, u32)), Failure> {
        let (page, size) = self.load(number)?;
        let drawn = draw_page(page, size, draw, limit, canvas);
        self.loaded = None;
        Ok((size, drawn?))
    }

    fn load(&mut self, number: u32) -> Result<(&PdfPage<'a>, PageSize), Failure> {
        if self.loaded.as_ref().is_none_or(|(loaded, ..)| *loaded != number) {
            self.loaded = None;
            let (page, size) = load(self.document, number)?;
            self.loaded = Some((number, page, size));
        }
        let (_, page, size) = self.loaded.as_ref().expect("loaded above");
        Ok((page, *size))
    }
}

fn load<'a>(
    document: &'a PdfDocument<'_>,
    number: u32,
) -> Result<(PdfPage<'a>, PageSize), Failure> {
    let pages = document.pages();
    let damaged = |reason: String| Failure::new(FailureKind::Damaged, reason);
    let outside = || damaged(format!("the document has {} pages", pages.len()));
    let index = number.checked_sub(1).and_then(|index| PdfPageIndex::try_from(index).ok());
    let page = pages.get(index.ok_or_else(outside)?).map_err(|error| match error {
        PdfiumError::PageIndexOutOfBounds => outside(),
        _ => damaged("the page is damaged and cannot be loaded".into()),
    })?;
    let size = PageSize { width_pt: page.width().value, height_pt: page.height().value };
    if [size.width_pt, size.height_pt].iter().any(|side| !(side.is_finite() && *side > 0.0)) {
        return Err(damaged(format!("the page is {} x {} points", size.width_pt, size.height_pt)));
    }
    Ok((page, size))
}

/// The text layer in its own order: every character, whatever box it lies in. Where a line ends
/// within a word at a hyphen, U+00AD stands for both: whether the hyphen is the word's own cannot be
/// seen, and search reads it either way. The second value says whether the text was cut at `limit`
/// bytes.
fn page_text(page: &PdfPage<'_>, limit: usize) -> Result<(String, bool), Failure> {
    let layer = page.text().map_err(|error| {
        Failure::new(FailureKind::Damaged, format!("its text cannot be read ({error})"))
    })?;
    Ok(joined(layer.chars().iter().filter_map(|character| character.unicode_char()), limit))
}

fn joined(letters: impl Iterator<Item = char>, limit: usize) -> (String, bool) {
    let mut text = String::new();
    // After a hyphen that may be left out: whether a line ended at it.
    let mut hyphen = None;
    for c in letters {
        match c {
            // pdfium's marks for a hyphen that a line break made.
            '\u{2}' | '\u{FFFE}' => hyphen = Some(true),
            '\u{AD}' => hyphen = hyphen.or(Some(false)),
            '\r' | '\n' if hyphen.is_some() => hyphen = Some(true),
            '\r' | '\0' => {}
            _ => {
                let within = c.is_alphanumeric() && text.ends_with(char::is_alphanumeric);
                if hyphen.take() == Some(true) && within {
                    text.push('\u{AD}');
                }
                text.push(c);
            }
        }
        if text.len() > limit {
            text.truncate(text.floor_char_boundary(limit));
            return (text, true);
        }
    }
    (text, false)
}

/// Appends what is filled into forms, which is drawn on the page but is not in its text layer.
/// Returns whether all of it found room.
fn field_values(page: &PdfPage<'_>, limit: usize, text: &mut String) -> bool {
    let mut all = true;
    for annotation in page.annotations().iter() {
        let value = annotation.as_form_field().and_then(|field| match field {
            PdfFormField::Text(field) => field.value(),
            PdfFormField::ComboBox(field) => field.value(),
            PdfFormField::ListBox(field) => field.value(),
            _ => None,
        });
        match value.filter(|value| !value.trim().is_empty()) {
            Some(value) if text.len() + value.len() < limit => {
                text.push('\n');
                text.push_str(value.trim());
            }
            Some(_) => all = false,
            None => {}
        }
    }
    all
}

/// How much larger than the model's input a page is drawn before it is squeezed: pdfium's own
/// anti-aliasing meets the reference's bicubic filter.
const OVERSAMPLE: u32 = 2;

/// No page is enlarged for OCR beyond this, px; tesseract gains nothing from more.
const MAX_OCR_SIDE_PX: f32 = 5_000.0;

fn draw_page(
    page: &PdfPage<'_>,
    size: PageSize,
    draw: DrawSize,
    limit: u64,
    canvas: &mut Canvas,
) -> Result<(u32, u32), Failure> {
    let (width, height) = drawing_size(size, draw, limit);
    // pdfium pads each row to four bytes.
    let (row, stride) = (width as usize * 3, (width as usize * 3).next_multiple_of(4));
    let pixels = canvas.take(stride * height as usize);
    // pdfium's own clearing goes pixel by pixel.
    pixels.fill(0xFF);
    let config = PdfRenderConfig::new()
        .set_fixed_size(width as Pixels, height as Pixels)
        .set_format(PdfBitmapFormat::BGR)
        .set_reverse_byte_order(true)
        .clear_before_rendering(false)
        .render_form_data(true);
    let failed =
        |error| Failure::new(FailureKind::Other, format!("the page cannot be drawn ({error})"));
    let (format, sides) = (PdfBitmapFormat::BGR, (width as Pixels, height as Pixels));
    let mut bitmap = PdfBitmap::from_bytes(sides.0, sides.1, format, pixels).map_err(failed)?;
    page.render_into_bitmap_with_config(&mut bitmap, &config).map_err(failed)?;
    drop(bitmap);
    if stride != row {
        for line in 1..height as usize {
            pixels.copy_within(line * stride..line * stride + row, line * row);
        }
    }
    let bytes = row * height as usize;
    let DrawSize::Exact(PictureSize { width_px, height_px }) = draw else {
        canvas.take(bytes);
        return Ok((width, height));
    };
    let drawn = PageImage::new(width, height, pixels[..bytes].to_vec());
    let drawn = drawn.expect("sides are at least 1, and the bytes are theirs");
    let squeezed = resize_bicubic(&drawn, width_px, height_px);
    canvas.take(squeezed.rgb().len()).copy_from_slice(squeezed.rgb());
    Ok((width_px, height_px))
}

/// Pixels to draw, from the target and the page's shape, never from its size alone: a page of a
/// kilometre costs what a page of a metre costs. No more than `limit` in all.
fn drawing_size(size: PageSize, draw: DrawSize, limit: u64) -> (u32, u32) {
    let shape = size.width_pt / size.height_pt;
    let (width, height) = match draw {
        DrawSize::Exact(PictureSize { width_px, height_px }) => {
            let long = (OVERSAMPLE * width_px.max(height_px)) as f32;
            let (width, height) =
                if shape >= 1.0 { (long, long / shape) } else { (long * shape, long) };
            // A strip is not drawn thinner than the input: its words would be lost.
            (width.max(width_px as f32), height.max(height_px as f32))
        }
        DrawSize::Width(width) => (width as f32, width as f32 / shape),
        DrawSize::Dpi(dpi) => {
            let scale = dpi as f32 / 72.0;
            let (width, height) = (size.width_pt * scale, size.height_pt * scale);
            let shrink = (MAX_OCR_SIDE_PX / width.max(height)).min(1.0);
            (width * shrink, height * shrink)
        }
    };
    let side = |px: f32| (px.round() as u32).clamp(1, MAX_SIDE_PX);
    let (mut width, mut height) = (side(width), side(height));
    let pixels = u64::from(width) * u64::from(height);
    let limit = limit.min(MAX_PIXELS);
    if pixels > limit {
        let shrink = (limit as f64 / pixels as f64).sqrt();
        width = (f64::from(width) * shrink) as u32;
        height = (f64::from(height) * shrink) as u32;
    }
    (width.max(1), height.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_a_line_cuts_is_marked_and_joined() {
        for (letters, text) in [
            ("inter\u{2}national", "inter\u{AD}national"),
            ("inter\u{2}\r\nnational", "inter\u{AD}national"),
            ("inter\u{AD}\r\nnational", "inter\u{AD}national"),
            ("inter\u{AD}national", "international"),
            ("a - \u{2} b\r\nc", "a -  b\nc"),
        ] {
            assert_eq!(joined(letters.chars(), 1_000), (text.into(), false));
        }
        assert_eq!(joined("abc".chars(), 2), ("ab".into(), true));
    }

    #[test]
    fn drawings_are_bounded_whatever_the_page() {
        let size = |width_pt, height_pt| PageSize { width_pt, height_pt };
        let input = DrawSize::Exact(PictureSize { width_px: 448, height_px: 448 });
        for (page, draw, expected) in [
            (size(595.0, 842.0), input, (633, 896)),
            (size(842.0, 595.0), input, (896, 633)),
            (size(14_400.0, 1.0), input, (896, 448)),
            (size(1e9, 1e9), input, (896, 896)),
            (size(100.0, 200.0), DrawSize::Width(1200), (1200, 2400)),
            (size(1.0, 1e6), DrawSize::Width(1200), (1200, 10_000)),
            (size(1e6, 1e6), DrawSize::Dpi(200), (5_000, 5_000)),
            (size(72.0, 144.0), DrawSize::Dpi(200), (200, 400)),
            (size(1e-3, 1e-3), DrawSize::Dpi(200), (1, 1)),
        ] {
            assert_eq!(drawing_size(page, draw, MAX_PIXELS), expected, "{page:?} {draw:?}");
        }
        for limit in [u64::MAX, 1_000_000, 1] {
            let (width, height) = drawing_size(size(100.0, 100.0), DrawSize::Width(10_000), limit);
            assert!(u64::from(width) * u64::from(height) <= limit.min(MAX_PIXELS));
        }
    }
}
