//! Pages whose words do not stand upright, such as scans that went through the feeder the wrong way
//! round: by how much their picture must be turned.

use half::f16;
use serde::{Deserialize, Serialize};

use crate::encoded::EncodedPage;
use crate::geometry::{PageSize, PictureSize};
use crate::image::PageImage;
use crate::layout::{Area, PatchLayout, Run};
use crate::multivector::PageVectors;

/// A turn by quarters, clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// Not at all.
    #[default]
    None,
    /// By a quarter to the right: what was on top is at the right.
    Right,
    /// By half: what was on top is at the bottom.
    Around,
    /// By a quarter to the left: what was on top is at the left.
    Left,
}

impl Turn {
    /// The turn by `degrees` clockwise; `None` for what is no multiple of 90.
    ///
    /// ```
    /// use pagesight_core::Turn;
    /// assert_eq!(Turn::of_degrees(270), Some(Turn::Left));
    /// assert_eq!(Turn::of_degrees(-90), Some(Turn::Left));
    /// assert_eq!(Turn::of_degrees(45), None);
    /// ```
    pub fn of_degrees(degrees: i32) -> Option<Self> {
        match degrees.rem_euclid(360) {
            0 => Some(Self::None),
            90 => Some(Self::Right),
            180 => Some(Self::Around),
            270 => Some(Self::Left),
            _ => None,
        }
    }

    /// The turn that undoes this one.
    #[must_use]
    pub fn back(self) -> Self {
        match self {
            Self::Right => Self::Left,
            Self::Left => Self::Right,
            other => other,
        }
    }

    /// First this turn, then `next`.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        [Self::None, Self::Right, Self::Around, Self::Left][(self as usize + next as usize) % 4]
    }

    /// Whether width and height change places.
    pub fn is_sideways(self) -> bool {
        matches!(self, Self::Right | Self::Left)
    }

    /// The size of a page that is turned.
    #[must_use]
    pub fn of_page(self, page: PageSize) -> PageSize {
        let PageSize { width_pt, height_pt } = page;
        if self.is_sideways() {
            PageSize { width_pt: height_pt, height_pt: width_pt }
        } else {
            page
        }
    }

    /// The size of a picture that is turned.
    #[must_use]
    pub fn of_picture(self, picture: PictureSize) -> PictureSize {
        let PictureSize { width_px, height_px } = picture;
        if self.is_sideways() {
            PictureSize { width_px: height_px, height_px: width_px }
        } else {
            picture
        }
    }

    /// Where an area of a page is when the page is turned.
    #[must_use]
    pub fn of_area(self, area: Area) -> Area {
        let Area { x0, y0, x1, y1 } = area;
        match self {
            Self::None => area,
            Self::Right => Area { x0: 1.0 - y1, y0: x0, x1: 1.0 - y0, y1: x1 },
            Self::Around => Area { x0: 1.0 - x1, y0: 1.0 - y1, x1: 1.0 - x0, y1: 1.0 - y0 },
            Self::Left => Area { x0: y0, y0: 1.0 - x1, x1: y1, y1: 1.0 - x0 },
        }
    }

    /// Where cell `(row, col)` of `rows` by `cols` is when the grid is turned.
    fn of_cell(self, (row, col): (usize, usize), (rows, cols): (usize, usize)) -> (usize, usize) {
        match self {
            Self::None => (row, col),
            Self::Right => (col, rows - 1 - row),
            Self::Around => (rows - 1 - row, cols - 1 - col),
            Self::Left => (cols - 1 - col, row),
        }
    }
}

