//! Fewer vectors a page: similar ones merged into their mean.

use half::slice::HalfFloatSliceExt;
use pagesight_core::PageVectors;

use super::hierarchical::{Pooled, rows};
use crate::centres::{Centres, Length};
use pagesight_simd::Instructions;

use crate::kernel::{LANES, dots_f32};

/// Rounds of k-means after the first assignment; more change little (see benches/results).
const ROUNDS: usize = 2;

/// Merges the vectors of `page` into at most `n / factor` (rounded up), each the mean of those
/// that are nearest to it, of length 1: spherical k-means (Dhillon & Modha 2001) from centres
/// that lie as far apart as they can (Gonzalez 1985). The many vectors of blank paper are alike
/// and end in few.
///
/// It does what hierarchical pooling (Clavie et al. 2024, "Reducing the footprint of
/// multi-vector retrieval") does, in `n * n / factor` dot products instead of `n * n` and a tree.
/// Deterministic; the same on every thread.
///
/// ```
/// use pagesight_core::PageVectors;
/// use pagesight_maxsim::pool;
///
/// let page = PageVectors::from_f32(2, &[1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0])?;
/// let pooled = pool(&page, 2);
/// assert_eq!((pooled.len(), pooled.dim()), (2, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
/// When `factor` is 0.
pub fn pool(page: &PageVectors, factor: usize) -> PageVectors {
    pool_to(page, page.len().div_ceil(factor))
}

/// As [`pool`], into at most `count` vectors; a page that has no more stays as it is.
///
/// # Panics
/// When `count` is 0.
pub fn pool_to(page: &PageVectors, count: usize) -> PageVectors {
    assert!(count > 0, "a page has vectors");
    if count >= page.len() {
        return page.clone();
    }
    let dim = page.dim();
    let mut rows = vec![0.0; page.values().len()];
    page.values().convert_to_f32_slice(&mut rows);
    let (centres, _) = k_means(dim, &rows, count);
    let used: Vec<f32> = centres.used().flat_map(|centre| centres.get(centre)).collect();
    PageVectors::from_f32(dim, &used).expect("means of finite vectors, scaled to length 1")
}

/// As [`pool`], of `vectors`, `[n, dim]` unit rows, to at most `max(n / factor, 1)`: in place of
/// [`pool_hierarchical`](crate::pool_hierarchical), a fraction of its time (see benches/results). A
/// factor of 1 leaves them as they are.
///
/// # Panics
/// When `vectors` is empty or not whole rows of `dim`, or `factor` is 0.
///
/// ```
/// let pooled = pagesight_maxsim::pool_k_means(2, &[1.0, 0.0, 0.8, 0.6, 0.0, 1.0], 3);
/// assert_eq!(pooled.representatives, [1]);
/// ```
pub fn pool_k_means(dim: usize, vectors: &[f32], factor: usize) -> Pooled {
    assert!(factor > 0, "a factor of 0");
    let n = rows(dim, vectors);
    if factor == 1 {
        return Pooled { vectors: vectors.to_vec(), representatives: (0..n).collect() };
    }
    let (centres, nearest) = k_means(dim, vectors, (n / factor).max(1));
    let mut best = vec![(f32::NEG_INFINITY, 0); centres.count];
    for (n, (row, &centre)) in vectors.chunks_exact(dim).zip(&nearest).enumerate() {
        let likeness = centres.get(centre).zip(row).map(|(a, b)| a * b).sum();
        if likeness > best[centre].0 {
            best[centre] = (likeness, n);
        }
    }
    Pooled {
        vectors: centres.used().flat_map(|centre| centres.get(centre)).collect(),
        representatives: centres.used().map(|centre| best[centre].1).collect(),
    }
}

/// At most `count` means of `rows`, `[n, dim]`, and which each row went into.
fn k_means(dim: usize, rows: &[f32], count: usize) -> (Centres, Vec<usize>) {
    let with = Instructions::best();
    let mut centres = Centres::new(dim, count, Length::One);
    let mut nearest = spread(with, rows, &mut centres);
    for round in 0..=ROUNDS {
        centres.move_to_means(rows, &nearest);
        if round < ROUNDS {
            centres.assign(with, rows, &mut nearest);
        }
    }
    (centres, nearest)
}

