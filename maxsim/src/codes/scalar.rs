//! Codes of 4, 2 or 1 bit a number, scored against an int8 query: a fourth to a sixteenth of the
//! bytes of full-precision vectors.
//!
//! What all pages share is taken away (their mean), what is left is rotated so that every number
//! matters alike, and each number is rounded to one of `2^bits` odd steps. A scale a vector makes
//! the dot product of the vector with its own code right, as RaBitQ does (Gao & Long 2024, sec. 3):
//! the estimate of any other dot product is then without bias over rotations.

use half::f16;
use pagesight_core::{PageVectors, QueryVectors};

use pagesight_simd::Instructions;

use super::int8::Int8Tokens;
use super::mean::mean_vector;
use super::packed::{Bits, PackedRows, PackedTokens};
use super::query::{Code, Query};
use super::rotation::{rotate, rotate_back};
use super::tokens::Tokens;
use crate::error::DimMismatch;

/// How pages are coded: the bits and the mean of the pages' vectors.
///
/// ```
/// use pagesight_core::{PageVectors, QueryVectors};
/// use pagesight_maxsim::{Bits, Instructions, ScalarCoder};
///
/// let near = PageVectors::from_f32(2, &[0.8, 0.6])?;
/// let far = PageVectors::from_f32(2, &[0.6, -0.8])?;
/// let coder = ScalarCoder::fit(Bits::Four, [&near, &far])?;
/// let query = QueryVectors::of_rows(2, vec![0.6, 0.8])?;
/// let query = coder.query(Instructions::best(), &[&query])?;
/// assert!((query.score(&coder.encode(&near)?)? - 0.96).abs() < 0.05);
/// assert!((query.score(&coder.encode(&far)?)? + 0.28).abs() < 0.05);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ScalarCoder {
    bits: Bits,
    mean: Vec<f32>,
}

/// A page in 4, 2 or 1 bit a number; `bits dim / 8` (dim in whole eights) and 2 bytes a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalarPage {
    bits: Bits,
    dim: usize,
    /// `[n, bits * dim / 8]`
    codes: Vec<u8>,
    /// `[n]`
    scales: Vec<f16>,
}

/// The code of 4, 2 or 1 bit a number around a mean, scored against a query in int8.
#[derive(Debug, Clone)]
pub struct Scalar {
    tokens: PackedTokens,
    /// For each query, the dot products of its tokens with the mean, summed.
    shared: Vec<f32>,
}

/// A query, or several, laid out by [`ScalarCoder::query`] for scoring pages of that coder. Scores
/// are the same to the bit on every CPU.
pub type ScalarQuery = Query<Scalar>;

