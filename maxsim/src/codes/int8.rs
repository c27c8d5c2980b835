//! The int8 code: half the bytes of full-precision vectors and, with VNNI, a fourth of the time.

use std::borrow::Cow;
use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use pagesight_core::{PageVectors, QueryVectors};

use pagesight_simd::Instructions;

use super::query::{Code, LayOut, Query};
use super::tokens::Tokens;
use crate::error::DimMismatch;
use crate::kernel::{LANES, Lanes, Near, Quads, raise_int8, raise_near, raise_pairs};

/// The largest code; -128 is not used, so that a vector and its opposite have opposite codes.
const MAX_CODE: f32 = 127.0;

/// Codes are stored with this added: the CPU multiplies unsigned by signed bytes.
const BIAS: i32 = 128;

/// A page in int8: vector `s` is about `scale_s * (c_s - 128)`.
///
/// A vector takes `dim` bytes (rounded up to whole fours) and 4 for its scale, which is the largest
/// of its numbers over 127. Each number is off by at most half of the scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Int8Page {
    dim: usize,
    /// `[n, dim]`, each row filled up to whole fours with the code of 0.
    codes: Vec<u8>,
    /// `[n]`
    scales: Vec<f32>,
    /// The largest distance of a vector from what its code stands for.
    error: f32,
    /// The largest length of what a code stands for.
    length: f32,
}

impl Int8Page {
    /// Rounds `page` to int8.
    pub fn encode(page: &PageVectors) -> Self {
        let dim = page.dim();
        let mut codes = Vec::with_capacity(page.len() * dim.next_multiple_of(4));
        let mut scales = Vec::with_capacity(page.len());
        let mut wide = vec![0.0; dim];
        let (mut error, mut length) = (0.0f64, 0.0f64);
        for row in page.values().chunks_exact(dim) {
            row.convert_to_f32_slice(&mut wide);
            let scale = scale_of(&wide);
            codes.extend(wide.iter().map(|&x| (i32::from(round(x, scale)) + BIAS) as u8));
            let (off, long) = distances(&wide, scale);
            (error, length) = (error.max(off), length.max(long));
            codes.resize(codes.len().next_multiple_of(4), BIAS as u8);
            scales.push(scale);
        }
        // Rounded up: a bound must not be too small.
        let (error, length) = ((error as f32).next_up(), (length as f32).next_up());
        Self { dim, codes, scales, error, length }
    }

    /// Row length.
    pub fn dim(&self) -> usize {
        self.dim
    }

    pub(crate) fn codes(&self) -> &[u8] {
        &self.codes
    }

    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub(crate) fn error(&self) -> f32 {
        self.error
    }

    pub(crate) fn length(&self) -> f32 {
        self.length
    }

    /// The size of the code in bytes.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.scales.len() * size_of::<f32>()
    }

    /// The vectors that the code stands for, `[n, dim]`, f32.
    pub fn decode(&self) -> Vec<f32> {
        let rows = self.codes.chunks_exact(self.dim.next_multiple_of(4)).zip(&self.scales);
        let value = |code: u8, scale: f32| (i32::from(code) - BIAS) as f32 * scale;
        rows.flat_map(|(row, &scale)| row[..self.dim].iter().map(move |&c| value(c, scale)))
            .collect()
    }
}

/// A page in int8 that lies elsewhere, e.g. in a mapped file. See [`Int8Page`].
#[derive(Debug, Clone, PartialEq)]
pub struct Int8View<'a> {
    dim: usize,
    codes: &'a [u8],
    scales: Cow<'a, [f32]>,
    error: f32,
    length: f32,
}

impl<'a> Int8View<'a> {
    pub(crate) fn new(
        dim: usize,
        codes: &'a [u8],
        scales: Cow<'a, [f32]>,
        error: f32,
        length: f32,
    ) -> Self {
        Self { dim, codes, scales, error, length }
    }

    /// Number of vectors.
    pub fn vectors(&self) -> usize {
        self.scales.len()
    }

