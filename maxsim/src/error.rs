//! Why two multi-vectors cannot be compared.

/// Vectors of different length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("query vectors have dim {query}, page vectors {page}")]
pub struct DimMismatch {
    /// Row length of the query, of the coder or of the first page.
    pub query: usize,
    /// Row length of the page that does not fit.
    pub page: usize,
}
