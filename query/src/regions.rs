//! Regions: the parts of a page that answer a question, as boxes around whole lines of its text, or
//! around what is a picture.
//!
//! A region starts at the hottest line and grows over its neighbours while they are warm. Where
//! there is heat and no words it is a picture: the connected hot cells.

use std::collections::HashSet;

use pagesight_core::{Area, PageSize, Rect};

use crate::heat::HeatMap;
use crate::lines::{Line, PlacedWord, Running, lines};

/// Added to the heat of a word whose stem is one of the question's.
const ASKED: f32 = 0.25;

/// Added to the heat of a line that holds all words of the question that are on the page; a part of it
/// for a part of them. A small model's heat alone often has another line that is as hot.
const HELD: f32 = 0.5;

/// A neighbouring line belongs to a region when it has this share of the heat of its start.
const WARM: f32 = 0.5;

/// A neighbouring line overlaps a region sideways by this share of the narrower of both.
const SIDEWAYS: f32 = 0.3;

/// No region covers more of its page.
const LARGEST: f32 = 0.4;

/// Boxes of which this share of the smaller one lies in the other become one.
const SAME: f32 = 0.5;

/// Cells as hot as this and without words are a picture.
const HOT: f32 = 0.5;

/// Left around the ink of a picture, points.
const MARGIN_PT: f32 = 4.0;

/// Letters of a region, at most.
const MOST_TEXT: usize = 4_000;

/// What a region is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionKind {
    /// Lines of words.
    Text,
    /// Heat without words below it.
    Picture,
}

/// A part of a page that answers a question.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Region {
    /// The mean heat of the three hottest words of its hottest line and what the line holds of the
    /// question, or the mean heat of the three hottest cells of a picture, as a share of the most
    /// that there can be: 0 to 1.
    pub score: f32,
    /// Where it is, points; within the page and not empty.
    pub rect: Rect,
    /// What it is.
    pub kind: RegionKind,
    /// Whether its box is that of ink; `false` for a picture whose ink is not known, which is a box
    /// of cells.
    pub is_ink: bool,
    /// Its words in reading order, as indexes of those given.
    pub words: Vec<usize>,
    /// Those words with blanks and ends of lines between them, at most 4,000 characters.
    pub text: String,
}

/// Where the ink of a picture is: given a box, points, the smallest box in it that holds all that
/// is not paper; `None` when nothing is known.
pub type Ink<'a> = &'a mut dyn FnMut(Rect) -> Option<Rect>;

struct Candidate {
    heat: f32,
    area: Area,
    /// The lines of a text.
    lines: Vec<usize>,
}

/// The `n` parts of a page of `size` that answer best, by its `heat` and its `words`, best first.
/// A page with heat has at least one.
///
/// ```
/// use pagesight_core::{Area, PageSize, PageVectors, PatchLayout, QueryVectors};
/// use pagesight_query::{HeatMap, HeatScale, MapOf, PlacedWord, regions};
/// let page = PageVectors::from_f32(2, &[1.0, 0.0, 0.0, 1.0, 1.0, 0.0])?;
/// let query = QueryVectors::of_rows(2, vec![0.0, 1.0])?;
/// let layout = PatchLayout::grid(1, 3);
/// let heat = HeatMap::new(&query, &[], MapOf::Question, HeatScale::Page, &page, &layout)?;
/// let word = |text: &str, y: f32| PlacedWord {
///     text: text.into(),
///     area: Area { x0: 0.1, y0: y, x1: 0.3, y1: y + 0.05 },
///     asked: None,
/// };
/// let words = [word("above", 0.1), word("sales", 0.5), word("below", 0.9)];
/// let size = PageSize { width_pt: 100.0, height_pt: 100.0 };
/// let found = regions(&heat, size, &words, 1, &mut |_| None);
/// assert_eq!((found[0].text.as_str(), found[0].rect.y0), ("sales", 50.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn regions(
    heat: &HeatMap,
    size: PageSize,
    words: &[PlacedWord],
    n: usize,
    ink: Ink<'_>,
) -> Vec<Region> {
    let heats: Vec<f32> = words.iter().map(|word| heat_of(heat, word)).collect();
    let running = Running::of(words, size);
    let lines = lines(&running.words(words), running.size(size));
    let held = held(&lines, words);
    let mut candidates = texts(&lines, &heats, &held);
    for candidate in &mut candidates {
        candidate.area = running.back(candidate.area);
    }
    candidates.extend(pictures(heat, words));
    candidates.sort_by(|a, b| b.heat.total_cmp(&a.heat));
    let mut found: Vec<Region> = Vec::new();
    for candidate in candidates {
        if found.len() >= n.max(1) {
            break;
        }
        let region = region(candidate, &lines, words, size, ink);
        match found.iter_mut().find(|known| overlap(known.rect, region.rect) >= SAME) {
            Some(known) => join(known, region, words, size),
            None => found.push(region),
        }
    }
    if found.is_empty() && heat.values().iter().any(|value| *value > 0.0) {
        let (column, row) = heat.peak();
        let candidate = Candidate {
            heat: heat.heat(column, row),
            area: heat.area(column, row),
            lines: Vec::new(),
        };
        found.push(region(candidate, &lines, words, size, ink));
    }
    found.truncate(n);
    found
}

