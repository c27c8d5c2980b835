//! Where the vectors of a page stand. A layout belongs to the page: models that see pages in their
//! own shape give each page another one.

use serde::{Deserialize, Serialize};

use crate::geometry::{PageSize, Rect, Slices};
use crate::multivector::{PageVectors, VectorError};

/// A part of a page in fractions of its sides, from 0 to 1; origin top left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Area {
    /// Left edge.
    pub x0: f32,
    /// Top edge.
    pub y0: f32,
    /// Right edge.
    pub x1: f32,
    /// Bottom edge.
    pub y1: f32,
}

impl Area {
    /// The whole page.
    pub const PAGE: Self = Self { x0: 0.0, y0: 0.0, x1: 1.0, y1: 1.0 };
}

/// A run of vectors that stand together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Run {
    /// `cols * rows` patches in row-major order that cover `area` evenly. After each row of patches
    /// come `row_end` vectors that have no place on the page, as some models mark ends of rows.
    Patches {
        /// Patches side by side.
        cols: u32,
        /// Patches from top to bottom.
        rows: u32,
        /// What they cover. It may reach past the right and the bottom edge of the page, where a
        /// model fills a page up to whole patches; what lies past an edge belongs to no vector.
        area: Area,
        /// Vectors without a place after each row.
        #[serde(default, skip_serializing_if = "is_zero")]
        row_end: u32,
    },
    /// Vectors that have no place on the page, such as those of the prompt.
    Text(u32),
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Run {
    fn vectors(&self) -> usize {
        match *self {
            Self::Patches { cols, rows, row_end, .. } => (cols + row_end) as usize * rows as usize,
            Self::Text(count) => count as usize,
        }
    }
}

/// How the vectors of a page are laid out before any is left out or merged: run after run. The
/// index of a vector in this layout is its *place*.
///
/// ```
/// use pagesight_core::{Area, PageSize, PatchLayout, Rect, Run};
/// // A page seen as 2 x 1 patches, and three vectors of the prompt.
/// let layout = PatchLayout::new(vec![
///     Run::Patches { cols: 2, rows: 1, area: Area::PAGE, row_end: 0 },
///     Run::Text(3),
/// ]);
/// let page = PageSize { width_pt: 400.0, height_pt: 100.0 };
/// assert_eq!(layout.vectors(), 5);
/// assert_eq!(layout.rect(1, page), Some(Rect { x0: 200.0, y0: 0.0, x1: 400.0, y1: 100.0 }));
/// assert_eq!(layout.rect(2, page), None); // of the prompt
/// assert_eq!(layout.rect(5, page), None); // past the end
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PatchLayout {
    runs: Vec<Run>,
}

impl PatchLayout {
    /// Run after run.
    pub fn new(runs: Vec<Run>) -> Self {
        Self { runs }
    }

    /// `cols * rows` patches over the whole page, in row-major order.
    pub fn grid(cols: u32, rows: u32) -> Self {
        Self::new(vec![Run::Patches { cols, rows, area: Area::PAGE, row_end: 0 }])
    }

    /// The page cut into `slices`: grid by grid, slices in row-major order, and in each slice first
    /// `side * side` patches, then `text` vectors of the prompt.
    pub fn slices(slices: &Slices, side: u32, text: u32) -> Self {
        let mut runs = Vec::with_capacity(2 * slices.count());
        for grid in slices.grids() {
            let (width, height) = (1.0 / grid.cols as f32, 1.0 / grid.rows as f32);
            for (row, col) in
                (0..grid.rows).flat_map(|row| (0..grid.cols).map(move |col| (row, col)))
            {
                let area = Area {
                    x0: col as f32 * width,
                    y0: row as f32 * height,
                    x1: (col + 1) as f32 * width,
                    y1: (row + 1) as f32 * height,
                };
                runs.push(Run::Patches { cols: side, rows: side, area, row_end: 0 });
                if text > 0 {
                    runs.push(Run::Text(text));
                }
            }
        }
        Self::new(runs)
    }

    /// The runs, in order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Vectors of a page of which none is left out.
    pub fn vectors(&self) -> usize {
        self.runs.iter().map(Run::vectors).sum()
    }

    /// The part of the page that the vector at `place` stands for; `None` for a vector without a
    /// place on the page, or past the end.
    pub fn area(&self, place: usize) -> Option<Area> {
        let mut at = place;
        let run = self.runs.iter().find(|run| {
            let inside = at < run.vectors();
            if !inside {
                at -= run.vectors();
            }
            inside
        })?;
        let Run::Patches { cols, rows, area, row_end } = *run else { return None };
        let (row, col) = (at / (cols + row_end) as usize, at % (cols + row_end) as usize);
        if col >= cols as usize {
            return None;
        }
        let width = (area.x1 - area.x0) / cols as f32;
        let height = (area.y1 - area.y0) / rows as f32;
        // A page that is turned is filled up at its other edges.
        let on_page = |at: f32| at.clamp(0.0, 1.0);
        Some(Area {
            x0: on_page(area.x0 + col as f32 * width),
            y0: on_page(area.y0 + row as f32 * height),
            x1: on_page(area.x0 + (col + 1) as f32 * width),
            y1: on_page(area.y0 + (row + 1) as f32 * height),
        })
    }

