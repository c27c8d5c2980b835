//! The input of the model: ids, positions on two axes, and which of them are patches.

use std::collections::BTreeMap;

use pagesight_core::{Area, PatchLayout, Run};

use crate::families::neomme::tokens::Tokens;

/// A sequence of positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Token ids.
    pub ids: Vec<u32>,
    /// The position of each on the first axis: down a page, along a text.
    pub rows: Vec<u32>,
    /// The position of each on the second axis: across a page, along a text.
    pub columns: Vec<u32>,
    /// The places of patches, in order.
    pub patches: Vec<usize>,
}

/// How a picture is cut into patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Patches from top to bottom.
    pub rows: usize,
    /// Patches side by side.
    pub columns: usize,
}

/// Marks before the patches of a page.
const HEADER: usize = 2;

impl Grid {
    /// The grid of a picture of so many px; the last row and column may reach past it.
    pub fn of(width: u32, height: u32, patch: usize) -> Self {
        let patches = |side: u32| (side as usize).div_ceil(patch);
        Self { rows: patches(height), columns: patches(width) }
    }

    /// Number of patches.
    pub fn patches(self) -> usize {
        self.rows * self.columns
    }

    /// Number of positions of a page.
    pub fn positions(self) -> usize {
        HEADER + self.rows * (self.columns + 1)
    }

    /// The place of a patch among all positions of its page.
    pub fn place(self, patch: usize) -> usize {
        HEADER + patch / self.columns * (self.columns + 1) + patch % self.columns
    }

    /// Where the vectors of a page stand whose picture is of so many px.
    pub fn layout(self, width: u32, height: u32, patch: usize) -> PatchLayout {
        let part = |count: usize, side: u32| (count * patch) as f32 / side as f32;
        let area =
            Area { x0: 0.0, y0: 0.0, x1: part(self.columns, width), y1: part(self.rows, height) };
        let (cols, rows) = (self.columns as u32, self.rows as u32);
        PatchLayout::new(vec![
            Run::Text(HEADER as u32),
            Run::Patches { cols, rows, area, row_end: 1 },
        ])
    }
}

impl Sequence {
    /// A text: both axes count its tokens.
    pub fn text(ids: Vec<u32>) -> Self {
        let positions: Vec<u32> = (0..ids.len() as u32).collect();
        Self { ids, rows: positions.clone(), columns: positions, patches: Vec::new() }
    }

    /// A page: the mark of a document, a mark of patches, then row by row the patches and a mark
    /// of the row's end.
    pub fn page(tokens: &Tokens, grid: Grid) -> Self {
        let mut ids = vec![tokens.document, tokens.image];
        let (mut rows, mut columns) = (vec![0, 1], vec![0, 1]);
        for row in 0..grid.rows {
            ids.extend(std::iter::repeat_n(tokens.image, grid.columns));
            ids.push(tokens.row);
            rows.extend(std::iter::repeat_n((HEADER + row) as u32, grid.columns + 1));
            columns.extend((HEADER..HEADER + grid.columns + 1).map(|column| column as u32));
        }
        let patches = (0..grid.patches()).map(|patch| grid.place(patch)).collect();
        Self { ids, rows, columns, patches }
    }
}

/// The ids that occur in `sequences`, each once, and which of them each position has: most positions
/// of a page have the same.
pub fn distinct(sequences: &[Sequence]) -> (Vec<u32>, Vec<u32>) {
    let all = || sequences.iter().flat_map(|sequence| &sequence.ids);
    let mut places: BTreeMap<u32, u32> = all().map(|id| (*id, 0)).collect();
    places.values_mut().zip(0..).for_each(|(place, n)| *place = n);
    let which = all().map(|id| places[id]).collect();
    (places.into_keys().collect(), which)
}
