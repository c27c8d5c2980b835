//! libpdfium: where it is, and what a worker does with it. Runs in worker processes only: pdfium
//! may crash, hang, or take all memory that it can get.

use std::path::{Path, PathBuf};

use pagesight_core::{PageImage, PageSize, resize_bicubic};
use pdfium_render::prelude::*;

use crate::canvas::Canvas;
use crate::fonts;
use crate::protocol::{Asked, Draw};

/// File name of the library on this system.
const LIBRARY: &str = match (cfg!(windows), cfg!(target_os = "macos")) {
    (true, _) => "pdfium.dll",
    (_, true) => "libpdfium.dylib",
    _ => "libpdfium.so",
};

/// A place where libpdfium was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PdfiumPlace {
    /// What the place is, e.g. `beside the program`.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Whether it is there.
    pub found: bool,
}

/// Looks for libpdfium: `explicit` (a file or its folder), beside the program, in `data` (the
/// user's data folder), in a Python environment (the pypdfium2 wheel), in the system's folders.
/// Never in the current folder. The first that is found counts; an explicit one that is missing
/// ends the search.
pub fn find_pdfium(
    explicit: Option<&Path>,
    program: Option<&Path>,
    data: Option<&Path>,
    python: Option<&Path>,
) -> Vec<PdfiumPlace> {
    let mut places = Vec::new();
    let mut look = |what, path: PathBuf| {
        let found = path.is_file();
        places.push(PdfiumPlace { what, path, found });
    };
    if let Some(explicit) = explicit {
        let inside = explicit.join(LIBRARY);
        look("asked for", if explicit.is_dir() { inside } else { explicit.to_path_buf() });
        return places;
    }
    if let Some(folder) = program.and_then(Path::parent) {
        look("beside the program", folder.join(LIBRARY));
        look("beside the program's libraries", folder.join("../lib").join(LIBRARY));
    }
    if let Some(data) = data {
        look("user data folder", data.join(LIBRARY));
    }
    if let Some(python) = python {
        let versions = std::fs::read_dir(python.join("lib")).into_iter().flatten().flatten();
        let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
        versions.sort();
        for version in versions {
            look("Python wheel", version.join("site-packages/pypdfium2_raw").join(LIBRARY));
        }
        look("Python wheel", python.join("Lib/site-packages/pypdfium2_raw").join(LIBRARY));
    }
    for folder in ["/usr/local/lib", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/opt/homebrew/lib"] {
        look("system", Path::new(folder).join(LIBRARY));
    }
    places
}

/// Binds the library at `path`, which reads no font of the system from then on.
pub fn bind(path: &Path) -> Result<Pdfium, String> {
    let bindings = Pdfium::bind_to_library(path);
    let pdfium =
        bindings.map(Pdfium::new).map_err(|error| format!("{}: {error}", path.display()))?;
    fonts::use_ours(&pdfium);
    Ok(pdfium)
}

/// Opens a document with the first of no password and `passwords` that fits. `Err` has a reason
/// and whether a password is what is missing.
pub fn open<'a>(
    pdfium: &'a Pdfium,
    bytes: &'a [u8],
    passwords: &[String],
) -> Result<PdfDocument<'a>, (String, bool)> {
    let tries = std::iter::once(None).chain(passwords.iter().map(|p| Some(p.as_str())));
    let mut locked = false;
    for password in tries {
        match pdfium.load_pdf_from_byte_slice(bytes, password) {
            Ok(document) => return Ok(document),
            Err(PdfiumError::PdfiumLibraryInternalError(PdfiumInternalError::PasswordError)) => {
                locked = true;
            }
            Err(error) => return Err((open_reason(&error, bytes), false)),
        }
    }
    debug_assert!(locked, "every other way out returned");
    let reason = match passwords {
        [] => "encrypted: give the password with --password",
        _ => "encrypted: none of the passwords given fits",
    };
    Err((reason.into(), true))
}

fn open_reason(error: &PdfiumError, bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(1024)];
    match error {
        _ if bytes.is_empty() => "the file is empty".into(),
        PdfiumError::PdfiumLibraryInternalError(PdfiumInternalError::FormatError)
            if !head.windows(5).any(|w| w == b"%PDF-") =>
        {
            "not a PDF".into()
        }
        PdfiumError::PdfiumLibraryInternalError(PdfiumInternalError::FormatError) => {
            "damaged: the PDF cannot be opened".into()
        }
        PdfiumError::PdfiumLibraryInternalError(PdfiumInternalError::SecurityError) => {
            "encrypted in a way that cannot be read".into()
        }
        error => format!("the PDF cannot be opened ({error})"),
    }
}

/// The document's title, when its metadata has a readable one.
pub fn title(document: &PdfDocument<'_>) -> Option<String> {
    let tag = document.metadata().get(PdfDocumentMetadataTagType::Title)?;
    let title: String = tag.value().chars().filter(|c| !c.is_control()).take(300).collect();
    Some(title.trim().to_string()).filter(|t| !t.is_empty())
}

/// A page as a worker sends it.
pub struct ReadPage {
    pub size: PageSize,
    pub text: String,
    /// There is more text than was asked for.
    pub text_cut: bool,
    /// Width and height of the picture on the canvas, px; 0 x 0 when none was asked for.
    pub drawn_px: (u32, u32),
}

