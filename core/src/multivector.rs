//! Multi-vectors: `[n_vectors, dim]`, row-major. A value of these types has a whole number of
//! rows and only finite numbers; there is no other way to make one.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};

/// Numbers that are not a multi-vector.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// Not `[n, dim]` with n and dim at least 1.
    #[error("{len} numbers are not rows of {dim}")]
    Shape {
        /// Numbers given.
        len: usize,
        /// Row length asked for.
        dim: usize,
    },
    /// NaN or infinity.
    #[error("row {row} of a multi-vector is not finite")]
    NotFinite {
        /// 0-based row.
        row: usize,
    },
    /// Not one place a row.
    #[error("{got} places for a multi-vector of {expected} rows")]
    Places {
        /// Rows.
        expected: usize,
        /// Places given.
        got: usize,
    },
    /// Not one token a row.
    #[error("{got} tokens for query vectors of {expected} rows")]
    Tokens {
        /// Rows.
        expected: usize,
        /// Tokens given.
        got: usize,
    },
    /// A row whose length is not 1.
    #[error("row {row} of a multi-vector has length {length}, expected 1")]
    NotUnit {
        /// 0-based row.
        row: usize,
        /// Its Euclidean length.
        length: f32,
    },
    /// The layout describes a page of another number of vectors.
    #[error("a layout of {expected} vectors does not fit a page of {got} without places")]
    Layout {
        /// Vectors of the layout.
        expected: usize,
        /// Rows given.
        got: usize,
    },
    /// A place past the end of the layout.
    #[error("row {row} stands at place {place} of a layout of {vectors} vectors")]
    PlaceOutside {
        /// 0-based row.
        row: usize,
        /// Its place.
        place: u32,
        /// Vectors of the layout.
        vectors: usize,
    },
}

/// The vectors of a page, `[n_vectors, dim]`, f16: the full-precision vectors that a store keeps.
///
/// ```
/// use pagesight_core::PageVectors;
/// let page = PageVectors::from_f32(2, &[1.0, 0.0, 0.6, 0.8]).unwrap();
/// assert_eq!(page.len(), 2);
/// assert!(PageVectors::from_f32(3, &[1.0, 0.0]).is_err());
/// assert!(PageVectors::from_f32(1, &[f32::NAN]).is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PageVectors {
    dim: usize,
    values: Vec<f16>,
    places: Option<Vec<u32>>,
}

impl PageVectors {
    /// Takes `values`, `[n, dim]`.
    ///
    /// # Errors
    /// [`VectorError`] when they are not whole rows or not finite.
    pub fn new(dim: usize, values: Vec<f16>) -> Result<Self, VectorError> {
        check(dim, values.len(), values.iter().map(|v| v.is_finite()))?;
        Ok(Self { dim, values, places: None })
    }

    /// Says where each row stands in the layout of the whole page
    /// ([`PatchLayout`](crate::PatchLayout)), for a page of which vectors were left out or merged.
    ///
    /// # Errors
    /// [`VectorError::Places`] when there is not one a row.
    ///
    /// ```
    /// use pagesight_core::PageVectors;
    /// let page = PageVectors::from_f32(2, &[1.0, 0.0, 0.6, 0.8]).unwrap();
    /// assert_eq!(page.place(1), 1);
    /// let page = page.with_places(vec![7, 40]).unwrap();
    /// assert_eq!(page.place(1), 40);
    /// assert!(page.with_places(vec![7]).is_err());
    /// ```
    pub fn with_places(self, places: Vec<u32>) -> Result<Self, VectorError> {
        if places.len() == self.len() {
            Ok(Self { places: Some(places), ..self })
        } else {
            Err(VectorError::Places { expected: self.len(), got: places.len() })
        }
    }

    /// Rounds `values`, `[n, dim]`, to f16 (to nearest, ties to even).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_f32(dim: usize, values: &[f32]) -> Result<Self, VectorError> {
        let mut halves = vec![f16::ZERO; values.len()];
        halves.convert_from_f32_slice(values);
        Self::new(dim, halves)
    }

    /// Row length.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of vectors, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// `[n, dim]`.
    pub fn values(&self) -> &[f16] {
        &self.values
    }

    /// Checks that each row has length 1, within what f16 can say (0.01).
    ///
    /// # Errors
    /// [`VectorError::NotUnit`] names the first row that has not.
    ///
    /// ```
    /// use pagesight_core::PageVectors;
    /// assert!(PageVectors::from_f32(2, &[0.6, 0.8]).unwrap().check_unit().is_ok());
    /// assert!(PageVectors::from_f32(2, &[3.0, 4.0]).unwrap().check_unit().is_err());
    /// ```
    pub fn check_unit(&self) -> Result<(), VectorError> {
        for (row, values) in self.values.chunks_exact(self.dim).enumerate() {
            let length = values.iter().map(|v| v.to_f32().powi(2)).sum::<f32>().sqrt();
            if (length - 1.0).abs() > 0.01 {
                return Err(VectorError::NotUnit { row, length });
            }
        }
        Ok(())
    }

    /// The place of each row in the layout of the whole page; `None` when each row stands where
    /// its index says.
    pub fn places(&self) -> Option<&[u32]> {
        self.places.as_deref()
    }

    /// The place of `row` in the layout of the whole page.
    ///
    /// # Panics
    /// When there are places and none for `row`.
    pub fn place(&self, row: usize) -> usize {
        self.places.as_ref().map_or(row, |places| places[row] as usize)
    }
}