/// Takes as centres the first row, and then always the row that is least like any centre so far;
/// returns the centre that each row is nearest to.
fn spread(with: Instructions, rows: &[f32], centres: &mut Centres) -> Vec<usize> {
    let dim = centres.dim;
    let n = rows.len() / dim;
    // Rows in lanes: one pass over them a centre.
    let mut blocks = vec![[0.0; LANES]; n.div_ceil(LANES) * dim];
    for (r, row) in rows.chunks_exact(dim).enumerate() {
        for (d, &x) in row.iter().enumerate() {
            blocks[r / LANES * dim + d][r % LANES] = x;
        }
    }
    let (mut nearest, mut like) = (vec![0; n], vec![f32::NEG_INFINITY; n]);
    let mut dots = vec![[0.0; LANES]; n.div_ceil(LANES)];
    let mut next = 0;
    for centre in 0..centres.count {
        let row = &rows[next * dim..][..dim];
        centres.set(centre, row);
        dots_f32(with, dim, &blocks, row, &mut dots);
        let mut least = f32::INFINITY;
        for (r, &dot) in dots.as_flattened()[..n].iter().enumerate() {
            if dot > like[r] {
                (like[r], nearest[r]) = (dot, centre);
            }
            if like[r] < least {
                (least, next) = (like[r], r);
            }
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn pooled_vectors_are_means_of_the_page(
            (dim, factor, p) in (1usize..40, 1usize..9).prop_flat_map(|(dim, factor)| {
                let rows = prop::collection::vec(-1.0f32..1.0, dim..60 * dim);
                (Just(dim), Just(factor), rows)
            })
        ) {
            let p = &p[..p.len() / dim * dim];
            let page = PageVectors::from_f32(dim, p).unwrap();
            let pooled = pool(&page, factor);
            prop_assert!(pooled.len() <= page.len().div_ceil(factor));
            prop_assert_eq!(pooled.dim(), dim);
            if factor > 1 && page.len() > 1 {
                for row in pooled.values().chunks_exact(dim) {
                    let length: f32 = row.iter().map(|x| x.to_f32().powi(2)).sum();
                    prop_assert!((length - 1.0).abs() < 0.01, "{length}");
                }
            }
            prop_assert_eq!(&pool(&page, factor), &pooled);
        }

        #[test]
        fn each_mean_is_represented_by_a_vector_of_its_own(
            (dim, factor, p) in (2usize..20, 1usize..9).prop_flat_map(|(dim, factor)| {
                let rows = prop::collection::vec(-1.0f32..1.0, dim..40 * dim);
                (Just(dim), Just(factor), rows)
            })
        ) {
            let p = &p[..p.len() / dim * dim];
            let n = p.len() / dim;
            let pooled = pool_k_means(dim, p, factor);
            let means: Vec<&[f32]> = pooled.vectors.chunks_exact(dim).collect();
            prop_assert_eq!(means.len(), pooled.representatives.len());
            prop_assert!((1..=(n / factor).max(1)).contains(&means.len()));
            let mut rows = pooled.representatives.clone();
            rows.sort_unstable();
            rows.dedup();
            prop_assert_eq!(rows.len(), means.len());
            if factor == 1 {
                prop_assert_eq!(&pooled.vectors, p);
            }
        }
    }

    #[test]
    fn groups_are_found_and_alike_vectors_end_in_one() {
        // 30 vectors near one axis, and one on each of two others: a third of the vectors holds all.
        let mut rows = Vec::new();
        for n in 0..30 {
            rows.extend([1.0, 0.001 * n as f32, 0.0]);
        }
        rows.extend([0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        let pooled = pool(&PageVectors::from_f32(3, &rows).unwrap(), 10);
        let rows = rows.chunks_exact(3).map(|row| {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter().map(|x| x / length).collect::<Vec<f32>>()
        });
        let rows = rows.collect::<Vec<_>>().concat();
        let three = pool_k_means(3, &rows, 10);
        // The middle of the thirty stands for them.
        assert!((13..=17).contains(&three.representatives[0]), "{three:?}");
        assert_eq!(three.representatives[1..], [30, 31]);
        let near =
            |axis: usize| pooled.values().chunks_exact(3).any(|row| row[axis].to_f32() > 0.99);
        assert!(near(0) && near(1) && near(2), "{pooled:?}");
        assert!(pooled.len() <= 4);
    }
}
