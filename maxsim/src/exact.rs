//! Exact MaxSim over the f16 masters, in f32.

use half::slice::HalfFloatSliceExt;
use pagesight_core::{PageVectors, QueryVectors};

/// Query tokens scored together: 16 f32 fill one AVX-512 or four SSE registers.
const LANES: usize = 16;

/// Page rows widened to f32 at a time: 64 rows of 128 stay in the first-level cache.
const ROWS: usize = 64;

/// Query and page vectors of different length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("query vectors have dim {query}, page vectors {page}")]
pub struct DimMismatch {
    /// Row length of the query.
    pub query: usize,
    /// Row length of the page.
    pub page: usize,
}

/// A query laid out for scoring many pages: blocks of 16 tokens, `[blocks, dim, 16]`, f32, the
/// last block filled up with zeros that are left out of the sum.
#[derive(Debug, Clone)]
pub struct PreparedQuery {
    dim: usize,
    tokens: usize,
    blocks: Vec<[f32; LANES]>,
}

impl PreparedQuery {
    /// Lays `query` out.
    pub fn new(query: &QueryVectors) -> Self {
        let (dim, tokens) = (query.dim(), query.len());
        let mut blocks = vec![[0.0; LANES]; tokens.div_ceil(LANES) * dim];
        for (n, row) in query.values().chunks_exact(dim).enumerate() {
            for (d, &value) in row.iter().enumerate() {
                blocks[n / LANES * dim + d][n % LANES] = value;
            }
        }
        Self { dim, tokens, blocks }
    }

    /// MaxSim of the query and `page`, f32. Deterministic: the same on any thread, and the order
    /// of the page's vectors does not matter. Two infinities cannot meet, since multi-vectors
    /// are finite; an overflow of f32 scores as infinity.
    ///
    /// # Errors
    /// [`DimMismatch`] when the row lengths differ.
    pub fn score(&self, page: &PageVectors) -> Result<f32, DimMismatch> {
        if page.dim() != self.dim {
            return Err(DimMismatch { query: self.dim, page: page.dim() });
        }
        let mut best = vec![[f32::NEG_INFINITY; LANES]; self.tokens.div_ceil(LANES)];
        let mut wide = vec![0.0f32; ROWS * self.dim];
        for rows in page.values().chunks(ROWS * self.dim) {
            let wide = &mut wide[..rows.len()];
            rows.convert_to_f32_slice(wide);
            for (block, best) in self.blocks.chunks_exact(self.dim).zip(&mut best) {
                for row in wide.chunks_exact(self.dim) {
                    raise(best, &dots(block, row));
                }
            }
        }
        Ok(best.as_flattened()[..self.tokens].iter().sum())
    }
}

/// Dot products of 16 tokens with one page row.
#[inline]
fn dots(block: &[[f32; LANES]], row: &[f32]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (values, &x) in block.iter().zip(row) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += value * x;
        }
    }
    sums
}

#[inline]
fn raise(best: &mut [f32; LANES], sums: &[f32; LANES]) {
    for (best, &sum) in best.iter_mut().zip(sums) {
        *best = if sum > *best { sum } else { *best };
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;
    use crate::maxsim_reference;

    fn query(dim: usize, values: Vec<f32>) -> QueryVectors {
        let tokens = vec![String::new(); values.len() / dim];
        QueryVectors::new(dim, values, tokens).unwrap()
    }

    /// dim, query rows and page rows of any length, values as unit vectors have them.
    fn case() -> impl Strategy<Value = (usize, Vec<f32>, Vec<f32>)> {
        (1usize..200, 1usize..40, 1usize..150).prop_flat_map(|(dim, n, s)| {
            let row = |count| prop::collection::vec(-1.0f32..1.0, count * dim);
            (Just(dim), row(n), row(s))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn equals_the_reference((dim, q, p) in case()) {
            let page = PageVectors::from_f32(dim, &p).unwrap();
            let rounded: Vec<f32> = page.values().iter().map(|v| v.to_f32()).collect();
            let expected = maxsim_reference(dim, &q, &rounded);
            let tokens = q.len() / dim;
            let got = PreparedQuery::new(&query(dim, q)).score(&page).unwrap();
            let tolerance = 1e-6 * (tokens * dim) as f64 + 1e-5;
            prop_assert!((f64::from(got) - expected).abs() <= tolerance, "{got} {expected}");
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
    fn another_dim_is_an_error() {
        let page = PageVectors::from_f32(3, &[1.0, 0.0, 0.0]).unwrap();
        let score = PreparedQuery::new(&query(2, vec![1.0, 0.0])).score(&page);
        assert_eq!(score, Err(DimMismatch { query: 2, page: 3 }));
    }
}
