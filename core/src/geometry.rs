//! Where things are on a page. Lengths are PDF points (1/72 inch); the origin is the top left
//! corner of the page as it is displayed (after its /Rotate), x to the right, y down.

use serde::{Deserialize, Serialize};

/// Size of a page as displayed, in points.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PageSize {
    /// Width, points.
    pub width_pt: f32,
    /// Height, points.
    pub height_pt: f32,
}

/// A rectangle on a page, in points, origin top left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge.
    pub x0: f32,
    /// Top edge.
    pub y0: f32,
    /// Right edge.
    pub x1: f32,
    /// Bottom edge.
    pub y1: f32,
}

/// The grid of model inputs that a page is cut into; `1x1` squeezes the whole page into one.
///
/// ```
/// use pagesight_core::Slices;
/// let slices: Slices = "2x3".parse().unwrap();
/// assert_eq!((slices.cols, slices.rows, slices.count()), (2, 3, 6));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slices {
    /// Slices side by side.
    pub cols: u32,
    /// Slices from top to bottom.
    pub rows: u32,
}

impl Default for Slices {
    fn default() -> Self {
        Self { cols: 1, rows: 1 }
    }
}

impl Slices {
    /// No recipe cuts a page finer than this in either direction.
    pub const MAX_SIDE: u32 = 16;

    /// Slices of a page.
    pub fn count(self) -> usize {
        (self.cols * self.rows) as usize
    }
}

impl std::fmt::Display for Slices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.cols, self.rows)
    }
}

/// A grid is written `COLSxROWS`, each 1 to 16.
#[derive(Debug, Clone, thiserror::Error)]
#[error("slices are written COLSxROWS with 1 to {max} each, got {0:?}", max = Slices::MAX_SIDE)]
pub struct ParseSlicesError(String);

impl std::str::FromStr for Slices {
    type Err = ParseSlicesError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let err = || ParseSlicesError(s.to_string());
        let (cols, rows) = s.split_once('x').ok_or_else(err)?;
        let side = |s: &str| s.parse().ok().filter(|n| (1..=Self::MAX_SIDE).contains(n));
        Ok(Self { cols: side(cols).ok_or_else(err)?, rows: side(rows).ok_or_else(err)? })
    }
}

impl Serialize for Slices {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Slices {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How the vectors of a page are laid out: slices in row-major order, and in each slice first
/// `side * side` patches in row-major order, then `text` vectors of the prompt, which have no
/// place on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchGrid {
    /// The grid of slices.
    pub slices: Slices,
    /// Patches along one edge of a slice (32 for a 448 px input).
    pub side: u32,
    /// Prompt vectors after the patches of each slice.
    pub text: u32,
}

impl PatchGrid {
    /// Vectors of one slice.
    pub fn vectors_per_slice(&self) -> usize {
        (self.side * self.side + self.text) as usize
    }

    /// Vectors of a page.
    pub fn vectors(&self) -> usize {
        self.slices.count() * self.vectors_per_slice()
    }

    /// The rectangle of vector `index` on a page of `size`; `None` for a prompt vector or an
    /// index past the end.
    ///
    /// ```
    /// use pagesight_core::{PageSize, PatchGrid, Rect, Slices};
    /// let grid = PatchGrid { slices: Slices { cols: 2, rows: 1 }, side: 2, text: 1 };
    /// let page = PageSize { width_pt: 400.0, height_pt: 100.0 };
    /// // The first patch of the second slice starts in the middle of the page.
    /// assert_eq!(grid.rect(5, page), Some(Rect { x0: 200.0, y0: 0.0, x1: 300.0, y1: 50.0 }));
    /// assert_eq!(grid.rect(4, page), None); // the prompt vector of the first slice
    /// assert_eq!(grid.rect(10, page), None);
    /// ```
    pub fn rect(&self, index: usize, page: PageSize) -> Option<Rect> {
        let (slice, patch) = (index / self.vectors_per_slice(), index % self.vectors_per_slice());
        let side = self.side as usize;
        if slice >= self.slices.count() || patch >= side * side {
            return None;
        }
        let cols = self.slices.cols as usize;
        let (col, row) = (slice % cols * side + patch % side, slice / cols * side + patch / side);
        let width = page.width_pt / (self.slices.cols * self.side) as f32;
        let height = page.height_pt / (self.slices.rows * self.side) as f32;
        Some(Rect {
            x0: col as f32 * width,
            y0: row as f32 * height,
            x1: (col + 1) as f32 * width,
            y1: (row + 1) as f32 * height,
        })
    }
}
