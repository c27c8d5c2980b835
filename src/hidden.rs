//! Words that a page has and does not show.
//!
//! A text layer may hold what no reader of the page sees: white on white, letters of one point, words
//! beside the page or below a picture. Search may find them; what is sent to a model that answers
//! must not contain them, since they are where instructions are hidden.

use pagesight_core::{PageImage, PageSize, Rect, TextSource};

use crate::error::Error;
use crate::page::Page;
use crate::region::{PlacedText, text_of};

/// Width in which a page is drawn to see what it shows, px: two pixels a point.
const WIDTH_PX: u32 = 1200;

/// Letters of a smaller font are not read by people, points. What is measured of a font of 4 is a
/// little less.
const SMALLEST_PT: f32 = 3.8;

/// The least difference between the lightest and the darkest pixel of a word that is seen, of 255.
const CONTRAST: u8 = 24;

/// The words of a page, those that it shows apart from those that it hides.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SeenWords {
    /// What a reader of the page sees, in reading order.
    pub seen: Vec<PlacedText>,
    /// What only the text layer has.
    pub hidden: Vec<PlacedText>,
}

impl SeenWords {
    /// The seen words as a text, a line of the page a line.
    pub fn text(&self) -> String {
        text_of(&self.seen)
    }
}

impl Page {
    /// The words of the page, those that it shows apart from those that it hides: words without ink
    /// that stands out, outside the page, or in a font smaller than 4 pt. What OCR found is seen.
    ///
    /// # Errors
    /// As [`words`](Self::words).
    pub fn seen_words(&self) -> Result<SeenWords, Error> {
        let words = self.words()?;
        if self.text_source() == TextSource::Ocr || words.is_empty() {
            return Ok(SeenWords { seen: words, hidden: Vec::new() });
        }
        let picture = self.image(WIDTH_PX)?;
        let size = self.size();
        let (seen, hidden) = words.into_iter().partition(|word| is_seen(&picture, size, word));
        Ok(SeenWords { seen, hidden })
    }
}

/// Whether a word is seen on the picture of its page.
fn is_seen(picture: &PageImage, size: PageSize, word: &PlacedText) -> bool {
    let rect = word.rect;
    let middle = ((rect.x0 + rect.x1) / 2.0, (rect.y0 + rect.y1) / 2.0);
    let is_inside =
        (0.0..=size.width_pt).contains(&middle.0) && (0.0..=size.height_pt).contains(&middle.1);
    let is_large = font_size(word).is_none_or(|size| size >= SMALLEST_PT);
    is_large && is_inside && contrast(picture, size, rect) >= CONTRAST
}

/// About the size of the font of a word, points, from the height of its letters: without any that
/// go up or down they are half as high as the font. `None` for signs alone.
fn font_size(word: &PlacedText) -> Option<f32> {
    if !word.text.chars().any(char::is_alphanumeric) {
        return None;
    }
    let (wide, high) = (word.rect.x1 - word.rect.x0, word.rect.y1 - word.rect.y0);
    // A word that runs upwards is as wide as others are high; a letter or two may be narrow.
    let height = if word.text.chars().count() > 2 { wide.min(high) } else { wide.max(high) };
    let goes_down = word.text.contains(|c| "gjpqyQ,;()[]{}".contains(c));
    let is_low = |c: char| "acemnorsuvwxzgpqy.,;:-".contains(c);
    let goes_up = word.text.chars().any(|c| !is_low(c));
    let share = 0.52 + if goes_up { 0.2 } else { 0.0 } + if goes_down { 0.21 } else { 0.0 };
    Some(height / share)
}

