//! Exact MaxSim over the f16 masters, in f32.

use pagesight_core::{PageVectors, QueryVectors};

use crate::int8::{Int8View, length, rounding};
use pagesight_simd::Instructions;

use crate::kernel::{LANES, Lanes, parts, raise_f32, widen};
use crate::tokens::Tokens;

/// Page rows widened to f32 at a time: 48 rows of 128, whole tiles of every kernel, stay in the
/// first-level cache beside the query.
const ROWS: usize = 48;

/// Query and page vectors of different length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("query vectors have dim {query}, page vectors {page}")]
pub struct DimMismatch {
    /// Row length of the query.
    pub query: usize,
    /// Row length of the page.
    pub page: usize,
}

/// A query, or several, laid out for scoring many pages: blocks of 16 tokens, `[blocks, dim, 16]`,
/// f32, the last block filled up with zeros that are left out of the sum.
#[derive(Debug, Clone)]
pub struct PreparedQuery {
    instructions: Instructions,
    tokens: Tokens,
    blocks: Vec<Lanes<f32>>,
    /// The lengths of the first query's tokens, summed.
    length: f64,
}

impl PreparedQuery {
    /// Lays `query` out for the best instructions of this processor.
    pub fn new(query: &QueryVectors) -> Self {
        Self::with(Instructions::best(), query)
    }

    /// Lays `query` out for `instructions`; the portable ones when the processor lacks them.
    pub fn with(instructions: Instructions, query: &QueryVectors) -> Self {
        Self::batch(instructions, &[query]).expect("one query has one dim")
    }

    /// Lays several queries out, to be scored in one pass over a page.
    ///
    /// ```
    /// use pagesight_core::{PageVectors, QueryVectors};
    /// use pagesight_maxsim::{Instructions, PreparedQuery};
    ///
    /// let query = |x, y| QueryVectors::of_rows(2, vec![x, y]).unwrap();
    /// let batch = PreparedQuery::batch(Instructions::best(), &[&query(1.0, 0.0), &query(0.0, 1.0)])?;
    /// let page = PageVectors::from_f32(2, &[0.5, 0.25]).unwrap();
    /// assert_eq!(batch.scores(&page)?, [0.5, 0.25]);
    /// # Ok::<(), pagesight_maxsim::DimMismatch>(())
    /// ```
    ///
    /// # Errors
    /// [`DimMismatch`] when they differ in dim.
    ///
    /// # Panics
    /// When there are none.
    pub fn batch(
        instructions: Instructions,
        queries: &[&QueryVectors],
    ) -> Result<Self, DimMismatch> {
        let tokens = Tokens::of(queries)?;
        let dim = tokens.dim();
        let mut blocks = vec![[0.0; LANES]; tokens.blocks() * dim];
        let rows = queries.iter().flat_map(|query| query.values().chunks_exact(dim));
        for (n, row) in rows.enumerate() {
            for (d, &value) in row.iter().enumerate() {
                blocks[n / LANES * dim + d][n % LANES] = value;
            }
        }
        let length = queries[0].values().chunks_exact(dim).map(length).sum();
        Ok(Self { instructions: instructions.or_portable(), tokens, blocks, length })
    }

    /// MaxSim of the query (of a batch, the first) and `page`, f32. Deterministic: the same on
    /// any thread, alone or in a batch, and the order of the page's vectors does not matter. Two
    /// infinities cannot meet, since multi-vectors are finite; an overflow of f32 scores as
    /// infinity.
    ///
    /// # Errors
    /// [`DimMismatch`] when the row lengths differ.
    pub fn score(&self, page: &PageVectors) -> Result<f32, DimMismatch> {
        let best = self.best(page)?;
        Ok(self.tokens.first_sum(|n| best.as_flattened()[n]))
    }

