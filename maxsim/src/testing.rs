//! What the tests of the codes share.

use pagesight_core::QueryVectors;
use proptest::prelude::*;

/// A query of `values`, `[n, dim]`.
pub(crate) fn query(dim: usize, values: Vec<f32>) -> QueryVectors {
    QueryVectors::of_rows(dim, values).unwrap()
}

/// dim, query rows and page rows of any length, numbers as unit vectors have them. Dims that
/// matrix units take whole come up often.
pub(crate) fn case() -> impl Strategy<Value = (usize, Vec<f32>, Vec<f32>)> {
    let dim = prop_oneof![1usize..200, prop::sample::select(vec![32usize, 64, 128, 192])];
    (dim, 1usize..70, 1usize..150).prop_flat_map(|(dim, n, s)| {
        let row = |count| prop::collection::vec(-1.0f32..1.0, count * dim);
        (Just(dim), row(n), row(s))
    })
}
