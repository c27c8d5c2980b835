//! Which vector of a page a query token meets: late interaction, explained.

use pagesight_core::{PageVectors, QueryVectors};

use crate::error::DimMismatch;

/// For each query token, the page vector with the largest dot product, the first of equals, and
/// that product. Their sum is MaxSim.
///
/// ```
/// use pagesight_core::{PageVectors, QueryVectors};
/// use pagesight_maxsim::best_vectors;
///
/// let query = QueryVectors::of_rows(2, vec![1.0, 0.0])?;
/// let page = PageVectors::from_f32(2, &[0.25, 1.0, 0.5, 0.0])?;
/// assert_eq!(best_vectors(&query, &page)?, [(1, 0.5)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DimMismatch`] when the row lengths differ.
pub fn best_vectors(
    query: &QueryVectors,
    page: &PageVectors,
) -> Result<Vec<(usize, f32)>, DimMismatch> {
    let dim = query.dim();
    if page.dim() != dim {
        return Err(DimMismatch { query: dim, page: page.dim() });
    }
    let rows: Vec<f32> = page.values().iter().map(|value| value.to_f32()).collect();
    let best = |token: &[f32]| {
        let dot = |row: &[f32]| row.iter().zip(token).map(|(a, b)| a * b).sum::<f32>();
        let products = rows.chunks_exact(dim).map(dot).enumerate();
        products
            .fold((0, f32::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best })
    };
    Ok(query.values().chunks_exact(dim).map(best).collect())
}