fn heat_of(heat: &HeatMap, word: &PlacedWord) -> f32 {
    heat.mean(word.area) + if word.asked.is_some() { ASKED } else { 0.0 }
}

/// For each line, how many of the question's words that are on the page it holds: 0 to 1.
fn held(lines: &[Line], words: &[PlacedWord]) -> Vec<f32> {
    let asked = |words: &mut dyn Iterator<Item = &PlacedWord>| {
        words.filter_map(|word| word.asked).collect::<HashSet<usize>>().len()
    };
    let all = asked(&mut words.iter()).max(1) as f32;
    lines
        .iter()
        .map(|line| asked(&mut line.words.iter().map(|&word| &words[word])) as f32 / all)
        .collect()
}

/// Lines that grew from hot ones, each line in one of them, the hottest first.
fn texts(lines: &[Line], heats: &[f32], held: &[f32]) -> Vec<Candidate> {
    let of_line: Vec<f32> = lines
        .iter()
        .zip(held)
        .map(|(line, held)| {
            let mut hottest: Vec<f32> = line.words.iter().map(|&word| heats[word]).collect();
            hottest.sort_by(|a, b| b.total_cmp(a));
            hottest.truncate(3);
            hottest.iter().sum::<f32>() / hottest.len() as f32 + HELD * held
        })
        .collect();
    let mut order: Vec<usize> = (0..lines.len()).filter(|&line| of_line[line] > 0.0).collect();
    order.sort_by(|&a, &b| of_line[b].total_cmp(&of_line[a]).then(a.cmp(&b)));
    let mut taken = vec![false; lines.len()];
    let mut candidates = Vec::new();
    for start in order {
        if taken[start] {
            continue;
        }
        taken[start] = true;
        let (mut area, mut members) = (lines[start].area, vec![start]);
        let warm = |line: usize| of_line[line] >= WARM * of_line[start];
        loop {
            let grows = |line: &usize| !taken[*line] && warm(*line) && touches(area, lines, *line);
            let joined = |line: usize| around(area, lines[line].area);
            let fits = |line: &usize| surface(joined(*line)) <= LARGEST;
            // The nearest one first, so that a region has no holes.
            let distance = |line: &usize| gap(area, lines[*line].area).abs();
            let next = (0..lines.len()).filter(grows).filter(fits);
            let Some(next) = next.min_by(|a, b| distance(a).total_cmp(&distance(b))) else { break };
            taken[next] = true;
            area = joined(next);
            members.push(next);
        }
        members.sort_by(|&a, &b| lines[a].area.y0.total_cmp(&lines[b].area.y0));
        candidates.push(Candidate { heat: of_line[start], area, lines: members });
    }
    candidates
}

/// Whether a line stands right above or below an area, or beside it on the same height.
fn touches(area: Area, lines: &[Line], line: usize) -> bool {
    let other = lines[line].area;
    let height = other.y1 - other.y0;
    let across = area.x1.min(other.x1) - area.x0.max(other.x0);
    let narrower = (area.x1 - area.x0).min(other.x1 - other.x0);
    gap(area, other) <= height && across >= SIDEWAYS * narrower
}

/// The space between two areas up and down; below 0 when they overlap.
fn gap(one: Area, other: Area) -> f32 {
    (other.y0 - one.y1).max(one.y0 - other.y1)
}

fn surface(area: Area) -> f32 {
    (area.x1 - area.x0) * (area.y1 - area.y0)
}

fn around(one: Area, other: Area) -> Area {
    Area {
        x0: one.x0.min(other.x0),
        y0: one.y0.min(other.y0),
        x1: one.x1.max(other.x1),
        y1: one.y1.max(other.y1),
    }
}

