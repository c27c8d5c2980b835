//! What a worker does with libpdfium. It runs in worker processes only, because pdfium may crash,
//! hang, or take all memory that it can get.

use std::path::Path;

use pagesight_core::{
    Area, DrawSize, Failure, FailureKind, PageImage, PageSize, PageText, PageWord, PictureSize,
};
use pagesight_simd::resize;
use pdfium_render::prelude::Pdfium;

use crate::annotations;
use crate::canvas::Canvas;
use crate::document::Opened;
use crate::facts::Facts;
use crate::fonts::{self, has_beyond_latin_1};
use crate::letters::{in_annotations, in_named_fonts};
use crate::protocol::{MAX_AREAS, MAX_WORD_BYTES, MAX_WORDS};
use crate::raw::{Box4, Document, Drawn, Page};
use crate::survey::{Shown, Survey};
use crate::text::{Placed, Words, placed, words};

/// Loads the library at `path` and keeps it from reading any font of the system.
pub fn bind(path: &Path) -> Result<Pdfium, String> {
    let bindings = Pdfium::bind_to_library(path);
    let pdfium =
        bindings.map(Pdfium::new).map_err(|error| format!("{}: {error}", path.display()))?;
    fonts::use_ours(&pdfium);
    Ok(pdfium)
}

/// A document whose last page stays loaded until another one is asked for, so that asking for the
/// text of a page and then for its picture loads the page once.
pub struct Pages<'o, 'l> {
    opened: &'o Opened<'l>,
    loaded: Option<(u32, Page<'o>, PageSize)>,
    /// Whether the page that was read last has letters beyond Latin 1.
    letters: Option<(u32, bool)>,
}

impl<'o, 'l> Pages<'o, 'l> {
    /// The pages of a document.
    pub fn new(opened: &'o Opened<'l>) -> Self {
        Self { opened, loaded: None, letters: None }
    }

    /// The size and words of page `number` (1-based), at most `limit` bytes of them; no words are
    /// looked for when that is 0.
    pub fn text(&mut self, number: u32, limit: usize) -> Result<PageText, Failure> {
        let opened = self.opened;
        let (page, size) = self.load(number)?;
        if limit == 0 {
            return Ok(PageText::new(size, "", false));
        }
        let (mut text, mut wants_letters) = read(opened, page, number, size, limit)?;
        let own = text.text.len();
        annotations::append(opened, page, number, limit, &mut text);
        wants_letters |= has_beyond_latin_1(&text.text[own..]);
        // A page that was cut may have other letters further on.
        self.letters = (!text.cut).then_some((number, wants_letters));
        Ok(text)
    }

    /// Where the text of page `number` (1-based) stands, as it is displayed.
    pub fn areas(&mut self, number: u32) -> Result<Vec<Area>, Failure> {
        let opened = self.opened;
        let (page, _) = self.load(number)?;
        let objects = page.objects();
        let survey = Survey::of(page, &objects, page.bounds(), &opened.facts);
        let shown = survey.texts.iter().filter(|text| text.shown != Shown::Nothing);
        let areas = shown.filter_map(|text| page.displayed(text.bounds?));
        let areas = areas.map(|[x0, y0, x1, y1]| Area { x0, y0, x1, y1 });
        Ok(areas.take(MAX_AREAS).collect())
    }