    /// The rectangle of the vector at `place` on a page of `size`, points; `None` as for
    /// [`area`](Self::area).
    pub fn rect(&self, place: usize, size: PageSize) -> Option<Rect> {
        let Area { x0, y0, x1, y1 } = self.area(place)?;
        let (width, height) = (size.width_pt, size.height_pt);
        Some(Rect { x0: x0 * width, y0: y0 * height, x1: x1 * width, y1: y1 * height })
    }

    /// Whether `vectors` can be those of a page of this layout.
    ///
    /// # Errors
    /// [`VectorError::Layout`] and [`VectorError::PlaceOutside`].
    pub fn check(&self, vectors: &PageVectors) -> Result<(), VectorError> {
        let expected = self.vectors();
        match vectors.places() {
            None if vectors.len() == expected => Ok(()),
            None => Err(VectorError::Layout { expected, got: vectors.len() }),
            Some(places) => match places.iter().position(|&place| place as usize >= expected) {
                Some(row) => {
                    let place = places[row];
                    Err(VectorError::PlaceOutside { row, place, vectors: expected })
                }
                None => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: PageSize = PageSize { width_pt: 400.0, height_pt: 100.0 };

    #[test]
    fn places_count_through_all_slices() {
        let slices: Slices = "1x1+2x1".parse().unwrap();
        let layout = PatchLayout::slices(&slices, 2, 1);
        assert_eq!(layout.vectors(), 15);
        // The whole page in four, the prompt, then each half in four.
        let rect = |x0, y0, x1, y1| Some(Rect { x0, y0, x1, y1 });
        assert_eq!(layout.rect(3, PAGE), rect(200.0, 50.0, 400.0, 100.0));
        assert_eq!(layout.rect(4, PAGE), None);
        assert_eq!(layout.rect(5, PAGE), rect(0.0, 0.0, 100.0, 50.0));
        assert_eq!(layout.rect(13, PAGE), rect(300.0, 50.0, 400.0, 100.0));
        assert_eq!(layout.rect(15, PAGE), None);
    }

    #[test]
    fn what_lies_past_the_page_belongs_to_no_vector() {
        // Two by two patches of half a page and a half of that.
        let area = Area { x0: 0.0, y0: 0.0, x1: 1.5, y1: 1.5 };
        let run = Run::Patches { cols: 2, rows: 2, area, row_end: 0 };
        let layout = PatchLayout::new(vec![run]);
        assert_eq!(layout.area(0), Some(Area { x0: 0.0, y0: 0.0, x1: 0.75, y1: 0.75 }));
        assert_eq!(layout.area(3), Some(Area { x0: 0.75, y0: 0.75, x1: 1.0, y1: 1.0 }));
    }

    #[test]
    fn ends_of_rows_have_no_place() {
        let run = Run::Patches { cols: 2, rows: 2, area: Area::PAGE, row_end: 1 };
        let layout = PatchLayout::new(vec![Run::Text(1), run]);
        assert_eq!(layout.vectors(), 7);
        let placed: Vec<bool> = (0..8).map(|place| layout.area(place).is_some()).collect();
        assert_eq!(placed, [false, true, true, false, true, true, false, false]);
        assert_eq!(layout.area(4), Some(Area { x0: 0.0, y0: 0.5, x1: 0.5, y1: 1.0 }));
    }

    #[test]
    fn a_layout_is_read_as_it_is_written() {
        let layout = PatchLayout::slices(&"1x1+1x2".parse().unwrap(), 4, 2);
        let json = serde_json::to_string(&layout).unwrap();
        assert_eq!(serde_json::from_str::<PatchLayout>(&json).unwrap(), layout);
    }

    #[test]
    fn vectors_that_do_not_fit_are_refused() {
        let page = PageVectors::from_f32(2, &[1.0, 0.0, 0.6, 0.8]).unwrap();
        let fits = |layout: PatchLayout, page: &PageVectors| layout.check(page).is_ok();
        assert!(fits(PatchLayout::grid(2, 1), &page));
        assert!(!fits(PatchLayout::grid(2, 2), &page));
        let placed = page.with_places(vec![0, 3]).unwrap();
        assert!(fits(PatchLayout::grid(2, 2), &placed));
        assert!(!fits(PatchLayout::grid(3, 1), &placed));
    }
}
