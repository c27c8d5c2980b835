//! In which order a person reads the lines of a page: columns one after the other, tables row by
//! row.

/// What a line covers, px: left, top, right, bottom. A page that leans has been set straight.
pub(super) type Bounds = [f32; 4];

/// Lines in reading order: rows, of lines that stand beside each other, in blocks that have nothing
/// beside them or are a column.
pub(super) fn blocks(lines: &[Bounds]) -> Vec<Vec<Vec<usize>>> {
    let mut all: Vec<usize> = (0..lines.len()).collect();
    all.sort_by(|a, b| lines[*a][1].total_cmp(&lines[*b][1]));
    let mut blocks = Vec::new();
    arrange(lines, all, 0, &mut blocks);
    blocks
}

/// Columns within columns are not followed further than this.
const DEEPEST: usize = 8;

fn arrange(lines: &[Bounds], chosen: Vec<usize>, depth: usize, to: &mut Vec<Vec<Vec<usize>>>) {
    if depth < DEEPEST
        && let Some((left, right)) = columns(lines, &chosen)
    {
        arrange(lines, left, depth + 1, to);
        arrange(lines, right, depth + 1, to);
        return;
    }
    let bands = bands(lines, &chosen);
    if bands.len() < 2 || depth >= DEEPEST {
        to.extend(paragraphs(lines, rows(lines, chosen)));
        return;
    }
    // Bands that share columns belong together: a gap that goes through both columns, as between
    // paragraphs, is no reason to read across.
    let mut at = 0;
    let mut plain: Vec<usize> = Vec::new();
    while at < bands.len() {
        let mut together = Vec::new();
        let mut best = None;
        for (end, band) in bands.iter().enumerate().skip(at) {
            together.extend_from_slice(band);
            match columns(lines, &together) {
                Some(_) => best = Some((end, together.clone())),
                // A band across the whole ends it, but for what may be a short first line.
                None if end > at + 2 && best.is_none() => break,
                None if best.is_some() => break,
                None => {}
            }
        }
        match best {
            Some((end, together)) => {
                to.extend(paragraphs(lines, rows(lines, std::mem::take(&mut plain))));
                arrange(lines, together, depth + 1, to);
                at = end + 1;
            }
            None => {
                plain.extend_from_slice(&bands[at]);
                at += 1;
            }
        }
    }
    to.extend(paragraphs(lines, rows(lines, plain)));
}

/// Cuts lines into those that have no other beside them, from the top; `chosen` is sorted by top.
fn bands(lines: &[Bounds], chosen: &[usize]) -> Vec<Vec<usize>> {
    let mut bands: Vec<Vec<usize>> = Vec::new();
    let mut end = f32::MIN;
    let mut sorted = chosen.to_vec();
    sorted.sort_by(|a, b| core(&lines[*a])[0].total_cmp(&core(&lines[*b])[0]));
    for line in sorted {
        let [top, bottom] = core(&lines[line]);
        match bands.last_mut() {
            Some(band) if top < end => band.push(line),
            _ => bands.push(vec![line]),
        }
        end = end.max(bottom);
    }
    bands
}

/// Top and bottom of a line without the room that was left around it.
fn core(line: &Bounds) -> [f32; 2] {
    let spare = (line[3] - line[1]) * 0.2;
    [line[1] + spare, line[3] - spare]
}

/// Fewer rows make no column.
const FEW: usize = 3;

