//! Heat maps: where on a page a question is answered, from the vectors that are stored.
//!
//! The *value* of a query token in a cell of the page is its largest dot product with a vector
//! whose patch holds the middle of the cell. *Heat* makes that a number from 0 to 1; the heat of a
//! word or of a whole question joins its tokens.

use pagesight_core::{Area, PageImage, PageVectors, PatchLayout, QueryVectors, Run};
use pagesight_maxsim::{DimMismatch, products};

use crate::words::{QuestionWord, words_of_tokens};

/// Cells along a side of a map, at most; a finer canvas is pooled.
pub const MAX_CELLS: usize = 256;

/// A token whose values differ by less than this over the page lights nothing.
const FLAT: f32 = 1e-6;

/// Of what a map is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MapOf {
    /// The whole question: all tokens that have a word, or all where none has one.
    #[default]
    Question,
    /// The word with this 0-based number.
    Word(usize),
    /// The token with this 0-based number.
    Token(usize),
}

/// What the heat of a cell is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HeatScale {
    /// The page: 0 at the median of the token's values, 1 at their maximum.
    #[default]
    Page,
    /// Nothing: the value itself, between 0 and 1. It compares between pages.
    Absolute,
}

/// Why there is no map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeatError {
    /// The question has fewer words, or tokens.
    #[error("the question has {count} {what}s, and {what} {asked} was asked, counted from 0")]
    NoSuch {
        /// `word` or `token`.
        what: &'static str,
        /// As asked, 0-based.
        asked: usize,
        /// How many there are.
        count: usize,
    },
    /// No vector of the page has a place on it.
    #[error("no vector of the page has a place on it")]
    NoPlaces,
    /// The query vectors and the page's differ in length.
    #[error(transparent)]
    Dim(#[from] DimMismatch),
}

/// What the values of a token are over a page.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Similarity {
    /// The smallest.
    pub min: f32,
    /// The middle one: as many cells are above as below.
    pub median: f32,
    /// The largest.
    pub max: f32,
}

/// The heat of a page, `[rows, columns]`, row-major, from the top left.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    columns: usize,
    rows: usize,
    /// NaN where no vector of the page stands.
    values: Vec<f32>,
    similarity: Similarity,
}

