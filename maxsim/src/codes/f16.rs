//! MaxSim over full-precision vectors (f16), computed in f32.

use std::ops::Range;

use pagesight_core::{PageVectors, QueryVectors};
use pagesight_simd::Instructions;

use super::int8::{Int8View, length, rounding};
use super::query::{Code, LayOut, Query};
use crate::error::DimMismatch;
use crate::kernel::{LANES, Lanes, parts, raise_f32, widen};

/// Page rows widened to f32 at a time: 48 rows of 128, whole tiles of every kernel, stay in the
/// first-level cache beside the query.
const ROWS: usize = 48;

/// The full-precision vectors of a page, as they are: exact MaxSim.
#[derive(Debug, Clone)]
pub struct F16 {
    instructions: Instructions,
    dim: usize,
    /// `[blocks, dim, 16]`, the last block filled up with zeros that no score counts.
    blocks: Vec<Lanes<f32>>,
    /// The lengths of the first query's tokens, summed.
    length: f64,
}

/// A query, or several, laid out for exact MaxSim over full-precision vectors.
///
/// ```
/// use pagesight_core::{PageVectors, QueryVectors};
/// use pagesight_maxsim::ExactQuery;
///
/// let query = QueryVectors::of_rows(2, vec![1.0, 0.0, 0.0, 1.0])?;
/// let page = PageVectors::from_f32(2, &[0.5, 0.0, 0.0, 0.25])?;
/// assert_eq!(ExactQuery::new(&query).score(&page)?, 0.75);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type ExactQuery = Query<F16>;

impl LayOut for F16 {
    fn lay_out(with: Instructions, dim: usize, queries: &[&QueryVectors]) -> Self {
        let blocks = lanes(dim, queries.iter().flat_map(|query| query.values().chunks_exact(dim)));
        let length = queries[0].values().chunks_exact(dim).map(length).sum();
        Self { instructions: with, dim, blocks, length }
    }
}

/// `rows`, each of `dim` numbers, in the lanes of the kernels: `[blocks, dim, 16]`.
pub(crate) fn lanes<'a>(dim: usize, rows: impl Iterator<Item = &'a [f32]>) -> Vec<Lanes<f32>> {
    let mut blocks: Vec<Lanes<f32>> = Vec::new();
    for (n, row) in rows.enumerate() {
        if n.is_multiple_of(LANES) {
            blocks.resize(blocks.len() + dim, [0.0; LANES]);
        }
        for (lanes, &x) in blocks[n / LANES * dim..].iter_mut().zip(row) {
            lanes[n % LANES] = x;
        }
    }
    blocks
}

impl Code for F16 {
    type Page<'a> = &'a PageVectors;

    fn dim(page: &&PageVectors) -> usize {
        page.dim()
    }

    fn best(&self, page: &&PageVectors) -> Vec<f32> {
        self.best_of(page.len(), |rows, wide| {
            let rows = &page.values()[rows.start * self.dim..rows.end * self.dim];
            widen(self.instructions, rows, wide);
        })
    }
}

impl F16 {
    /// The maxima over `n` rows, which `fill` writes part by part in f32.
    fn best_of(&self, n: usize, fill: impl Fn(Range<usize>, &mut [f32])) -> Vec<f32> {
        let mut best = self.no_maxima();
        let mut wide = vec![0.0f32; ROWS * self.dim];
        for rows in parts(n, ROWS) {
            let wide = &mut wide[..rows.len() * self.dim];
            fill(rows, wide);
            raise_f32(self.instructions, self.dim, &self.blocks, wide, &mut best);
        }
        best.into_flattened()
    }

    fn no_maxima(&self) -> Vec<Lanes<f32>> {
        vec![[f32::NEG_INFINITY; LANES]; self.blocks.len() / self.dim]
    }
}

impl ExactQuery {
    /// As [`score`](Self::score), for a page in f32, `[n_vectors, dim]`. A row with a NaN never
    /// wins.
    ///
    /// # Errors
    /// [`DimMismatch`] when `rows` is empty or not whole rows of the query's dim.
    pub fn score_f32(&self, rows: &[f32]) -> Result<f32, DimMismatch> {
        let (dim, code) = (self.dim(), &self.code);
        if rows.is_empty() || !rows.len().is_multiple_of(dim) {
            return Err(DimMismatch { query: dim, page: rows.len() });
        }
        let mut best = code.no_maxima();
        for part in parts(rows.len() / dim, ROWS) {
            let rows = &rows[part.start * dim..part.end * dim];
            raise_f32(code.instructions, dim, &code.blocks, rows, &mut best);
        }
        Ok(self.first_score(best.as_flattened()))
    }

