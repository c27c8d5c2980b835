//! The order in which a tower sees the patches of a page: window by window.

use crate::families::colqwen::config::MERGE;
use crate::families::colqwen::pictures::place;
use crate::families::colqwen::sequence::Grid;
use crate::families::colqwen::vision_config::VisionKind;

/// The windows of a page. A tower that has none sees the page as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    grid: Grid,
    /// The number of each patch by its place.
    pub order: Vec<usize>,
    /// Where each window ends, in patches.
    pub ends: Vec<usize>,
}

impl Windows {
    /// Those of a tower of this kind.
    pub fn of(kind: &VisionKind, grid: Grid) -> Self {
        let side = match kind {
            VisionKind::Full | VisionKind::Learned { .. } => grid.rows.max(grid.columns).max(1),
            VisionKind::Windows { side, .. } => *side,
        };
        let (mut order, mut ends) = (Vec::new(), Vec::new());
        for top in (0..grid.rows).step_by(side) {
            for left in (0..grid.columns).step_by(side) {
                for row in top..(top + side).min(grid.rows) {
                    for column in left..(left + side).min(grid.columns) {
                        let first = (row * grid.columns + column) * MERGE * MERGE;
                        order.extend(first..first + MERGE * MERGE);
                    }
                }
                ends.push(order.len());
            }
        }
        Self { grid, order, ends }
    }

    /// The row and the column of each patch, by its place.
    pub fn axes(&self) -> [Vec<u32>; 2] {
        let places = self.order.iter().map(|&number| place(number, self.grid));
        let (rows, columns) = places.map(|(row, column)| (row as u32, column as u32)).unzip();
        [rows, columns]
    }

    /// The place of each patch by its number.
    pub fn back(&self) -> Vec<usize> {
        let mut back = vec![0; self.order.len()];
        self.order.iter().enumerate().for_each(|(place, &number)| back[number] = place);
        back
    }

    /// The number of each feature by its place. The patches of a feature are in one window, side by
    /// side.
    pub fn features(&self) -> impl Iterator<Item = usize> {
        self.order.iter().step_by(MERGE * MERGE).map(|number| number / (MERGE * MERGE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_every_patch_once_and_features_whole() {
        let windows = |side| VisionKind::Windows { side, full: Vec::new() };
        for (kind, rows, columns, count) in [
            (windows(2), 5, 3, 6),
            (windows(4), 4, 8, 2),
            (windows(9), 2, 3, 1),
            (VisionKind::Full, 3, 7, 1),
            (VisionKind::Learned { side: 4 }, 7, 1, 1),
        ] {
            let grid = Grid { rows, columns };
            let windows = Windows::of(&kind, grid);
            assert_eq!(windows.ends.len(), count, "{kind:?}");
            assert_eq!(windows.ends.last(), Some(&(4 * rows * columns)), "{kind:?}");
            let back = windows.back();
            assert!((0..4 * rows * columns).all(|number| windows.order[back[number]] == number));
            let features: Vec<usize> = windows.features().collect();
            let [down, across] = windows.axes();
            for (place, &number) in windows.order.iter().enumerate() {
                assert_eq!(number / 4, features[place / 4], "{kind:?}");
                let (row, column) = (down[place] as usize, across[place] as usize);
                assert_eq!(number / 4, row / 2 * columns + column / 2, "{kind:?}");
            }
            // Patches of a window are nowhere farther apart than its side.
            let starts = std::iter::once(0).chain(windows.ends.iter().copied());
            if let VisionKind::Windows { side, .. } = kind {
                for (start, &end) in starts.zip(&windows.ends) {
                    for axis in [&down[start..end], &across[start..end]] {
                        let least = axis.iter().min().unwrap();
                        assert!(axis.iter().all(|at| (at - least) < 2 * side as u32), "{kind:?}");
                    }
                }
            }
        }
    }
}
