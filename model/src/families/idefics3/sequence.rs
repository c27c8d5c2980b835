//! The input of the language model: ids, which of them are features, and where these stand on the
//! page.

use pagesight_core::{Area, PatchLayout, Run};

use crate::families::idefics3::tiles::TileGrid;

/// A sequence of positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Token ids.
    pub ids: Vec<u32>,
    /// The place of the first feature of each tile; those of a tile stand together.
    pub tiles: Vec<usize>,
    /// Features along each side of a tile.
    pub side: usize,
}

impl Sequence {
    /// A text.
    pub fn text(ids: Vec<u32>) -> Self {
        Self { ids, tiles: Vec::new(), side: 0 }
    }

    /// A page, given by its text, in which one `image` stands for all features of a tile.
    pub fn page(text: &[u32], image: u32, side: usize) -> Self {
        let (mut ids, mut tiles) = (Vec::new(), Vec::new());
        for &id in text {
            if id == image {
                tiles.push(ids.len());
                ids.extend(std::iter::repeat_n(image, side * side));
            } else {
                ids.push(id);
            }
        }
        Self { ids, tiles, side }
    }

    /// Places of features, in order.
    pub fn features(&self) -> impl Iterator<Item = usize> {
        self.tiles.iter().flat_map(|&first| first..first + self.side * self.side)
    }

    /// Where the vectors of a page stand: those of a tile on its part of the page, those of the last
    /// tile on all of it.
    pub fn layout(&self, grid: TileGrid) -> PatchLayout {
        let (mut runs, mut at) = (Vec::with_capacity(2 * self.tiles.len() + 1), 0);
        let text = |from: usize, to: usize| (to > from).then_some(Run::Text((to - from) as u32));
        for (tile, &first) in self.tiles.iter().enumerate() {
            runs.extend(text(at, first));
            let side = self.side as u32;
            runs.push(Run::Patches { cols: side, rows: side, area: area(tile, grid), row_end: 0 });
            at = first + self.side * self.side;
        }
        runs.extend(text(at, self.ids.len()));
        PatchLayout::new(runs)
    }
}

/// The part of the page that a tile shows.
fn area(tile: usize, grid: TileGrid) -> Area {
    if tile >= grid.cut() {
        return Area::PAGE;
    }
    let (row, column) = (tile / grid.columns, tile % grid.columns);
    let part = |at: usize, of: usize| at as f32 / of as f32;
    Area {
        x0: part(column, grid.columns),
        y0: part(row, grid.rows),
        x1: part(column + 1, grid.columns),
        y1: part(row + 1, grid.rows),
    }
}
