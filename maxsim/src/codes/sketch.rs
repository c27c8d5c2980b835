//! A page in few vectors of few bits: what a scan of very many pages reads, to find those that are
//! worth a look at their int8 codes.

use std::ops::Range;

use half::f16;
use pagesight_core::{PageVectors, QueryVectors};

use pagesight_simd::Instructions;

use super::packed::Bits;
use super::scalar::{ScalarCoder, ScalarPage, ScalarQuery};
use crate::error::DimMismatch;
use crate::pool::pool_to;

/// Bits a number: beside 4, half the bytes; see benches/results for what is lost.
const BITS: Bits = Bits::Two;

/// Vectors that are merged into one row, as long as [`ROWS`] allows.
const FACTOR: usize = 8;

/// The fewest rows of a page that has as many vectors, and the most.
const ROWS: Range<usize> = 64..256;

/// Rows are filled up to whole tiles of the matrix units, with copies that change no maximum.
const TILE: usize = 16;

/// Makes the sketches of pages, all around one mean vector.
///
/// ```
/// use pagesight_core::{PageVectors, QueryVectors};
/// use pagesight_maxsim::SketchCoder;
///
/// let near = PageVectors::from_f32(2, &[0.8, 0.6])?;
/// let far = PageVectors::from_f32(2, &[0.6, -0.8])?;
/// let coder = SketchCoder::fit([&near, &far])?;
/// let query = coder.query(&QueryVectors::of_rows(2, vec![0.6, 0.8])?)?;
/// let score = |page| Ok::<_, pagesight_maxsim::DimMismatch>(query.score(&coder.encode(page)?));
/// assert!(score(&near)? > score(&far)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SketchCoder {
    coder: ScalarCoder,
}

/// The sketch of a page: its vectors pooled, in 2 bits a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    page: ScalarPage,
}

/// A query laid out for the sketches of one coder.
#[derive(Debug, Clone)]
pub struct SketchQuery {
    query: ScalarQuery,
}

/// The sketches of some pages that lie side by side, e.g. in a mapped file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sketches<'a> {
    /// `[rows of all, bytes of a row]`
    pub codes: &'a [u8],
    /// `[rows of all]`
    pub scales: &'a [[u8; 2]],
}

impl Sketches<'_> {
    /// Checksum of codes and scales.
    pub fn crc(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(self.codes), self.scales.as_flattened())
    }
}

impl SketchCoder {
    /// Takes the mean of all vectors of `pages`, a sample of the corpus.
    ///
    /// # Errors
    /// [`DimMismatch`] when the pages differ in dim.
    pub fn fit<'a>(pages: impl IntoIterator<Item = &'a PageVectors>) -> Result<Self, DimMismatch> {
        Ok(Self { coder: ScalarCoder::fit(BITS, pages)? })
    }

    /// Takes `mean`, `[dim]`, of another coder.
    pub fn around(mean: Vec<f32>) -> Self {
        Self { coder: ScalarCoder::around(BITS, mean) }
    }

    /// The mean vector, `[dim]`.
    pub fn mean(&self) -> &[f32] {
        self.coder.mean()
    }

    /// The sketch of `page`.
    ///
    /// # Errors
    /// [`DimMismatch`] when its dim is not the coder's.
    pub fn encode(&self, page: &PageVectors) -> Result<Sketch, DimMismatch> {
        let rows = (page.len() / FACTOR / TILE * TILE).clamp(ROWS.start, ROWS.end);
        let mut page = self.coder.encode(&pool_to(page, rows))?;
        page.fill(TILE);
        Ok(Sketch { page })
    }

    /// Lays `query` out. Its tokens are merged, those first that point the same way, until half as
    /// many blocks of 16 are left: every query has tokens that say the same thing, and each block
    /// costs as much as the page does.
    ///
    /// # Errors
    /// [`DimMismatch`] when its dim is not the coder's.
    pub fn query(&self, query: &QueryVectors) -> Result<SketchQuery, DimMismatch> {
        let count = query.len().div_ceil(2).next_multiple_of(TILE);
        let merged = merge(query, count);
        Ok(SketchQuery { query: self.coder.query(Instructions::best(), &[&merged])? })
    }
}

