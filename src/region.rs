//! Where on a page a question is answered: heat maps, the words of the page, and regions.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pagesight_core::seam::PdfDocument;
use pagesight_core::{
    Area, Channel, DrawSize, EncodedPage, ModelId, OcrChoice, PageImage, PageSize, PageVectors,
    Rect, TextSource,
};
use pagesight_maxsim::SegmentError;
use pagesight_query::{PlacedWord, QueryError, layout_of_tokens, regions};
use pagesight_store::{Analyser, Language};

use crate::encoded::EncodedQuestion;
use crate::error::Error;
use crate::page::Page;
use crate::placed::PlacedWords;
use crate::view::View;

pub use pagesight_query::{HeatError, HeatMap, HeatScale, MapOf, RegionKind, Similarity};

/// Width in which a page is drawn to find the ink of a picture, px.
const INK_WIDTH_PX: u32 = 600;

/// A pixel is ink when one of its colours is darker than this.
const PAPER: u8 = 235;

/// Words of an unmeasured confidence below this are not taken from OCR.
const SURE: f32 = 0.3;

/// A word of a page and where it stands.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlacedText {
    /// The word.
    pub text: String,
    /// Where it stands, points.
    pub rect: Rect,
    /// The line that it stands on, 0-based, in reading order.
    pub line: usize,
}

/// Words in reading order as a text, a line of the page a line.
pub(crate) fn text_of<'a>(words: impl IntoIterator<Item = &'a PlacedText>) -> String {
    let mut text = String::new();
    let mut line = None;
    for word in words {
        if line.is_some() {
            text.push(if line == Some(word.line) { ' ' } else { '\n' });
        }
        text += &word.text;
        line = Some(word.line);
    }
    text
}

/// How the outline of a region was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snap {
    /// Around words of the text layer.
    Words,
    /// Around words that OCR found.
    Ocr,
    /// Around the ink of a picture.
    Ink,
    /// Around patches: nothing is known of the ink in them.
    Patch,
}

impl Snap {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Ocr => "ocr",
            Self::Ink => "ink",
            Self::Patch => "patch",
        }
    }
}

/// A part of a page that answers a question.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Region {
    /// 1-based, best first.
    pub rank: usize,
    /// 0 to 1, to compare with other regions of the page.
    pub score: f32,
    /// Where it is, points.
    pub rect: Rect,
    /// The same in fractions of the page's sides, 0 to 1.
    pub share: Area,
    /// Lines of words, or a picture.
    pub kind: RegionKind,
    /// How its outline was found.
    pub snap: Snap,
    /// Its words in reading order, at most 4,000 characters; empty for a picture.
    pub text: String,
    /// The words of the question that are in it, 0-based, in order.
    pub question_words: Vec<usize>,
    /// Its words with their places.
    pub words: Vec<PlacedText>,
}

/// A heat map with what it was made from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PageHeat {
    /// The map.
    pub map: HeatMap,
    /// Whether the vectors are not those of full precision: of a compact index 4 bits a number, of
    /// the meaning of text 8.
    pub approximate: bool,
    /// The snapshot whose vectors were read.
    pub snapshot: u64,
    /// The model of the vectors.
    pub model: Option<ModelId>,
}

impl Page {
    /// Where on the page `of` of `question` is answered, from the stored vectors; no model sees the
    /// page again.
    ///
    /// A question that [`Index::encode`](crate::Index::encode) encoded is answered by patches, and
    /// the page's file is not needed. One of [`Index::encode_meaning`](crate::Index::encode_meaning)
    /// is answered by the words of the page, each as far as it means what is asked; where they stand
    /// is read from the file.
    ///
    /// # Errors
    /// [`Error::NoVectors`] for a page without vectors, [`Error::NoPassages`] for one whose text has
    /// none, [`Error::Heat`], and what the store says; by meaning, also as [`words`](Self::words).
    pub fn heat(
        &self,
        question: &EncodedQuestion,
        of: MapOf,
        scale: HeatScale,
    ) -> Result<PageHeat, Error> {
        let view = self.engine().latest()?;
        if question.channel() == Channel::Passages {
            return self.heat_of_meaning(&view, question, of, scale);
        }
        let snapshot = view.reader.snapshot();
        let stored = view.reader.pages_with_vectors(&[self.id()])?.pop();
        let parts = stored.and_then(|page| Some((page.vectors?, page.layout?)));
        let Some((vectors, layout)) = parts else {
            return Err(Error::NoVectors { path: self.path().into(), page: self.number() });
        };
        let page = EncodedPage::new(vectors, layout)?;
        let map = HeatMap::new(
            question.vectors(),
            question.words(),
            of,
            scale,
            page.vectors(),
            page.layout(),
        )?;
        Ok(PageHeat {
            map,
            approximate: snapshot.compact().is_some(),
            snapshot: snapshot.number(),
            model: snapshot.model().map(|model| model.id.clone()),
        })
    }

