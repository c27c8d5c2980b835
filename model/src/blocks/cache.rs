//! Keys and values that one layer keeps of a sequence, so that a position more costs one row and
//! not all of them again, and the attention of such a position.
//!
//! A cache has two parts: what a prefix gave, which several continuations share and none changes,
//! and what was added since. Both lie in lanes, keys along the lanes, as the layers give them.
//! Everything is f32: that is what makes a step equal to one pass over the whole sequence.

use std::sync::Arc;

use rayon::prelude::*;

use crate::blocks::attention::Heads;
use crate::blocks::elementwise::cap_rows;
use crate::blocks::lanes::{LANES, Lanes, groups_of};
use crate::blocks::shared_keys::{SIDE_BY_SIDE, exponentials, score, weigh};

/// Keys and values of one layer for one sequence. A copy shares the prefix.
#[derive(Debug, Clone)]
pub struct Cache {
    prefix: Arc<Part>,
    added: Part,
}

/// Positions one after the other, `[groups, width, LANES]` for keys and for values.
#[derive(Debug, Clone, Default)]
struct Part {
    width: usize,
    length: usize,
    keys: Vec<[f32; LANES]>,
    values: Vec<[f32; LANES]>,
}

impl Cache {
    /// The cache of the one sequence that `k` and `v` have.
    ///
    /// # Panics
    /// When they have several, or are of different sizes.
    pub fn new(k: &Lanes, v: &Lanes) -> Self {
        assert!(k.lengths() == v.lengths() && k.width() == v.width(), "keys and their values");
        let &[length] = k.lengths() else { panic!("one sequence") };
        let rows = |lanes: &Lanes| -> Vec<[f32; LANES]> {
            let mut rows: Vec<_> =
                (0..lanes.groups()).flat_map(|group| lanes.group(group).iter().copied()).collect();
            // The lanes past the end hold anything; a weight of 0 must make 0 of them.
            if let (Some(last), used @ 1..) = (lanes.groups().checked_sub(1), length % LANES) {
                let last = &mut rows[last * lanes.width()..];
                last.iter_mut().for_each(|row| row[used..].fill(0.0));
            }
            rows
        };
        let prefix = Part { width: k.width(), length, keys: rows(k), values: rows(v) };
        let added = Part { width: k.width(), ..Part::default() };
        Self { prefix: Arc::new(prefix), added }
    }

    /// Number of positions.
    pub fn length(&self) -> usize {
        self.prefix.length + self.added.length
    }

    /// The values of each position of the prefix.
    pub fn prefix_values(&self) -> Vec<Vec<f32>> {
        let Part { width, length, ref values, .. } = *self.prefix;
        let of = |at: usize| {
            let rows = &values[at / LANES * width..][..width];
            rows.iter().map(|row| row[at % LANES]).collect()
        };
        (0..length).map(of).collect()
    }

    /// Adds the position that is in lane `at` of `k` and `v`.
    pub fn push(&mut self, k: &Lanes, v: &Lanes, at: usize) {
        let (group, from) = (at / LANES, at % LANES);
        let Part { width, length, keys, values } = &mut self.added;
        let (first, to) = (*length / LANES * *width, *length % LANES);
        for (rows, new) in [(keys, k.group(group)), (values, v.group(group))] {
            rows.resize(first + *width, [0.0; LANES]);
            rows[first..].iter_mut().zip(new).for_each(|(row, new)| row[to] = new[from]);
        }
        *length += 1;
    }

    /// What some queries, `[dim, count]`, all of heads that share head `head` of the keys and values,
    /// make of it, `[count, dim]`. There are as many as [`score`] takes.
    fn attend(&self, queries: &[f32], count: usize, head: usize, heads: Heads) -> Vec<f32> {
        let parts = [&*self.prefix, &self.added];
        let rows = head * heads.dim..(head + 1) * heads.dim;
        let groups = || {
            parts.into_iter().flat_map(|part| {
                let of_group = move |group: usize| {
                    (part, group * part.width, LANES.min(part.length - group * LANES))
                };
                (0..groups_of(part.length)).map(of_group)
            })
        };
        let mut scores = vec![[0.0; LANES]; groups().count() * count];
        for ((part, start, _), scores) in groups().zip(scores.chunks_mut(count)) {
            score(queries, &part.keys[start..][rows.clone()], scores);
        }
        let scale = match heads.cap {
            Some(cap) => {
                cap_rows(&mut scores, heads.scale, cap);
                1.0
            }
            None => heads.scale,
        };
        for ((.., used), scores) in groups().zip(scores.chunks_mut(count)) {
            scores.iter_mut().for_each(|scores| scores[used..].fill(f32::NEG_INFINITY));
        }
        let mut totals = vec![0.0; count];
        for (at, total) in totals.iter_mut().enumerate() {
            exponentials(&mut scores, at, count, scale, total);
        }
        let values: Vec<&[[f32; LANES]]> =
            groups().map(|(part, start, _)| &part.values[start..][rows.clone()]).collect();
        let mut seen = vec![0.0; count * heads.dim];
        weigh(&values, count, &scores, &mut seen);
        for (seen, total) in seen.chunks_mut(heads.dim).zip(totals) {
            seen.iter_mut().for_each(|seen| *seen = (f64::from(*seen) / total) as f32);
        }
        seen
    }
}

