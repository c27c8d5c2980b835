//! From pictures to patches: the size of a page's picture, and the numbers of its pixels. Source:
//! transformers 4.57.6 `models/qwen2_vl/image_processing_qwen2_vl.py`.

use pagesight_core::{PageImage, PageSize, PictureSize};

use crate::blocks::lanes::{LANES, Lanes};
use crate::families::colqwen::config::MERGE;
use crate::families::colqwen::processor::{Budget, Processor};
use crate::families::colqwen::sequence::Grid;

/// The reference refuses pictures that are longer than this many times their width.
const LONGEST: f64 = 200.0;

/// The size that a picture of `height` by `width` is brought to: whole features of `feature` px,
/// within the budget where its shape lets it.
pub fn fitted(budget: Budget, feature: u32, height: f64, width: f64) -> PictureSize {
    let step = f64::from(feature);
    let (least, most) = (budget.least as f64, budget.most as f64);
    // Python rounds halves to even.
    let rounded = |side: f64| (side / step).round_ties_even() * step;
    let (mut to_height, mut to_width) = (rounded(height), rounded(width));
    if to_height * to_width > most {
        let shrink = (height * width / most).sqrt();
        let side = |side: f64| ((side / shrink / step).floor() * step).max(step);
        (to_height, to_width) = (side(height), side(width));
    } else if to_height * to_width < least {
        let grow = (least / (height * width)).sqrt();
        let side = |side: f64| (side * grow / step).ceil() * step;
        (to_height, to_width) = (side(height), side(width));
    }
    PictureSize { width_px: to_width as u32, height_px: to_height as u32 }
}

/// The picture that a page is drawn into: as large as the budget lets it be. A page whose shape the
/// reference refuses is squeezed to the longest that it takes; one that has no size is a square.
pub fn picture(budget: Budget, feature: u32, page: PageSize) -> PictureSize {
    let [height, width] = [page.height_pt, page.width_pt].map(f64::from);
    let is_sized = [height, width].iter().all(|side| side.is_finite() && *side > 0.0);
    let [height, width] = if is_sized { [height, width] } else { [1.0; 2] };
    let least = height.max(width) / LONGEST;
    let [height, width] = [height.max(least), width.max(least)];
    // Twice the pixels of the budget: it is drawn smaller, never larger.
    let scale = (2.0 * budget.most as f64 / (height * width)).sqrt();
    let mut size = fitted(budget, feature, height * scale, width * scale);
    // A side of one feature is not made shorter, so that a long page may still be too large.
    loop {
        let next = fitted(budget, feature, f64::from(size.height_px), f64::from(size.width_px));
        if next == size || next.height_px * next.width_px >= size.height_px * size.width_px {
            return size;
        }
        size = next;
    }
}

/// Whether a picture of this size is one that pages are drawn in.
pub fn is_asked_for(budget: Budget, feature: u32, size: PictureSize) -> bool {
    let (height, width) = (f64::from(size.height_px), f64::from(size.width_px));
    if height.max(width) > LONGEST * height.min(width) {
        return false;
    }
    // Whole features below a narrow budget may be raised past it, and lowered again.
    let is_narrow = budget.least > budget.most / 4;
    let is_whole = [size.height_px, size.width_px].iter().all(|px| px.is_multiple_of(feature));
    let fits = is_whole && height * width <= budget.most as f64;
    fitted(budget, feature, height, width) == size || is_narrow && fits
}

/// The patches of a picture, `[3 * patch * patch]` each: channel, row, column. Features come row by
/// row, and the four patches of a feature together, row by row.
pub fn patches(picture: &PageImage, patch: usize, processor: &Processor) -> (Grid, Lanes) {
    let size = PictureSize { width_px: picture.width_px(), height_px: picture.height_px() };
    let grid = Grid::of(size, (patch * MERGE) as u32);
    let worth = processor.normalisation.worth();
    let width = picture.width_px() as usize;
    let count = MERGE * MERGE * grid.features();
    let mut lanes = Lanes::zeros(&[count], 3 * patch * patch);
    lanes.each_group(|group, rows| {
        for lane in 0..LANES.min(count.saturating_sub(group * LANES)) {
            let (down, right) = place(group * LANES + lane, grid);
            for (line, rows) in rows.chunks_exact_mut(patch).enumerate() {
                let (channel, y) = (line / patch, line % patch);
                let start = ((down * patch + y) * width + right * patch) * 3;
                let pixels = picture.rgb()[start..start + 3 * patch].chunks_exact(3);
                for (row, pixel) in rows.iter_mut().zip(pixels) {
                    row[lane] = worth[channel][usize::from(pixel[channel])];
                }
            }
        }
    });
    (grid, lanes)
}

/// The row and the column of a patch, by its number.
pub fn place(number: usize, grid: Grid) -> (usize, usize) {
    let (feature, inside) = (number / (MERGE * MERGE), number % (MERGE * MERGE));
    let (row, column) = (feature / grid.columns, feature % grid.columns);
    (row * MERGE + inside / MERGE, column * MERGE + inside % MERGE)
}
