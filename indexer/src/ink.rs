//! What is drawn on a page and looks like letters, and where its text does not say so: words in
//! scans, photographs and drawings.

use pagesight_core::{Area, PageImage};

/// The resolution in dots per inch in which letters are looked for: print of five points has
/// lower-case letters five pixels high.
pub(crate) const DPI: u32 = 100;

/// How much darker or lighter than its surroundings ink is, in steps of grey.
const CONTRAST: i64 = 24;

/// The surroundings reach so far, px.
const REACH: usize = 15;

/// A picture of larger sides is not looked at.
const MAX_SIDE: usize = 6_000;

/// Ink that is connected, px.
#[derive(Debug, Clone, Copy)]
struct Blob {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
    pixels: usize,
}

impl Blob {
    fn width(&self) -> usize {
        self.right - self.left + 1
    }

    fn height(&self) -> usize {
        self.bottom - self.top + 1
    }

    /// Whether it has the size and shape of a letter, or of a word of joined ones.
    fn is_letter(&self) -> bool {
        let (width, height) = (self.width(), self.height());
        (5..=45).contains(&height)
            && width <= 6 * height
            && height <= 12 * width
            && self.pixels >= 6
            && self.pixels * 8 >= width * height
    }

    /// Whether `next` may be the next letter of a line.
    fn is_followed_by(&self, next: &Self) -> bool {
        let (low, high) = (self.height().min(next.height()), self.height().max(next.height()));
        let overlap = (self.bottom.min(next.bottom) + 1).saturating_sub(self.top.max(next.top));
        let gap = next.left.saturating_sub(self.right);
        next.left > self.left && high * 10 <= low * 25 && overlap * 2 >= low && gap * 2 <= high * 3
    }
}

/// How many letters a page seems to have outside `areas`, in which its own text stands. `page` is
/// drawn at [`DPI`].
pub(crate) fn unread_letters(page: &PageImage, areas: &[Area]) -> usize {
    let (width, height) = (page.width_px() as usize, page.height_px() as usize);
    if width < 8 || height < 8 || width.max(height) > MAX_SIDE {
        return 0;
    }
    let grey: Vec<u8> = page
        .rgb()
        .chunks_exact(3)
        .map(|rgb| {
            ((u32::from(rgb[0]) * 77 + u32::from(rgb[1]) * 151 + u32::from(rgb[2]) * 28) >> 8) as u8
        })
        .collect();
    let read = read_mask(areas, width, height);
    let around = Surroundings::of(&grey, width);
    // Letters are dark on light, or light on dark.
    [-1, 1]
        .into_iter()
        .map(|sign| {
            let mut ink: Vec<bool> = grey
                .iter()
                .enumerate()
                .map(|(at, value)| {
                    let mean = around.mean(at % width, at / width);
                    !read[at] && (i64::from(*value) - mean) * sign > CONTRAST
                })
                .collect();
            letters_in_lines(blobs(&mut ink, width))
        })
        .max()
        .unwrap_or(0)
}

/// The pixels in which the page's own text stands, and a little around them.
fn read_mask(areas: &[Area], width: usize, height: usize) -> Vec<bool> {
    const MARGIN: f32 = 3.0;
    let mut mask = vec![false; width * height];
    for area in areas {
        let span = |from: f32, to: f32, side: usize| {
            let from = (from * side as f32 - MARGIN).max(0.0) as usize;
            from..((to * side as f32 + MARGIN).max(0.0) as usize).min(side)
        };
        for row in span(area.y0, area.y1, height) {
            let columns = span(area.x0, area.x1, width);
            if !columns.is_empty() {
                mask[row * width..][columns].fill(true);
            }
        }
    }
    mask
}

/// Sums of grey from the top left corner, which give the mean of any rectangle at once.
struct Surroundings {
    sums: Vec<i64>,
    width: usize,
    height: usize,
}

impl Surroundings {
    fn of(grey: &[u8], width: usize) -> Self {
        let height = grey.len() / width;
        let mut sums = vec![0; (width + 1) * (height + 1)];
        for row in 0..height {
            let mut line = 0;
            for column in 0..width {
                line += i64::from(grey[row * width + column]);
                let above = sums[row * (width + 1) + column + 1];
                sums[(row + 1) * (width + 1) + column + 1] = above + line;
            }
        }
        Self { sums, width, height }
    }

    fn mean(&self, x: usize, y: usize) -> i64 {
        let (left, right) = (x.saturating_sub(REACH), (x + REACH + 1).min(self.width));
        let (top, bottom) = (y.saturating_sub(REACH), (y + REACH + 1).min(self.height));
        let at = |x: usize, y: usize| self.sums[y * (self.width + 1) + x];
        let sum = at(right, bottom) - at(left, bottom) - at(right, top) + at(left, top);
        sum / ((right - left) * (bottom - top)) as i64
    }
}

/// Takes connected ink from a mask.
fn blobs(ink: &mut [bool], width: usize) -> Vec<Blob> {
    let height = ink.len() / width;
    let mut blobs = Vec::new();
    let mut to_visit = Vec::new();
    for start in 0..ink.len() {
        if !std::mem::take(&mut ink[start]) {
            continue;
        }
        let (x, y) = (start % width, start / width);
        let mut blob = Blob { left: x, top: y, right: x, bottom: y, pixels: 0 };
        to_visit.push(start);
        while let Some(at) = to_visit.pop() {
            let (x, y) = (at % width, at / width);
            blob.pixels += 1;
            blob.left = blob.left.min(x);
            blob.right = blob.right.max(x);
            blob.bottom = blob.bottom.max(y);
            blob.top = blob.top.min(y);
            for row in y.saturating_sub(1)..(y + 2).min(height) {
                for column in x.saturating_sub(1)..(x + 2).min(width) {
                    let next = row * width + column;
                    if std::mem::take(&mut ink[next]) {
                        to_visit.push(next);
                    }
                }
            }
        }
        blobs.push(blob);
    }
    blobs
}