    /// The words of page `number` (1-based) and where they are displayed: those of the text layer,
    /// then those that are filled into forms.
    pub fn words(&mut self, number: u32) -> Result<Vec<PageWord>, Failure> {
        let opened = self.opened;
        let (page, _) = self.load(number)?;
        let objects = page.objects();
        let survey = Survey::of(page, &objects, page.bounds(), &opened.facts);
        let named = in_named_fonts(&survey, &opened.facts);
        let words = placed(page, &survey, &opened.facts, &named, MAX_WORD_BYTES / 2);
        let words = words.ok_or_else(|| {
            Failure::new(FailureKind::Damaged, "the text of the page cannot be read")
        })?;
        let displayed = |word: Placed| {
            let [x0, y0, x1, y1] = page.displayed(word.bounds)?;
            let area = Area { x0, y0, x1, y1 };
            (x1 > x0 && y1 > y0).then_some(PageWord { text: word.text, area })
        };
        let words = words.into_iter().chain(annotations::placed(page));
        Ok(words.filter_map(displayed).take(MAX_WORDS).collect())
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
        let (opened, known) = (self.opened, self.letters.filter(|(known, _)| *known == number));
        let (page, size) = self.load(number)?;
        let wants_letters = match known {
            Some((_, wants_letters)) => wants_letters,
            None => wants_letters(opened, page, number, size),
        };
        let drawn = if wants_letters {
            self.draw_with_letters(number, size, draw, limit, canvas)
        } else {
            draw_page(page, size, draw, limit, canvas)
        };
        self.loaded = None;
        Ok((size, drawn?))
    }

    /// Draws a page from a copy of the document in which fonts that it does not bring are ours.
    fn draw_with_letters(
        &self,
        number: u32,
        size: PageSize,
        draw: DrawSize,
        limit: u64,
        canvas: &mut Canvas,
    ) -> Result<(u32, u32), Failure> {
        fonts::with_letters(|| {
            let Some(copy) = self.opened.with_letters() else {
                return Err(Failure::new(FailureKind::Other, "the page cannot be drawn"));
            };
            let (page, _) = load(copy, number)?;
            self.opened.hide_annotations(&page, number);
            draw_page(&page, size, draw, limit, canvas)
        })
    }

    fn load(&mut self, number: u32) -> Result<(&Page<'o>, PageSize), Failure> {
        if self.loaded.as_ref().is_none_or(|(loaded, ..)| *loaded != number) {
            self.loaded = None;
            let (page, size) = load(&self.opened.document, number)?;
            self.opened.hide_annotations(&page, number);
            self.loaded = Some((number, page, size));
        }
        let (_, page, size) = self.loaded.as_ref().expect("loaded above");
        Ok((page, *size))
    }
}

fn load<'o>(document: &'o Document<'_>, number: u32) -> Result<(Page<'o>, PageSize), Failure> {
    let damaged = |reason: String| Failure::new(FailureKind::Damaged, reason);
    let count = document.page_count();
    if !(1..=count).contains(&number) {
        return Err(damaged(format!("the document has {count} pages")));
    }
    let load = || document.page(number - 1);
    let unloaded = || damaged("the page is damaged and cannot be loaded".into());
    let is_sized = |(width, height): (f32, f32)| {
        [width, height].iter().all(|side| side.is_finite() && *side > 0.0)
    };
    let mut page = load().ok_or_else(unloaded)?;
    if !is_sized(page.size()) {
        // A CropBox outside the MediaBox crops nothing, as other readers have it.
        page.uncrop();
        drop(page);
        page = load().ok_or_else(unloaded)?;
    }
    let (width_pt, height_pt) = page.size();
    if !is_sized((width_pt, height_pt)) {
        return Err(damaged(format!("the page is {width_pt} x {height_pt} points")));
    }
    Ok((page, PageSize { width_pt, height_pt }))
}

/// So much text is looked at to see whether a page that is drawn has other letters.
const MOST_TEXT: usize = 1 << 20;

/// Whether a page that was not read must be drawn with the letters of our font.
fn wants_letters(opened: &Opened<'_>, page: &Page<'_>, number: u32, size: PageSize) -> bool {
    let objects = page.objects();
    let nothing = Facts::of(&[]);
    let has_named_fonts = || {
        let survey = Survey::of(page, &objects, page.bounds(), &nothing);
        !in_named_fonts(&survey, &opened.facts).is_empty()
    };
    (has_named_fonts() && read(opened, page, number, size, MOST_TEXT).is_ok_and(|read| read.1))
        || in_annotations(page)
}