/// Connected hot cells without words.
fn pictures(heat: &HeatMap, words: &[PlacedWord]) -> Vec<Candidate> {
    let (columns, rows) = (heat.columns(), heat.rows());
    let mut free = vec![true; columns * rows];
    for word in words {
        // A word colours the cells around it too, since a patch sees more than the word.
        let first = |from: f32, cells: usize| ((from * cells as f32) as usize).saturating_sub(1);
        let end = |to: f32, cells: usize| (((to * cells as f32).ceil() as usize) + 1).min(cells);
        for row in first(word.area.y0, rows)..end(word.area.y1, rows) {
            let line = row * columns;
            free[line + first(word.area.x0, columns)..line + end(word.area.x1, columns)]
                .fill(false);
        }
    }
    let is_hot = |cell: usize| heat.heat(cell % columns, cell / columns) >= HOT;
    let mut candidates = Vec::new();
    for start in 0..columns * rows {
        if !free[start] || !is_hot(start) {
            continue;
        }
        let (mut waiting, mut hottest) = (vec![start], Vec::new());
        let mut area = heat.area(start % columns, start / columns);
        free[start] = false;
        while let Some(cell) = waiting.pop() {
            let (column, row) = (cell % columns, cell / columns);
            area = around(area, heat.area(column, row));
            hottest.push(heat.heat(column, row));
            for down in row.saturating_sub(1)..(row + 2).min(rows) {
                for across in column.saturating_sub(1)..(column + 2).min(columns) {
                    let next = down * columns + across;
                    if free[next] && is_hot(next) {
                        free[next] = false;
                        waiting.push(next);
                    }
                }
            }
        }
        hottest.sort_by(|a, b| b.total_cmp(a));
        hottest.truncate(3);
        let mean = hottest.iter().sum::<f32>() / hottest.len() as f32;
        candidates.push(Candidate { heat: mean, area, lines: Vec::new() });
    }
    candidates
}

fn region(
    candidate: Candidate,
    lines: &[Line],
    words: &[PlacedWord],
    size: PageSize,
    ink: Ink<'_>,
) -> Region {
    let score = (candidate.heat / (1.0 + ASKED + HELD)).clamp(0.0, 1.0);
    let rect = on_page(candidate.area, size);
    if candidate.lines.is_empty() {
        let found = ink(rect).map(|ink| within(ink, size, MARGIN_PT));
        let (rect, is_ink) = found.map_or((rect, false), |rect| (rect, true));
        let (kind, text) = (RegionKind::Picture, String::new());
        return Region { score, rect, kind, is_ink, words: Vec::new(), text };
    }
    let members: Vec<usize> =
        candidate.lines.iter().flat_map(|&line| lines[line].words.iter().copied()).collect();
    let text = text_of(
        &candidate.lines.iter().map(|&line| &lines[line].words[..]).collect::<Vec<_>>(),
        words,
    );
    Region { score, rect, kind: RegionKind::Text, is_ink: true, words: members, text }
}

fn text_of(lines: &[&[usize]], words: &[PlacedWord]) -> String {
    let mut text = String::new();
    for line in lines {
        if !text.is_empty() {
            text.push('\n');
        }
        for (n, &word) in line.iter().enumerate() {
            if n > 0 {
                text.push(' ');
            }
            text.push_str(&words[word].text);
        }
    }
    if let Some((end, _)) = text.char_indices().nth(MOST_TEXT) {
        text.truncate(end);
    }
    text
}

/// Two regions that are nearly the same place become the first one.
fn join(known: &mut Region, other: Region, words: &[PlacedWord], size: PageSize) {
    let (a, b) = (known.rect, other.rect);
    let (x0, y0) = (a.x0.min(b.x0), a.y0.min(b.y0));
    let joined = Rect { x0, y0, x1: a.x1.max(b.x1), y1: a.y1.max(b.y1) };
    let share =
        (joined.x1 - joined.x0) * (joined.y1 - joined.y0) / (size.width_pt * size.height_pt);
    if share > LARGEST {
        return;
    }
    known.rect = joined;
    if other.words.iter().any(|word| !known.words.contains(word)) {
        let new: Vec<usize> =
            other.words.iter().copied().filter(|word| !known.words.contains(word)).collect();
        let mut text = std::mem::take(&mut known.text);
        let more = text_of(&[&new], words);
        if !text.is_empty() && !more.is_empty() {
            text.push('\n');
        }
        text.push_str(&more);
        if let Some((end, _)) = text.char_indices().nth(MOST_TEXT) {
            text.truncate(end);
        }
        known.text = text;
        known.words.extend(new);
        known.kind = RegionKind::Text;
    }
}