impl HeatMap {
    /// The heat of `page`, laid out by `layout`, for what `of` names of a question: `query` and its
    /// `words`.
    ///
    /// # Errors
    /// [`HeatError`].
    ///
    /// ```
    /// use pagesight_core::{PageVectors, PatchLayout, QueryVectors};
    /// use pagesight_query::{HeatMap, HeatScale, MapOf};
    /// // Three patches side by side; the question looks like the last one.
    /// let page = PageVectors::from_f32(2, &[1.0, 0.0, 0.8, 0.6, 0.0, 1.0])?;
    /// let layout = PatchLayout::grid(3, 1);
    /// let query = QueryVectors::of_rows(2, vec![0.0, 1.0])?;
    /// let map = HeatMap::new(&query, &[], MapOf::Question, HeatScale::Page, &page, &layout)?;
    /// assert_eq!(map.peak(), (2, 0));
    /// assert_eq!((map.at(0, 0), map.at(1, 0), map.at(2, 0)), (Some(0.0), Some(0.0), Some(1.0)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        query: &QueryVectors,
        words: &[QuestionWord],
        of: MapOf,
        scale: HeatScale,
        page: &PageVectors,
        layout: &PatchLayout,
    ) -> Result<Self, HeatError> {
        let tokens = tokens_of(query, words, of)?;
        let canvas = Canvas::of(page, layout).ok_or(HeatError::NoPlaces)?;
        let products = products(query, page)?;
        let weighs = of == MapOf::Question;
        let mut heat = vec![f32::NAN; canvas.columns * canvas.rows];
        let mut strongest = None::<Similarity>;
        for token in tokens {
            let products = &products[token * page.len()..(token + 1) * page.len()];
            let values = canvas.values(products);
            let similarity = similarity(&values);
            let range = similarity.max - similarity.median;
            if strongest.is_none_or(|known| range > known.max - known.median) {
                strongest = Some(similarity);
            }
            // The weight is u(t) before it is divided by the largest one, which comes below.
            let weight = if weighs { range.max(0.0) } else { 1.0 };
            for (heat, value) in heat.iter_mut().zip(&values) {
                if value.is_nan() {
                    continue;
                }
                let of_token = match scale {
                    HeatScale::Absolute => value.clamp(0.0, 1.0),
                    HeatScale::Page if range < FLAT => 0.0,
                    HeatScale::Page => ((value - similarity.median) / range).clamp(0.0, 1.0),
                };
                let weighed = weight * of_token;
                *heat = if heat.is_nan() { weighed } else { heat.max(weighed) };
            }
        }
        let similarity = strongest.unwrap_or_default();
        if weighs {
            let largest = similarity.max - similarity.median;
            for value in heat.iter_mut().filter(|value| !value.is_nan()) {
                *value = if largest < FLAT { 0.0 } else { *value / largest };
            }
        }
        Ok(Self { columns: canvas.columns, rows: canvas.rows, values: heat, similarity })
    }

    /// Cells from left to right.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Cells from top to bottom.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Heat by cell, row-major, 0 to 1; NaN where no vector of the page stands.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// What the values of the strongest token are: the one that stands out most over the page.
    pub fn similarity(&self) -> Similarity {
        self.similarity
    }

    /// The heat of a cell; `None` where no vector stands.
    ///
    /// # Panics
    /// When there is no such cell.
    pub fn at(&self, column: usize, row: usize) -> Option<f32> {
        assert!(column < self.columns && row < self.rows, "a cell of the map");
        Some(self.values[row * self.columns + column]).filter(|value| !value.is_nan())
    }

    /// The heat of a cell, 0 where no vector stands.
    pub(crate) fn heat(&self, column: usize, row: usize) -> f32 {
        let value = self.values[row * self.columns + column];
        if value.is_nan() { 0.0 } else { value }
    }

    /// Column and row of the hottest cell, of equals the first.
    pub fn peak(&self) -> (usize, usize) {
        let hotter =
            |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
        let heats = self.values.iter().map(|value| if value.is_nan() { -1.0 } else { *value });
        let (at, _) = heats.enumerate().fold((0, f32::NEG_INFINITY), hotter);
        (at % self.columns, at / self.columns)
    }

    /// The part of the page that a cell is.
    pub fn area(&self, column: usize, row: usize) -> Area {
        let (columns, rows) = (self.columns as f32, self.rows as f32);
        Area {
            x0: column as f32 / columns,
            y0: row as f32 / rows,
            x1: (column + 1) as f32 / columns,
            y1: (row + 1) as f32 / rows,
        }
    }

    /// The mean heat of `area`, each cell counted as far as the area covers it.
    pub fn mean(&self, area: Area) -> f32 {
        let (mut sum, mut weight) = (0.0, 0.0);
        let span = |from: f32, to: f32, cells: usize| {
            let count = cells as f32;
            let first = ((from * count) as usize).min(cells - 1);
            let last = ((to * count).ceil() as usize).clamp(first + 1, cells);
            (first..last).map(move |cell| {
                let covered = (to * count).min((cell + 1) as f32) - (from * count).max(cell as f32);
                (cell, covered.max(0.0))
            })
        };
        for (row, high) in span(area.y0, area.y1, self.rows) {
            for (column, wide) in span(area.x0, area.x1, self.columns) {
                sum += self.heat(column, row) * high * wide;
                weight += high * wide;
            }
        }
        if weight > 0.0 { sum / weight } else { 0.0 }
    }

    /// `page`, a picture of the page, with the map laid over it.
    pub fn over(&self, page: &PageImage) -> PageImage {
        let (width, height) = (page.width_px(), page.height_px());
        let heat = self.picture(width, height, true);
        let mut rgb = page.rgb().to_vec();
        for (below, above) in rgb.chunks_exact_mut(3).zip(heat.chunks_exact(4)) {
            let alpha = u32::from(above[3]);
            for (colour, over) in below.iter_mut().zip(above) {
                let mixed = u32::from(*over) * alpha + u32::from(*colour) * (255 - alpha);
                *colour = ((mixed + 127) / 255) as u8;
            }
        }
        PageImage::new(width, height, rgb).expect("as large as before")
    }

    /// The map as a picture to be laid over that of its page, `[height_px, width_px, 4]`, RGBA:
    /// from yellow to red, the hotter the less transparent, and nothing below 0.05. Between the
    /// middles of cells heat is bilinear when it is `smooth`, else that of the cell.
    ///
    /// # Panics
    /// When a side is 0.
    pub fn picture(&self, width_px: u32, height_px: u32, smooth: bool) -> Vec<u8> {
        assert!(width_px > 0 && height_px > 0, "an empty picture");
        let across = Steps::new(width_px, self.columns, smooth);
        let down = Steps::new(height_px, self.rows, smooth);
        let mut rgba = Vec::with_capacity(width_px as usize * height_px as usize * 4);
        let mut line = vec![0.0f32; self.columns];
        for &(above, below, part) in &down.0 {
            for (column, heat) in line.iter_mut().enumerate() {
                let (one, other) = (self.heat(column, above), self.heat(column, below));
                *heat = one + (other - one) * part;
            }
            for &(left, right, part) in &across.0 {
                let heat = line[left] + (line[right] - line[left]) * part;
                rgba.extend(colour(heat));
            }
        }
        rgba
    }
}