impl ScalarCoder {
    /// Takes the mean of all vectors of `pages`, a sample of the corpus.
    ///
    /// # Errors
    /// [`DimMismatch`] when the pages differ in dim.
    pub fn fit<'a>(
        bits: Bits,
        pages: impl IntoIterator<Item = &'a PageVectors>,
    ) -> Result<Self, DimMismatch> {
        Ok(Self { bits, mean: mean_vector(pages)? })
    }

    /// Takes `mean`, `[dim]`, of another coder.
    pub(super) fn around(bits: Bits, mean: Vec<f32>) -> Self {
        Self { bits, mean }
    }

    pub(super) fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Rounds `page`.
    ///
    /// # Errors
    /// [`DimMismatch`] when its dim is not the coder's.
    pub fn encode(&self, page: &PageVectors) -> Result<ScalarPage, DimMismatch> {
        let dim = self.mean.len();
        if page.dim() != dim {
            return Err(DimMismatch { query: dim, page: page.dim() });
        }
        let row_bytes = self.row_bytes();
        let mut codes = vec![0u8; page.len() * row_bytes];
        let mut scales = Vec::with_capacity(page.len());
        let mut row = vec![0.0f32; dim];
        for (values, codes) in
            page.values().chunks_exact(dim).zip(codes.chunks_exact_mut(row_bytes))
        {
            for ((x, value), mean) in row.iter_mut().zip(values).zip(&self.mean) {
                *x = value.to_f32() - mean;
            }
            rotate(&mut row);
            scales.push(self.bits.round(&row, codes));
        }
        Ok(ScalarPage { bits: self.bits, dim, codes, scales })
    }

    /// The vectors that the code of a page stands for, `[n, dim]`, f32.
    ///
    /// # Panics
    /// When another coder made it.
    pub fn decode(&self, page: &ScalarPage) -> Vec<f32> {
        let dim = self.mean.len();
        assert_eq!((page.dim, page.bits), (dim, self.bits), "dim and bits of the coder");
        let mut rows = page.rotated();
        for row in rows.chunks_exact_mut(dim) {
            rotate_back(row);
            row.iter_mut().zip(&self.mean).for_each(|(x, mean)| *x += mean);
        }
        rows
    }

    /// Lays `queries` out, to be scored in one pass over a page of this coder.
    ///
    /// # Errors
    /// [`DimMismatch`] when one has another dim.
    ///
    /// # Panics
    /// When there are none.
    pub fn query(
        &self,
        instructions: Instructions,
        queries: &[&QueryVectors],
    ) -> Result<ScalarQuery, DimMismatch> {
        let tokens = Tokens::of(queries)?;
        let dim = tokens.dim();
        if dim != self.mean.len() {
            return Err(DimMismatch { query: dim, page: self.mean.len() });
        }
        let mut rotated = Vec::with_capacity(tokens.count() * dim);
        let mut shared = Vec::with_capacity(queries.len());
        for query in queries {
            let products = query.values().iter().zip(self.mean.iter().cycle());
            shared.push(products.map(|(&q, &m)| f64::from(q) * f64::from(m)).sum::<f64>() as f32);
            rotated.extend_from_slice(query.values());
        }
        rotated.chunks_exact_mut(dim).for_each(rotate);
        let padded = dim.next_multiple_of(8);
        let inner = Int8Tokens::new(instructions, padded, rotated.chunks_exact(dim));
        let code = Scalar { tokens: PackedTokens::new(self.bits, inner), shared };
        Ok(Query { tokens, code })
    }

    fn row_bytes(&self) -> usize {
        self.bits.row_bytes(self.mean.len())
    }
}

impl ScalarPage {
    /// What the code takes, bytes.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.scales.len() * size_of::<f16>()
    }

    /// What the rows stand for, beside the mean and still rotated, `[n, dim]`.
    fn rotated(&self) -> Vec<f32> {
        let rows = self.codes.chunks_exact(self.bits.row_bytes(self.dim)).zip(&self.scales);
        rows.flat_map(|(row, &scale)| self.bits.read(self.dim, row, scale)).collect()
    }

    pub(super) fn codes(&self) -> &[u8] {
        &self.codes
    }

    pub(super) fn scales(&self) -> &[f16] {
        &self.scales
    }

    /// Repeats the first row until the rows are whole `tiles`: no maximum changes.
    pub(super) fn fill(&mut self, tile: usize) {
        let row_bytes = self.codes.len() / self.scales.len();
        while !self.scales.len().is_multiple_of(tile) {
            self.codes.extend_from_within(..row_bytes);
            self.scales.push(self.scales[0]);
        }
    }
}

impl Code for Scalar {
    type Page<'a> = &'a ScalarPage;

    fn dim(page: &&ScalarPage) -> usize {
        page.dim
    }

    fn best(&self, page: &&ScalarPage) -> Vec<f32> {
        assert_eq!(self.tokens.bits(), page.bits, "bits of the query and of the page");
        let rows = PackedRows { codes: &page.codes, scales: &page.scales, near: None };
        self.tokens.best(rows, |&scale| scale, &mut Vec::new()).into_flattened()
    }

    #[inline]
    fn value(&self, token: usize, best: f32) -> f32 {
        self.tokens.inner().value(token, best)
    }

    #[inline]
    fn finish(&self, query: usize, sum: f32) -> f32 {
        sum + self.shared[query]
    }
}