/// Attention of one position of each of several sequences, a lane each in `q`, over the cache of
/// its own sequence, to which its key and value were added. The result has the width of `q`. Heads
/// that share keys and values are taken together where all threads still have some.
///
/// # Panics
/// When there are not as many caches as lanes.
pub fn attend_cached(heads: Heads, q: &Lanes, caches: &[&Cache]) -> Lanes {
    assert_eq!(q.lengths(), [caches.len()], "a lane for each cache");
    let sharing = heads.queries / heads.keys;
    let all = caches.len() * heads.queries;
    let fits =
        |count: usize| sharing.is_multiple_of(count) && all / count >= rayon::current_num_threads();
    let count = [SIDE_BY_SIDE, 2].into_iter().find(|&count| fits(count)).unwrap_or(1);
    let seen: Vec<f32> = (0..all / count)
        .into_par_iter()
        .with_max_len(1)
        .flat_map_iter(|task| {
            let (at, first) = (task * count / heads.queries, task * count % heads.queries);
            let rows = &q.group(at / LANES)[first * heads.dim..][..count * heads.dim];
            let number = |i: usize| rows[i % count * heads.dim + i / count][at % LANES];
            let queries: Vec<f32> = (0..rows.len()).map(number).collect();
            caches[at].attend(&queries, count, first / sharing, heads)
        })
        .collect();
    Lanes::from_rows(q.lengths(), q.width(), &seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::attention::{Mask, attend};
    use crate::blocks::matmul::Arithmetic;
    use crate::blocks::matmul::tests::Noise;

    /// The last position of one pass over everything, with the same numbers.
    #[test]
    fn a_step_equals_the_last_position_of_a_whole_pass() {
        let mut noise = Noise::new(21);
        for (queries, keys, dim, prefix, added, cap) in [
            (8, 1, 32, 70, 1, None),
            (4, 2, 24, 33, 40, Some(3.0)),
            (6, 3, 8, 32, 64, Some(0.7)),
            (1, 1, 5, 1, 1, None),
        ] {
            let heads = Heads { queries, keys, dim, scale: 1.3 * (dim as f32).powf(-0.5), cap };
            let total = prefix + added;
            let mut rows = |n: usize, heads: usize| noise.values(n * heads * dim, 1.0);
            let (q, k, v) = (rows(1, queries), rows(total, keys), rows(total, keys));
            let width = keys * dim;
            let lanes = |x: &[f32], width: usize| Lanes::from_rows(&[x.len() / width], width, x);
            let mut cache = Cache::new(
                &lanes(&k[..prefix * width], width),
                &lanes(&v[..prefix * width], width),
            );
            for at in prefix..total {
                // The new position stands in some lane among others.
                let row = |x: &[f32]| {
                    let mut rows = vec![7.0; 3 * width];
                    rows[width..2 * width].copy_from_slice(&x[at * width..(at + 1) * width]);
                    lanes(&rows, width)
                };
                cache.push(&row(&k), &row(&v), 1);
            }
            assert_eq!(cache.length(), total);
            let asked = lanes(&q, queries * dim);
            let got = attend_cached(heads, &asked, &[&cache]).to_rows();
            let (k, v) = (lanes(&k, width), lanes(&v, width));
            let expected = attend(Arithmetic::F32, heads, Mask::All, &asked, &k, &v).to_rows();
            let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-6, "{heads:?}: {worst}");
        }
    }

    #[test]
    fn sequences_side_by_side_keep_their_own_and_copies_do_not_mix() {
        let mut noise = Noise::new(22);
        let heads = Heads { queries: 2, keys: 1, dim: 8, scale: 0.4, cap: None };
        let lanes = |x: &[f32], width: usize| Lanes::from_rows(&[x.len() / width], width, x);
        let cache = |noise: &mut Noise, n: usize| {
            let (k, v) = (noise.values(n * 8, 1.0), noise.values(n * 8, 1.0));
            Cache::new(&lanes(&k, 8), &lanes(&v, 8))
        };
        let (first, second) = (cache(&mut noise, 5), cache(&mut noise, 90));
        let q = noise.values(2 * 16, 1.0);
        let both = attend_cached(heads, &lanes(&q, 16), &[&first, &second]).to_rows();
        let alone =
            |cache: &Cache, q: &[f32]| attend_cached(heads, &lanes(q, 16), &[cache]).to_rows();
        assert_eq!(both, [alone(&first, &q[..16]), alone(&second, &q[16..])].concat());
        let mut longer = second.clone();
        longer.push(&lanes(&q[..8], 8), &lanes(&q[8..16], 8), 0);
        assert_eq!((longer.length(), second.length()), (91, 90));
        assert_eq!(alone(&second, &q[16..]), both[16..]);
        assert_ne!(alone(&longer, &q[16..]), both[16..]);
    }
}