/// The pixel of a heat: from (255, 200, 0) to (200, 0, 0), alpha with the heat.
fn colour(heat: f32) -> [u8; 4] {
    if heat < 0.05 {
        return [0; 4];
    }
    let heat = heat.min(1.0);
    let between = |from: f32, to: f32| (from + (to - from) * heat).round() as u8;
    [between(255.0, 200.0), between(200.0, 0.0), 0, (178.0 * heat).round() as u8]
}

/// For each pixel the cells before and after it, and how far it is from the first to the second.
struct Steps(Vec<(usize, usize, f32)>);

impl Steps {
    fn new(pixels: u32, cells: usize, smooth: bool) -> Self {
        let step = |pixel: u32| {
            let at = (pixel as f32 + 0.5) / pixels as f32 * cells as f32;
            if !smooth {
                let cell = (at as usize).min(cells - 1);
                return (cell, cell, 0.0);
            }
            let at = (at - 0.5).clamp(0.0, (cells - 1) as f32);
            let before = at as usize;
            (before, (before + 1).min(cells - 1), at - before as f32)
        };
        Self((0..pixels).map(step).collect())
    }
}

/// The tokens of which a map is made.
fn tokens_of(
    query: &QueryVectors,
    words: &[QuestionWord],
    of: MapOf,
) -> Result<Vec<usize>, HeatError> {
    let none = |what, asked, count| HeatError::NoSuch { what, asked, count };
    match of {
        MapOf::Token(token) if token < query.len() => Ok(vec![token]),
        MapOf::Token(token) => Err(none("token", token, query.len())),
        MapOf::Word(word) => match words.get(word) {
            Some(word) => Ok(word.tokens.clone()),
            None => Err(none("word", word, words.len())),
        },
        MapOf::Question => {
            let of = words_of_tokens(words, query.len());
            let with_word: Vec<usize> = (0..query.len()).filter(|&t| of[t].is_some()).collect();
            // Vectors that were made elsewhere say nothing of words: each of them counts.
            Ok(if with_word.is_empty() { (0..query.len()).collect() } else { with_word })
        }
    }
}

