//! Multi-vectors: `[n_vectors, dim]`, row-major. A value of these types has a whole number of
//! rows and only finite numbers; there is no other way to make one.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Numbers that are not a multi-vector.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
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
}

/// The vectors of a page, `[n_vectors, dim]`, f16: the masters that a store keeps.
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
    /// ([`PatchGrid`](crate::PatchGrid)), for a page of which vectors were left out or merged.
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
        match places.len() == self.len() {
            true => Ok(Self { places: Some(places), ..self }),
            false => Err(VectorError::Places { expected: self.len(), got: places.len() }),
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

/// The vectors of a query, `[n_tokens, dim]`, f32.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryVectors {
    dim: usize,
    values: Vec<f32>,
    tokens: Vec<String>,
}

impl QueryVectors {
    /// Takes `values`, `[n_tokens, dim]`, and each token's text for explanations.
    ///
    /// # Errors
    /// [`VectorError`] when they are not one whole row a token or not finite.
    pub fn new(dim: usize, values: Vec<f32>, tokens: Vec<String>) -> Result<Self, VectorError> {
        check(dim, values.len(), values.iter().map(|v| v.is_finite()))?;
        if values.len() / dim != tokens.len() {
            return Err(VectorError::Shape { len: values.len(), dim });
        }
        Ok(Self { dim, values, tokens })
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

    /// The text of each query token.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }
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
