//! From pictures to tiles: a page is stretched to whole tiles and cut, and a small picture of the
//! whole comes after them. Source: transformers 5.24.0
//! `models/idefics3/image_processing_pil_idefics3.py`.

use pagesight_core::{PageImage, PageSize, PictureSize};
use pagesight_simd::{Filter, resize};

use crate::families::idefics3::processor::LONGEST_SIDE;

/// The size that a picture of `height` by `width` is brought to first: its longest side is `longest`,
/// up or down, and the other is even.
pub fn fitted(longest: u32, height: f64, width: f64) -> PictureSize {
    let (shape, long) = (width / height, f64::from(longest));
    let even = |side: f64| side as u64 + side as u64 % 2;
    let (mut height, mut width) = if width >= height {
        (even(long / shape).max(1), u64::from(longest))
    } else {
        (u64::from(longest), even(long * shape).max(1))
    };
    let most = u64::from(LONGEST_SIDE);
    if height.max(width) > most {
        let shape = width as f64 / height as f64;
        (height, width) = if width >= height {
            (((most as f64 / shape) as u64).max(1), most)
        } else {
            (most, ((most as f64 * shape) as u64).max(1))
        };
    }
    PictureSize { width_px: width as u32, height_px: height as u32 }
}

/// Tiles of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileGrid {
    /// Tiles from top to bottom; 0 for a page that is one tile, which is not cut.
    pub rows: usize,
    /// Tiles side by side.
    pub columns: usize,
}

impl TileGrid {
    /// The grid of a picture that was [fitted], for tiles of `edge` px.
    pub fn of(size: PictureSize, edge: u32) -> Self {
        let PictureSize { width_px, height_px } = whole_tiles(size, edge);
        if height_px <= edge && width_px <= edge {
            return Self { rows: 0, columns: 0 };
        }
        Self { rows: (height_px / edge) as usize, columns: (width_px / edge) as usize }
    }

    /// Tiles that the page is cut into.
    pub fn cut(self) -> usize {
        self.rows * self.columns
    }

    /// All tiles, with the one of the whole page.
    pub fn tiles(self) -> usize {
        self.cut() + 1
    }
}

/// The size that a picture is stretched to then: whole tiles of `edge` px.
pub fn whole_tiles(size: PictureSize, edge: u32) -> PictureSize {
    let (height, width) = (f64::from(size.height_px), f64::from(size.width_px));
    let shape = width / height;
    let whole = |side: u32| side.div_ceil(edge).max(1) * edge;
    if width >= height {
        let width_px = whole(size.width_px);
        let height_px = whole((f64::from(width_px) / shape) as u32);
        PictureSize { width_px, height_px }
    } else {
        let height_px = whole(size.height_px);
        let width_px = whole((f64::from(height_px) * shape) as u32);
        PictureSize { width_px, height_px }
    }
}

/// The picture that a page is drawn into: the size that its picture is brought to first, so that it
/// is stretched once less. A page that has no size is a square.
pub fn picture(longest: u32, page: PageSize) -> PictureSize {
    let [height, width] = [page.height_pt, page.width_pt].map(f64::from);
    let is_sized = [height, width].iter().all(|side| side.is_finite() && *side > 0.0);
    let [height, width] = if is_sized { [height, width] } else { [1.0; 2] };
    let mut size = fitted(longest, height, width);
    // A side of one pixel is made even by the second look at it.
    loop {
        let again = fitted(longest, size.height_px.into(), size.width_px.into());
        if again == size {
            return size;
        }
        size = again;
    }
}

/// The tiles of a picture that was [fitted], `edge` px wide and high, row by row, and the whole last.
pub fn tiles(picture: &PageImage, edge: u32) -> (TileGrid, Vec<PageImage>) {
    let size = PictureSize { width_px: picture.width_px(), height_px: picture.height_px() };
    let to = whole_tiles(size, edge);
    let stretched = stretched(picture, to);
    let grid = TileGrid::of(size, edge);
    if grid.cut() == 0 {
        return (grid, vec![stretched]);
    }
    let (edge_px, line) = (edge as usize, 3 * to.width_px as usize);
    let mut tiles = Vec::with_capacity(grid.tiles());
    for row in 0..grid.rows {
        for column in 0..grid.columns {
            let lines = stretched.rgb().chunks_exact(line).skip(row * edge_px).take(edge_px);
            let start = 3 * column * edge_px;
            let mut rgb = Vec::with_capacity(3 * edge_px * edge_px);
            lines.for_each(|line| rgb.extend_from_slice(&line[start..start + 3 * edge_px]));
            tiles.push(PageImage::new(edge, edge, rgb).expect("whole tiles"));
        }
    }
    let whole = PictureSize { width_px: edge, height_px: edge };
    tiles.push(self::stretched(&stretched, whole));
    (grid, tiles)
}

fn stretched(picture: &PageImage, to: PictureSize) -> PageImage {
    if (picture.width_px(), picture.height_px()) == (to.width_px, to.height_px) {
        return picture.clone();
    }
    resize(picture, to.width_px, to.height_px, Filter::Lanczos)
}