    /// Row length.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// For each token of `query`, which row of the page is most like it, and their dot product, by
    /// what the codes stand for.
    ///
    /// ```
    /// use pagesight_core::{PageVectors, QueryVectors};
    /// use pagesight_maxsim::{Int8Page, Int8View};
    /// let page = Int8Page::encode(&PageVectors::from_f32(2, &[1.0, 0.0, 0.0, 1.0])?);
    /// let query = QueryVectors::of_rows(2, vec![0.0, 1.0])?;
    /// assert_eq!(Int8View::from(&page).best_rows(&query)?, [(1, 1.0)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`DimMismatch`] when the row lengths differ.
    pub fn best_rows(&self, query: &QueryVectors) -> Result<Vec<(usize, f32)>, DimMismatch> {
        if query.dim() != self.dim {
            return Err(DimMismatch { query: query.dim(), page: self.dim });
        }
        let wide = self.to_rows();
        let best = |token: &[f32]| {
            let dots = wide
                .chunks_exact(self.dim)
                .map(|row| row.iter().zip(token).map(|(x, y)| x * y).sum::<f32>());
            let better = |best: (usize, f32), next: (usize, f32)| {
                if next.1 > best.1 { next } else { best }
            };
            dots.enumerate().fold((0, f32::NEG_INFINITY), better)
        };
        Ok(query.values().chunks_exact(self.dim).map(best).collect())
    }

    /// The vectors that the codes stand for, `[n, dim]`, f32.
    pub fn to_rows(&self) -> Vec<f32> {
        let mut wide = vec![0.0; self.vectors() * self.dim];
        self.decode(0..self.vectors(), &mut wide);
        wide
    }

    /// What the codes of `rows` stand for, into `wide` `[rows, dim]`.
    pub(crate) fn decode(&self, rows: Range<usize>, wide: &mut [f32]) {
        let codes = self.codes.chunks_exact(self.dim.next_multiple_of(4)).zip(&*self.scales);
        let codes = codes.skip(rows.start).take(rows.len());
        for ((codes, &scale), wide) in codes.zip(wide.chunks_exact_mut(self.dim)) {
            for (x, &code) in wide.iter_mut().zip(codes) {
                *x = (i32::from(code) - BIAS) as f32 * scale;
            }
        }
    }

    /// The largest distance of a vector from what its code stands for, and the largest length of
    /// the latter.
    pub(crate) fn error_and_length(&self) -> (f64, f64) {
        (self.error.into(), self.length.into())
    }
}

impl<'a> From<&'a Int8Page> for Int8View<'a> {
    fn from(page: &'a Int8Page) -> Self {
        let scales = Cow::Borrowed(&page.scales[..]);
        Self::new(page.dim, &page.codes, scales, page.error, page.length)
    }
}

impl<'a> From<&'a Int8View<'_>> for Int8View<'a> {
    fn from(page: &'a Int8View<'_>) -> Self {
        let scales = Cow::Borrowed(&page.scales[..]);
        Self::new(page.dim, page.codes, scales, page.error, page.length)
    }
}

/// The tokens of one or several queries in int8, laid out for the kernels.
#[derive(Debug, Clone)]
pub(super) struct Int8Tokens {
    instructions: Instructions,
    /// `[blocks, dim / 4, 16, 4]`
    blocks: Vec<Quads>,
    /// `[blocks]`: what the bias of the page's codes adds to each token's dot products, negated.
    offsets: Vec<Lanes<i32>>,
    /// `[n_tokens]`
    scales: Vec<f32>,
}

