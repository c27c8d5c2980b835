//! Which patches of a page have print on them.

use std::borrow::Borrow;

use pagesight_core::{Area, PageImage, PatchLayout};

/// Returns for each of `slices` its patches of `patch` px that have print: the values of some
/// channel differ by more than `range` among their pixels. Since a page must have at least one
/// vector, of a blank page the patch with the largest difference is returned, the first of equals.
pub fn printed(slices: &[impl Borrow<PageImage>], patch: u32, range: u8) -> Vec<Vec<usize>> {
    let ranges: Vec<Vec<u8>> =
        slices.iter().map(|slice| contrasts(slice.borrow(), patch)).collect();
    let printed = |ranges: &Vec<u8>| -> Vec<usize> {
        (0..ranges.len()).filter(|&place| ranges[place] > range).collect()
    };
    let mut places: Vec<Vec<usize>> = ranges.iter().map(printed).collect();
    if places.iter().all(Vec::is_empty) {
        let all = ranges.iter().enumerate().flat_map(|(slice, ranges)| {
            ranges.iter().enumerate().map(move |(place, &range)| (range, slice, place))
        });
        let first = all.reduce(|best, next| if next.0 > best.0 { next } else { best });
        if let Some((_, slice, place)) = first {
            places[slice].push(place);
        }
    }
    places
}

/// The places of `layout` that have print on `page`: the values of some channel differ by more than
/// `range` among the pixels that the place stands for. As for [`printed`], at least one is returned
/// of a page that has any.
pub fn printed_places(page: &PageImage, layout: &PatchLayout, range: u8) -> Vec<usize> {
    let areas = (0..layout.vectors()).filter_map(|place| Some((place, layout.area(place)?)));
    let seen: Vec<(usize, u8)> = areas.map(|(place, area)| (place, contrast(page, area))).collect();
    let places: Vec<usize> =
        seen.iter().filter(|(_, contrast)| *contrast > range).map(|(place, _)| *place).collect();
    if !places.is_empty() {
        return places;
    }
    let most = seen.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best });
    most.map(|(place, _)| place).into_iter().collect()
}

/// The difference between largest and smallest value of an area, in the channel where it is largest.
fn contrast(page: &PageImage, area: Area) -> u8 {
    let (width, height) = (page.width_px() as usize, page.height_px() as usize);
    let within = |from: f32, to: f32, side: usize| {
        let px = |at: f32| ((at * side as f32).round() as usize).min(side);
        px(from)..px(to)
    };
    let (across, down) = (within(area.x0, area.x1, width), within(area.y0, area.y1, height));
    let mut range = [(u8::MAX, u8::MIN); 3];
    for line in page.rgb().chunks_exact(3 * width).take(down.end).skip(down.start) {
        widen(&mut range, &line[3 * across.start..3 * across.end]);
    }
    widest(range)
}

fn widen(range: &mut [(u8, u8); 3], pixels: &[u8]) {
    for pixel in pixels.chunks_exact(3) {
        for ((least, most), &value) in range.iter_mut().zip(pixel) {
            (*least, *most) = ((*least).min(value), (*most).max(value));
        }
    }
}

/// The widest of three ranges; those of no pixel are of no width.
fn widest(channels: [(u8, u8); 3]) -> u8 {
    channels.into_iter().map(|(least, most)| most.saturating_sub(least)).fold(0, u8::max)
}

/// The contrast of each patch, row by row: the difference between largest and smallest value, in
/// the channel where it is largest. Patches at the right and the bottom may be cut off by the edge
/// of the page.
fn contrasts(slice: &PageImage, patch: u32) -> Vec<u8> {
    let (columns, rows) = (slice.width_px().div_ceil(patch), slice.height_px().div_ceil(patch));
    let (patch, columns) = (patch as usize, columns as usize);
    let mut ranges = vec![[(u8::MAX, u8::MIN); 3]; columns * rows as usize];
    let lines = slice.rgb().chunks_exact(slice.width_px() as usize * 3);
    for (y, line) in lines.enumerate() {
        let ranges = &mut ranges[y / patch * columns..][..columns];
        for (range, pixels) in ranges.iter_mut().zip(line.chunks(patch * 3)) {
            widen(range, pixels);
        }
    }
    ranges.into_iter().map(widest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(set: &[(u32, u32, [u8; 3])]) -> PageImage {
        let mut rgb = [250, 200, 100].repeat(6 * 4);
        for &(x, y, pixel) in set {
            let at = (y * 6 + x) as usize * 3;
            rgb[at..at + 3].copy_from_slice(&pixel);
        }
        PageImage::new(6, 4, rgb).unwrap()
    }

    #[test]
    fn patches_that_vary_enough_are_kept() {
        // Patches of 2 px: three side by side, two rows. Plain colour is blank.
        let pages = [
            slice(&[(3, 0, [250, 183, 100]), (5, 3, [250, 184, 100])]),
            slice(&[(0, 3, [250, 200, 117])]),
            slice(&[]),
        ];
        assert_eq!(printed(&pages, 2, 16), [vec![1], vec![3], vec![]]);
        assert_eq!(printed(&pages, 2, 15), [vec![1, 5], vec![3], vec![]]);
        assert_eq!(printed(&pages, 2, 0), [vec![1, 5], vec![3], vec![]]);
    }

    #[test]
    fn places_of_any_layout_that_have_print_are_found() {
        use pagesight_core::{Area, Run};
        // Patches of 2 px between two of the prompt, and then the whole page in two halves.
        let half = |rows, cols| Run::Patches { cols, rows, area: Area::PAGE, row_end: 0 };
        let layout = PatchLayout::new(vec![Run::Text(1), half(2, 3), Run::Text(1), half(1, 2)]);
        let page = slice(&[(3, 0, [250, 183, 100]), (5, 3, [250, 184, 100])]);
        assert_eq!(printed_places(&page, &layout, 16), [2, 9]);
        assert_eq!(printed_places(&page, &layout, 15), [2, 6, 9]);
        assert_eq!(printed_places(&slice(&[]), &layout, 16), [1]);
        // Patches that reach past the right and the bottom edge.
        let area = Area { x0: 0.0, y0: 0.0, x1: 8.0 / 6.0, y1: 1.0 };
        let layout = PatchLayout::new(vec![Run::Patches { cols: 2, rows: 1, area, row_end: 1 }]);
        assert_eq!(printed_places(&slice(&[(5, 3, [0, 0, 0])]), &layout, 16), [1]);
    }

    #[test]
    fn what_an_edge_cuts_off_is_a_patch_too() {
        // Patches of 4 px: two side by side, one row, the second two px wide.
        let page = slice(&[(5, 3, [0, 0, 0])]);
        assert_eq!(printed(&[page], 4, 16), [vec![1]]);
    }

    #[test]
    fn a_blank_page_keeps_one_patch() {
        assert_eq!(printed(&[slice(&[]), slice(&[])], 2, 16), [vec![0], vec![]]);
        let faint = slice(&[(4, 2, [251, 200, 100]), (0, 2, [251, 200, 100])]);
        assert_eq!(printed(&[slice(&[]), faint], 2, 16), [vec![], vec![3]]);
    }
}
