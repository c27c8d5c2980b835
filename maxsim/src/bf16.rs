//! The bf16 code: as large as the f16 masters and, with bf16 instructions, far faster to score.
//! Models emit bf16, so for pages as they come out of one nothing is lost.

use half::bf16;
use half::slice::HalfFloatSliceExt;
use pagesight_core::{PageVectors, QueryVectors};

use crate::DimMismatch;
use pagesight_simd::Instructions;

use crate::kernel::{LANES, Lanes, Pairs, has_bf16, parts, raise_bf16, raise_f32};
use crate::tokens::Tokens;

/// Page rows widened to f32 at a time, where the processor has no bf16.
const ROWS: usize = 48;

/// A page in bf16, 8 bits of precision: `2 dim` bytes a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Bf16Page {
    dim: usize,
    /// `[n, dim]`, each row filled up to a whole pair with 0.
    values: Vec<bf16>,
}

impl Bf16Page {
    /// Rounds `page` to bf16 (to nearest, ties to even).
    pub fn encode(page: &PageVectors) -> Self {
        let dim = page.dim();
        let mut values = Vec::with_capacity(page.len() * dim.next_multiple_of(2));
        for row in page.values().chunks_exact(dim) {
            values.extend(row.iter().map(|value| bf16::from_f32(value.to_f32())));
            values.resize(values.len().next_multiple_of(2), bf16::ZERO);
        }
        Self { dim, values }
    }

    /// What the code takes, bytes.
    pub fn bytes(&self) -> usize {
        self.values.len() * size_of::<bf16>()
    }
}

/// A query, or several, in bf16, laid out for scoring many pages.
#[derive(Debug, Clone)]
pub struct Bf16Query {
    instructions: Instructions,
    tokens: Tokens,
    blocks: Blocks,
}

#[derive(Debug, Clone)]
enum Blocks {
    /// `[blocks, dim / 2, 16, 2]`
    Pairs(Vec<Pairs>),
    /// `[blocks, dim, 16]`, dim in whole pairs.
    Wide(Vec<Lanes<f32>>),
}

impl Bf16Query {
    /// Rounds `query` to bf16 and lays it out for the best instructions of this processor.
    pub fn new(query: &QueryVectors) -> Self {
        Self::with(Instructions::best(), query)
    }

    /// Lays `query` out for `instructions`; the portable ones when the processor lacks them.
    pub fn with(instructions: Instructions, query: &QueryVectors) -> Self {
        Self::batch(instructions, &[query]).expect("one query has one dim")
    }

    /// Lays several queries out, to be scored in one pass over a page.
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
        let instructions = instructions.or_portable();
        let tokens = Tokens::of(queries)?;
        let (dim, pairs) = (tokens.dim(), tokens.dim().div_ceil(2));
        let rows = queries.iter().flat_map(|query| query.values().chunks_exact(dim)).enumerate();
        let blocks = if has_bf16(instructions) {
            let mut blocks = vec![[[bf16::ZERO; 2]; LANES]; tokens.blocks() * pairs];
            for (n, row) in rows {
                for (d, &x) in row.iter().enumerate() {
                    blocks[n / LANES * pairs + d / 2][n % LANES][d % 2] = bf16::from_f32(x);
                }
            }
            Blocks::Pairs(blocks)
        } else {
            let mut blocks = vec![[0.0; LANES]; tokens.blocks() * pairs * 2];
            for (n, row) in rows {
                for (d, &x) in row.iter().enumerate() {
                    blocks[n / LANES * pairs * 2 + d][n % LANES] = bf16::from_f32(x).to_f32();
                }
            }
            Blocks::Wide(blocks)
        };
        Ok(Self { instructions, tokens, blocks })
    }

    /// MaxSim of the two codes (of a batch, of its first query), summed in f32.
    ///
    /// ```
    /// use pagesight_core::{PageVectors, QueryVectors};
    /// use pagesight_maxsim::{Bf16Page, Bf16Query};
    ///
    /// let query = QueryVectors::of_rows(2, vec![0.5, 0.25])?;
    /// let page = PageVectors::from_f32(2, &[0.0, 1.0, 1.0, 0.5])?;
    /// assert_eq!(Bf16Query::new(&query).score(&Bf16Page::encode(&page))?, 0.625);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`DimMismatch`] when the row lengths differ.
    pub fn score(&self, page: &Bf16Page) -> Result<f32, DimMismatch> {
        let best = self.best(page)?;
        Ok(self.tokens.first_sum(|n| best.as_flattened()[n]))
    }

    /// MaxSim of each query of the batch and `page`: its numbers are read once for all.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn scores(&self, page: &Bf16Page) -> Result<Vec<f32>, DimMismatch> {
        let best = self.best(page)?;
        Ok(self.tokens.sums(|n| best.as_flattened()[n]).collect())
    }

    fn best(&self, page: &Bf16Page) -> Result<Vec<Lanes<f32>>, DimMismatch> {
        let dim = self.tokens.dim();
        if page.dim != dim {
            return Err(DimMismatch { query: dim, page: page.dim });
        }
        let mut best = vec![[f32::NEG_INFINITY; LANES]; self.tokens.blocks()];
        match &self.blocks {
            Blocks::Pairs(blocks) => raise_bf16(self.instructions, blocks, &page.values, &mut best),
            Blocks::Wide(blocks) => {
                let dim = dim.next_multiple_of(2);
                let mut wide = vec![0.0; ROWS * dim];
                for rows in parts(page.values.len() / dim, ROWS) {
                    let rows = &page.values[rows.start * dim..rows.end * dim];
                    let wide = &mut wide[..rows.len()];
                    rows.convert_to_f32_slice(wide);
                    raise_f32(self.instructions, dim, blocks, wide, &mut best);
                }
            }
        }
        Ok(best)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::maxsim_reference;
    use crate::testing::{case, query};

    fn rounded(values: &[f32]) -> Vec<f32> {
        values.iter().map(|&x| bf16::from_f32(x).to_f32()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn equals_the_reference_of_what_it_stands_for((dim, q, p) in case()) {
            let page = PageVectors::from_f32(dim, &p).unwrap();
            let masters: Vec<f32> = page.values().iter().map(|v| v.to_f32()).collect();
            let expected = maxsim_reference(dim, &rounded(&q), &rounded(&masters));
            let (code, query) = (Bf16Page::encode(&page), query(dim, q.clone()));
            prop_assert_eq!(code.bytes(), page.len() * dim.next_multiple_of(2) * 2);
            for &with in Instructions::available() {
                let score = Bf16Query::with(with, &query).score(&code).unwrap();
                let error = (f64::from(score) - expected).abs();
                prop_assert!(error <= 1e-6 * q.len() as f64 + 1e-5, "{with:?} {error}");
            }
        }
    }

    #[test]
    fn another_dim_is_an_error() {
        let page = Bf16Page::encode(&PageVectors::from_f32(3, &[1.0; 3]).unwrap());
        let score = Bf16Query::new(&query(4, vec![1.0; 4])).score(&page);
        assert_eq!(score, Err(DimMismatch { query: 4, page: 3 }));
    }
}
