//! Hierarchical pooling: similar vectors of a page become one. Source: colpali-engine 0.3.13
//! `compression/token_pooling/hierarchical_token_pooling.py`, which calls scipy's `linkage` with
//! Ward's criterion and `fcluster` with `maxclust`; the same clusters in the same order as there.
//!
//! The reference passes the matrix `1 - E E^T` as observations, not as distances: two vectors are
//! near each other when they are about equally far from all vectors of the page.

use pagesight_simd::compiled_for_each_cpu;

/// Vectors merged.
#[derive(Debug, Clone, PartialEq)]
pub struct Pooled {
    /// `[n_clusters, dim]`: the mean of each cluster, scaled to length 1.
    pub vectors: Vec<f32>,
    /// Of each cluster the member most like the mean, a row of what was pooled: where on the page
    /// the cluster is.
    pub representatives: Vec<usize>,
}

/// Pools `vectors`, `[n, dim]` unit rows, to `max(n / factor, 1)` of them or, where distances tie,
/// fewer. A factor of 1 leaves them as they are.
///
/// # Panics
/// When `vectors` is empty or not whole rows of `dim`, or `factor` is 0.
///
/// ```
/// let pooled = pagesight_maxsim::pool_hierarchical(2, &[1.0, 0.0, 0.8, 0.6, 0.0, 1.0], 3);
/// assert_eq!(pooled.representatives, [1]);
/// ```
pub fn pool_hierarchical(dim: usize, vectors: &[f32], factor: usize) -> Pooled {
    assert!(factor > 0, "a factor of 0");
    let n = rows(dim, vectors);
    if factor == 1 {
        return Pooled { vectors: vectors.to_vec(), representatives: (0..n).collect() };
    }
    let labels = hierarchical_clusters(dim, vectors, (n / factor).max(1));
    let clusters = labels.iter().max().map_or(0, |last| last + 1);
    let mut means = vec![0.0f32; clusters * dim];
    for (row, &label) in vectors.chunks_exact(dim).zip(&labels) {
        let mean = &mut means[label * dim..][..dim];
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    for mean in means.chunks_exact_mut(dim) {
        // The length does not ask how many were summed. The floor is the reference's.
        let length = dot(mean, mean).sqrt().max(1e-12) as f32;
        mean.iter_mut().for_each(|value| *value /= length);
    }
    let mut best = vec![(f64::NEG_INFINITY, 0); clusters];
    for (i, (row, &label)) in vectors.chunks_exact(dim).zip(&labels).enumerate() {
        let likeness = dot(row, &means[label * dim..][..dim]);
        if likeness > best[label].0 {
            best[label] = (likeness, i);
        }
    }
    Pooled { vectors: means, representatives: best.into_iter().map(|(_, row)| row).collect() }
}

/// The cluster of each of `vectors`, `[n, dim]`, when at most `clusters` may be left (at least 1);
/// numbered from 0 in scipy's order.
///
/// # Panics
/// When `vectors` is empty or not whole rows of `dim`, or `clusters` is 0.
pub fn hierarchical_clusters(dim: usize, vectors: &[f32], clusters: usize) -> Vec<usize> {
    assert!(clusters > 0, "no clusters");
    let n = rows(dim, vectors);
    if clusters >= n {
        return (0..n).collect();
    }
    let mut observations = vec![0.0; n * n];
    observe(dim, vectors, &mut observations);
    let mut distances = vec![0.0; n * n];
    measure(n, &observations, &mut distances);
    let merges = ward(n, distances);
    cut(n, &merges, clusters)
}

pub(crate) fn rows(dim: usize, vectors: &[f32]) -> usize {
    let whole = dim > 0 && !vectors.is_empty() && vectors.len().is_multiple_of(dim);
    assert!(whole, "{} numbers are not rows of {dim}", vectors.len());
    vectors.len() / dim
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

compiled_for_each_cpu! {
    /// `1 - E E^T`, `[n, n]`, rounded to f32 as the reference has it.
    fn observe(dim: usize, vectors: &[f32], observations: &mut [f32]) {
        let n = vectors.len() / dim;
        for (i, a) in vectors.chunks_exact(dim).enumerate() {
            for (j, b) in vectors.chunks_exact(dim).take(i + 1).enumerate() {
                let observation = 1.0 - sum(a, b, |a, b| a * b) as f32;
                observations[i * n + j] = observation;
                observations[j * n + i] = observation;
            }
        }
    }

    /// Euclidean distances of all pairs of rows of `observations`, `[n, n]` both.
    fn measure(n: usize, observations: &[f32], distances: &mut [f64]) {
        for (i, a) in observations.chunks_exact(n).enumerate() {
            for (j, b) in observations.chunks_exact(n).take(i).enumerate() {
                let distance = sum(a, b, |a, b| (a - b) * (a - b)).sqrt();
                distances[i * n + j] = distance;
                distances[j * n + i] = distance;
            }
        }
    }
}

/// The sum of `of` over pairs, in sixteen parts that the compiler makes vectors of.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], of: impl Fn(f64, f64) -> f64) -> f64 {
    const PARTS: usize = 16;
    let mut parts = [0.0; PARTS];
    let ((a, rest_of_a), (b, rest_of_b)) = (a.as_chunks::<PARTS>(), b.as_chunks::<PARTS>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..PARTS {
            parts[i] += of(a[i].into(), b[i].into());
        }
    }
    for (part, (&a, &b)) in parts.iter_mut().zip(rest_of_a.iter().zip(rest_of_b)) {
        *part += of(a.into(), b.into());
    }
    parts.iter().sum()
}

/// Two nodes joined into the next one: leaves are 0 to n - 1, merge k makes node n + k.
#[derive(Debug, Clone, Copy)]
struct Merge {
    left: usize,
    right: usize,
    height: f64,
}

/// The merges of Ward's clustering by height, by the chain of nearest neighbours (Muellner 2011,
/// arXiv 1109.2378, figure 3): O(n^2), each step the Lance-Williams update.
fn ward(n: usize, mut distances: Vec<f64>) -> Vec<Merge> {
    let mut sizes = vec![1usize; n];
    let mut chain: Vec<usize> = Vec::with_capacity(n);
    let mut merges = Vec::with_capacity(n - 1);
    while merges.len() < n - 1 {
        if chain.is_empty() {
            chain.extend(sizes.iter().position(|&size| size > 0));
        }
        // Follow nearest neighbours until two are each other's. On a tie the way back wins, else
        // the chain could go in circles; otherwise the lowest number.
        let (x, y, height) = loop {
            let x = chain[chain.len() - 1];
            let back = chain.len().checked_sub(2).map(|at| chain[at]);
            let row = &distances[x * n..][..n];
            let mut near = back.map_or((f64::INFINITY, x), |back| (row[back], back));
            for (i, &distance) in row.iter().enumerate() {
                if sizes[i] > 0 && i != x && distance < near.0 {
                    near = (distance, i);
                }
            }
            if Some(near.1) == back {
                break (x.min(near.1), x.max(near.1), near.0);
            }
            chain.push(near.1);
        };
        chain.truncate(chain.len() - 2);
        // The higher number stands for both from here on.
        let (of_x, of_y) = (sizes[x] as f64, sizes[y] as f64);
        sizes[y] += std::mem::take(&mut sizes[x]);
        for i in (0..n).filter(|&i| i != y && sizes[i] > 0) {
            let (to_x, to_y) = (distances[i * n + x], distances[i * n + y]);
            let of_i = sizes[i] as f64;
            let share = 1.0 / (of_x + of_y + of_i);
            let squared = (of_i + of_x) * share * to_x * to_x + (of_i + of_y) * share * to_y * to_y
                - of_i * share * height * height;
            // Rounding may bring the square of a distance of 0 below it.
            let distance = squared.max(0.0).sqrt();
            distances[i * n + y] = distance;
            distances[y * n + i] = distance;
        }
        merges.push(Merge { left: x, right: y, height });
    }
    merges.sort_by(|a, b| a.height.total_cmp(&b.height));
    name_nodes(n, &mut merges);
    merges
}

/// Merges name a leaf of each side; after sorting they name the nodes, the lower one first.
fn name_nodes(n: usize, merges: &mut [Merge]) {
    let mut parents: Vec<usize> = (0..2 * n - 1).collect();
    for (k, merge) in merges.iter_mut().enumerate() {
        let (a, b) = (root(&mut parents, merge.left), root(&mut parents, merge.right));
        (merge.left, merge.right) = (a.min(b), a.max(b));
        parents[a] = n + k;
        parents[b] = n + k;
    }
}

fn root(parents: &mut [usize], mut node: usize) -> usize {
    while parents[node] != node {
        parents[node] = parents[parents[node]];
        node = parents[node];
    }
    node
}

/// Undoes the highest merges until just no more than `clusters` trees are left, and numbers them
/// in the order in which scipy comes by.
fn cut(n: usize, merges: &[Merge], clusters: usize) -> Vec<usize> {
    // Merges of one height are done or undone together.
    let left = |cutoff: f64| n - merges.partition_point(|merge| merge.height <= cutoff);
    let cutoff = merges.iter().map(|merge| merge.height).find(|&height| left(height) <= clusters);
    let cutoff = cutoff.expect("all merges leave one cluster");
    let mut labels = vec![0; n];
    let mut count = 0;
    // (node, inside a cluster, children done)
    let mut stack = vec![(2 * n - 2, false, false)];
    while let Some((node, inside, done)) = stack.pop() {
        let merge = merges[node - n];
        let children = [merge.left, merge.right];
        if !done {
            let begins = !inside && merge.height <= cutoff;
            count += usize::from(begins);
            let inside = inside || begins;
            stack.push((node, inside, true));
            // The left one is on top. Leaves come after the trees beside them.
            for child in children.into_iter().rev().filter(|&child| child >= n) {
                stack.push((child, inside, false));
            }
        } else {
            for leaf in children.into_iter().filter(|&child| child < n) {
                count += usize::from(!inside);
                labels[leaf] = count - 1;
            }
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Greedy: of all pairs of clusters join the two that raise the squared error least,
    /// from the observations each time.
    fn obvious(n: usize, observations: &[f32], clusters: usize) -> BTreeSet<BTreeSet<usize>> {
        let mut groups: Vec<BTreeSet<usize>> = (0..n).map(|i| [i].into()).collect();
        let mean = |group: &BTreeSet<usize>| -> Vec<f64> {
            let column = |k| group.iter().map(|i| f64::from(observations[i * n + k])).sum::<f64>();
            (0..n).map(|k| column(k) / group.len() as f64).collect()
        };
        while groups.len() > clusters {
            let mut best = (f64::INFINITY, 0, 0);
            for i in 0..groups.len() {
                for j in 0..i {
                    let (a, b) = (mean(&groups[i]), mean(&groups[j]));
                    let apart: f64 = a.iter().zip(&b).map(|(x, y)| (x - y) * (x - y)).sum();
                    let (x, y) = (groups[i].len() as f64, groups[j].len() as f64);
                    let cost = apart * x * y / (x + y);
                    if cost < best.0 {
                        best = (cost, i, j);
                    }
                }
            }
            let taken = groups.remove(best.1);
            groups[best.2].extend(taken);
        }
        groups.into_iter().collect()
    }

    fn sets(labels: &[usize]) -> BTreeSet<BTreeSet<usize>> {
        let members = |label| (0..labels.len()).filter(|&i| labels[i] == label).collect();
        (0..=*labels.iter().max().unwrap()).map(members).collect()
    }

    fn unit(mut values: Vec<f32>, dim: usize) -> Vec<f32> {
        for row in values.chunks_exact_mut(dim) {
            let length = dot(row, row).sqrt() as f32;
            row.iter_mut().for_each(|value| *value /= length);
        }
        values
    }

    proptest! {
        #[test]
        fn the_chain_finds_the_clusters_of_the_greedy_way(
            (dim, n, values) in (2usize..6, 2usize..14).prop_flat_map(|(dim, n)| {
                let values = proptest::collection::vec(0.05f32..1.0, dim * n);
                (Just(dim), Just(n), values)
            }),
            clusters in 1usize..14,
        ) {
            let vectors = unit(values, dim);
            let labels = hierarchical_clusters(dim, &vectors, clusters);
            let mut observations = vec![0.0; n * n];
            observe(dim, &vectors, &mut observations);
            let expected = obvious(n, &observations, clusters);
            prop_assert_eq!(sets(&labels), expected);
        }

        #[test]
        fn pooling_keeps_unit_rows_and_a_member_of_each_cluster(
            values in proptest::collection::vec(0.05f32..1.0, 4..80),
            factor in 1usize..5,
        ) {
            let values = unit(values[..values.len() / 4 * 4].to_vec(), 4);
            let n = values.len() / 4;
            let pooled = pool_hierarchical(4, &values, factor);
            prop_assert_eq!(pooled.vectors.len(), 4 * pooled.representatives.len());
            prop_assert!(pooled.representatives.len() <= (n / factor).max(1));
            for row in pooled.vectors.chunks_exact(4) {
                prop_assert!((dot(row, row) - 1.0).abs() < 1e-5);
            }
            let distinct: BTreeSet<_> = pooled.representatives.iter().collect();
            prop_assert_eq!(distinct.len(), pooled.representatives.len());
            prop_assert!(pooled.representatives.iter().all(|&row| row < n));
        }
    }

    #[test]
    fn equal_vectors_are_one_cluster_and_one_vector_stays() {
        let same = [0.6, 0.8].repeat(7);
        assert_eq!(hierarchical_clusters(2, &same, 3), [0; 7]);
        assert_eq!(pool_hierarchical(2, &same, 3).representatives.len(), 1);
        assert_eq!(pool_hierarchical(2, &[1.0, 0.0], 3).vectors, [1.0, 0.0]);
        let apart = [1.0, 0.0, 0.0, 1.0];
        assert_eq!(pool_hierarchical(2, &apart, 1).vectors, apart);
        // Opposites have no direction between them; no number that is not one comes out.
        let nothing = pool_hierarchical(1, &[1.0, -1.0], 2);
        assert_eq!(nothing.vectors, [0.0]);
    }
}