/// The difference between the lightest and the darkest pixel in `rect`, points.
fn contrast(picture: &PageImage, size: PageSize, rect: Rect) -> u8 {
    let (width, height) = (picture.width_px() as usize, picture.height_px() as usize);
    let span = |from: f32, to: f32, length: f32, pixels: usize| {
        let scale = pixels as f32 / length;
        let first = (from * scale).floor().max(0.0) as usize;
        first.min(pixels)..((to * scale).ceil().max(0.0) as usize).min(pixels)
    };
    let columns = span(rect.x0, rect.x1, size.width_pt, width);
    let rows = span(rect.y0, rect.y1, size.height_pt, height);
    // Each colour alone: red on green may be equally light.
    let (mut darkest, mut lightest) = ([u8::MAX; 3], [u8::MIN; 3]);
    for y in rows {
        let row = &picture.rgb()[(y * width + columns.start) * 3..][..columns.len() * 3];
        for pixel in row.as_chunks::<3>().0 {
            for (colour, &value) in pixel.iter().enumerate() {
                darkest[colour] = darkest[colour].min(value);
                lightest[colour] = lightest[colour].max(value);
            }
        }
    }
    let differences = lightest.iter().zip(darkest).map(|(l, d)| l.saturating_sub(d));
    differences.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of 100 by 100 pt with a word of `ink` on `paper` at 10..50 by 10..20 pt.
    fn drawn(paper: [u8; 3], ink: [u8; 3]) -> PageImage {
        let inside = |i: usize| (20..100).contains(&(i % 200)) && (24..36).contains(&(i / 200));
        let is_ink = |i: usize| inside(i) && i.is_multiple_of(3);
        let pixels = (0..200 * 200).flat_map(|i| if is_ink(i) { ink } else { paper });
        PageImage::new(200, 200, pixels.collect()).unwrap()
    }

    #[test]
    fn what_does_not_stand_out_is_hidden() {
        let size = PageSize { width_pt: 100.0, height_pt: 100.0 };
        let word = Rect { x0: 10.0, y0: 10.0, x1: 50.0, y1: 20.0 };
        let placed = |text: &str, rect| PlacedText { text: text.into(), rect, line: 0 };
        let seen = |paper, ink, rect| is_seen(&drawn(paper, ink), size, &placed("word", rect));
        assert!(seen([255; 3], [0; 3], word));
        assert!(seen([20, 20, 60], [240; 3], word), "light on dark");
        assert!(seen([255; 3], [200; 3], word), "grey");
        assert!(seen([0, 200, 0], [200, 0, 0], word), "red on green");
        assert!(!seen([255; 3], [255; 3], word), "white on white");
        assert!(!seen([255; 3], [245; 3], word), "almost white on white");
        assert!(!seen([0; 3], [6; 3], word), "black on black");
        let black = |rect| seen([255; 3], [0; 3], rect);
        assert!(!black(Rect { y1: 12.0, ..word }), "2 pt high");
        // Narrow letters and signs of a font that is read.
        for (text, wide, high) in
            [("a", 4.4, 4.7), ("l", 1.8, 6.5), ("/", 2.5, 6.5), ("-", 3.0, 0.8)]
        {
            let rect = Rect { x1: word.x0 + wide, y1: word.y0 + high, ..word };
            let size_of = font_size(&placed(text, rect));
            assert!(size_of.is_none_or(|size| size > 8.0 && size < 10.0), "{text}: {size_of:?}");
        }
        // Words of a font of 3 and of 9 points, across and upwards.
        for (text, share) in [("rule", 0.72), ("are", 0.52), ("every", 0.73), ("Ignorepq", 0.93)] {
            for (points, is_large) in [(3.0, false), (4.0, true), (9.0, true)] {
                for (wide, high) in [(20.0, share * points), (share * points, 20.0)] {
                    let rect = Rect { x0: 0.0, y0: 0.0, x1: wide, y1: high };
                    let size = font_size(&placed(text, rect)).unwrap();
                    assert_eq!(size >= SMALLEST_PT, is_large, "{text} {points}: {size}");
                }
            }
        }
        for outside in [
            Rect { x0: -80.0, x1: -10.0, ..word },
            Rect { x0: 110.0, x1: 160.0, ..word },
            Rect { y0: 120.0, y1: 130.0, ..word },
            Rect { y0: f32::NAN, ..word },
        ] {
            assert!(!black(outside), "{outside:?}");
        }
        assert!(!black(Rect { x0: 60.0, x1: 90.0, y0: 60.0, y1: 70.0 }), "nothing is drawn there");
    }
}
