//! Learned positions of a tower, stretched over a page of any shape. The first and the last lie on
//! the edges of the page.

use crate::families::colqwen::config::MERGE;
use crate::families::colqwen::pictures::place;
use crate::families::colqwen::sequence::Grid;

/// The positions.
#[derive(Debug, Clone)]
pub struct Learned {
    /// `[side * side, width]`.
    pub positions: Vec<f32>,
    /// How many along one edge.
    pub side: usize,
}

/// The rows of the four positions that a patch lies between, and the share of each.
pub type Between = ([usize; 4], [f32; 4]);

impl Learned {
    /// What each patch of a page lies between, in the order of their numbers.
    pub fn between(side: usize, grid: Grid) -> impl Iterator<Item = Between> {
        // The two positions that it lies between on one axis, and the share of the second.
        let on_axis = move |at: usize, count: usize| {
            let steps = (count - 1).max(1) as f32;
            let at = at as f32 * (side - 1) as f32 / steps;
            let low = (at as usize).min(side - 1);
            (low, (low + 1).min(side - 1), at - low as f32)
        };
        let (rows, columns) = (MERGE * grid.rows, MERGE * grid.columns);
        (0..rows * columns).map(move |number| {
            let (row, column) = place(number, grid);
            let (top, bottom, down) = on_axis(row, rows);
            let (left, right, across) = on_axis(column, columns);
            let of = |row: usize, column: usize| row * side + column;
            let corners = [of(top, left), of(top, right), of(bottom, left), of(bottom, right)];
            let shares = [
                (1.0 - down) * (1.0 - across),
                (1.0 - down) * across,
                down * (1.0 - across),
                down * across,
            ];
            (corners, shares)
        })
    }

    /// A row of `width` for each patch of a page, in the order of their numbers.
    pub fn stretched(&self, width: usize, grid: Grid) -> Vec<f32> {
        let rows = Self::between(self.side, grid).flat_map(|(corners, shares)| {
            let corners = corners.map(|row| &self.positions[row * width..][..width]);
            (0..width).map(move |i| {
                corners.iter().zip(shares).map(|(corner, share)| corner[i] * share).sum::<f32>()
            })
        });
        rows.collect()
    }
}