impl Int8Tokens {
    /// Rounds `rows` to int8, one of `dim` (in whole fours) numbers a token.
    pub fn new<'a>(
        instructions: Instructions,
        dim: usize,
        rows: impl IntoIterator<Item = &'a [f32]>,
    ) -> Self {
        let quads = dim.div_ceil(4);
        let (mut blocks, mut offsets, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        for (n, row) in rows.into_iter().enumerate() {
            if n.is_multiple_of(LANES) {
                blocks.resize(blocks.len() + quads, [[0; 4]; LANES]);
                offsets.push([0; LANES]);
            }
            let scale = scale_of(row);
            for (d, &x) in row.iter().enumerate() {
                let code = round(x, scale);
                blocks[n / LANES * quads + d / 4][n % LANES][d % 4] = code;
                offsets[n / LANES][n % LANES] -= BIAS * i32::from(code);
            }
            scales.push(scale);
        }
        Self { instructions: instructions.or_portable(), blocks, offsets, scales }
    }

    pub fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// Length of a row of codes: dim in whole fours, or what it was rounded up to.
    pub fn row(&self) -> usize {
        self.blocks.len() / self.offsets.len() * 4
    }

    pub fn no_maxima(&self) -> Vec<Lanes<f32>> {
        vec![[f32::NEG_INFINITY; LANES]; self.offsets.len()]
    }

    /// Raises `best` by rows of codes, see [`raise_int8`].
    pub fn raise(&self, codes: &[u8], scales: &[f32], best: &mut [Lanes<f32>]) {
        raise_int8(self.instructions, &self.blocks, &self.offsets, codes, scales, best);
    }

    /// The same for rows beside centres, see [`raise_near`].
    pub fn raise_near(
        &self,
        codes: &[u8],
        scales: &[f32],
        near: Near<'_>,
        best: &mut [Lanes<f32>],
    ) {
        let with = self.instructions;
        raise_near(with, &self.blocks, &self.offsets, codes, scales, near, best);
    }

    /// The same for pages of `rows` each, of packed rows of 2 bits, see [`raise_pairs`].
    pub fn raise_pairs(
        &self,
        packed: &[u8],
        scales: &[[u8; 2]],
        rows: &[usize],
        best: &mut [Lanes<f32>],
    ) -> bool {
        let with = self.instructions;
        raise_pairs(with, &self.blocks, &self.offsets, packed, scales, rows, best)
    }

    /// The scale of each token, `[n_tokens]`: what a maximum is multiplied with.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// What token `n` adds to the score when its maximum is `best`.
    #[inline]
    pub fn value(&self, n: usize, best: f32) -> f32 {
        best * self.scales[n]
    }
}

/// The int8 code: half the bytes of full-precision vectors, scored against a query in int8.
#[derive(Debug, Clone)]
pub struct Int8 {
    tokens: Int8Tokens,
    /// For each query, the lengths of its tokens, summed.
    lengths: Vec<f64>,
    /// For each query, the distances of its tokens from what their codes stand for, summed.
    errors: Vec<f64>,
}

/// A query, or several, in int8, laid out for scoring pages in int8. Scores are the same to the bit
/// on every CPU, and [`bound`](Query::bound) says how far they may be from exact ones.
pub type Int8Query = Query<Int8>;

impl LayOut for Int8 {
    fn lay_out(with: Instructions, dim: usize, queries: &[&QueryVectors]) -> Self {
        let rows = || queries.iter().map(|query| query.values().chunks_exact(dim));
        let error = |row: &[f32]| distances(row, scale_of(row)).0;
        Self {
            tokens: Int8Tokens::new(with, dim, rows().flatten()),
            lengths: rows().map(|rows| rows.map(length).sum()).collect(),
            errors: rows().map(|rows| rows.map(error).sum()).collect(),
        }
    }
}

impl Code for Int8 {
    type Page<'a> = Int8View<'a>;

    fn dim(page: &Int8View<'_>) -> usize {
        page.dim
    }

    fn best(&self, page: &Int8View<'_>) -> Vec<f32> {
        let mut best = self.tokens.no_maxima();
        self.tokens.raise(page.codes, &page.scales, &mut best);
        best.into_flattened()
    }

    #[inline]
    fn value(&self, token: usize, best: f32) -> f32 {
        self.tokens.value(token, best)
    }
}

impl Int8Query {
    /// How far [`score`](Self::score) may be from the exact MaxSim of the page, f32 rounding
    /// included: pages whose scores differ by more than their bounds are in the right order.
    ///
    /// With q, p the vectors and q', p' what their codes stand for, by Cauchy-Schwarz
    /// `|<q, p> - <q', p'>| <= |q| |p - p'| + |q - q'| |p'|`, and a maximum moves by no more than
    /// its terms.
    pub fn bound<'a>(&self, page: impl Into<Int8View<'a>>) -> f32 {
        let (error, length) = page.into().error_and_length();
        let (query, rounded) = (self.code.lengths[0], self.code.errors[0]);
        let codes = query * error + rounded * length;
        ((codes + rounding(&self.tokens, query, length + error)) as f32).next_up()
    }
}

/// What rounding makes of sums of `dim` products and of the tokens in f32, when the vectors of the
/// query have `query` together and no vector of the page more than `page`.
pub(crate) fn rounding(tokens: &Tokens, query: f64, page: f64) -> f64 {
    // One more for the number that a code stands for.
    let terms = (tokens.dim() + tokens.count() + 1) as f64;
    terms * f64::from(f32::EPSILON) * query * page
}

