//! Where the tokens of a page's text stand on the page: with that, their vectors are patches whose
//! heat says what answers a question by its meaning.

use std::ops::Range;

use pagesight_core::{Area, PatchLayout, Run};

/// Bytes of the text within which the next word of a page is looked for. Text and places come from
/// the same page, and of one there may be words that the other lacks.
const WITHIN: usize = 200;

/// So much further for each word in a row that was not found.
const FURTHER: usize = 20;

/// No token is taken to be narrower or lower than this share of the page's sides: the cells of a map
/// are as fine as what stands on them.
const LEAST: f32 = 1.0 / 512.0;

/// A layout with a place for each of `tokens`, ranges of bytes of `text`: the box of the word, of
/// those in `words`, whose letters it is. `words` are the page's, about in the order of the text. A
/// token between words, or of a word whose place is not known, has no place.
///
/// ```
/// use pagesight_core::Area;
/// use pagesight_query::layout_of_tokens;
/// let area = |x0: f32| Area { x0, y0: 0.1, x1: x0 + 0.2, y1: 0.2 };
/// let words = [("net".to_string(), area(0.1)), ("sales".to_string(), area(0.5))];
/// // "net", "sal", "es"
/// let layout = layout_of_tokens("net sales", &[0..3, 4..7, 7..9], &words);
/// assert_eq!(layout.vectors(), 3);
/// assert_eq!(layout.area(0).unwrap().x0, 0.1);
/// assert_eq!(layout.area(1), layout.area(2));
/// ```
pub fn layout_of_tokens(
    text: &str,
    tokens: &[Range<usize>],
    words: &[(String, Area)],
) -> PatchLayout {
    let stand = stand(text, words);
    let run = |token: &Range<usize>| {
        // The words lie in the order of the text, without overlap.
        let first = stand.partition_point(|(range, _)| range.end <= token.start);
        let meets = stand.get(first).filter(|(range, _)| range.start < token.end);
        let area = meets.and_then(|(_, word)| placed(words[*word].1));
        match area {
            Some(area) => Run::Patches { cols: 1, rows: 1, area, row_end: 0 },
            None => Run::Text(1),
        }
    };
    PatchLayout::new(tokens.iter().map(run).collect())
}

/// Where in `text` the words stand: ranges of bytes in order, each with the index of its word.
fn stand(text: &str, words: &[(String, Area)]) -> Vec<(Range<usize>, usize)> {
    let (mut at, mut missed) = (0, 0);
    let mut found = Vec::with_capacity(words.len());
    for (index, (word, _)) in words.iter().enumerate() {
        // A hyphen at the end of a line is not in the text.
        let core = word.trim_matches(|c: char| !c.is_alphanumeric());
        if core.is_empty() {
            continue;
        }
        let window = at..text.ceil_char_boundary(at + WITHIN + core.len() + FURTHER * missed);
        match text[window].find(core) {
            Some(start) => {
                let range = at + start..at + start + core.len();
                at = range.end;
                found.push((range, index));
                missed = 0;
            }
            None => missed += 1,
        }
    }
    found
}

/// `area` on the page, and not too small; `None` where it is nothing on it.
fn placed(area: Area) -> Option<Area> {
    let side = |from: f32, to: f32| -> Option<(f32, f32)> {
        if !from.is_finite() || !to.is_finite() {
            return None;
        }
        let (from, to) = (from.max(0.0), to.min(1.0));
        if to - from >= LEAST {
            return Some((from, to));
        }
        let middle = f32::midpoint(from, to);
        let wider = ((middle - LEAST / 2.0).max(0.0), (middle + LEAST / 2.0).min(1.0));
        (from < to).then_some(wider)
    };
    let ((x0, x1), (y0, y1)) = (side(area.x0, area.x1)?, side(area.y0, area.y1)?);
    Some(Area { x0, y0, x1, y1 })
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use pagesight_core::seam::PassageEncoder;
    use pagesight_core::testing::FakePassageEncoder;

    use super::*;
    use crate::{HeatMap, HeatScale, MapOf};

    fn area(column: usize, row: usize) -> Area {
        let (x0, y0) = (column as f32 / 8.0 + 0.01, row as f32 / 10.0 + 0.02);
        Area { x0, y0, x1: x0 + 0.09, y1: y0 + 0.03 }
    }

    #[test]
    fn the_hottest_cell_of_a_word_lies_on_it() {
        let encoder = FakePassageEncoder::default();
        let mut random = Rng::with_seed(7);
        for _ in 0..40 {
            let mut text = String::new();
            let mut words = Vec::new();
            for row in 0..10 {
                for column in 0..8 {
                    let word = format!("w{}x{column}{row}", random.u32(0..1000));
                    text += &word;
                    // Some words have no place, and some places hold what the text has not.
                    match random.u32(0..10) {
                        0 => {}
                        1 => words.push((format!("{word}-lost"), area(column, row))),
                        _ => words.push((word, area(column, row))),
                    }
                    text.push(if column == 7 { '\n' } else { ' ' });
                }
            }
            let tokens = encoder.tokens(&text).unwrap();
            let page = encoder.encode_texts(&[&text]).unwrap().remove(0).unwrap();
            let layout = layout_of_tokens(&text, &tokens, &words);
            assert_eq!(layout.vectors(), page.tokens.len());
            let (asked, place) = words.iter().rfind(|(word, _)| text.contains(word)).unwrap();
            let question = encoder.encode_question(asked).unwrap().tokens;
            let map = HeatMap::new(
                &question,
                &[],
                MapOf::Question,
                HeatScale::Page,
                &page.tokens,
                &layout,
            )
            .unwrap();
            let (column, row) = map.peak();
            let cell = map.area(column, row);
            let inside = |at: f32, from: f32, to: f32| (from..to).contains(&at);
            assert!(inside(f32::midpoint(cell.x0, cell.x1), place.x0, place.x1), "{asked}");
            assert!(inside(f32::midpoint(cell.y0, cell.y1), place.y0, place.y1), "{asked}");
        }
    }

    #[test]
    fn words_are_found_where_the_text_has_them() {
        let text = "the exam\u{AD}ple of an (odd) text, the end";
        let words = ["the", "exam-", "ple", "unknown", "(odd)", "—", "text,", "the"];
        let words: Vec<(String, Area)> =
            words.iter().map(|w| (w.to_string(), Area::PAGE)).collect();
        let found: Vec<&str> =
            stand(text, &words).into_iter().map(|(range, _)| &text[range]).collect();
        assert_eq!(found, ["the", "exam", "ple", "odd", "text", "the"]);
    }

    #[test]
    fn what_is_nothing_on_the_page_has_no_place() {
        let of = |x0: f32, x1: f32| {
            let words = [("a".to_string(), Area { x0, y0: 0.5, x1, y1: 0.6 })];
            layout_of_tokens("a b", &[0..1, 2..3], &words).area(0)
        };
        assert_eq!(of(0.3, 0.3), None);
        assert_eq!(of(1.2, 1.4), None);
        assert_eq!(of(f32::NAN, 0.4), None);
        let thin = of(0.3, 0.300_001).unwrap();
        assert!((thin.x1 - thin.x0 - LEAST).abs() < 1e-6);
        assert_eq!(layout_of_tokens("", &[], &[]).vectors(), 0);
    }
}