    fn heat_of_meaning(
        &self,
        view: &View,
        question: &EncodedQuestion,
        of: MapOf,
        scale: HeatScale,
    ) -> Result<PageHeat, Error> {
        let none = || Error::NoPassages { path: self.path().into(), page: self.number() };
        let encoder = self.engine().query_embedder()?.ok_or(Error::NoMeaning)?;
        let codes = match view.passages() {
            (_, Some(damage)) => {
                return Err(QueryError::Passages { reason: damage.into() }.into());
            }
            (codes, None) => &codes.ok_or(Error::NoMeaning)?.tokens,
        };
        let slot = codes.living().iter().find(|slot| codes.id(slot) == self.id());
        let slot = slot.ok_or_else(none)?;
        let damaged = |error: SegmentError| QueryError::Passages { reason: error.to_string() };
        let coded = codes.page(slot).map_err(damaged)?;
        let vectors = PageVectors::from_f32(coded.dim(), &coded.to_rows())?;
        let words = self.placed_words(true)?;
        let text = self.stored_text();
        let tokens = encoder.tokens(text).map_err(Error::Embed)?;
        let layout = layout_of_tokens(text, &tokens, &words.words);
        if layout.vectors() != vectors.len() {
            // The passages are those of another text; the next run encodes them again.
            return Err(none());
        }
        let map = HeatMap::new(question.vectors(), question.words(), of, scale, &vectors, &layout)?;
        Ok(PageHeat {
            map,
            approximate: true,
            snapshot: view.number(),
            model: question.model().cloned(),
        })
    }

    /// The words of the page with their places, in the order of its text: from the text layer, and
    /// of a page whose words OCR found from OCR, where there is one. Empty where neither has any.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    pub fn words(&self) -> Result<Vec<PlacedText>, Error> {
        let words = self.placed_words(true)?;
        Ok(with_lines(&words.words, self.size()))
    }

    /// The words of the page with their places. Without `read` those of a picture are not looked
    /// for, which takes seconds, unless they are known.
    fn placed_words(&self, read: bool) -> Result<Arc<PlacedWords>, Error> {
        let engine = self.engine();
        if let Some(words) = engine.words.get(&self.id()) {
            return Ok(words);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let found = engine.with_document(self.place(), &stop, |document| {
            let words = document.words(self.number())?;
            Ok(words.into_iter().map(|word| (word.text, word.area)).collect::<Vec<_>>())
        })?;
        let mut words = PlacedWords { words: found, from_ocr: false };
        let is_read = words.words.is_empty() && self.text_source() == TextSource::Ocr;
        if is_read && !read {
            return Ok(Arc::new(words));
        }
        if is_read && let Some(ocr) = engine.ocr(OcrChoice::Auto, None)? {
            let size = DrawSize::Dpi(ocr.dpi());
            let draw = |document: &mut dyn PdfDocument| document.draw(self.number(), size);
            let picture = engine.with_document(self.place(), &stop, draw)?;
            // What OCR cannot read has no words; its own errors are no fault of the page's.
            if let Ok(read) = ocr.read(&picture, &stop) {
                let sure = read.words.into_iter().filter(|word| word.confidence >= SURE);
                words = PlacedWords {
                    words: sure.map(|word| (word.text, word.area)).collect(),
                    from_ocr: true,
                };
            }
        }
        let words = Arc::new(words);
        engine.words.keep(self.id(), Arc::clone(&words));
        Ok(words)
    }

    /// The `n` parts of the page that answer `of` of `question` best, best first; at least one of a
    /// page that has vectors and heat.
    ///
    /// # Errors
    /// As [`heat`](Self::heat) and [`words`](Self::words).
    pub fn regions(
        &self,
        question: &EncodedQuestion,
        of: MapOf,
        n: usize,
    ) -> Result<Vec<Region>, Error> {
        let heat = self.heat(question, of, HeatScale::Page)?;
        let words = self.placed_words(true)?;
        Ok(self.outlined(question, &heat.map, &words, n))
    }

    /// As [`regions`](Self::regions), for many pages at once: by patches alone where the page's file
    /// cannot be read, and where its words would have to be looked for in its picture.
    ///
    /// # Errors
    /// As [`heat`](Self::heat).
    pub fn regions_or_patches(
        &self,
        question: &EncodedQuestion,
        of: MapOf,
        n: usize,
    ) -> Result<Vec<Region>, Error> {
        let heat = self.heat(question, of, HeatScale::Page)?;
        let words = self.placed_words(false).unwrap_or_default();
        Ok(self.outlined(question, &heat.map, &words, n))
    }

    fn outlined(
        &self,
        question: &EncodedQuestion,
        heat: &HeatMap,
        words: &PlacedWords,
        n: usize,
    ) -> Vec<Region> {
        let placed = asked_words(question, self.text(), &words.words);
        let mut drawn: Option<Option<PageImage>> = None;
        let mut ink = |rect: Rect| {
            let picture = drawn.get_or_insert_with(|| self.image(INK_WIDTH_PX).ok());
            ink_in(picture.as_ref()?, self.size(), rect)
        };
        let size = self.size();
        let found = regions(heat, size, &placed, n, &mut ink);
        let lines = with_lines(&words.words, size);
        let mut regions = Vec::with_capacity(found.len());
        for (region, rank) in found.into_iter().zip(1..) {
            let snap = match (region.kind, region.is_ink) {
                (RegionKind::Text, _) if words.from_ocr => Snap::Ocr,
                (RegionKind::Text, _) => Snap::Words,
                (RegionKind::Picture, true) => Snap::Ink,
                (RegionKind::Picture, false) => Snap::Patch,
            };
            let mut met: Vec<usize> =
                region.words.iter().filter_map(|&word| placed[word].asked).collect();
            met.sort_unstable();
            met.dedup();
            let Rect { x0, y0, x1, y1 } = region.rect;
            let (w, h) = (size.width_pt, size.height_pt);
            let share = |part: f32, whole: f32| (part / whole).clamp(0.0, 1.0);
            regions.push(Region {
                rank,
                score: region.score,
                rect: region.rect,
                share: Area {
                    x0: share(x0, w),
                    y0: share(y0, h),
                    x1: share(x1, w),
                    y1: share(y1, h),
                },
                kind: region.kind,
                snap,
                text: region.text,
                question_words: met,
                words: region.words.iter().map(|&word| lines[word].clone()).collect(),
            });
        }
        regions
    }
}