/// The cells of a page, and where its vectors stand on them.
struct Canvas {
    /// After pooling.
    columns: usize,
    rows: usize,
    /// Cells of the finest grid that become one, across and down.
    pooled: (usize, usize),
    fine: (usize, usize),
    /// For each vector the cells of the finest grid whose middle its patch holds: the first and
    /// the end, across and down.
    patches: Vec<Option<[usize; 4]>>,
}

impl Canvas {
    /// As fine as the finest run of patches; `None` when no vector has a place.
    fn of(page: &PageVectors, layout: &PatchLayout) -> Option<Self> {
        let (mut columns, mut rows) = (0, 0);
        for run in layout.runs() {
            if let Run::Patches { cols, rows: down, area, .. } = *run {
                columns = columns.max((cols as f32 / (area.x1 - area.x0)).round() as usize);
                rows = rows.max((down as f32 / (area.y1 - area.y0)).round() as usize);
            }
        }
        if columns == 0 || rows == 0 {
            return None;
        }
        let held = |from: f32, to: f32, cells: usize| {
            // The middle of a cell lies in [from, to).
            let first = |edge: f32| (edge * cells as f32 - 0.5 - 1e-4).ceil().max(0.0) as usize;
            (first(from), first(to).min(cells))
        };
        let patch = |row: usize| {
            let area = layout.area(page.place(row))?;
            let (left, right) = held(area.x0, area.x1, columns);
            let (top, bottom) = held(area.y0, area.y1, rows);
            Some([left, right, top, bottom])
        };
        let patches: Vec<_> = (0..page.len()).map(patch).collect();
        patches.iter().any(Option::is_some).then(|| {
            let pooled = (columns.div_ceil(MAX_CELLS), rows.div_ceil(MAX_CELLS));
            let (across, down) = (columns.div_ceil(pooled.0), rows.div_ceil(pooled.1));
            Self { columns: across, rows: down, pooled, fine: (columns, rows), patches }
        })
    }

    /// The largest of `products`, one a vector, in each cell; NaN where no vector stands. A cell
    /// that several became has the largest of theirs.
    fn values(&self, products: &[f32]) -> Vec<f32> {
        let fine = self.fine.0;
        let mut values = vec![f32::NAN; fine * self.fine.1];
        for (product, patch) in products.iter().zip(&self.patches) {
            let Some([left, right, top, bottom]) = *patch else { continue };
            for row in top..bottom {
                for value in &mut values[row * fine + left..row * fine + right.max(left)] {
                    *value = if value.is_nan() { *product } else { value.max(*product) };
                }
            }
        }
        if self.pooled == (1, 1) {
            return values;
        }
        let mut pooled = vec![f32::NAN; self.columns * self.rows];
        for (at, value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            let (column, row) = (at % fine / self.pooled.0, at / fine / self.pooled.1);
            let cell = &mut pooled[row * self.columns + column];
            *cell = if cell.is_nan() { *value } else { cell.max(*value) };
        }
        pooled
    }
}