/// Cuts lines at a white gap from top to bottom, when what lies on both sides is running text and
/// no table: at least three lines each, most of which fill their column on one side at least.
fn columns(lines: &[Bounds], chosen: &[usize]) -> Option<(Vec<usize>, Vec<usize>)> {
    if chosen.len() < 2 * FEW {
        return None;
    }
    let mut heights: Vec<f32> =
        chosen.iter().map(|&line| lines[line][3] - lines[line][1]).collect();
    heights.sort_by(f32::total_cmp);
    let height = heights[heights.len() / 2];
    let mut by_left = chosen.to_vec();
    by_left.sort_by(|a, b| lines[*a][0].total_cmp(&lines[*b][0]));
    let mut end = f32::MIN;
    let mut best: Option<(f32, usize)> = None;
    for (at, &line) in by_left.iter().enumerate() {
        // What a line covers has half a letter of room on each side.
        let gap = lines[line][0] - end;
        if at >= FEW && by_left.len() - at >= FEW && gap > -0.3 * height {
            let (left, right) = by_left.split_at(at);
            let fill = [left, right].map(|part| filled(lines, part, height));
            if fill.iter().all(Option::is_some)
                && fill.iter().any(|share| *share > Some(0.5))
                && stand_beside(lines, left, right)
                && best.is_none_or(|(widest, _)| gap > widest)
            {
                best = Some((gap, at));
            }
        }
        end = end.max(lines[line][2]);
    }
    let (_, at) = best?;
    let by_top = |part: &[usize]| {
        let mut part = part.to_vec();
        part.sort_by(|a, b| lines[*a][1].total_cmp(&lines[*b][1]));
        part
    };
    Some((by_top(&by_left[..at]), by_top(&by_left[at..])))
}

/// How many of its rows fill a column, as a share, when it may be one: it is many letters wide, and
/// its rows are not the cells of a table. Beside running text a column may have short rows, such as
/// a list of symbols.
fn filled(lines: &[Bounds], chosen: &[usize], height: f32) -> Option<f32> {
    let left = chosen.iter().map(|&line| lines[line][0]).fold(f32::MAX, f32::min);
    let right = chosen.iter().map(|&line| lines[line][2]).fold(f32::MIN, f32::max);
    let width = right - left;
    let rows = rows(lines, chosen.to_vec());
    // Cells of a table have more room between them than words.
    let is_whole = |row: &&Vec<usize>| {
        row.windows(2).all(|pair| lines[pair[1]][0] - lines[pair[0]][2] < 1.5 * height)
    };
    let is_full = |row: &&Vec<usize>| {
        let covered: f32 = row.iter().map(|&line| lines[line][2] - lines[line][0]).sum();
        covered > 0.6 * width
    };
    let whole = rows.iter().filter(is_whole).count();
    let full = rows.iter().filter(|row| is_whole(row) && is_full(row)).count();
    let may_be = rows.len() >= FEW && width > 6.0 * height && whole * 2 > rows.len();
    may_be.then(|| full as f32 / rows.len() as f32)
}

/// Whether two columns stand beside each other for the most part of the shorter one.
fn stand_beside(lines: &[Bounds], left: &[usize], right: &[usize]) -> bool {
    let span = |part: &[usize]| {
        let top = part.iter().map(|&line| lines[line][1]).fold(f32::MAX, f32::min);
        (top, part.iter().map(|&line| lines[line][3]).fold(f32::MIN, f32::max))
    };
    let (one, other) = (span(left), span(right));
    let common = one.1.min(other.1) - one.0.max(other.0);
    common > 0.5 * (one.1 - one.0).min(other.1 - other.0)
}

/// Puts lines that stand beside each other into rows, each from left to right.
fn rows(lines: &[Bounds], chosen: Vec<usize>) -> Vec<Vec<usize>> {
    let middle = |line: usize| f32::midpoint(lines[line][1], lines[line][3]);
    let mut chosen = chosen;
    chosen.sort_by(|a, b| middle(*a).total_cmp(&middle(*b)));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    for line in chosen {
        let [_, top, _, bottom] = lines[line];
        let fits = |row: &Vec<usize>| {
            let last = *row.last().expect("a row has a line");
            let [_, above, _, below] = lines[last];
            let common = below.min(bottom) - above.max(top);
            let is_free = row.iter().all(|&other| {
                let across =
                    lines[other][2].min(lines[line][2]) - lines[other][0].max(lines[line][0]);
                across
                    < 0.5 * (lines[line][2] - lines[line][0]).min(lines[other][2] - lines[other][0])
            });
            is_free && common > 0.5 * (below - above).min(bottom - top)
        };
        // Of the last rows, since lines of different heights have their middles elsewhere.
        match rows.iter_mut().rev().take(3).find(|row| fits(row)) {
            Some(row) => row.push(line),
            None => rows.push(vec![line]),
        }
    }
    for row in &mut rows {
        row.sort_by(|a, b| lines[*a][0].total_cmp(&lines[*b][0]));
    }
    rows
}