/// The words of a page, and whether it must be drawn with the letters of our font.
fn read(
    opened: &Opened<'_>,
    page: &Page<'_>,
    number: u32,
    size: PageSize,
    limit: usize,
) -> Result<(PageText, bool), Failure> {
    let facts = &opened.facts;
    let objects = page.objects();
    let survey = Survey::of(page, &objects, page.bounds(), facts);
    let named = in_named_fonts(&survey, facts);
    let images = images_share(&survey, size);
    let paths = u32::try_from(survey.paths).unwrap_or(u32::MAX);
    let mut read = words(page, &survey, facts, &named, limit)
        .ok_or_else(|| Failure::new(FailureKind::Damaged, "the text of the page cannot be read"))?;
    let mut wants_letters = read.has_named_letters;
    if read.has_silent_text
        && !read.cut
        && let Some(other) = read_with_letters(opened, number, limit)
        && has_beyond_latin_1(&other.text)
    {
        (read, wants_letters) = (other, true);
    }
    let text = PageText::new(size, read.text, read.cut).with_drawings(images, paths);
    Ok((text, wants_letters))
}

/// The words of a page from the copy of the document whose fonts are ours where it brings none.
fn read_with_letters(opened: &Opened<'_>, number: u32, limit: usize) -> Option<Words> {
    fonts::with_letters(|| {
        let (page, _) = load(opened.with_letters()?, number).ok()?;
        let objects = page.objects();
        let survey = Survey::of(&page, &objects, page.bounds(), &opened.facts);
        let named = in_named_fonts(&survey, &opened.facts);
        words(&page, &survey, &opened.facts, &named, limit)
    })
}

/// The share of the page that images cover; where they lie over each other it counts twice.
fn images_share(survey: &Survey<'_>, size: PageSize) -> f32 {
    let covered: f32 = survey.images.iter().map(Box4::area).sum();
    (covered / (size.width_pt * size.height_pt)).min(1.0)
}

/// How much larger than the model's input a page is drawn before it is squeezed: pdfium's own
/// anti-aliasing meets the filter of the model's reference.
const OVERSAMPLE: u32 = 2;

/// No page is enlarged for OCR beyond this, px; tesseract gains nothing from more.
const MAX_OCR_SIDE_PX: f32 = 5_000.0;

fn draw_page(
    page: &Page<'_>,
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
    if !page.draw(pixels, (width, height), stride, 0, Drawn::All) {
        return Err(Failure::new(FailureKind::Other, "the page cannot be drawn"));
    }
    if stride != row {
        for line in 1..height as usize {
            pixels.copy_within(line * stride..line * stride + row, line * row);
        }
    }
    let bytes = row * height as usize;
    let DrawSize::Exact { size: PictureSize { width_px, height_px }, filter } = draw else {
        canvas.take(bytes);
        return Ok((width, height));
    };
    let drawn = PageImage::new(width, height, pixels[..bytes].to_vec());
    let drawn = drawn.expect("sides are at least 1, and the bytes are theirs");
    let squeezed = resize(&drawn, width_px, height_px, filter);
    canvas.take(squeezed.rgb().len()).copy_from_slice(squeezed.rgb());
    Ok((width_px, height_px))
}

/// Pixels to draw, from the target and the page's shape, never from its size alone: a page of a
/// kilometre costs what a page of a metre costs. No more than `limit` in all.
fn drawing_size(size: PageSize, draw: DrawSize, limit: u64) -> (u32, u32) {
    let shape = size.width_pt / size.height_pt;
    let (width, height) = match draw {
        DrawSize::Exact { size: PictureSize { width_px, height_px }, .. } => {
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
    let PictureSize { width_px, height_px } = PictureSize::bounded(width, height, limit);
    (width_px, height_px)
}

#[cfg(test)]
mod tests {
    use pagesight_core::MAX_PIXELS;

    use super::*;

    #[test]
    fn drawings_are_bounded_whatever_the_page() {
        let size = |width_pt, height_pt| PageSize { width_pt, height_pt };
        let input = DrawSize::exact(PictureSize { width_px: 448, height_px: 448 });
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
