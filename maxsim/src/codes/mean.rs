//! The mean of the pages' vectors: a direction that they share and that tells none apart.

use pagesight_core::PageVectors;

use crate::error::DimMismatch;

/// The mean of all vectors of `pages`, `[dim]`; empty for no pages.
///
/// # Errors
/// [`DimMismatch`] when the pages differ in dim.
pub(crate) fn mean_vector<'a>(
    pages: impl IntoIterator<Item = &'a PageVectors>,
) -> Result<Vec<f32>, DimMismatch> {
    let mut sums: Vec<f64> = Vec::new();
    let mut count = 0usize;
    for page in pages {
        if sums.is_empty() {
            sums.resize(page.dim(), 0.0);
        }
        if page.dim() != sums.len() {
            return Err(DimMismatch { query: sums.len(), page: page.dim() });
        }
        for row in page.values().chunks_exact(page.dim()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value.to_f64();
            }
        }
        count += page.len();
    }
    Ok(sums.into_iter().map(|sum| (sum / count as f64) as f32).collect())
}