/// How many of them stand in lines, as letters do and specks do not: several of like height beside
/// each other, on one base.
fn letters_in_lines(blobs: Vec<Blob>) -> usize {
    /// Fewer letters make no line.
    const FEW: usize = 5;
    /// Rows of pixels in which neighbours are looked for together.
    const BAND: usize = 64;
    let mut letters: Vec<Blob> = blobs.into_iter().filter(Blob::is_letter).collect();
    letters.sort_unstable_by_key(|blob| (blob.left, blob.top));
    let bands = letters.iter().map(|blob| blob.bottom / BAND + 1).max().unwrap_or(0);
    let mut by_band: Vec<Vec<usize>> = vec![Vec::new(); bands + 1];
    for (index, blob) in letters.iter().enumerate() {
        by_band[(blob.top + blob.bottom) / 2 / BAND].push(index);
    }
    // Each letter's line, by its first letter.
    let mut line: Vec<usize> = (0..letters.len()).collect();
    for index in 0..letters.len() {
        let middle = (letters[index].top + letters[index].bottom) / 2 / BAND;
        let near = by_band[middle.saturating_sub(1)..(middle + 2).min(by_band.len())].iter();
        let next = near
            .filter_map(|band| {
                let after = band.partition_point(|&other| other <= index);
                // Those that touch it in x come first.
                band[after..]
                    .iter()
                    .take(40)
                    .copied()
                    .find(|&other| letters[index].is_followed_by(&letters[other]))
            })
            .min();
        if let Some(next) = next.filter(|&next| line[next] == next) {
            line[next] = line[index];
        }
    }
    let mut lines: std::collections::HashMap<usize, Vec<Blob>> = std::collections::HashMap::new();
    for (index, blob) in letters.iter().enumerate() {
        lines.entry(line[index]).or_default().push(*blob);
    }
    let on_base = |line: &[Blob]| {
        let mut bottoms: Vec<usize> = line.iter().map(|blob| blob.bottom).collect();
        let mut heights: Vec<usize> = line.iter().map(Blob::height).collect();
        bottoms.sort_unstable();
        heights.sort_unstable();
        let (base, height) = (bottoms[line.len() / 2], heights[line.len() / 2]);
        let near = bottoms.iter().filter(|bottom| bottom.abs_diff(base) * 5 <= height).count();
        near * 5 >= line.len() * 3
    };
    lines.values().filter(|line| line.len() >= FEW && on_base(line)).map(Vec::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of strokes in lines, eight pixels high, as letters are.
    fn lines(width: usize, height: usize, every: usize) -> PageImage {
        let is_ink = |x: usize, y: usize| {
            let (column, row) = (x % 7, y % every);
            (20..width - 20).contains(&x)
                && (20..height - 20).contains(&y)
                && (4..12).contains(&row)
                && (column < 2 || (column < 5 && (row == 4 || row == 8)))
        };
        let grey =
            (0..width * height).map(|at| if is_ink(at % width, at / width) { 20 } else { 250 });
        let rgb = grey.flat_map(|value: u8| [value; 3]).collect();
        PageImage::new(width as u32, height as u32, rgb).unwrap()
    }

    #[test]
    fn letters_are_counted_where_no_text_stands() {
        let page = lines(400, 300, 20);
        let all = unread_letters(&page, &[]);
        assert!(all > 400, "{all}");
        let upper = Area { x0: 0.0, y0: 0.0, x1: 1.0, y1: 0.5 };
        let half = unread_letters(&page, &[upper]);
        assert!((all / 3..all * 2 / 3).contains(&half), "{half} of {all}");
        assert_eq!(unread_letters(&page, &[Area::PAGE]), 0);
        // Light on dark is the same.
        let rgb = page.rgb().iter().map(|value| 255 - value).collect();
        let dark = PageImage::new(400, 300, rgb).unwrap();
        assert!(unread_letters(&dark, &[]) > all * 9 / 10);
    }

    #[test]
    fn noise_and_shapes_are_no_letters() {
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let (width, height) = (400usize, 300usize);
        let mut grey = vec![250u8; width * height];
        // Specks, and boxes of all sizes.
        for _ in 0..400 {
            grey[next() as usize % (width * height)] = 0;
        }
        for _ in 0..40 {
            let (x, y) = (next() as usize % 300, next() as usize % 200);
            let (wide, high) = (1 + next() as usize % 90, 1 + next() as usize % 90);
            for row in y..y + high {
                grey[row * width + x..row * width + x + wide].fill(30);
            }
        }
        let rgb = grey.into_iter().flat_map(|value| [value; 3]).collect();
        let page = PageImage::new(width as u32, height as u32, rgb).unwrap();
        let found = unread_letters(&page, &[]);
        assert!(found < 20, "{found}");
        let tiny = PageImage::new(3, 2, vec![0; 18]).unwrap();
        assert_eq!(unread_letters(&tiny, &[Area::PAGE]), 0);
    }
}
