//! Which patches of a page have print on them.

use pagesight_core::PageImage;

/// Returns for each of `slices` its patches of `patch` px that have print: the values of some
/// channel differ by more than `range` among their pixels. Since a page must have at least one
/// vector, of a blank page the patch with the largest difference is returned, the first of equals.
pub fn printed(slices: &[PageImage], patch: u32, range: u8) -> Vec<Vec<usize>> {
    let ranges: Vec<Vec<u8>> = slices.iter().map(|slice| contrasts(slice, patch)).collect();
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
            for pixel in pixels.chunks_exact(3) {
                for ((least, most), &value) in range.iter_mut().zip(pixel) {
                    (*least, *most) = ((*least).min(value), (*most).max(value));
                }
            }
        }
    }
    let widest =
        |channels: [(u8, u8); 3]| channels.map(|(least, most)| most - least).into_iter().max();
    ranges.into_iter().map(|channels| widest(channels).expect("three channels")).collect()
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