/// One token of a query, as its encoder's tokenizer cut it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryToken {
    /// Its text, for explanations.
    pub text: String,
    /// The bytes of the question that it stands for; `None` for tokens of the prompt, padding and
    /// special tokens.
    pub span: Option<Range<usize>>,
    /// Whether the tokenizer has a piece for these letters. A token that stands for a single byte
    /// of a letter, or for "unknown", means nothing to the model.
    pub spelled: bool,
}

impl QueryToken {
    /// A token that stands for the bytes `span` of the question.
    pub fn of(text: impl Into<String>, span: Range<usize>) -> Self {
        Self { text: text.into(), span: Some(span), spelled: true }
    }

    /// A token that no letter of the question stands behind.
    pub fn special(text: impl Into<String>) -> Self {
        Self { text: text.into(), span: None, spelled: true }
    }
}

/// The vectors of a query, `[n_tokens, dim]`, f32.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryVectors {
    dim: usize,
    values: Vec<f32>,
    tokens: Vec<QueryToken>,
}

impl QueryVectors {
    /// Takes `values`, `[n_tokens, dim]`, and the token of each row.
    ///
    /// # Errors
    /// [`VectorError`] when they are not one whole row a token or not finite.
    pub fn new(dim: usize, values: Vec<f32>, tokens: Vec<QueryToken>) -> Result<Self, VectorError> {
        check(dim, values.len(), values.iter().map(|v| v.is_finite()))?;
        let rows = values.len() / dim;
        if rows != tokens.len() {
            return Err(VectorError::Tokens { expected: rows, got: tokens.len() });
        }
        Ok(Self { dim, values, tokens })
    }

    /// Takes `values`, `[n_tokens, dim]`, of an encoder that says nothing of its tokens: they are
    /// called by their number.
    ///
    /// # Errors
    /// [`VectorError`] when they are not whole rows or not finite.
    ///
    /// ```
    /// use pagesight_core::QueryVectors;
    /// let query = QueryVectors::of_rows(2, vec![1.0, 0.0, 0.6, 0.8]).unwrap();
    /// assert_eq!((query.len(), query.tokens()[1].text.as_str()), (2, "1"));
    /// ```
    pub fn of_rows(dim: usize, values: Vec<f32>) -> Result<Self, VectorError> {
        let rows = values.len().checked_div(dim).unwrap_or(0);
        let tokens = (0..rows).map(|row| QueryToken::special(row.to_string())).collect();
        Self::new(dim, values, tokens)
    }

    /// Row length.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of query tokens, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// `[n_tokens, dim]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The token of each row.
    pub fn tokens(&self) -> &[QueryToken] {
        &self.tokens
    }

    /// Whether the model's tokenizer has pieces for most of the query; where it has not, what the
    /// vectors find means nothing.
    pub fn is_spelled(&self) -> bool {
        let unspelled = self.tokens.iter().filter(|token| !token.spelled).count();
        2 * unspelled <= self.tokens.len()
    }
}

/// Gives every row of `values`, `[n, dim]`, the length 1.
///
/// # Errors
/// [`VectorError::Shape`], [`VectorError::NotFinite`], and [`VectorError::NotUnit`] for a row of
/// zeros.
///
/// ```
/// use pagesight_core::make_unit;
/// let mut rows = [3.0, 4.0, 0.0, 2.0];
/// make_unit(2, &mut rows)?;
/// assert_eq!(rows, [0.6, 0.8, 0.0, 1.0]);
/// assert!(make_unit(2, &mut [0.0, 0.0]).is_err());
/// # Ok::<(), pagesight_core::VectorError>(())
/// ```
pub fn make_unit(dim: usize, values: &mut [f32]) -> Result<(), VectorError> {
    check(dim, values.len(), values.iter().map(|v| v.is_finite()))?;
    for (row, values) in values.chunks_exact_mut(dim).enumerate() {
        let length = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if length < 1e-12 {
            return Err(VectorError::NotUnit { row, length: length as f32 });
        }
        values.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
    }
    Ok(())
}

fn check(
    dim: usize,
    len: usize,
    mut finite: impl Iterator<Item = bool>,
) -> Result<(), VectorError> {
    if dim == 0 || len == 0 || !len.is_multiple_of(dim) {
        return Err(VectorError::Shape { len, dim });
    }
    match finite.position(|ok| !ok) {
        Some(at) => Err(VectorError::NotFinite { row: at / dim }),
        None => Ok(()),
    }
}
