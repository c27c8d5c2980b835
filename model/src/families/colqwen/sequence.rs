//! The input of the language model: ids, positions on three axes, and which of them are features.

use pagesight_core::{Area, PatchLayout, PictureSize, Run};

use crate::families::colqwen::tokens::PagePrompt;

/// A sequence of positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Token ids.
    pub ids: Vec<u32>,
    /// The position of each in time, down and across a page.
    pub positions: [Vec<u32>; 3],
    /// The place of the first feature of a page; features stand together.
    pub first_feature: usize,
    /// Number of features.
    pub features: usize,
}

/// The grid of features of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Features from top to bottom.
    pub rows: usize,
    /// Features side by side.
    pub columns: usize,
}

impl Grid {
    /// The grid of a picture, with features of `feature` px.
    pub fn of(picture: PictureSize, feature: u32) -> Self {
        Self {
            rows: (picture.height_px / feature) as usize,
            columns: (picture.width_px / feature) as usize,
        }
    }

    /// Number of features.
    pub fn features(self) -> usize {
        self.rows * self.columns
    }

    /// Where the vectors of a page stand.
    pub fn layout(self, prompt: &PagePrompt) -> PatchLayout {
        let (cols, rows) = (self.columns as u32, self.rows as u32);
        PatchLayout::new(vec![
            Run::Text(prompt.before.len() as u32),
            Run::Patches { cols, rows, area: Area::PAGE, row_end: 0 },
            Run::Text(prompt.after.len() as u32),
        ])
    }
}

impl Sequence {
    /// A text: all axes count its tokens.
    pub fn text(ids: Vec<u32>) -> Self {
        let positions: Vec<u32> = (0..ids.len() as u32).collect();
        let positions = [positions.clone(), positions.clone(), positions];
        Self { ids, positions, first_feature: 0, features: 0 }
    }

    /// A page: features share their time, and what follows them begins after the larger side of
    /// their grid.
    pub fn page(prompt: &PagePrompt, image: u32, grid: Grid) -> Self {
        let start = prompt.before.len();
        let mut ids = prompt.before.clone();
        ids.extend(std::iter::repeat_n(image, grid.features()));
        ids.extend(&prompt.after);
        let after = start + grid.rows.max(grid.columns);
        let axis = |of: &dyn Fn(usize) -> usize| -> Vec<u32> {
            let features = (0..grid.features()).map(|n| start + of(n));
            let after = (0..prompt.after.len()).map(|n| after + n);
            (0..start).chain(features).chain(after).map(|position| position as u32).collect()
        };
        let columns = grid.columns;
        let positions = [axis(&|_| 0), axis(&|n| n / columns), axis(&|n| n % columns)];
        Self { ids, positions, first_feature: start, features: grid.features() }
    }
}
