//! Residual codes: the nearest of 256 centres in a byte, and what is left of the vector in 4, 2 or 1
//! bit a number.
//!
//! The centres are the corpus' own, as in PLAID (Santhanam et al. 2022, sec. 3.1), but few: a byte
//! names one, and a query's dot products with all of them fit a first-level cache. What is left is
//! rounded as [`ScalarCoder`](crate::ScalarCoder) rounds what is left of the mean, rotated and with
//! a scale a vector, in place of PLAID's buckets that all vectors share. It is less than half as
//! long as there, and so is the error (see benches/results).

use half::f16;
use half::slice::HalfFloatSliceExt;
use pagesight_core::{PageVectors, QueryVectors};

use pagesight_simd::Instructions;

use super::f16::lanes;
use super::int8::Int8Tokens;
use super::packed::{Bits, PackedRows, PackedTokens};
use super::query::{Code, Query};
use super::rotation::{rotate, rotate_back};
use super::tokens::Tokens;
use crate::centres::{Centres, Length};
use crate::error::DimMismatch;
use crate::kernel::{CENTRES, LANES, Lanes, Near, dots_f32};

/// Vectors that the centres are found among, a centre.
const SAMPLE: usize = 128;

/// Rounds of k-means.
const ROUNDS: usize = 8;

/// How pages are coded: the bits and the centres of the pages' vectors.
///
/// ```
/// use pagesight_core::{PageVectors, QueryVectors};
/// use pagesight_maxsim::{Bits, Instructions, ResidualCoder};
///
/// let near = PageVectors::from_f32(2, &[0.8, 0.6, 0.0, 1.0])?;
/// let far = PageVectors::from_f32(2, &[0.6, -0.8])?;
/// let coder = ResidualCoder::fit(Bits::Four, &[near.clone(), far.clone()])?;
/// let query = QueryVectors::of_rows(2, vec![0.6, 0.8])?;
/// let query = coder.query(Instructions::best(), &[&query])?;
/// assert!((query.score(&coder.encode(&near)?)? - 0.96).abs() < 0.01);
/// assert!((query.score(&coder.encode(&far)?)? + 0.28).abs() < 0.01);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ResidualCoder {
    bits: Bits,
    centres: Centres,
}

/// A page beside centres; `bits dim / 8` (dim in whole eights) and 3 bytes a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct ResidualPage {
    bits: Bits,
    dim: usize,
    /// `[n]`
    centres: Vec<u8>,
    /// `[n, bits * dim / 8]`
    codes: Vec<u8>,
    /// `[n]`, f16 in little-endian bytes: as they lie in a file.
    scales: Vec<[u8; 2]>,
}

/// A page beside centres that lies elsewhere, e.g. in a mapped file. See [`ResidualPage`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResidualView<'a> {
    pub(crate) bits: Bits,
    pub(crate) dim: usize,
    pub(crate) centres: &'a [u8],
    pub(crate) codes: &'a [u8],
    pub(crate) scales: &'a [[u8; 2]],
}

/// The code of few bits a number beside 256 centres, scored against a query in int8.
#[derive(Debug, Clone)]
pub struct Residual {
    tokens: PackedTokens,
    /// `[blocks]`: the dot products of each centre with the tokens, over the scales of these.
    products: Vec<[Lanes<f32>; CENTRES]>,
}

/// A query, or several, laid out by [`ResidualCoder::query`] for scoring pages of that coder. Scores
/// are the same to the bit on every CPU.
pub type ResidualQuery = Query<Residual>;

impl ResidualCoder {
    /// Finds 256 centres of `pages`, a sample of the corpus, by k-means; of fewer vectors as many, and
    /// zeros. Deterministic.
    ///
    /// # Errors
    /// [`DimMismatch`] when the pages differ in dim.
    pub fn fit(bits: Bits, pages: &[PageVectors]) -> Result<Self, DimMismatch> {
        let dim = pages.first().map_or(0, PageVectors::dim);
        if let Some(other) = pages.iter().find(|page| page.dim() != dim) {
            return Err(DimMismatch { query: dim, page: other.dim() });
        }
        let all: usize = pages.iter().map(PageVectors::len).sum();
        let every = all.div_ceil(CENTRES * SAMPLE).max(1);
        let rows = pages.iter().flat_map(|page| page.values().chunks_exact(dim)).step_by(every);
        let rows: Vec<f32> = rows.flatten().map(|x| x.to_f32()).collect();
        Ok(Self { bits, centres: k_means(dim, &rows) })
    }