    /// MaxSim of each query of the batch and `page`: its vectors are read once for all.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn scores(&self, page: &PageVectors) -> Result<Vec<f32>, DimMismatch> {
        let best = self.best(page)?;
        Ok(self.tokens.sums(|n| best.as_flattened()[n]).collect())
    }

    fn best(&self, page: &PageVectors) -> Result<Vec<Lanes<f32>>, DimMismatch> {
        let dim = self.tokens.dim();
        if page.dim() != dim {
            return Err(DimMismatch { query: dim, page: page.dim() });
        }
        let mut best = self.no_maxima();
        let mut wide = vec![0.0f32; ROWS * dim];
        for rows in parts(page.len(), ROWS) {
            let rows = &page.values()[rows.start * dim..rows.end * dim];
            let wide = &mut wide[..rows.len()];
            widen(self.instructions, rows, wide);
            raise_f32(self.instructions, dim, &self.blocks, wide, &mut best);
        }
        Ok(best)
    }

    /// As [`score`](Self::score), for a page in f32, `[n_vectors, dim]`. A row with a number that
    /// is not one never wins.
    ///
    /// # Errors
    /// [`DimMismatch`] when `rows` is empty or not whole rows of the query's dim.
    pub fn score_f32(&self, rows: &[f32]) -> Result<f32, DimMismatch> {
        let dim = self.tokens.dim();
        if rows.is_empty() || !rows.len().is_multiple_of(dim) {
            return Err(DimMismatch { query: dim, page: rows.len() });
        }
        let mut best = self.no_maxima();
        for part in parts(rows.len() / dim, ROWS) {
            let rows = &rows[part.start * dim..part.end * dim];
            raise_f32(self.instructions, dim, &self.blocks, rows, &mut best);
        }
        Ok(self.tokens.first_sum(|n| best.as_flattened()[n]))
    }

    /// MaxSim of the query (of a batch, the first) and what the code of a page stands for, f32: an
    /// estimate of [`score`](Self::score) twice as near for certain as the one that rounds the
    /// query too, at several times its cost.
    ///
    /// # Errors
    /// [`DimMismatch`] when the row lengths differ.
    pub fn score_code(&self, page: &Int8View<'_>) -> Result<f32, DimMismatch> {
        let dim = self.tokens.dim();
        if page.dim() != dim {
            return Err(DimMismatch { query: dim, page: page.dim() });
        }
        let mut best = self.no_maxima();
        let mut wide = vec![0.0f32; ROWS * dim];
        for rows in parts(page.vectors(), ROWS) {
            let wide = &mut wide[..rows.len() * dim];
            page.decode(rows, wide);
            raise_f32(self.instructions, dim, &self.blocks, wide, &mut best);
        }
        Ok(self.tokens.first_sum(|n| best.as_flattened()[n]))
    }

    /// How far [`score_code`](Self::score_code) may be from [`score`](Self::score), f32 rounding
    /// included: with p a vector and p' what its code stands for, by Cauchy-Schwarz
    /// `|<q, p> - <q, p'>| <= |q| |p - p'|`.
    pub fn bound_code(&self, page: &Int8View<'_>) -> f32 {
        let (error, length) = page.error_and_length();
        let bound = self.length * error + rounding(&self.tokens, self.length, length + error);
        (bound as f32).next_up()
    }

    fn no_maxima(&self) -> Vec<Lanes<f32>> {
        vec![[f32::NEG_INFINITY; LANES]; self.tokens.blocks()]
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
                let prepared = PreparedQuery::with(instructions, &query);
                for got in [prepared.score(&page), prepared.score_f32(&rounded)] {
                    let error = (f64::from(got.unwrap()) - expected).abs();
                    prop_assert!(error <= tolerance, "{instructions:?} {error}");
                }
            }
        }

        #[test]
        fn the_order_of_page_vectors_does_not_matter((dim, q, p) in case()) {
            let reversed: Vec<f32> = p.chunks_exact(dim).rev().flatten().copied().collect();
            let prepared = PreparedQuery::new(&query(dim, q));
            let score = |p: &[f32]| prepared.score(&PageVectors::from_f32(dim, p).unwrap());
            prop_assert_eq!(score(&p), score(&reversed));
        }

        #[test]
        fn another_page_vector_never_lowers_the_score((dim, q, p) in case()) {
            let prepared = PreparedQuery::new(&query(dim, q));
            let score = |p: &[f32]| prepared.score(&PageVectors::from_f32(dim, p).unwrap());
            let longer: Vec<f32> = p.iter().chain(&p[..dim]).map(|v| v * 0.5).chain(p.iter().copied()).collect();
            prop_assert!(score(&longer).unwrap() >= score(&p).unwrap());
        }
    }

    #[test]
    fn a_page_on_the_far_side_scores_below_zero() {
        // No floor of 0 under the maximum: padding with zero vectors would give one.
        let page = PageVectors::new(2, vec![f16::from_f32(-1.0), f16::ZERO]).unwrap();
        let score = PreparedQuery::new(&query(2, vec![1.0, 0.0])).score(&page);
        assert_eq!(score, Ok(-1.0));
    }

    #[test]
    fn what_is_not_a_number_never_wins_and_infinity_does() {
        for &with in Instructions::available() {
            let prepared = PreparedQuery::with(with, &query(2, vec![1.0, 0.0]));
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
        let score = PreparedQuery::new(&query(2, vec![1.0, 0.0])).score(&page);
        assert_eq!(score, Err(DimMismatch { query: 2, page: 3 }));
    }
}