impl PageImage {
    /// The picture turned.
    ///
    /// ```
    /// use pagesight_core::{PageImage, Turn};
    /// let pair = PageImage::new(2, 1, vec![1, 1, 1, 2, 2, 2]).unwrap();
    /// let turned = pair.turned(Turn::Right);
    /// assert_eq!((turned.width_px(), turned.height_px()), (1, 2));
    /// assert_eq!(turned.rgb(), [1, 1, 1, 2, 2, 2]);
    /// assert_eq!(pair.turned(Turn::Around).rgb(), [2, 2, 2, 1, 1, 1]);
    /// ```
    #[must_use]
    pub fn turned(&self, turn: Turn) -> PageImage {
        if turn == Turn::None {
            return self.clone();
        }
        let (cols, rows) = (self.width_px() as usize, self.height_px() as usize);
        let (width, height) = if turn.is_sideways() { (rows, cols) } else { (cols, rows) };
        let mut rgb = vec![0; self.rgb().len()];
        for (at, pixel) in self.rgb().chunks_exact(3).enumerate() {
            let (row, col) = turn.of_cell((at / cols, at % cols), (rows, cols));
            rgb[(row * width + col) * 3..][..3].copy_from_slice(pixel);
        }
        PageImage::new(width as u32, height as u32, rgb).expect("as many pixels as before")
    }
}

impl EncodedPage {
    /// The vectors and their layout when the page is turned after it was encoded: each vector stands
    /// for the same part of the page as before, and that part is elsewhere.
    ///
    /// ```
    /// use pagesight_core::{Area, EncodedPage, PageVectors, PatchLayout, Turn};
    /// let vectors = PageVectors::from_f32(2, &[1.0, 0.0, 0.6, 0.8]).unwrap();
    /// let page = EncodedPage::new(vectors, PatchLayout::grid(1, 2)).unwrap();
    /// // What was at the top is at the right.
    /// let turned = page.turned(Turn::Right);
    /// let first = turned.layout().area(1).unwrap();
    /// assert_eq!(turned.vectors().values()[2].to_f32(), 1.0);
    /// assert_eq!((first.x0, first.x1), (0.5, 1.0));
    /// ```
    #[must_use]
    pub fn turned(self, turn: Turn) -> EncodedPage {
        if turn == Turn::None {
            return self;
        }
        let (vectors, layout) = self.into_parts();
        let (layout, places) = turned_layout(&layout, turn);
        let dim = vectors.dim();
        let vectors = match vectors.places() {
            Some(old) => {
                let places = old.iter().map(|&place| places[place as usize]).collect();
                vectors.clone().with_places(places).expect("as many as before")
            }
            None => {
                let mut values = vec![f16::ZERO; vectors.values().len()];
                for (row, &place) in vectors.values().chunks_exact(dim).zip(&places) {
                    values[place as usize * dim..][..dim].copy_from_slice(row);
                }
                PageVectors::new(dim, values).expect("the same numbers as before")
            }
        };
        EncodedPage::new(vectors, layout).expect("as many vectors as before")
    }
}

