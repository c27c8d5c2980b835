//! A query laid out once and scored against many pages: what all codes have in common.

use pagesight_core::QueryVectors;
use pagesight_simd::Instructions;

use super::tokens::Tokens;
use crate::error::DimMismatch;

/// A code of page vectors, and how the tokens of a query meet it. Its value holds the tokens as the
/// kernels read them.
///
/// The codes of this crate implement it; what a stranger needs is [`Query`], which scores pages of
/// any of them.
pub trait Code {
    /// A page in this code, owned or lent.
    type Page<'a>;

    /// Row length of a page.
    fn dim(page: &Self::Page<'_>) -> usize;

    /// For each token the best that any vector of the page makes with it, as the kernels leave it;
    /// there may be more numbers than tokens. The row lengths are the same.
    fn best(&self, page: &Self::Page<'_>) -> Vec<f32>;

    /// What token `token` adds to its query's score when `best` is its number.
    #[inline]
    fn value(&self, token: usize, best: f32) -> f32 {
        let _ = token;
        best
    }

    /// The score of query `query` of a batch when its tokens add up to `sum`.
    #[inline]
    fn finish(&self, query: usize, sum: f32) -> f32 {
        let _ = query;
        sum
    }
}

/// A [`Code`] that needs to know nothing of the corpus, so that queries are laid out for it as they
/// are. The others have a coder that does it, e.g. [`ScalarCoder::query`](crate::ScalarCoder::query).
pub trait LayOut: Code + Sized {
    /// Lays the tokens of `queries`, all of row length `dim`, out one after another.
    fn lay_out(with: Instructions, dim: usize, queries: &[&QueryVectors]) -> Self;
}

/// A query, or a batch of several, laid out for scoring many pages of one code.
///
/// ```
/// use pagesight_core::{PageVectors, QueryVectors};
/// use pagesight_maxsim::{Int8Page, Int8Query};
///
/// let query = QueryVectors::of_rows(2, vec![0.6, 0.8])?;
/// let page = PageVectors::from_f32(2, &[0.0, 1.0, 0.8, 0.6])?;
/// let score = Int8Query::new(&query).score(&Int8Page::encode(&page))?;
/// assert!((score - 0.96).abs() < 0.01);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Query<C> {
    pub(super) tokens: Tokens,
    pub(super) code: C,
}

impl<C: LayOut> Query<C> {
    /// Lays `query` out for the best instructions of this CPU.
    pub fn new(query: &QueryVectors) -> Self {
        Self::with(Instructions::best(), query)
    }

    /// Lays `query` out for `instructions`, or for the portable ones when this CPU lacks them.
    pub fn with(instructions: Instructions, query: &QueryVectors) -> Self {
        Self::batch(instructions, &[query]).expect("one query has one dim")
    }

    /// Lays several queries out, to be scored in one pass over a page.
    ///
    /// ```
    /// use pagesight_core::{PageVectors, QueryVectors};
    /// use pagesight_maxsim::{ExactQuery, Instructions};
    ///
    /// let query = |x, y| QueryVectors::of_rows(2, vec![x, y]).unwrap();
    /// let batch = ExactQuery::batch(Instructions::best(), &[&query(1.0, 0.0), &query(0.0, 1.0)])?;
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
        let code = C::lay_out(instructions.or_portable(), tokens.dim(), queries);
        Ok(Self { tokens, code })
    }
}

impl<C: Code> Query<C> {
    /// Row length.
    pub fn dim(&self) -> usize {
        self.tokens.dim()
    }

    /// MaxSim of the query (of a batch, the first) and what the code of `page` stands for, f32.
    ///
    /// Deterministic: the same on any thread, alone or in a batch, and the order of the page's
    /// vectors does not matter. Codes of integers give the same to the bit on every CPU. Two
    /// infinities cannot meet, since multi-vectors are finite; an overflow of f32 scores as
    /// infinity.
    ///
    /// # Errors
    /// [`DimMismatch`] when the row lengths differ.
    ///
    /// # Panics
    /// When the page was made by a coder of other bits than the query's.
    pub fn score<'a>(&self, page: impl Into<C::Page<'a>>) -> Result<f32, DimMismatch> {
        let best = self.best(&page.into())?;
        Ok(self.first_score(&best))
    }

    /// MaxSim of each query of the batch and `page`, whose vectors are read once for all.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    ///
    /// # Panics
    /// As [`score`](Self::score).
    pub fn scores<'a>(&self, page: impl Into<C::Page<'a>>) -> Result<Vec<f32>, DimMismatch> {
        let best = self.best(&page.into())?;
        let sums = self.tokens.sums(|n| self.code.value(n, best[n])).enumerate();
        Ok(sums.map(|(query, sum)| self.code.finish(query, sum)).collect())
    }

    /// The score of the first query when `best` are its tokens' numbers.
    pub(super) fn first_score(&self, best: &[f32]) -> f32 {
        self.code.finish(0, self.tokens.first_sum(|n| self.code.value(n, best[n])))
    }

    fn best(&self, page: &C::Page<'_>) -> Result<Vec<f32>, DimMismatch> {
        self.check(C::dim(page))?;
        Ok(self.code.best(page))
    }

    /// Whether a page of row length `page` can be scored.
    pub(super) fn check(&self, page: usize) -> Result<(), DimMismatch> {
        let query = self.tokens.dim();
        if query == page { Ok(()) } else { Err(DimMismatch { query, page }) }
    }
}
