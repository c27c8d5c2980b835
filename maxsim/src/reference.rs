//! The slow, obvious MaxSim that everything else is tested against.

/// MaxSim of `query` `[n, dim]` and `page` `[s, dim]`, both f32 row-major, summed in f64.
///
/// # Panics
/// When a side is empty or not whole rows of `dim`.
///
/// ```
/// use pagesight_maxsim::maxsim_reference;
/// assert_eq!(maxsim_reference(2, &[1.0, 2.0], &[3.0, 0.0, 0.0, 1.0]), 3.0);
/// ```
pub fn maxsim_reference(dim: usize, query: &[f32], page: &[f32]) -> f64 {
    assert!(dim > 0 && !query.is_empty() && !page.is_empty(), "an empty multi-vector");
    assert!(query.len().is_multiple_of(dim) && page.len().is_multiple_of(dim), "ragged rows");
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    };
    query
        .chunks_exact(dim)
        .map(|token| {
            page.chunks_exact(dim).map(|row| dot(token, row)).fold(f64::NEG_INFINITY, f64::max)
        })
        .sum()
}
