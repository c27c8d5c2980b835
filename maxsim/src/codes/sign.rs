//! The 1-bit code: the sign of each number, 16 bytes a vector of dim 128. Too coarse to rank with,
//! and very fast: it finds candidates for a finer code.

use pagesight_core::{PageVectors, QueryVectors};

use pagesight_simd::Instructions;

use super::mean::mean_vector;
use super::query::{Code, LayOut, Query};
use super::rotation::rotate;
use crate::error::DimMismatch;
use crate::kernel::{SIGN_LANES, SignLanes, lower_sign};

/// What a sign is taken against: the mean of the pages' vectors. They share a direction, whose
/// signs would tell nothing; taking it away changes every dot product of a query token by the
/// same amount, and no ranking. What is left is rotated, as the query is, so that every sign matters
/// alike.
///
/// ```
/// use pagesight_core::{PageVectors, QueryVectors};
/// use pagesight_maxsim::{SignCoder, SignQuery};
///
/// let near = PageVectors::from_f32(2, &[0.8, 0.6])?;
/// let far = PageVectors::from_f32(2, &[0.6, -0.8])?;
/// let coder = SignCoder::fit([&near, &far])?;
/// let query = SignQuery::new(&QueryVectors::of_rows(2, vec![0.6, 0.8])?);
/// let score = |page| query.score(&coder.encode(page)?);
/// assert!(score(&near)? > score(&far)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SignCoder {
    mean: Vec<f32>,
}

impl SignCoder {
    /// Takes the mean of all vectors of `pages`, a sample of the corpus.
    ///
    /// # Errors
    /// [`DimMismatch`] when the pages differ in dim.
    pub fn fit<'a>(pages: impl IntoIterator<Item = &'a PageVectors>) -> Result<Self, DimMismatch> {
        Ok(Self { mean: mean_vector(pages)? })
    }

    /// The signs of `page`.
    ///
    /// # Errors
    /// [`DimMismatch`] when its dim is not the coder's.
    pub fn encode(&self, page: &PageVectors) -> Result<SignPage, DimMismatch> {
        let dim = self.mean.len();
        if page.dim() != dim {
            return Err(DimMismatch { query: dim, page: page.dim() });
        }
        let mut words = Vec::with_capacity(page.len() * dim.div_ceil(64));
        let mut centred = vec![0.0; dim];
        for row in page.values().chunks_exact(dim) {
            for (d, centred) in centred.iter_mut().enumerate() {
                *centred = row[d].to_f32() - self.mean[d];
            }
            rotate(&mut centred);
            words.extend(signs(&centred));
        }
        Ok(SignPage { dim, words })
    }
}

/// A page in signs, `[n, dim]` bits, each row filled up to whole words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignPage {
    dim: usize,
    words: Vec<u64>,
}

impl SignPage {
    /// What the code takes, bytes.
    pub fn bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }
}

/// The code of signs, scored against the signs of a query: MaxSim of vectors of 1 and -1.
#[derive(Debug, Clone)]
pub struct Sign {
    instructions: Instructions,
    dim: usize,
    /// `[blocks, words of a row, 8]`
    blocks: Vec<SignLanes>,
}

/// A query, or several, in signs. A score is the sum over the query tokens of the most signs that
/// agree, less those that differ, with any vector of the page: exact in integers, the same on every
/// CPU.
pub type SignQuery = Query<Sign>;

impl LayOut for Sign {
    fn lay_out(with: Instructions, dim: usize, queries: &[&QueryVectors]) -> Self {
        let row_words = dim.div_ceil(64);
        let mut blocks = Vec::new();
        let mut rotated = vec![0.0; dim];
        let rows = queries.iter().flat_map(|query| query.values().chunks_exact(dim));
        for (n, row) in rows.enumerate() {
            if n.is_multiple_of(SIGN_LANES) {
                blocks.resize(blocks.len() + row_words, [0; SIGN_LANES]);
            }
            rotated.copy_from_slice(row);
            rotate(&mut rotated);
            for (w, word) in signs(&rotated).enumerate() {
                blocks[n / SIGN_LANES * row_words + w][n % SIGN_LANES] = word;
            }
        }
        Self { instructions: with, dim, blocks }
    }
}

impl Code for Sign {
    type Page<'a> = &'a SignPage;

    fn dim(page: &&SignPage) -> usize {
        page.dim
    }

    fn best(&self, page: &&SignPage) -> Vec<f32> {
        let row_words = self.dim.div_ceil(64);
        let mut fewest = vec![[u64::MAX; SIGN_LANES]; self.blocks.len() / row_words];
        lower_sign(self.instructions, &self.blocks, &page.words, &mut fewest);
        // Whole numbers far below 2^24: f32 has them, and their sums, exactly.
        let agree = |&differ: &u64| self.dim as f32 - 2.0 * differ as f32;
        fewest.as_flattened().iter().map(agree).collect()
    }
}

/// A bit a number, set where it is below 0; the last word is filled up with 0.
fn signs(row: &[f32]) -> impl Iterator<Item = u64> + '_ {
    row.chunks(64).map(|part| {
        part.iter().enumerate().fold(0, |word, (bit, &x)| word | (u64::from(x < 0.0) << bit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::maxsim_reference;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn equals_the_reference_of_ones(
            (dim, q, p) in (1usize..200, 1usize..40, 1usize..80).prop_flat_map(|(dim, n, s)| {
                let row = |count| prop::collection::vec(-1.0f32..1.0, count * dim);
                (Just(dim), row(n), row(s))
            })
        ) {
            let page = PageVectors::from_f32(dim, &p).unwrap();
            let coder = SignCoder { mean: vec![0.0; dim] };
            let code = coder.encode(&page).unwrap();
            let one = |x: &f32| if *x < 0.0 { -1.0 } else { 1.0 };
            let ones = |values: &[f32]| {
                let mut values = values.to_vec();
                values.chunks_exact_mut(dim).for_each(rotate);
                values.iter().map(one).collect::<Vec<f32>>()
            };
            let rounded: Vec<f32> = page.values().iter().map(|v| v.to_f32()).collect();
            let expected = maxsim_reference(dim, &ones(&q), &ones(&rounded));
            let query = QueryVectors::of_rows(dim, q).unwrap();
            for &with in Instructions::available() {
                let score = SignQuery::with(with, &query).score(&code).unwrap();
                prop_assert_eq!(f64::from(score), expected, "{:?}", with);
            }
        }
    }

    #[test]
    fn a_shared_direction_is_taken_away() {
        // Both have a large first number; only the second tells them apart.
        let page = |x| PageVectors::from_f32(2, &[0.9, x]).unwrap();
        let coder = SignCoder::fit([&page(0.3), &page(0.5)]).unwrap();
        assert_ne!(coder.encode(&page(0.3)), coder.encode(&page(0.5)));
        let other = PageVectors::from_f32(3, &[1.0; 3]).unwrap();
        assert!(coder.encode(&other).is_err());
        assert!(SignCoder::fit([&page(0.3), &other]).is_err());
    }
}