/// The words of a page, each with the word of the question that has the same stem.
fn asked_words(
    question: &EncodedQuestion,
    page_text: &str,
    words: &[(String, Area)],
) -> Vec<PlacedWord> {
    let language = Language::of(page_text);
    let stems = |text: &str| -> Vec<String> {
        Analyser.words(text, language).into_iter().map(|word| word.term).collect()
    };
    let asked: Vec<Vec<String>> = question.words().iter().map(|word| stems(&word.text)).collect();
    let meets = |text: &str| {
        let own = stems(text);
        asked.iter().position(|stems| stems.iter().any(|stem| own.contains(stem)))
    };
    words
        .iter()
        .map(|(text, area)| PlacedWord { text: text.clone(), area: *area, asked: meets(text) })
        .collect()
}

/// Words in points, with the lines that they stand on.
fn with_lines(words: &[(String, Area)], size: PageSize) -> Vec<PlacedText> {
    let placed: Vec<PlacedWord> = words
        .iter()
        .map(|(text, area)| PlacedWord { text: text.clone(), area: *area, asked: None })
        .collect();
    let lines = pagesight_query::line_numbers(&placed, size);
    let (w, h) = (size.width_pt, size.height_pt);
    words
        .iter()
        .zip(lines)
        .map(|((text, a), line)| PlacedText {
            text: text.clone(),
            rect: Rect { x0: a.x0 * w, y0: a.y0 * h, x1: a.x1 * w, y1: a.y1 * h },
            line,
        })
        .collect()
}

/// The smallest box in `rect`, points, that holds all that is not paper in a picture of the page.
fn ink_in(picture: &PageImage, size: PageSize, rect: Rect) -> Option<Rect> {
    let (width, height) = (picture.width_px() as usize, picture.height_px() as usize);
    let across = width as f32 / size.width_pt;
    let down = height as f32 / size.height_pt;
    let first = |pt: f32, scale: f32| (pt * scale).floor().max(0.0) as usize;
    let (left, top) = (first(rect.x0, across), first(rect.y0, down));
    let right = ((rect.x1 * across).ceil() as usize).min(width);
    let bottom = ((rect.y1 * down).ceil() as usize).min(height);
    let mut found: Option<(usize, usize, usize, usize)> = None;
    for y in top..bottom {
        for x in left..right {
            let at = (y * width + x) * 3;
            if picture.rgb()[at..at + 3].iter().any(|colour| *colour < PAPER) {
                let (x0, y0, x1, _) = found.unwrap_or((x, y, x, y));
                found = Some((x0.min(x), y0, x1.max(x), y));
            }
        }
    }
    found.map(|(x0, y0, x1, y1)| Rect {
        x0: x0 as f32 / across,
        y0: y0 as f32 / down,
        x1: (x1 + 1) as f32 / across,
        y1: (y1 + 1) as f32 / down,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_is_what_is_not_paper() {
        let (width, height) = (10, 20);
        let mut rgb = vec![255; width * height * 3];
        rgb[(7 * width + 3) * 3] = 0;
        rgb[(9 * width + 5) * 3 + 2] = 100;
        let picture = PageImage::new(width as u32, height as u32, rgb).unwrap();
        let size = PageSize { width_pt: 100.0, height_pt: 200.0 };
        let all = Rect { x0: 0.0, y0: 0.0, x1: 100.0, y1: 200.0 };
        let ink = |rect| ink_in(&picture, size, rect);
        assert_eq!(ink(all), Some(Rect { x0: 30.0, y0: 70.0, x1: 60.0, y1: 100.0 }));
        let part = Rect { y1: 80.0, ..all };
        assert_eq!(ink(part), Some(Rect { x0: 30.0, y0: 70.0, x1: 40.0, y1: 80.0 }));
        assert_eq!(ink(Rect { y1: 60.0, ..all }), None);
    }
}
