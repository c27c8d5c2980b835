//! From pictures to patches: the size of a page's picture, and the numbers of its pixels.
//! Source: transformers 5.24.0 `models/neomme/image_processing_neomme.py`.

use pagesight_core::{PageImage, PageSize, PictureSize};

use crate::blocks::lanes::{LANES, Lanes};
use crate::families::neomme::processor::{Limits, Processor};
use crate::families::neomme::sequence::Grid;

/// The size that a picture of so many px is brought to.
pub fn fitted(limits: Limits, size: PictureSize) -> PictureSize {
    let (height, width) = (f64::from(size.height_px), f64::from(size.width_px));
    let area = height * width;
    let too_few = limits.pixels.is_some_and(|(least, _)| area < least as f64);
    let mut scale = match limits.pixels {
        Some((least, _)) if too_few => (least as f64 / area).sqrt(),
        _ => 1.0,
    };
    if let Some(side) = limits.max_side {
        scale = scale.min(f64::from(side) / height.max(width));
    }
    if let Some((_, most)) = limits.pixels {
        scale = scale.min((most as f64 / area).sqrt());
    }
    if scale == 1.0 {
        return size;
    }
    let sized = |round: fn(f64) -> f64| {
        let side = |side: f64| (round(side * scale) as u64).max(1);
        [side(height), side(width)]
    };
    let exceeds = |[height, width]: [u64; 2]| {
        let long = limits.max_side.is_some_and(|side| height.max(width) > u64::from(side));
        long || limits.pixels.is_some_and(|(_, most)| height * width > most)
    };
    // Python rounds halves to even.
    let rounded = sized(f64::round_ties_even);
    let [height, width] = if exceeds(rounded) {
        let [height, width] = sized(f64::floor);
        match limits.pixels {
            Some((_, most)) if height * width > most && height >= width => {
                [(most / width).max(1), width]
            }
            Some((_, most)) if height * width > most => [height, (most / height).max(1)],
            _ => [height, width],
        }
    } else {
        let least = limits.pixels.map_or(0, |(least, _)| least);
        let raised = sized(f64::ceil);
        let is_short = too_few && rounded[0] * rounded[1] < least;
        if is_short && !exceeds(raised) { raised } else { rounded }
    };
    PictureSize { width_px: width as u32, height_px: height as u32 }
}

/// The picture that a page is drawn into: as large as the limits let it be, so that it is drawn in
/// its size and not resized after that. A page that has no size is a square.
pub fn picture(limits: Limits, page: PageSize) -> PictureSize {
    let [height, width] = [page.height_pt, page.width_pt].map(f64::from);
    let longest = height.max(width);
    let is_sized = longest.is_finite() && height > 0.0 && width > 0.0;
    let [height, width] = if is_sized { [height / longest, width / longest] } else { [1.0; 2] };
    let most = limits.pixels.map(|(_, most)| (most as f64 / (height * width)).sqrt());
    // A side that is cut to a whole pixel would make the page smaller than it may be.
    let side = match limits.max_side {
        Some(side) => most.map_or(f64::from(side), |most| most.min(f64::from(side))),
        None => most.unwrap_or(1.0),
    };
    let px = |part: f64| ((part * side).round_ties_even() as u32).clamp(1, 1 << 24);
    fitted(limits, PictureSize { width_px: px(width), height_px: px(height) })
}

/// The row and the column of the first pixel of each patch: row by row.
pub fn corners(grid: Grid, patch: usize) -> impl Iterator<Item = [usize; 2]> {
    let numbers = 0..grid.patches();
    numbers.map(move |n| [n / grid.columns * patch, n % grid.columns * patch])
}

/// The patches of a picture: its grid, and the numbers of each in lanes, `[3 * patch * patch]`: row,
/// column, channel. What lies past the right and the bottom edge is black.
pub fn patches(picture: &PageImage, patch: usize, processor: &Processor) -> (Grid, Lanes) {
    let grid = Grid::of(picture.width_px(), picture.height_px(), patch);
    let worth = processor.normalisation.worth();
    let (width, height) = (picture.width_px() as usize, picture.height_px() as usize);
    let corners: Vec<[usize; 2]> = corners(grid, patch).collect();
    let mut lanes = Lanes::zeros(&[grid.patches()], 3 * patch * patch);
    lanes.each_group(|group, rows| {
        for (lane, &[down, right]) in corners[group * LANES..].iter().take(LANES).enumerate() {
            for (y, rows) in rows.chunks_exact_mut(3 * patch).enumerate() {
                let there =
                    if down + y < height { width.saturating_sub(right).min(patch) } else { 0 };
                let start = ((down + y) * width + right) * 3;
                let bytes = if there == 0 { &[] } else { &picture.rgb()[start..start + 3 * there] };
                let bytes = bytes.iter().copied().chain(std::iter::repeat(0));
                for ((channel, row), byte) in rows.iter_mut().enumerate().zip(bytes) {
                    row[lane] = worth[channel % 3][usize::from(byte)];
                }
            }
        }
    });
    (grid, lanes)
}