/// The layout of a page that is turned, and the new place of each vector by its old one.
fn turned_layout(layout: &PatchLayout, turn: Turn) -> (PatchLayout, Vec<u32>) {
    let mut runs = Vec::with_capacity(layout.runs().len());
    let mut places = Vec::with_capacity(layout.vectors());
    let mut first = 0;
    for run in layout.runs() {
        match *run {
            Run::Patches { cols, rows, area, row_end } => {
                let (new_cols, new_rows) =
                    if turn.is_sideways() { (rows, cols) } else { (cols, rows) };
                let area = turn.of_area(area);
                runs.push(Run::Patches { cols: new_cols, rows: new_rows, area, row_end: 0 });
                // The rows are others now, so that what ends them stands behind them all.
                let ends = rows * row_end;
                if ends > 0 {
                    runs.push(Run::Text(ends));
                }
                let mut next_end = first + cols * rows;
                for row in 0..rows as usize {
                    for col in 0..cols as usize {
                        let size = (rows as usize, cols as usize);
                        let (row, col) = turn.of_cell((row, col), size);
                        places.push(first + (row * new_cols as usize + col) as u32);
                    }
                    places.extend(next_end..next_end + row_end);
                    next_end += row_end;
                }
                first = next_end;
            }
            Run::Text(count) => {
                runs.push(Run::Text(count));
                places.extend(first..first + count);
                first += count;
            }
        }
    }
    (PatchLayout::new(runs), places)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: [Turn; 4] = [Turn::None, Turn::Right, Turn::Around, Turn::Left];

    #[test]
    fn a_turn_and_its_back_leave_all_as_it_was() {
        let image = PageImage::new(3, 2, (0..18).collect()).unwrap();
        let layout = PatchLayout::new(vec![
            Run::Text(1),
            Run::Patches {
                cols: 3,
                rows: 2,
                area: Area { x0: 0.0, y0: 0.0, x1: 0.5, y1: 1.0 },
                row_end: 0,
            },
            Run::Text(2),
        ]);
        let values: Vec<f32> = (0..9).map(|n| n as f32).collect();
        let vectors = PageVectors::from_f32(1, &values).unwrap();
        let page = EncodedPage::new(vectors, layout).unwrap();
        for turn in TURNS {
            assert_eq!(image.turned(turn).turned(turn.back()), image, "{turn:?}");
            assert_eq!(page.clone().turned(turn).turned(turn.back()), page, "{turn:?}");
            assert_eq!(turn.then(turn.back()), Turn::None);
            let twice = image.turned(turn).turned(turn);
            assert_eq!(twice, image.turned(turn.then(turn)), "{turn:?}");
        }
    }

    /// A vector goes where the pixels of its patch go.
    #[test]
    fn vectors_go_with_their_pixels() {
        let grey: Vec<u8> = (0..12).collect();
        let rgb = grey.iter().flat_map(|value| [*value; 3]).collect();
        let image = PageImage::new(4, 3, rgb).unwrap();
        let values: Vec<f32> = grey.iter().map(|value| f32::from(*value)).collect();
        for row_end in [0, 1] {
            let run = Run::Patches { cols: 4, rows: 3, area: Area::PAGE, row_end };
            let values: Vec<f32> = match row_end {
                0 => values.clone(),
                _ => values.chunks(4).flat_map(|row| row.iter().copied().chain([99.0])).collect(),
            };
            let vectors = PageVectors::from_f32(1, &values).unwrap();
            let page = EncodedPage::new(vectors, PatchLayout::new(vec![run])).unwrap();
            for turn in TURNS {
                let (image, page) = (image.turned(turn), page.clone().turned(turn));
                for (place, value) in page.vectors().values().iter().enumerate() {
                    let Some(area) = page.layout().area(place) else {
                        assert_eq!(value.to_f32(), 99.0);
                        continue;
                    };
                    let x = (f32::midpoint(area.x0, area.x1) * image.width_px() as f32) as usize;
                    let y = (f32::midpoint(area.y0, area.y1) * image.height_px() as f32) as usize;
                    let pixel = image.rgb()[(y * image.width_px() as usize + x) * 3];
                    assert_eq!(f32::from(pixel), value.to_f32(), "{turn:?} {place}");
                }
            }
        }
    }

    #[test]
    fn places_of_merged_vectors_go_along() {
        let vectors = PageVectors::from_f32(1, &[1.0, 2.0]).unwrap();
        let vectors = vectors.with_places(vec![0, 5]).unwrap();
        let page = EncodedPage::new(vectors, PatchLayout::grid(3, 2)).unwrap();
        let turned = page.turned(Turn::Around);
        assert_eq!(turned.vectors().places(), Some(&[5, 0][..]));
    }

    #[test]
    fn areas_turn_about_the_page() {
        let area = Area { x0: 0.0, y0: 0.0, x1: 0.25, y1: 0.125 };
        let right = Turn::Right.of_area(area);
        assert_eq!(right, Area { x0: 0.875, y0: 0.0, x1: 1.0, y1: 0.25 });
        for turn in TURNS {
            assert_eq!(turn.back().of_area(turn.of_area(area)), area);
        }
    }
}