/// Cuts rows where there is more room between them than between lines.
fn paragraphs(lines: &[Bounds], rows: Vec<Vec<usize>>) -> Vec<Vec<Vec<usize>>> {
    let mut paragraphs: Vec<Vec<Vec<usize>>> = Vec::new();
    for row in rows {
        let first = lines[row[0]];
        let follows = paragraphs.last().and_then(|rows| rows.last()).is_some_and(|before| {
            let before = lines[before[0]];
            let (high, low) = (before[3] - before[1], first[3] - first[1]);
            first[1] - before[3] < 0.6 * high.min(low) && high.max(low) < 1.8 * high.min(low)
        });
        match paragraphs.last_mut() {
            Some(paragraph) if follows => paragraph.push(row),
            _ => paragraphs.push(vec![row]),
        }
    }
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines in the order in which they are read, without blocks.
    fn read(lines: &[Bounds]) -> Vec<usize> {
        blocks(lines).into_iter().flatten().flatten().collect()
    }

    fn line(left: f32, top: f32, right: f32) -> Bounds {
        [left, top, right, top + 20.0]
    }

    #[test]
    fn columns_are_read_one_after_the_other() {
        // A title across, then two columns of five lines whose paragraphs end together.
        let mut lines = vec![line(50.0, 0.0, 900.0)];
        for row in 0..5 {
            let top = 60.0 + 25.0 * row as f32 + if row > 2 { 30.0 } else { 0.0 };
            lines.push(line(0.0, top, 450.0));
            lines.push(line(500.0, top, 950.0));
        }
        assert_eq!(read(&lines), [0, 1, 3, 5, 7, 9, 2, 4, 6, 8, 10]);
        // And a line across at the foot.
        lines.push(line(0.0, 300.0, 950.0));
        assert_eq!(read(&lines), [0, 1, 3, 5, 7, 9, 2, 4, 6, 8, 10, 11]);
    }

    #[test]
    fn tables_are_read_row_by_row() {
        let mut lines = Vec::new();
        for row in 0..6 {
            let top = 30.0 * row as f32;
            lines.push(line(0.0, top, if row == 0 { 300.0 } else { 150.0 }));
            lines.push(line(500.0, top + 2.0, 580.0));
            lines.push(line(700.0, top - 2.0, 780.0));
        }
        assert_eq!(read(&lines), (0..18).collect::<Vec<_>>());
        assert_eq!(blocks(&lines)[0][0], [0, 1, 2]);
        // Four columns of two rows, whose cells nearly fill them.
        let mut lines = Vec::new();
        for row in 0..2 {
            for column in 0..4 {
                let left = 250.0 * column as f32;
                lines.push(line(left, 30.0 * row as f32, left + 190.0));
            }
        }
        assert_eq!(read(&lines), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn room_between_lines_begins_a_paragraph() {
        let lines = [line(0.0, 0.0, 90.0), line(0.0, 25.0, 90.0), line(0.0, 80.0, 90.0)];
        assert_eq!(blocks(&lines), [vec![vec![0], vec![1]], vec![vec![2]]]);
        assert_eq!(blocks(&[]), Vec::<Vec<Vec<usize>>>::new());
    }

    #[test]
    fn every_line_is_read_once() {
        let mut random = fastrand_like(7);
        for count in [1, 2, 7, 60] {
            let lines: Vec<Bounds> = (0..count)
                .map(|_| {
                    let (x, y) = (random() * 900.0, random() * 900.0);
                    [x, y, x + 5.0 + random() * 300.0, y + 5.0 + random() * 40.0]
                })
                .collect();
            let mut got = read(&lines);
            got.sort_unstable();
            assert_eq!(got, (0..count).collect::<Vec<_>>());
        }
    }

    fn fastrand_like(seed: u64) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        }
    }
}