/// The share of the smaller of two boxes that lies in the other one.
fn overlap(one: Rect, other: Rect) -> f32 {
    let wide = one.x1.min(other.x1) - one.x0.max(other.x0);
    let high = one.y1.min(other.y1) - one.y0.max(other.y0);
    if wide <= 0.0 || high <= 0.0 {
        return 0.0;
    }
    let size = |rect: Rect| (rect.x1 - rect.x0) * (rect.y1 - rect.y0);
    wide * high / size(one).min(size(other)).max(f32::MIN_POSITIVE)
}

/// `area` in points, on the page and not empty.
fn on_page(area: Area, size: PageSize) -> Rect {
    let (width, height) = (size.width_pt, size.height_pt);
    let rect = Rect {
        x0: area.x0 * width,
        y0: area.y0 * height,
        x1: area.x1 * width,
        y1: area.y1 * height,
    };
    within(rect, size, 0.0)
}

/// `rect` with `margin` points around it, cut to the page; at least a point wide and high where the
/// page is.
fn within(rect: Rect, size: PageSize, margin: f32) -> Rect {
    let side = |from: f32, to: f32, length: f32| {
        let least = length.min(1.0);
        let from = (from - margin).clamp(0.0, length - least);
        (from, (to + margin).clamp(from + least, length))
    };
    let (x0, x1) = side(rect.x0, rect.x1, size.width_pt);
    let (y0, y1) = side(rect.y0, rect.y1, size.height_pt);
    Rect { x0, y0, x1, y1 }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use pagesight_core::{PageVectors, PatchLayout, QueryVectors};

    use super::*;
    use crate::heat::{HeatScale, MapOf};

    const PAGE: PageSize = PageSize { width_pt: 600.0, height_pt: 800.0 };

    /// A map of these cells, each from 0 to 1, of which most are 0.
    fn map(columns: u32, rows: u32, hot: &[(u32, u32, f32)]) -> HeatMap {
        let mut values = Vec::new();
        for row in 0..rows {
            for column in 0..columns {
                let cell = hot.iter().find(|(x, y, _)| (*x, *y) == (column, row));
                let heat = cell.map_or(0.0, |cell| cell.2);
                values.extend([heat, (1.0 - heat * heat).sqrt()]);
            }
        }
        let page = PageVectors::from_f32(2, &values).unwrap();
        let query = QueryVectors::of_rows(2, vec![1.0, 0.0]).unwrap();
        let layout = PatchLayout::grid(columns, rows);
        HeatMap::new(&query, &[], MapOf::Token(0), HeatScale::Absolute, &page, &layout).unwrap()
    }

    /// Words of a line at `y`, from `x` on, in fractions.
    fn line(text: &str, x: f32, y: f32) -> Vec<PlacedWord> {
        let mut x0 = x;
        text.split(' ')
            .map(|word| {
                let area = Area { x0, y0: y, x1: x0 + 0.012 * word.len() as f32, y1: y + 0.015 };
                x0 = area.x1 + 0.008;
                PlacedWord { text: word.into(), area, asked: None }
            })
            .collect()
    }

    fn none(_: Rect) -> Option<Rect> {
        None
    }

    #[test]
    fn a_region_grows_from_the_hottest_line_over_warm_neighbours() {
        let mut words = Vec::new();
        for (n, text) in [
            "far above all",
            "first warm line",
            "the answer is here",
            "last warm line",
            "cold line",
        ]
        .iter()
        .enumerate()
        {
            let y = if n == 0 { 0.05 } else { 0.2 + 0.02 * n as f32 };
            words.extend(line(text, 0.1, y));
        }
        // Rows of a fiftieth of the page: the lines are rows 11, 12, 13 and 14.
        let hot: Vec<(u32, u32, f32)> = (0..50)
            .flat_map(|x| [(x, 11, 0.6), (x, 12, 1.0), (x, 13, 0.7), (x, 14, 0.1)])
            .collect();
        let found = regions(&map(50, 50, &hot), PAGE, &words, 3, &mut none);
        assert_eq!(found[0].text, "first warm line\nthe answer is here\nlast warm line");
        assert_eq!(found[0].kind, RegionKind::Text);
        assert!(found[0].score >= found[1].score, "{found:?}");
        // A word that was asked for makes its line hotter than one that is as hot.
        for word in &mut words {
            word.asked = (word.text == "far").then_some(0);
        }
        let cold = map(50, 50, &[(0, 49, 0.01)]);
        let found = regions(&cold, PAGE, &words, 1, &mut none);
        assert_eq!(found[0].text, "far above all");
    }

    #[test]
    fn columns_of_text_are_apart_and_rows_of_a_table_are_whole() {
        let mut words = Vec::new();
        for row in 0..6 {
            let y = 0.1 + 0.02 * row as f32;
            words.extend(line("net sales", 0.1, y));
            words.extend(line("1,234", 0.5, y));
            words.extend(line("1,300", 0.7, y));
        }
        let cell = map(50, 50, &[(5, 9, 0.9), (6, 9, 0.9), (7, 9, 0.9), (8, 9, 0.9)]);
        let found = regions(&cell, PAGE, &words, 1, &mut none);
        assert_eq!(found[0].text, "net sales 1,234 1,300");
        // Two columns of prose.
        let mut words = Vec::new();
        for row in 0..6 {
            let y = 0.1 + 0.02 * row as f32;
            words.extend(line("some longer words of prose", 0.05, y));
            words.extend(line("other words on the right", 0.55, y));
        }
        let found = regions(&cell, PAGE, &words, 1, &mut none);
        assert_eq!(found[0].text, "some longer words of prose");
    }

    #[test]
    fn heat_without_words_is_a_picture_shrunk_to_its_ink() {
        let hot: Vec<(u32, u32, f32)> =
            (10..20).flat_map(|y| (10..20).map(move |x| (x, y, 0.9))).collect();
        let words = line("a caption far away", 0.1, 0.9);
        let mut ink = |rect: Rect| {
            let Rect { x0, y0, x1, y1 } = rect;
            Some(Rect { x0: x0 + 30.0, y0: y0 + 30.0, x1: x1 - 30.0, y1: y1 - 30.0 })
        };
        let found = regions(&map(50, 50, &hot), PAGE, &words, 2, &mut ink);
        assert_eq!(
            (found[0].kind, found[0].is_ink, &*found[0].text),
            (RegionKind::Picture, true, "")
        );
        let Rect { x0, y0, x1, y1 } = found[0].rect;
        let expected = [120.0 + 26.0, 160.0 + 26.0, 240.0 - 26.0, 320.0 - 26.0];
        for (got, want) in [x0, y0, x1, y1].iter().zip(expected) {
            assert!((got - want).abs() < 0.01, "{:?}", found[0].rect);
        }
    }

    #[test]
    fn regions_stay_on_the_page_and_are_never_empty() {
        let mut random = Rng::with_seed(3);
        for round in 0..200 {
            let share = |random: &mut Rng| random.f32();
            let words: Vec<PlacedWord> = (0..random.usize(0..60))
                .map(|n| {
                    let (x, y) = (share(&mut random), share(&mut random));
                    let (w, h) = (0.1 * share(&mut random), 0.05 * share(&mut random));
                    let area = Area { x0: x, y0: y, x1: (x + w).min(1.0), y1: (y + h).min(1.0) };
                    PlacedWord { text: format!("w{n}"), area, asked: (n % 9 == 0).then_some(0) }
                })
                .collect();
            let hot: Vec<(u32, u32, f32)> = (0..random.usize(1..40))
                .map(|_| (random.u32(0..32), random.u32(0..32), random.f32()))
                .collect();
            let heat = map(32, 32, &hot);
            let n = random.usize(1..6);
            let found =
                regions(&heat, PAGE, &words, n, &mut |rect| (round % 2 == 0).then_some(rect));
            assert!(!found.is_empty() && found.len() <= n, "round {round}");
            for region in &found {
                let Rect { x0, y0, x1, y1 } = region.rect;
                assert!(0.0 <= x0 && x0 < x1 && x1 <= 600.0, "{region:?}");
                assert!(0.0 <= y0 && y0 < y1 && y1 <= 800.0, "{region:?}");
                assert!((0.0..=1.0).contains(&region.score));
                assert_eq!(region.text.is_empty(), region.words.is_empty());
            }
            let sorted = found.windows(2).all(|pair| pair[0].score >= pair[1].score);
            assert!(sorted, "round {round}: {found:?}");
            // No two of them are the same place, unless together they would be too large.
            for (n, one) in found.iter().enumerate() {
                for other in &found[n + 1..] {
                    assert!(overlap(one.rect, other.rect) < 1.0, "{one:?} {other:?}");
                }
            }
        }
    }
}