    /// MaxSim of the query (of a batch, the first) and what the int8 code of a page stands for,
    /// f32.
    ///
    /// An estimate of [`score`](Self::score) that reads no full-precision vectors. Its error bound,
    /// [`bound_code`](Self::bound_code), is about half that of [`Int8Query`](crate::Int8Query),
    /// which rounds the query too; it costs several times more.
    ///
    /// # Errors
    /// [`DimMismatch`] when the row lengths differ.
    pub fn score_code(&self, page: &Int8View<'_>) -> Result<f32, DimMismatch> {
        self.check(page.dim())?;
        let best = self.code.best_of(page.vectors(), |rows, wide| page.decode(rows, wide));
        Ok(self.first_score(&best))
    }

    /// How far [`score_code`](Self::score_code) may be from [`score`](Self::score), f32 rounding
    /// included: with p a vector and p' what its code stands for, by Cauchy-Schwarz
    /// `|<q, p> - <q, p'>| <= |q| |p - p'|`.
    pub fn bound_code(&self, page: &Int8View<'_>) -> f32 {
        let (error, length) = page.error_and_length();
        let query = self.code.length;
        let bound = query * error + rounding(&self.tokens, query, length + error);
        (bound as f32).next_up()
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;
    use crate::maxsim_reference;
    use crate::testing::{case, query};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn equals_the_reference((dim, q, p) in case()) {
            let page = PageVectors::from_f32(dim, &p).unwrap();
            let rounded: Vec<f32> = page.values().iter().map(|v| v.to_f32()).collect();
            let expected = maxsim_reference(dim, &q, &rounded);
            let tolerance = 1e-6 * q.len() as f64 + 1e-5;
            let query = query(dim, q);
            for &instructions in Instructions::available() {
                let prepared = ExactQuery::with(instructions, &query);
                for got in [prepared.score(&page), prepared.score_f32(&rounded)] {
                    let error = (f64::from(got.unwrap()) - expected).abs();
                    prop_assert!(error <= tolerance, "{instructions:?} {error}");
                }
            }
        }

        #[test]
        fn the_order_of_page_vectors_does_not_matter((dim, q, p) in case()) {
            let reversed: Vec<f32> = p.chunks_exact(dim).rev().flatten().copied().collect();
            let prepared = ExactQuery::new(&query(dim, q));
            let score = |p: &[f32]| prepared.score(&PageVectors::from_f32(dim, p).unwrap());
            prop_assert_eq!(score(&p), score(&reversed));
        }

        #[test]
        fn another_page_vector_never_lowers_the_score((dim, q, p) in case()) {
            let prepared = ExactQuery::new(&query(dim, q));
            let score = |p: &[f32]| prepared.score(&PageVectors::from_f32(dim, p).unwrap());
            let longer: Vec<f32> = p.iter().chain(&p[..dim]).map(|v| v * 0.5).chain(p.iter().copied()).collect();
            prop_assert!(score(&longer).unwrap() >= score(&p).unwrap());
        }
    }

    #[test]
    fn a_page_on_the_far_side_scores_below_zero() {
        // No floor of 0 under the maximum: padding with zero vectors would give one.
        let page = PageVectors::new(2, vec![f16::from_f32(-1.0), f16::ZERO]).unwrap();
        let score = ExactQuery::new(&query(2, vec![1.0, 0.0])).score(&page);
        assert_eq!(score, Ok(-1.0));
    }

    #[test]
    fn what_is_not_a_number_never_wins_and_infinity_does() {
        for &with in Instructions::available() {
            let prepared = ExactQuery::with(with, &query(2, vec![1.0, 0.0]));
            for rows in [[f32::NAN, 0.0, 0.5, 0.0], [0.5, 0.0, 0.0, f32::NAN]] {
                assert_eq!(prepared.score_f32(&rows), Ok(0.5), "{with:?}");
            }
            let infinite = prepared.score_f32(&[f32::INFINITY, 0.0, 0.5, 0.0]);
            assert_eq!(infinite, Ok(f32::INFINITY), "{with:?}");
            assert_eq!(prepared.score_f32(&[]), Err(DimMismatch { query: 2, page: 0 }));
        }
    }

    #[test]
    fn another_dim_is_an_error() {
        let page = PageVectors::from_f32(3, &[1.0, 0.0, 0.0]).unwrap();
        let score = ExactQuery::new(&query(2, vec![1.0, 0.0])).score(&page);
        assert_eq!(score, Err(DimMismatch { query: 2, page: 3 }));
    }
}