    /// Takes `centres`, `[256, dim]`, of another coder.
    pub(crate) fn around(bits: Bits, dim: usize, rows: &[f32]) -> Self {
        let mut centres = Centres::new(dim, CENTRES, Length::OfTheMean);
        for (centre, row) in rows.chunks_exact(dim).enumerate() {
            centres.set(centre, row);
        }
        Self { bits, centres }
    }

    /// `[256, dim]`
    pub(crate) fn centres(&self) -> Vec<f32> {
        (0..CENTRES).flat_map(|centre| self.centres.get(centre)).collect()
    }

    /// Row length.
    pub fn dim(&self) -> usize {
        self.centres.dim
    }

    pub(crate) fn bits(&self) -> Bits {
        self.bits
    }

    /// Rounds `page`.
    ///
    /// # Errors
    /// [`DimMismatch`] when its dim is not the coder's.
    pub fn encode(&self, page: &PageVectors) -> Result<ResidualPage, DimMismatch> {
        let dim = self.centres.dim;
        if page.dim() != dim {
            return Err(DimMismatch { query: dim, page: page.dim() });
        }
        let mut rows = vec![0.0; page.values().len()];
        page.values().convert_to_f32_slice(&mut rows);
        let mut nearest = vec![0; page.len()];
        self.centres.assign(Instructions::best(), &rows, &mut nearest);
        let row_bytes = self.bits.row_bytes(dim);
        let mut codes = vec![0; page.len() * row_bytes];
        let mut scales = Vec::with_capacity(page.len());
        let packed = codes.chunks_exact_mut(row_bytes).zip(&nearest);
        for (row, (codes, &centre)) in rows.chunks_exact_mut(dim).zip(packed) {
            row.iter_mut().zip(self.centres.get(centre)).for_each(|(x, centre)| *x -= centre);
            rotate(row);
            scales.push(self.bits.round(row, codes).to_le_bytes());
        }
        let centres = nearest.iter().map(|&centre| centre as u8).collect();
        Ok(ResidualPage { bits: self.bits, dim, centres, codes, scales })
    }

    /// The vectors that the code of a page stands for, `[n, dim]`, f32.
    ///
    /// # Panics
    /// When another coder made it.
    pub fn decode(&self, page: &ResidualPage) -> Vec<f32> {
        self.decode_view(&page.view())
    }

    pub(crate) fn decode_view(&self, page: &ResidualView<'_>) -> Vec<f32> {
        let dim = self.centres.dim;
        assert_eq!((page.dim, page.bits), (dim, self.bits), "dim and bits of the coder");
        let codes = page.codes.chunks_exact(self.bits.row_bytes(dim)).zip(page.scales);
        let mut rows = Vec::with_capacity(page.scales.len() * dim);
        for ((codes, &scale), &centre) in codes.zip(page.centres) {
            let scale = f16::from_le_bytes(scale);
            let mut row: Vec<f32> = self.bits.read(dim, codes, scale).collect();
            rotate_back(&mut row);
            rows.extend(row.iter().zip(self.centres.get(centre.into())).map(|(x, c)| x + c));
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
    ) -> Result<ResidualQuery, DimMismatch> {
        let tokens = Tokens::of(queries)?;
        let dim = tokens.dim();
        if dim != self.centres.dim {
            return Err(DimMismatch { query: dim, page: self.centres.dim });
        }
        let mut rows: Vec<f32> = queries.iter().flat_map(|q| q.values()).copied().collect();
        let lanes = lanes(dim, rows.chunks_exact(dim));
        rows.chunks_exact_mut(dim).for_each(rotate);
        let inner = Int8Tokens::new(instructions, dim.next_multiple_of(8), rows.chunks_exact(dim));
        let mut products = vec![[[0.0; LANES]; CENTRES]; tokens.blocks()];
        let mut dots = vec![[0.0; LANES]; products.len()];
        for centre in 0..self.centres.count {
            let row: Vec<f32> = self.centres.get(centre).collect();
            dots_f32(inner.instructions(), dim, &lanes, &row, &mut dots);
            for (block, (products, dots)) in products.iter_mut().zip(&dots).enumerate() {
                let scales = &inner.scales()[block * LANES..];
                for (n, &scale) in scales.iter().take(LANES).enumerate() {
                    // A token of zeros has no scale, and no product with anything.
                    products[centre][n] = if scale > 0.0 { dots[n] / scale } else { 0.0 };
                }
            }
        }
        let code = Residual { tokens: PackedTokens::new(self.bits, inner), products };
        Ok(Query { tokens, code })
    }
}

/// Centres of `rows`, `[n, dim]`: from rows that are evenly apart to the means of those that are
/// nearest to each, over and over.
fn k_means(dim: usize, rows: &[f32]) -> Centres {
    let mut centres = Centres::new(dim, CENTRES, Length::OfTheMean);
    let Some(n) = rows.len().checked_div(dim) else { return centres };
    let count = n.min(CENTRES);
    for centre in 0..count {
        centres.set(centre, &rows[centre * n / count * dim..][..dim]);
    }
    let mut nearest = vec![0; n];
    for _ in 0..ROUNDS {
        centres.assign(Instructions::best(), rows, &mut nearest);
        centres.move_to_means(rows, &nearest);
    }
    centres
}

impl ResidualPage {
    /// What the code takes, bytes.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.centres.len() + self.scales.len() * size_of::<f16>()
    }