pub(crate) fn length(row: &[f32]) -> f64 {
    row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

fn scale_of(row: &[f32]) -> f32 {
    row.iter().fold(0.0f32, |most, x| most.max(x.abs())) / MAX_CODE
}

/// Distance of `row` from what its code stands for, and the length of the latter.
fn distances(row: &[f32], scale: f32) -> (f64, f64) {
    let (mut off, mut long) = (0.0, 0.0);
    for &x in row {
        let stands = f64::from(round(x, scale)) * f64::from(scale);
        off += (f64::from(x) - stands).powi(2);
        long += stands.powi(2);
    }
    (off.sqrt(), long.sqrt())
}

/// What the codes of `row` stand for.
#[cfg(test)]
pub(crate) fn rounded(row: &[f32]) -> impl Iterator<Item = f32> + '_ {
    let scale = scale_of(row);
    row.iter().map(move |&x| f32::from(round(x, scale)) * scale)
}

fn round(x: f32, scale: f32) -> i8 {
    // A vector of zeros has scale 0, and 0 / 0 as an integer is 0.
    (x / scale).round_ties_even().clamp(-MAX_CODE, MAX_CODE) as i8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{case, query};
    use crate::{DimMismatch, maxsim_reference};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn equals_the_reference_of_what_it_stands_for((dim, q, p) in case()) {
            let page = Int8Page::encode(&PageVectors::from_f32(dim, &p).unwrap());
            let query = query(dim, q);
            let rounded: Vec<f32> = query.values().chunks_exact(dim).flat_map(rounded).collect();
            let expected = maxsim_reference(dim, &rounded, &page.decode());
            let scores: Vec<f32> = Instructions::available()
                .iter()
                .map(|&with| Int8Query::with(with, &query).score(&page).unwrap())
                .collect();
            prop_assert!(scores.iter().all(|s| s.to_bits() == scores[0].to_bits()), "{scores:?}");
            let error = (f64::from(scores[0]) - expected).abs();
            prop_assert!(error <= 1e-6 * rounded.len() as f64 + 1e-5, "{error}");
        }

        #[test]
        fn the_bound_holds((dim, q, p) in case()) {
            let page = PageVectors::from_f32(dim, &p).unwrap();
            let (code, query) = (Int8Page::encode(&page), query(dim, q));
            let coded = Int8Query::new(&query);
            let exact = crate::ExactQuery::new(&query).score(&page).unwrap();
            let error = (coded.score(&code).unwrap() - exact).abs();
            prop_assert!(error <= coded.bound(&code), "{error} {}", coded.bound(&code));
            let view = Int8View::from(&code);
            for &with in Instructions::available() {
                let query = crate::ExactQuery::with(with, &query);
                let error = (query.score_code(&view).unwrap() - exact).abs();
                prop_assert!(error <= query.bound_code(&view), "{with:?} {error}");
                prop_assert!(query.bound_code(&view) < coded.bound(&code));
            }
        }

        #[test]
        fn no_number_is_off_by_more_than_half_a_scale((dim, _, p) in case()) {
            let page = PageVectors::from_f32(dim, &p).unwrap();
            let code = Int8Page::encode(&page);
            for (n, (value, got)) in page.values().iter().zip(code.decode()).enumerate() {
                let error = (value.to_f32() - got).abs();
                prop_assert!(error <= code.scales[n / dim] * 0.5001, "{error}");
            }
            prop_assert_eq!(code.bytes(), code.scales.len() * (dim.next_multiple_of(4) + 4));
        }
    }

    #[test]
    fn the_largest_sums_do_not_wrap() {
        let dim = 128;
        for sign in [1.0, -1.0] {
            let query = query(dim, vec![1.0; dim]);
            let page = Int8Page::encode(&PageVectors::from_f32(dim, &vec![sign; dim]).unwrap());
            for &with in Instructions::available() {
                let score = Int8Query::with(with, &query).score(&page).unwrap();
                assert!((score - sign * 128.0).abs() < 1e-3, "{with:?} {score}");
            }
        }
    }

    #[test]
    fn zeros_score_zero_and_another_dim_is_an_error() {
        let zero = Int8Page::encode(&PageVectors::from_f32(3, &[0.0; 3]).unwrap());
        assert_eq!(Int8Query::new(&query(3, vec![1.0; 3])).score(&zero), Ok(0.0));
        let other = Int8Query::new(&query(4, vec![1.0; 4])).score(&zero);
        assert_eq!(other, Err(DimMismatch { query: 4, page: 3 }));
    }
}