/// Reads page `number` (1-based) as `asked`: its text, and its picture, drawn on `canvas` as RGB
/// without gaps.
pub fn read_page(
    document: &PdfDocument<'_>,
    number: u32,
    asked: Asked,
    canvas: &mut Canvas,
) -> Result<ReadPage, String> {
    let index = PdfPageIndex::try_from(number - 1).map_err(|_| "no such page".to_string())?;
    let page = document.pages().get(index).map_err(|error| match error {
        PdfiumError::PageIndexOutOfBounds => {
            format!("the document has {} pages", document.pages().len())
        }
        _ => "the page is damaged and cannot be loaded".into(),
    })?;
    let size = PageSize { width_pt: page.width().value, height_pt: page.height().value };
    if [size.width_pt, size.height_pt].iter().any(|side| !(side.is_finite() && *side > 0.0)) {
        return Err(format!("the page is {} x {} points", size.width_pt, size.height_pt));
    }
    let (mut text, mut text_cut) = (String::new(), false);
    if asked.text_bytes > 0 {
        (text, text_cut) = page_text(&page, asked.text_bytes)?;
        text_cut |= !field_values(&page, asked.text_bytes, &mut text);
    }
    let drawn_px = match asked.draw {
        Some(draw) => draw_page(&page, size, draw, asked.pixels, canvas)?,
        None => {
            canvas.take(0);
            (0, 0)
        }
    };
    Ok(ReadPage { size, text, text_cut, drawn_px })
}

/// The text layer in its own order: every character, whatever box it lies in. Where a line ends
/// within a word at a hyphen, U+00AD stands for both: whether the hyphen is the word's own cannot be
/// seen, and search reads it either way. Says whether the text was cut at `limit` bytes.
fn page_text(page: &PdfPage<'_>, limit: usize) -> Result<(String, bool), String> {
    let layer = page.text().map_err(|error| format!("its text cannot be read ({error})"))?;
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

/// What is filled into a form is drawn on the page but is not in its text layer. Says whether
/// all of it found room.
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

/// No side of a drawing is longer, px.
pub(crate) const MAX_SIDE_PX: u32 = 10_000;

/// No drawing has more pixels, whatever the limit that is set.
pub(crate) const MAX_PIXELS: u64 = 64_000_000;

/// No page is enlarged for OCR beyond this, px; tesseract gains nothing from more.
const MAX_OCR_SIDE_PX: f32 = 5_000.0;

fn draw_page(
    page: &PdfPage<'_>,
    size: PageSize,
    draw: Draw,
    limit: u64,
    canvas: &mut Canvas,
) -> Result<(u32, u32), String> {
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
    let failed = |error| format!("the page cannot be drawn ({error})");
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
    let Draw::Squeezed { width_px, height_px } = draw else {
        canvas.take(bytes);
        return Ok((width, height));
    };
    let drawn = PageImage::new(width, height, pixels[..bytes].to_vec());
    let squeezed = resize_bicubic(&drawn.map_err(|e| e.to_string())?, width_px, height_px);
    canvas.take(squeezed.rgb().len()).copy_from_slice(squeezed.rgb());
    Ok((width_px, height_px))
}

/// Pixels to draw, from the target and the page's shape, never from its size alone: a page of a
/// kilometre costs what a page of a metre costs. No more than `limit` in all.
fn drawing_size(size: PageSize, draw: Draw, limit: u64) -> (u32, u32) {
    let shape = size.width_pt / size.height_pt;
    let (width, height) = match draw {
        Draw::Squeezed { width_px, height_px } => {
            let long = (OVERSAMPLE * width_px.max(height_px)) as f32;
            let (width, height) =
                if shape >= 1.0 { (long, long / shape) } else { (long * shape, long) };
            // A strip is not drawn thinner than the input: its words would be lost.
            (width.max(width_px as f32), height.max(height_px as f32))
        }
        Draw::Width(width) => (width as f32, width as f32 / shape),
        Draw::Dpi(dpi) => {
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
    fn drawings_are_bounded_whatever_the_page() {
        let size = |width_pt, height_pt| PageSize { width_pt, height_pt };
        let input = Draw::Squeezed { width_px: 448, height_px: 448 };
        for (page, draw, expected) in [
            (size(595.0, 842.0), input, (633, 896)),
            (size(842.0, 595.0), input, (896, 633)),
            (size(14_400.0, 1.0), input, (896, 448)),
            (size(1e9, 1e9), input, (896, 896)),
            (size(100.0, 200.0), Draw::Width(1200), (1200, 2400)),
            (size(1.0, 1e6), Draw::Width(1200), (1200, 10_000)),
            (size(1e6, 1e6), Draw::Dpi(200), (5_000, 5_000)),
            (size(72.0, 144.0), Draw::Dpi(200), (200, 400)),
            (size(1e-3, 1e-3), Draw::Dpi(200), (1, 1)),
        ] {
            assert_eq!(drawing_size(page, draw, MAX_PIXELS), expected, "{page:?} {draw:?}");
        }
        for limit in [u64::MAX, 1_000_000, 1] {
            let (width, height) = drawing_size(size(100.0, 100.0), Draw::Width(10_000), limit);
            assert!(u64::from(width) * u64::from(height) <= limit.min(MAX_PIXELS));
        }
    }

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
    fn an_explicit_library_is_the_only_place() {
        let places = find_pdfium(Some(Path::new("/nowhere/x.so")), None, None, None);
        assert_eq!(places.len(), 1);
        assert!(!places[0].found);
        assert!(find_pdfium(None, None, None, None).iter().all(|p| p.path.is_absolute()));
    }
}
