//! Lines of text on a page, from where its words stand.

use pagesight_core::{Area, PageSize};

/// A gap wider than so many line heights parts two lines of the same height on the page.
const WIDE: f32 = 1.6;

/// Two gaps are the same when their middles differ by less than this share of the page's width.
const SAME: f32 = 0.02;

/// A column of a table has cells of so many words at most, on average.
const CELL: f32 = 3.0;

/// A word of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedWord {
    /// The word.
    pub text: String,
    /// Where it stands, in fractions of the page's sides.
    pub area: Area,
    /// The 0-based word of the question that has the same stem, if one has.
    pub asked: Option<usize>,
}

/// Words that stand on one line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// The box around them, in fractions of the page's sides.
    pub area: Area,
    /// Indexes of the words, from left to right.
    pub words: Vec<usize>,
}

/// How the text of a page runs on the page as it is displayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Running {
    /// From left to right or from right to left, lines from top to bottom.
    Level,
    /// From top to bottom, lines from right to left: turned clockwise.
    Down,
    /// From bottom to top, lines from left to right: turned the other way.
    Up,
}

impl Running {
    /// How most of the words run: those that are taller than wide stand on their sides.
    pub fn of(words: &[PlacedWord], size: PageSize) -> Self {
        let tall = |word: &PlacedWord| {
            let Area { x0, y0, x1, y1 } = word.area;
            (y1 - y0) * size.height_pt > (x1 - x0) * size.width_pt
        };
        // Short words are as tall as wide.
        let long: Vec<&PlacedWord> =
            words.iter().filter(|word| word.text.chars().count() >= 3).collect();
        if 2 * long.iter().filter(|word| tall(word)).count() <= long.len() {
            return Self::Level;
        }
        let of_line = |one: Area, next: Area| {
            let shared = one.x1.min(next.x1) - one.x0.max(next.x0);
            shared > 0.5 * (one.x1 - one.x0).min(next.x1 - next.x0)
        };
        let follows = long.windows(2).map(|two| (two[0].area, two[1].area));
        let steps = follows.filter(|&(one, next)| of_line(one, next));
        let down: i32 = steps.map(|(one, next)| if next.y0 > one.y0 { 1 } else { -1 }).sum();
        if down >= 0 { Self::Down } else { Self::Up }
    }

    /// An area of the page on the page turned so that its text is level.
    pub fn level(self, Area { x0, y0, x1, y1 }: Area) -> Area {
        match self {
            Self::Level => Area { x0, y0, x1, y1 },
            Self::Down => Area { x0: y0, y0: 1.0 - x1, x1: y1, y1: 1.0 - x0 },
            Self::Up => Area { x0: 1.0 - y1, y0: x0, x1: 1.0 - y0, y1: x1 },
        }
    }

    /// The inverse of [`level`](Self::level).
    pub fn back(self, area: Area) -> Area {
        match self {
            Self::Level => area,
            Self::Down => Self::Up.level(area),
            Self::Up => Self::Down.level(area),
        }
    }

    /// The size of the turned page.
    pub fn size(self, size: PageSize) -> PageSize {
        match self {
            Self::Level => size,
            _ => PageSize { width_pt: size.height_pt, height_pt: size.width_pt },
        }
    }

    /// The words on the turned page.
    pub fn words(self, words: &[PlacedWord]) -> Vec<PlacedWord> {
        let turned = |word: &PlacedWord| PlacedWord { area: self.level(word.area), ..word.clone() };
        words.iter().map(turned).collect()
    }
}

/// The lines of a page of `size` whose text is level, from top to bottom. A wide gap parts the columns of a page; in a
/// table, which is three or more neighbouring lines with the same gaps and short cells, a line is
/// the whole row, since a label without its value answers nothing.
pub(crate) fn lines(words: &[PlacedWord], size: PageSize) -> Vec<Line> {
    let mut rows: Vec<Vec<Line>> =
        base_lines(words).into_iter().map(|row| parts(&row, words, size)).collect();
    let mut lines = Vec::new();
    let mut start = 0;
    while start < rows.len() {
        let end = table_end(&rows, start);
        if end - start >= 3 {
            lines.extend(rows[start..end].iter_mut().map(|row| whole(std::mem::take(row))));
            start = end;
        } else {
            lines.append(&mut rows[start]);
            start += 1;
        }
    }
    lines.sort_by(|a, b| a.area.y0.total_cmp(&b.area.y0).then(a.area.x0.total_cmp(&b.area.x0)));
    lines
}

/// For each word the number of the line that it stands on, from 0, in reading order.
pub fn line_numbers(words: &[PlacedWord], size: PageSize) -> Vec<usize> {
    let running = Running::of(words, size);
    let mut numbers = vec![0; words.len()];
    for (number, line) in lines(&running.words(words), running.size(size)).iter().enumerate() {
        for &word in &line.words {
            numbers[word] = number;
        }
    }
    numbers
}