    pub(crate) fn view(&self) -> ResidualView<'_> {
        let Self { bits, dim, centres, codes, scales } = self;
        ResidualView { bits: *bits, dim: *dim, centres, codes, scales }
    }
}

impl<'a> From<&'a ResidualPage> for ResidualView<'a> {
    fn from(page: &'a ResidualPage) -> Self {
        page.view()
    }
}

impl Code for Residual {
    type Page<'a> = ResidualView<'a>;

    fn dim(page: &ResidualView<'_>) -> usize {
        page.dim
    }

    fn best(&self, page: &ResidualView<'_>) -> Vec<f32> {
        assert_eq!(self.tokens.bits(), page.bits, "bits of the query and of the page");
        let near = Some(Near { products: &self.products, centres: page.centres });
        let rows = PackedRows { codes: page.codes, scales: page.scales, near };
        let half = |&scale: &[u8; 2]| f16::from_le_bytes(scale);
        self.tokens.best(rows, half, &mut Vec::new()).into_flattened()
    }

    #[inline]
    fn value(&self, token: usize, best: f32) -> f32 {
        self.tokens.inner().value(token, best)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ScalarCoder;
    use crate::codes::int8::rounded;
    use crate::testing::{case, query};

    const ALL: [Bits; 3] = [Bits::One, Bits::Two, Bits::Four];

    /// MaxSim as the codes define it, in f64 and one number after another.
    fn expected(coder: &ResidualCoder, dim: usize, q: &[f32], page: &ResidualPage) -> f64 {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        let row_bytes = coder.bits.row_bytes(dim);
        let rows = page.codes.chunks_exact(row_bytes).zip(&page.scales).zip(&page.centres);
        let rows = rows.map(|((codes, &scale), &centre)| {
            let scale = f16::from_le_bytes(scale);
            let residual: Vec<f32> = coder.bits.read(dim, codes, scale).collect();
            (residual, coder.centres.get(centre.into()).collect::<Vec<f32>>())
        });
        let rows: Vec<_> = rows.collect();
        let token = |token: &[f32]| {
            let mut rotated = token.to_vec();
            rotate(&mut rotated);
            let rotated: Vec<f32> = rounded(&rotated).collect();
            let score = |row: &(Vec<f32>, Vec<f32>)| dot(&rotated, &row.0) + dot(token, &row.1);
            rows.iter().map(score).fold(f64::NEG_INFINITY, f64::max)
        };
        q.chunks_exact(dim).map(token).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn equals_the_reference_of_what_it_stands_for((dim, q, p) in case()) {
            let page = PageVectors::from_f32(dim, &p).unwrap();
            // Centres of a part of the rows only: most rows are near one that is not their own.
            let few = PageVectors::from_f32(dim, &p[..(p.len() / dim).div_ceil(3) * dim]).unwrap();
            for bits in ALL {
                let coder = ResidualCoder::fit(bits, std::slice::from_ref(&few)).unwrap();
                let code = coder.encode(&page).unwrap();
                prop_assert_eq!(code.bytes(), page.len() * (bits.row_bytes(dim) + 3));
                let expected = expected(&coder, dim, &q, &code);
                let first = query(dim, q[..dim].to_vec());
                let q = query(dim, q.clone());
                let scores: Vec<f32> = Instructions::available()
                    .iter()
                    .map(|&with| coder.query(with, &[&q]).unwrap().score(&code).unwrap())
                    .collect();
                prop_assert!(scores.iter().all(|s| s.to_bits() == scores[0].to_bits()));
                let error = (f64::from(scores[0]) - expected).abs();
                prop_assert!(error <= 1e-6 * q.values().len() as f64 + 1e-5, "{error}");
                for &with in Instructions::available() {
                    let batch = coder.query(with, &[&first, &q]).unwrap().scores(&code).unwrap();
                    let alone = coder.query(with, &[&first]).unwrap().score(&code).unwrap();
                    prop_assert_eq!(batch, [alone, scores[0]]);
                }
            }
        }
    }

    /// Numbers as a hash throws them.
    fn value(n: usize) -> f32 {
        ((n * 2_654_435_761) % 1_000_003) as f32 / 500_001.5 - 1.0
    }

    #[test]
    fn half_the_error_of_scalar_codes_where_vectors_lie_in_groups() {
        let (dim, groups) = (128, 40);
        let row = |n: usize| {
            (0..dim).map(move |d| value(n % groups * dim + d) + 0.4 * value(90_001 * n + d))
        };
        let rows: Vec<f32> = (0..1000).flat_map(row).collect();
        let pages = [PageVectors::from_f32(dim, &rows).unwrap()];
        let error = |coded: &[f32]| {
            coded.iter().zip(&rows).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
        };
        let mut last = f64::INFINITY;
        for bits in ALL {
            let coder = ResidualCoder::fit(bits, &pages).unwrap();
            let residual = error(&coder.decode(&coder.encode(&pages[0]).unwrap()));
            let scalar = ScalarCoder::fit(bits, &pages).unwrap();
            let scalar = error(&scalar.decode(&scalar.encode(&pages[0]).unwrap()));
            assert!(residual < 0.5 * scalar && residual < last, "{bits:?} {residual} {scalar}");
            last = residual;
        }
    }

    #[test]
    fn few_vectors_are_their_own_centres() {
        let rows = [0.5, 0.25, 0.0, -0.5, 0.0, 1.0];
        let page = PageVectors::from_f32(3, &rows).unwrap();
        for bits in ALL {
            let coder = ResidualCoder::fit(bits, std::slice::from_ref(&page)).unwrap();
            let query = coder.query(Instructions::best(), &[&query(3, vec![1.0; 3])]).unwrap();
            let score = query.score(&coder.encode(&page).unwrap()).unwrap();
            assert!((score - 0.75).abs() < 1e-6, "{score}");
        }
    }

    #[test]
    fn tokens_of_zeros_score_zero() {
        let page = PageVectors::from_f32(3, &[0.5, 0.25, 0.0]).unwrap();
        let coder = ResidualCoder::fit(Bits::Two, std::slice::from_ref(&page)).unwrap();
        let query = coder.query(Instructions::best(), &[&query(3, vec![0.0; 6])]).unwrap();
        assert_eq!(query.score(&coder.encode(&page).unwrap()), Ok(0.0));
    }

    #[test]
    fn another_dim_is_an_error() {
        let pages = [3, 2].map(|dim| PageVectors::from_f32(dim, &[1.0; 6]).unwrap());
        let error = ResidualCoder::fit(Bits::Two, &pages).err();
        assert_eq!(error, Some(DimMismatch { query: 3, page: 2 }));
        let coder = ResidualCoder::fit(Bits::Two, &pages[..1]).unwrap();
        assert_eq!(coder.encode(&pages[1]), Err(DimMismatch { query: 3, page: 2 }));
        assert!(coder.query(Instructions::best(), &[&query(2, vec![1.0; 2])]).is_err());
        let none = ResidualCoder::fit(Bits::Two, &[]).unwrap();
        assert!(none.encode(&pages[0]).is_err());
    }
}
