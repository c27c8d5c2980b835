//! The tokens of one or several queries, side by side in the lanes of the kernels.

use pagesight_core::QueryVectors;

use crate::error::DimMismatch;
use crate::kernel::LANES;

/// Where the tokens of each query lie. They are packed without gaps: four queries of 25 tokens
/// fill 7 blocks of 16 lanes, where each alone takes 2.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    dim: usize,
    /// Behind the last token of each query.
    ends: Vec<usize>,
}

impl Tokens {
    /// # Panics
    /// When there are no queries.
    pub fn of(queries: &[&QueryVectors]) -> Result<Self, DimMismatch> {
        let dim = queries.first().expect("a batch has at least one query").dim();
        let mut ends = Vec::with_capacity(queries.len());
        let mut end = 0;
        for query in queries {
            if query.dim() != dim {
                return Err(DimMismatch { query: query.dim(), page: dim });
            }
            end += query.len();
            ends.push(end);
        }
        Ok(Self { dim, ends })
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    pub fn count(&self) -> usize {
        *self.ends.last().expect("at least one query")
    }

    pub fn blocks(&self) -> usize {
        self.count().div_ceil(LANES)
    }

    /// The sum over each query's tokens, in order: the same alone and in a batch.
    pub fn sums<'a>(&'a self, value: impl Fn(usize) -> f32 + 'a) -> impl Iterator<Item = f32> + 'a {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(move |(start, &end)| (start..end).map(&value).sum())
    }

    /// As [`sums`](Self::sums), of the first query alone.
    pub fn first_sum(&self, value: impl Fn(usize) -> f32) -> f32 {
        (0..self.ends[0]).map(value).sum()
    }
}