/// Words by their base line, each row from left to right, from top to bottom.
fn base_lines(words: &[PlacedWord]) -> Vec<Vec<usize>> {
    let middle = |word: usize| f32::midpoint(words[word].area.y0, words[word].area.y1);
    let mut order: Vec<usize> = (0..words.len()).collect();
    order.sort_by(|&a, &b| middle(a).total_cmp(&middle(b)));
    let mut rows: Vec<(Area, Vec<usize>)> = Vec::new();
    for word in order {
        let area = words[word].area;
        // The row whose band holds the word's middle, of the last few: boxes are as high as their
        // letters, so that "sum" and "Total" on one line differ.
        let holds = |(band, _): &&mut (Area, Vec<usize>)| {
            let shared = band.y1.min(area.y1) - band.y0.max(area.y0);
            shared > 0.5 * (band.y1 - band.y0).min(area.y1 - area.y0)
        };
        match rows.iter_mut().rev().take(8).find(holds) {
            // The band stays that of its first words: a tall letter does not join two lines.
            Some((_, row)) => row.push(word),
            None => rows.push((area, vec![word])),
        }
    }
    let mut rows: Vec<Vec<usize>> = rows.into_iter().map(|(_, row)| row).collect();
    for row in &mut rows {
        row.sort_by(|&a, &b| words[a].area.x0.total_cmp(&words[b].area.x0));
    }
    rows
}

/// A row, cut at its wide gaps.
fn parts(row: &[usize], words: &[PlacedWord], size: PageSize) -> Vec<Line> {
    let height = |word: usize| (words[word].area.y1 - words[word].area.y0) * size.height_pt;
    let tallest = row.iter().map(|&word| height(word)).fold(0.0, f32::max);
    let mut parts: Vec<Line> = Vec::new();
    for &word in row {
        let area = words[word].area;
        match parts.last_mut() {
            Some(line) if (area.x0 - line.area.x1) * size.width_pt <= WIDE * tallest => {
                line.area = Area {
                    x0: line.area.x0.min(area.x0),
                    y0: line.area.y0.min(area.y0),
                    x1: line.area.x1.max(area.x1),
                    y1: line.area.y1.max(area.y1),
                };
                line.words.push(word);
            }
            _ => parts.push(Line { area, words: vec![word] }),
        }
    }
    parts
}

/// The end of the table that starts with row `start`; of no table, the row's own.
fn table_end(rows: &[Vec<Line>], start: usize) -> usize {
    let first = &rows[start];
    if first.len() < 2 {
        return start + 1;
    }
    let mut end = start + 1;
    while end < rows.len()
        && same_gaps(first, &rows[end])
        && are_neighbours(&rows[end - 1], &rows[end])
    {
        end += 1;
    }
    // Prose in columns has the same gaps too; its lines are long in every column.
    let columns = first.len();
    let short = (0..columns).filter(|&column| {
        let count: usize = rows[start..end].iter().map(|row| row[column].words.len()).sum();
        count as f32 / (end - start) as f32 <= CELL
    });
    if 2 * short.count() >= columns { end } else { start + 1 }
}

fn same_gaps(one: &[Line], other: &[Line]) -> bool {
    let same = |(a, b): (&[Line], &[Line])| {
        // Cells may stand left or right in their column: the gaps have a part in common.
        let from = a[0].area.x1.max(b[0].area.x1);
        let to = a[1].area.x0.min(b[1].area.x0);
        to - from > SAME / 2.0
    };
    one.len() == other.len() && one.windows(2).zip(other.windows(2)).all(same)
}

fn are_neighbours(above: &[Line], below: &[Line]) -> bool {
    let height = below.iter().map(|line| line.area.y1 - line.area.y0).fold(0.0, f32::max);
    let bottom = above.iter().map(|line| line.area.y1).fold(0.0, f32::max);
    let top = below.iter().map(|line| line.area.y0).fold(1.0, f32::min);
    top - bottom <= 2.0 * height
}

/// The parts of a row as one line.
fn whole(parts: Vec<Line>) -> Line {
    let join = |mut line: Line, part: Line| {
        line.area = Area {
            x0: line.area.x0.min(part.area.x0),
            y0: line.area.y0.min(part.area.y0),
            x1: line.area.x1.max(part.area.x1),
            y1: line.area.y1.max(part.area.y1),
        };
        line.words.extend(part.words);
        line
    };
    parts.into_iter().reduce(join).expect("a row has words")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: PageSize = PageSize { width_pt: 600.0, height_pt: 800.0 };

    /// Words of three lines of level text.
    fn level() -> Vec<PlacedWord> {
        let word = |line: usize, at: usize| PlacedWord {
            text: format!("word{line}{at}"),
            area: Area {
                x0: 0.1 + 0.15 * at as f32,
                y0: 0.1 + 0.03 * line as f32,
                x1: 0.22 + 0.15 * at as f32,
                y1: 0.12 + 0.03 * line as f32,
            },
            asked: None,
        };
        (0..3).flat_map(|line| (0..4).map(move |at| word(line, at))).collect()
    }

    #[test]
    fn turned_text_has_the_lines_of_level_text() {
        let words = level();
        let lines = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2];
        assert_eq!(Running::of(&words, SIZE), Running::Level);
        assert_eq!(line_numbers(&words, SIZE), lines);
        for running in [Running::Down, Running::Up] {
            // As the text stands on the page when the page is turned.
            let turned: Vec<PlacedWord> = words
                .iter()
                .map(|word| PlacedWord { area: running.back(word.area), ..word.clone() })
                .collect();
            let size = running.size(SIZE);
            assert_eq!(Running::of(&turned, size), running);
            assert_eq!(line_numbers(&turned, size), lines, "{running:?}");
            for (word, turned) in words.iter().zip(&turned) {
                let (back, area) = (running.level(turned.area), word.area);
                for (a, b) in [(back.x0, area.x0), (back.y0, area.y0), (back.x1, area.x1)] {
                    assert!((a - b).abs() < 1e-6, "{back:?} {area:?}");
                }
            }
        }
    }
}