impl ScalarQuery {
    /// The estimates (of a batch, for its first query) for pages of this coder that lie one after
    /// another, with `rows` each: `codes` `[rows of all, bytes of a row]`, and `scales`, f16, the
    /// same as [`score`](Self::score) gives for each alone.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub(super) fn score_pages(&self, codes: &[u8], scales: &[[u8; 2]], rows: &[usize]) -> Vec<f32> {
        let tokens = &self.code.tokens;
        let row_bytes = tokens.bits().row_bytes(self.dim());
        assert_eq!(rows.iter().sum::<usize>(), scales.len(), "a scale a row");
        assert_eq!(codes.len(), scales.len() * row_bytes, "whole rows");
        let none = tokens.inner().no_maxima();
        let mut best = none.repeat(rows.len());
        if tokens.bits() == Bits::Two && tokens.inner().raise_pairs(codes, scales, rows, &mut best)
        {
            let pages = best.chunks_exact(none.len());
            return pages.map(|best| self.first_score(best.as_flattened())).collect();
        }
        // One room for the rows of all pages: clearing it takes a sixth of a page's time.
        let (mut done, mut room) = (0, Vec::new());
        let alone = |&rows: &usize| {
            let codes = &codes[done * row_bytes..][..rows * row_bytes];
            let scales = &scales[done..][..rows];
            done += rows;
            let rows = PackedRows { codes, scales, near: None };
            let best = tokens.best(rows, |&bytes| f16::from_le_bytes(bytes), &mut room);
            self.first_score(best.as_flattened())
        };
        rows.iter().map(alone).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codes::int8::rounded;
    use crate::maxsim_reference;
    use crate::testing::{case, query};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn equals_the_reference_of_what_it_stands_for((dim, q, p) in case()) {
            let page = PageVectors::from_f32(dim, &p).unwrap();
            for bits in [Bits::One, Bits::Two, Bits::Four] {
                let coder = ScalarCoder::fit(bits, [&page]).unwrap();
                let code = coder.encode(&page).unwrap();
                let mut rotated = q.clone();
                rotated.chunks_exact_mut(dim).for_each(rotate);
                let rotated: Vec<f32> = rotated.chunks_exact(dim).flat_map(rounded).collect();
                let shared: f64 = q
                    .iter()
                    .zip(coder.mean.iter().cycle())
                    .map(|(&q, &m)| f64::from(q) * f64::from(m))
                    .sum();
                let expected = maxsim_reference(dim, &rotated, &code.rotated()) + shared;
                let scores: Vec<f32> = Instructions::available()
                    .iter()
                    .map(|&with| coder.query(with, &[&query(dim, q.clone())]).unwrap())
                    .map(|query| query.score(&code).unwrap())
                    .collect();
                prop_assert!(scores.iter().all(|s| s.to_bits() == scores[0].to_bits()));
                let error = (f64::from(scores[0]) - expected).abs();
                prop_assert!(error <= 1e-6 * q.len() as f64 + 1e-5, "{error}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn pages_side_by_side_score_as_each_alone(
            (dim, q, p) in case(),
            lengths in prop::collection::vec(1usize..400, 1..9),
        ) {
            let row = |n: usize| p[n % (p.len() / dim) * dim..][..dim].to_vec();
            let (mut next, mut pages) = (0, Vec::new());
            for &length in &lengths {
                let rows: Vec<f32> = (next..next + length).flat_map(row).collect();
                pages.push(PageVectors::from_f32(dim, &rows).unwrap());
                next += length;
            }
            for bits in [Bits::One, Bits::Two, Bits::Four] {
                let coder = ScalarCoder::fit(bits, &pages).unwrap();
                let mut coded: Vec<_> = pages.iter().map(|p| coder.encode(p).unwrap()).collect();
                coded.iter_mut().step_by(2).for_each(|page| page.fill(16));
                let codes: Vec<u8> = coded.iter().flat_map(|p| p.codes.clone()).collect();
                let scales: Vec<[u8; 2]> =
                    coded.iter().flat_map(|p| &p.scales).map(|s| s.to_le_bytes()).collect();
                let rows: Vec<usize> = coded.iter().map(|page| page.scales.len()).collect();
                for &with in Instructions::available() {
                    let query = coder.query(with, &[&query(dim, q.clone())]).unwrap();
                    let alone: Vec<f32> =
                        pages.iter().map(|p| query.score(&coder.encode(p).unwrap()).unwrap()).collect();
                    prop_assert_eq!(&query.score_pages(&codes, &scales, &rows), &alone);
                }
            }
        }
    }

    #[test]
    fn whole_tiles_side_by_side_score_as_each_alone() {
        // An odd number of tiles, pages that end in the middle of a pair, blocks of tokens 1 to 3.
        let value = |n: usize| ((n * 2_654_435_761) % 1_000_003) as f32 / 500_001.5 - 1.0;
        let (dim, tiles) = (128, [1, 3, 2, 1, 1, 8, 5]);
        let rows = |start: usize, n: usize| (start..start + n * dim).map(value).collect::<Vec<_>>();
        let pages: Vec<PageVectors> = (0..)
            .zip(tiles)
            .map(|(n, tiles)| PageVectors::from_f32(dim, &rows(n * 9_999, tiles * 16)).unwrap())
            .collect();
        let coder = ScalarCoder::fit(Bits::Two, &pages).unwrap();
        let coded: Vec<_> = pages.iter().map(|page| coder.encode(page).unwrap()).collect();
        for some in [&coded[..1], &coded[..2], &coded[2..6], &coded[..]] {
            let codes: Vec<u8> = some.iter().flat_map(|p| p.codes.clone()).collect();
            let scales: Vec<[u8; 2]> =
                some.iter().flat_map(|p| &p.scales).map(|s| s.to_le_bytes()).collect();
            let lengths: Vec<usize> = some.iter().map(|page| page.scales.len()).collect();
            for (with, tokens) in Instructions::available()
                .iter()
                .flat_map(|&with| [5, 16, 29, 48].map(|n| (with, n)))
            {
                let query = coder.query(with, &[&query(dim, rows(77, tokens))]).unwrap();
                let alone: Vec<f32> = some.iter().map(|p| query.score(p).unwrap()).collect();
                assert_eq!(
                    query.score_pages(&codes, &scales, &lengths),
                    alone,
                    "{with:?} {tokens}"
                );
            }
        }
    }

    #[test]
    fn more_bits_are_nearer() {
        // Numbers as a hash throws them: no pattern for the code to profit from.
        let value = |n: usize| ((n * 2_654_435_761) % 1_000_003) as f32 / 500_001.5 - 1.0;
        let dim = 128;
        let p: Vec<f32> = (0..40 * dim).map(value).collect();
        let q: Vec<f32> = (0..20 * dim).map(|n| value(n + 77_777)).collect();
        let page = PageVectors::from_f32(dim, &p).unwrap();
        let exact = maxsim_reference(dim, &q, &p);
        let query = query(dim, q);
        let error = |bits| {
            let coder = ScalarCoder::fit(bits, [&page]).unwrap();
            let query = coder.query(Instructions::best(), &[&query]).unwrap();
            let score = query.score(&coder.encode(&page).unwrap()).unwrap();
            (f64::from(score) - exact).abs() / exact
        };
        let errors = [Bits::Four, Bits::Two, Bits::One].map(error);
        assert!(errors[0] < 0.03 && errors[1] < 0.2 && errors[2] < 0.5, "{errors:?}");
        assert!(errors[0] < errors[1] && errors[1] < errors[2], "{errors:?}");
    }

    #[test]
    fn pages_of_one_vector_and_of_its_mean_score_as_the_mean() {
        // The page is its own mean: nothing is left to code, the shared part is the score.
        let page = PageVectors::from_f32(3, &[0.5, 0.25, 0.0]).unwrap();
        for bits in [Bits::One, Bits::Two, Bits::Four] {
            let coder = ScalarCoder::fit(bits, [&page]).unwrap();
            let code = coder.encode(&page).unwrap();
            let query = coder.query(Instructions::best(), &[&query(3, vec![1.0; 3])]).unwrap();
            assert_eq!(query.score(&code), Ok(0.75));
        }
    }

    #[test]
    fn another_dim_is_an_error() {
        let page = PageVectors::from_f32(3, &[1.0; 3]).unwrap();
        let coder = ScalarCoder::fit(Bits::Two, [&page]).unwrap();
        let other = PageVectors::from_f32(2, &[1.0; 2]).unwrap();
        assert_eq!(coder.encode(&other), Err(DimMismatch { query: 3, page: 2 }));
        assert!(coder.query(Instructions::best(), &[&query(2, vec![1.0; 2])]).is_err());
    }
}