/// Smallest, middle and largest of the values that are there; of an even number of them the middle
/// is halfway between two.
fn similarity(values: &[f32]) -> Similarity {
    let mut there: Vec<f32> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    if there.is_empty() {
        return Similarity::default();
    }
    let half = there.len() / 2;
    let even = there.len().is_multiple_of(2);
    let (below, &mut upper, above) = there.select_nth_unstable_by(half, f32::total_cmp);
    let max = above.iter().copied().fold(upper, f32::max);
    let min = below.iter().copied().fold(upper, f32::min);
    let lower = below.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let median = if even { f32::midpoint(lower, upper) } else { upper };
    Similarity { min, median, max }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use pagesight_core::{QueryToken, Slices};

    use super::*;
    use crate::testing::number;
    use crate::words::question_words;

    const DIM: usize = 4;

    fn unit(random: &mut Rng, rows: usize) -> Vec<f32> {
        let mut values = Vec::new();
        for _ in 0..rows {
            let row: Vec<f32> = (0..DIM).map(|_| number(random)).collect();
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-3);
            values.extend(row.iter().map(|x| x / length));
        }
        values
    }

    /// The definition, word for word: for each cell, each token and each vector.
    fn slow(
        query: &QueryVectors,
        tokens: &[usize],
        weighs: bool,
        scale: HeatScale,
        page: &PageVectors,
        layout: &PatchLayout,
        (columns, rows): (usize, usize),
    ) -> Vec<f32> {
        let vector = |row: usize| &page.values()[row * DIM..(row + 1) * DIM];
        let dot = |token: usize, row: usize| -> f32 {
            let token = &query.values()[token * DIM..(token + 1) * DIM];
            token.iter().zip(vector(row)).map(|(a, b)| a * b.to_f32()).sum()
        };
        let value = |token: usize, column: usize, row: usize| {
            let (x, y) = ((column as f32 + 0.5) / columns as f32, (row as f32 + 0.5) / rows as f32);
            let holds = |a: &Area| a.x0 <= x && x < a.x1 && a.y0 <= y && y < a.y1;
            (0..page.len())
                .filter(|&row| layout.area(page.place(row)).is_some_and(|area| holds(&area)))
                .map(|row| dot(token, row))
                .reduce(f32::max)
        };
        let mut maps = Vec::new();
        for &token in tokens {
            let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
            let values: Vec<Option<f32>> = cells.map(|(c, r)| value(token, c, r)).collect();
            let mut sorted: Vec<f32> = values.iter().flatten().copied().collect();
            sorted.sort_by(f32::total_cmp);
            let n = sorted.len();
            let median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0;
            let range = sorted[n - 1] - median;
            let heat = move |value: Option<f32>| match (scale, value) {
                (_, None) => f32::NAN,
                (HeatScale::Absolute, Some(value)) => value.clamp(0.0, 1.0),
                (HeatScale::Page, Some(_)) if range < 1e-6 => 0.0,
                (HeatScale::Page, Some(value)) => ((value - median) / range).clamp(0.0, 1.0),
            };
            maps.push((range, values.into_iter().map(heat).collect::<Vec<f32>>()));
        }
        let largest = maps.iter().map(|(range, _)| *range).fold(f32::MIN, f32::max);
        (0..columns * rows)
            .map(|cell| {
                let heats = maps.iter().map(|(range, map)| {
                    let weight = if weighs { range / largest } else { 1.0 };
                    weight * map[cell]
                });
                heats.reduce(f32::max).unwrap()
            })
            .collect()
    }

    /// A page of these slices, of which a share of the vectors is left out.
    fn page(random: &mut Rng, slices: &str, side: u32, keep: f32) -> (PageVectors, PatchLayout) {
        let slices: Slices = slices.parse().unwrap();
        let layout = PatchLayout::slices(&slices, side, 2);
        let places: Vec<u32> =
            (0..layout.vectors() as u32).filter(|_| random.f32() < keep).collect();
        let values = unit(random, places.len());
        let page = PageVectors::from_f32(DIM, &values).unwrap().with_places(places).unwrap();
        (page, layout)
    }

    fn question(random: &mut Rng) -> (QueryVectors, Vec<QuestionWord>) {
        let text = "net sales of";
        let spans = [None, Some(0..3), Some(4..7), Some(7..9), Some(10..12)];
        let tokens = spans
            .map(|span| span.map_or(QueryToken::special("p"), |span| QueryToken::of("", span)));
        let query = QueryVectors::new(DIM, unit(random, 5), tokens.to_vec()).unwrap();
        let words = question_words(text, &query);
        (query, words)
    }

    #[test]
    fn a_map_is_what_its_definition_says() {
        let mut random = Rng::with_seed(7);
        for (slices, keep) in [("1x1", 1.0), ("2x3", 0.5), ("1x1+2x3", 1.0), ("1x1+2x2", 0.2)] {
            let (page, layout) = page(&mut random, slices, 4, keep);
            let slices: Slices = slices.parse().unwrap();
            let cells = (4 * slices.cols() as usize, 4 * slices.rows() as usize);
            let (query, words) = question(&mut random);
            for (of, tokens, weighs) in [
                (MapOf::Question, &[1, 2, 3, 4][..], true),
                (MapOf::Word(1), &[2, 3], false),
                (MapOf::Token(0), &[0], false),
            ] {
                for scale in [HeatScale::Page, HeatScale::Absolute] {
                    let map = HeatMap::new(&query, &words, of, scale, &page, &layout).unwrap();
                    let expected = slow(&query, tokens, weighs, scale, &page, &layout, cells);
                    assert_eq!((map.columns(), map.rows()), cells);
                    for (got, want) in map.values().iter().zip(&expected) {
                        let same = got.is_nan() && want.is_nan() || (got - want).abs() < 1e-3;
                        assert!(same, "{slices} {of:?} {scale:?}: {got}, expected {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let mut random = Rng::with_seed(1);
        let (page, layout) = page(&mut random, "1x1", 2, 1.0);
        let (query, words) = question(&mut random);
        let map = |of| HeatMap::new(&query, &words, of, HeatScale::Page, &page, &layout);
        let none = |what, asked, count| HeatError::NoSuch { what, asked, count };
        assert_eq!(map(MapOf::Word(3)).unwrap_err(), none("word", 3, 3));
        assert_eq!(map(MapOf::Token(5)).unwrap_err(), none("token", 5, 5));
        let text = PatchLayout::new(vec![Run::Text(page.len() as u32)]);
        let nowhere = HeatMap::new(&query, &words, MapOf::Question, HeatScale::Page, &page, &text);
        assert_eq!(nowhere.unwrap_err(), HeatError::NoPlaces);
    }

    #[test]
    fn a_fine_canvas_is_pooled_and_a_flat_page_is_cold() {
        let (columns, rows) = (300u32, 2u32);
        let mut values = [1.0, 0.0].repeat(600);
        values[2 * 299..2 * 299 + 2].copy_from_slice(&[0.0, 1.0]);
        let page = PageVectors::from_f32(2, &values).unwrap();
        let layout = PatchLayout::grid(columns, rows);
        let query = QueryVectors::of_rows(2, vec![0.0, 1.0, 1.0, 0.0]).unwrap();
        let map = |of| HeatMap::new(&query, &[], of, HeatScale::Page, &page, &layout).unwrap();
        let hot = map(MapOf::Token(0));
        assert_eq!((hot.columns(), hot.rows(), hot.peak()), (150, 2, (149, 0)));
        assert_eq!(hot.similarity(), Similarity { min: 0.0, median: 0.0, max: 1.0 });
        // The second token's maximum is its median: it lights nothing.
        let cold = map(MapOf::Token(1));
        assert!(cold.values().iter().all(|value| *value == 0.0));
        assert_eq!(map(MapOf::Question).peak(), (149, 0));
    }

    #[test]
    fn a_picture_has_the_colours_of_the_heat() {
        let map = HeatMap {
            columns: 2,
            rows: 1,
            values: vec![1.0, f32::NAN],
            similarity: Similarity::default(),
        };
        let hard = map.picture(4, 1, false);
        assert_eq!(hard, [[200, 0, 0, 178], [200, 0, 0, 178], [0; 4], [0; 4]].concat());
        let soft = map.picture(4, 1, true);
        let alpha: Vec<u8> = soft.chunks(4).map(|pixel| pixel[3]).collect();
        assert_eq!(alpha, [178, 134, 45, 0]);
        assert_eq!(map.mean(Area { x0: 0.25, y0: 0.0, x1: 0.75, y1: 1.0 }), 0.5);
        assert_eq!(map.mean(Area { x0: 0.1, y0: 0.2, x1: 0.1, y1: 0.2 }), 0.0);
    }
}
