//! Which vector of a page answers each query token: late interaction, explained.

use pagesight_core::{PageVectors, QueryVectors};
use pagesight_simd::Instructions;

use crate::codes::lanes;
use crate::error::DimMismatch;
use crate::kernel::{LANES, dots_f32, widen};

/// The dot product of each query token with each vector of a page, `[n_tokens, n_vectors]`,
/// row-major: the whole of what late interaction looks at, from which heat maps are made.
///
/// ```
/// use pagesight_core::{PageVectors, QueryVectors};
/// use pagesight_maxsim::products;
///
/// let query = QueryVectors::of_rows(2, vec![1.0, 0.0, 0.0, 1.0])?;
/// let page = PageVectors::from_f32(2, &[0.25, 1.0, 0.5, 0.0])?;
/// assert_eq!(products(&query, &page)?, [0.25, 0.5, 1.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DimMismatch`] when the row lengths differ.
pub fn products(query: &QueryVectors, page: &PageVectors) -> Result<Vec<f32>, DimMismatch> {
    let dim = query.dim();
    if page.dim() != dim {
        return Err(DimMismatch { query: dim, page: page.dim() });
    }
    let with = Instructions::best();
    let blocks = lanes(dim, query.values().chunks_exact(dim));
    let mut dots = vec![[0.0f32; LANES]; blocks.len() / dim];
    let mut row = vec![0.0f32; dim];
    let (tokens, vectors) = (query.len(), page.len());
    let mut products = vec![0.0f32; tokens * vectors];
    for (at, values) in page.values().chunks_exact(dim).enumerate() {
        widen(with, values, &mut row);
        dots_f32(with, dim, &blocks, &row, &mut dots);
        for (token, dot) in dots.as_flattened()[..tokens].iter().enumerate() {
            products[token * vectors + at] = *dot;
        }
    }
    Ok(products)
}

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