/// Replaces the two tokens that are most alike by their sum, until `count` are left: what the sum
/// finds on a page is what both find when they find the same.
fn merge(query: &QueryVectors, count: usize) -> QueryVectors {
    let dim = query.dim();
    let mut tokens: Vec<Vec<f32>> = query.values().chunks_exact(dim).map(<[f32]>::to_vec).collect();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let like = |a: &[f32], b: &[f32]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    while tokens.len() > count {
        let pairs = (1..tokens.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
        let pair = pairs
            .map(|(a, b)| (like(&tokens[a], &tokens[b]), a, b))
            .max_by(|x, y| x.0.total_cmp(&y.0));
        let Some((_, a, b)) = pair else { break };
        let other = tokens.swap_remove(b);
        tokens[a].iter_mut().zip(other).for_each(|(x, y)| *x += y);
    }
    QueryVectors::of_rows(dim, tokens.concat()).expect("sums of finite vectors")
}

impl Sketch {
    /// What it takes, bytes.
    pub fn bytes(&self) -> usize {
        self.page.bytes()
    }

    /// `[rows, bytes of a row]`
    pub(crate) fn codes(&self) -> &[u8] {
        self.page.codes()
    }

    /// `[rows]`
    pub(crate) fn scales(&self) -> &[f16] {
        self.page.scales()
    }
}

/// Bytes of a row of a sketch, its scale aside.
pub(crate) fn row_bytes(dim: usize) -> usize {
    BITS.row_bytes(dim)
}

impl SketchQuery {
    /// An estimate of MaxSim, f32; the same to the bit on every CPU, alone or beside others.
    ///
    /// # Panics
    /// When the sketch is of another dim.
    pub fn score(&self, sketch: &Sketch) -> f32 {
        self.query.score(&sketch.page).expect("one dim in an index")
    }

    /// The estimates for pages of `rows` each.
    pub(crate) fn scores(&self, sketches: Sketches<'_>, rows: &[usize]) -> Vec<f32> {
        self.query.score_pages(sketches.codes, sketches.scales, rows)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{case, query};
    use crate::{ExactQuery, maxsim_reference};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_query_of_few_tokens_is_scored_as_its_code((dim, q, p) in case()) {
            let page = PageVectors::from_f32(dim, &p).unwrap();
            let coder = SketchCoder::fit([&page]).unwrap();
            let q = query(dim, q[..q.len().min(TILE * dim)].to_vec());
            let plain = ScalarCoder::fit(BITS, [&page]).unwrap();
            let sketch = coder.encode(&page).unwrap();
            let rows = sketch.page.scales().len();
            prop_assert!(rows.is_multiple_of(TILE) && sketch.bytes() == rows * (row_bytes(dim) + 2));
            // Below the fewest rows nothing is pooled.
            if page.len() <= ROWS.start {
                let expected = plain.query(Instructions::best(), &[&q]).unwrap();
                let expected = expected.score(&plain.encode(&page).unwrap()).unwrap();
                prop_assert_eq!(coder.query(&q).unwrap().score(&sketch), expected);
            }
        }

        #[test]
        fn merged_tokens_sum_to_the_same((dim, q, _) in case()) {
            let whole = query(dim, q);
            let merged = merge(&whole, 16);
            prop_assert_eq!(merged.len(), whole.len().min(16));
            for d in 0..dim {
                let sum = |q: &QueryVectors| q.values().iter().skip(d).step_by(dim).sum::<f32>();
                prop_assert!((sum(&whole) - sum(&merged)).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn tokens_that_say_the_same_are_merged_without_loss() {
        let page = PageVectors::from_f32(2, &[0.8, 0.6, -0.6, 0.8]).unwrap();
        let q: Vec<f32> =
            (0..40).flat_map(|n| if n % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
        let whole = query(2, q.clone());
        let merged = merge(&whole, 2);
        assert_eq!(merged.values(), [20.0, 0.0, 0.0, 20.0]);
        let score = ExactQuery::new(&merged).score(&page).unwrap();
        let rows: Vec<f32> = page.values().iter().map(|v| v.to_f32()).collect();
        assert!((f64::from(score) - maxsim_reference(2, &q, &rows)).abs() < 1e-4);
    }

    #[test]
    fn another_dim_is_an_error() {
        let coder = SketchCoder::around(vec![0.0; 3]);
        let page = PageVectors::from_f32(2, &[1.0; 2]).unwrap();
        assert_eq!(coder.encode(&page), Err(DimMismatch { query: 3, page: 2 }));
        assert!(coder.query(&query(2, vec![1.0; 2])).is_err());
    }
}
