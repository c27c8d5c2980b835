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

/// No side of a page's picture is longer, px.
pub const MAX_SIDE_PX: u32 = 10_000;

/// No picture of a page has more pixels.
pub const MAX_PIXELS: u64 = 64_000_000;

impl PageSize {
    /// The size of the page's picture that is `width_px` wide: as high as its shape asks, smaller
    /// where that would be more than [`MAX_SIDE_PX`] or [`MAX_PIXELS`].
    ///
    /// ```
    /// use pagesight_core::PageSize;
    /// let a4 = PageSize { width_pt: 595.0, height_pt: 842.0 };
    /// assert_eq!(a4.picture(1200).height_px, 1698);
    /// ```
    pub fn picture(self, width_px: u32) -> PictureSize {
        let width = width_px as f32;
        PictureSize::bounded(width, width / (self.width_pt / self.height_pt), MAX_PIXELS)
    }
}

impl PictureSize {
    /// `width` and `height`, px, rounded; smaller where they are more than [`MAX_SIDE_PX`] or
    /// together more than `pixels`, at most [`MAX_PIXELS`].
    pub fn bounded(width: f32, height: f32, pixels: u64) -> Self {
        let side = |px: f32| (px.round() as u32).clamp(1, MAX_SIDE_PX);
        let (mut width, mut height) = (side(width), side(height));
        let (has, limit) = (u64::from(width) * u64::from(height), pixels.min(MAX_PIXELS));
        if has > limit {
            let shrink = (limit as f64 / has as f64).sqrt();
            width = (f64::from(width) * shrink) as u32;
            height = (f64::from(height) * shrink) as u32;
        }
        Self { width_px: width.max(1), height_px: height.max(1) }
    }
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

/// A grid of model inputs that a page is cut into; `1x1` squeezes the whole page into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SliceGrid {
    /// Slices side by side.
    pub cols: u32,
    /// Slices from top to bottom.
    pub rows: u32,
}

impl SliceGrid {
    /// No recipe cuts a page finer than this in either direction.
    pub const MAX_SIDE: u32 = 16;

    /// Slices of the grid.
    pub fn count(self) -> usize {
        (self.cols * self.rows) as usize
    }
}

/// The model inputs of a page: one grid, or a pyramid of several, e.g. the whole page in one input,
/// where large print is readable, and then a finer grid for the small print. The picture of a page
/// has the size of the finest; a coarser grid sees it made smaller.
///
/// Written `2x3`, and a pyramid `1x1+2x3`; in JSON a string, and a pyramid a list of strings.
///
/// ```
/// use pagesight_core::Slices;
/// let slices: Slices = "1x1+2x3".parse().unwrap();
/// assert_eq!((slices.grids().len(), slices.count()), (2, 7));
/// assert_eq!((slices.cols(), slices.rows()), (2, 3));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slices {
    grids: Vec<SliceGrid>,
}

impl Default for Slices {
    fn default() -> Self {
        Self::grid(1, 1)
    }
}

impl Slices {
    /// More grids are no pyramid.
    pub const MAX_GRIDS: usize = 4;

    /// One grid.
    ///
    /// # Panics
    /// When a side is not 1 to [`SliceGrid::MAX_SIDE`].
    pub fn grid(cols: u32, rows: u32) -> Self {
        let fits = |side| (1..=SliceGrid::MAX_SIDE).contains(&side);
        assert!(fits(cols) && fits(rows), "{cols}x{rows} slices");
        Self { grids: vec![SliceGrid { cols, rows }] }
    }

    /// The grids, at least one, in the order in which their vectors come.
    pub fn grids(&self) -> &[SliceGrid] {
        &self.grids
    }

    /// Slices of a page, of all grids.
    pub fn count(&self) -> usize {
        self.grids.iter().map(|grid| grid.count()).sum()
    }

    /// Slices side by side in the page's picture: the most of any grid.
    pub fn cols(&self) -> u32 {
        self.grids.iter().map(|grid| grid.cols).max().expect("at least one grid")
    }

    /// Slices from top to bottom in the page's picture: the most of any grid.
    pub fn rows(&self) -> u32 {
        self.grids.iter().map(|grid| grid.rows).max().expect("at least one grid")
    }
}

impl std::fmt::Display for SliceGrid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.cols, self.rows)
    }
}

impl std::fmt::Display for Slices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, grid) in self.grids.iter().enumerate() {
            write!(f, "{}{grid}", if n > 0 { "+" } else { "" })?;
        }
        Ok(())
    }
}

/// A grid is written `COLSxROWS`, each 1 to 16; several are joined by `+`.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "slices are written COLSxROWS with 1 to {max} each, or up to {grids} of them joined by +, got \
     {0:?}",
    max = SliceGrid::MAX_SIDE,
    grids = Slices::MAX_GRIDS
)]
pub struct ParseSlicesError(String);

impl std::str::FromStr for Slices {
    type Err = ParseSlicesError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let side = |s: &str| s.parse().ok().filter(|n| (1..=SliceGrid::MAX_SIDE).contains(n));
        let grid = |s: &str| {
            let (cols, rows) = s.split_once('x')?;
            Some(SliceGrid { cols: side(cols)?, rows: side(rows)? })
        };
        let grids: Option<Vec<SliceGrid>> = s.split('+').map(grid).collect();
        let grids = grids.filter(|grids| grids.len() <= Self::MAX_GRIDS);
        grids.map(|grids| Self { grids }).ok_or_else(|| ParseSlicesError(s.to_string()))
    }
}

impl Serialize for Slices {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match &self.grids[..] {
            [grid] => s.collect_str(grid),
            grids => s.collect_seq(grids.iter().map(ToString::to_string)),
        }
    }
}

impl<'de> Deserialize<'de> for Slices {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(String),
            Several(Vec<String>),
        }
        let text = match Written::deserialize(d)? {
            Written::One(grid) => grid,
            Written::Several(grids) => grids.join("+"),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Size of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PictureSize {
    /// Width, px.
    pub width_px: u32,
    /// Height, px.
    pub height_px: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_read_as_they_are_written() {
        for (json, text) in [(r#""2x3""#, "2x3"), (r#"["1x1","2x3"]"#, "1x1+2x3")] {
            let slices: Slices = serde_json::from_str(json).unwrap();
            assert_eq!(slices.to_string(), text);
            assert_eq!(text.parse::<Slices>().unwrap(), slices);
            assert_eq!(serde_json::to_string(&slices).unwrap(), json);
        }
        for wrong in ["", "1", "0x1", "17x1", "1x1+", "1x1+1x1+1x1+1x1+1x1", "1 x 1"] {
            assert!(wrong.parse::<Slices>().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Slices>("[]").is_err());
    }
}
