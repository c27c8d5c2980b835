//! Scaled dot-product attention, for as many key heads as query heads (SigLIP) and for one
//! (Gemma).
//!
//! A task is one head and 32 queries: their scores over all keys, `[n, 32]`, fit a core's
//! second-level cache (132 kB for a page of 448 px), so the softmax is the plain one, in f32,
//! with the largest score known before the first exponential. The `[n, n]` scores of a head are
//! never there together, and queries of other groups or sequences change nothing.

use std::cell::RefCell;

use rayon::prelude::*;

use crate::blocks::elementwise::{scale_lanes, softmax, softmax_bf16};
use crate::blocks::lanes::{LANES, Lanes, Line, groups_of};
use crate::blocks::matmul::{Arithmetic, Kernel, ROWS, TILE, best, panel};

/// How a layer's width is divided.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Heads of the queries.
    pub queries: usize,
    /// Heads of keys and values; each serves `queries / keys` query heads.
    pub keys: usize,
    /// Width of a head.
    pub dim: usize,
    /// What scores are multiplied with.
    pub scale: f32,
}

/// Attention of `q`, `queries * dim` wide, over `k` and `v`, `keys * dim` wide, inside each
/// sequence; `q` may have fewer positions than they. `causal`: a position sees none behind it, and
/// all are there. Gives what `q` is wide.
pub fn attend(
    arithmetic: Arithmetic,
    heads: Heads,
    causal: bool,
    q: &Lanes,
    k: &Lanes,
    v: &Lanes,
) -> Lanes {
    let mut seen = Lanes::zeros(q.lengths(), q.width());
    let writer = seen.writer();
    let (mut first_group, mut first_key) = (0, 0);
    for (&asking, &length) in q.lengths().iter().zip(k.lengths()) {
        let groups = groups_of(asking);
        let of_keys = first_key..first_key + groups_of(length);
        first_key = of_keys.end;
        let keys: Vec<Keys> = (0..heads.keys)
            .into_par_iter()
            .map(|head| Keys::new(arithmetic, heads.dim, head, of_keys.clone(), k, v))
            .collect();
        (0..heads.queries * groups).into_par_iter().for_each(|task| {
            let (head, group) = (task / groups, task % groups);
            let rows = head * heads.dim..(head + 1) * heads.dim;
            let visible = std::array::from_fn(|lane| {
                let seen = if causal { (group * LANES + lane + 1).min(length) } else { length };
                seen as u32
            });
            let keys = &keys[head / (heads.queries / heads.keys)];
            // SAFETY: a task has these rows of this group for itself.
            let out = unsafe { writer.rows(first_group + group, rows.start, heads.dim) };
            keys.attend(&q.group(first_group + group)[rows], &visible, heads.scale, out);
        });
        first_group += groups;
    }
    seen
}

/// Keys and values of one head of one sequence, as panels.
struct Keys {
    arithmetic: Arithmetic,
    groups: usize,
    /// `[groups, tiles of the head's width]`: rows are keys.
    keys: Vec<Line>,
    /// `[row tiles of the head's width, tiles of the keys]`: rows are components.
    values: Vec<Line>,
}

/// What a thread keeps between tasks.
#[derive(Default)]
struct Scratch {
    query: Vec<Line>,
    scores: Vec<[f32; LANES]>,
    weights: Vec<Line>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Keys {
    fn new(
        arithmetic: Arithmetic,
        dim: usize,
        head: usize,
        groups: std::ops::Range<usize>,
        k: &Lanes,
        v: &Lanes,
    ) -> Self {
        let rows = head * dim..(head + 1) * dim;
        let (count, width) = (groups.len(), arithmetic.tile_width());
        let tiles = arithmetic.tiles(dim);
        let mut keys = vec![Line([0; 16]); count * tiles * TILE];
        keys.par_chunks_mut((tiles * TILE).max(1)).zip(groups.clone()).for_each(
            |(lines, group)| {
                let parts = k.group(group)[rows.clone()].chunks(width);
                for (rows, lines) in parts.zip(lines.chunks_mut(TILE)) {
                    panel::turn_rows(arithmetic, rows, lines);
                }
            },
        );
        let per_group = arithmetic.tiles(LANES) * TILE;
        let mut values = vec![Line([0; 16]); dim.div_ceil(ROWS) * count * per_group];
        values.par_chunks_mut((count * per_group).max(1)).enumerate().for_each(|(tile, lines)| {
            for (group, lines) in groups.clone().zip(lines.chunks_mut(per_group)) {
                let rows = rows.start + tile * ROWS..rows.end.min(rows.start + (tile + 1) * ROWS);
                panel::along_rows(arithmetic, &v.group(group)[rows], lines);
            }
        });
        Self { arithmetic, groups: count, keys, values }
    }

    /// `query` and `out` are `[dim, LANES]`; position `i` sees the first `visible[i]` keys.
    fn attend(
        &self,
        query: &[[f32; LANES]],
        visible: &[u32; LANES],
        scale: f32,
        out: &mut [[f32; LANES]],
    ) {
        let kernel = Kernel::new(self.arithmetic, best(self.arithmetic));
        SCRATCH.with_borrow_mut(|scratch| {
            let width = self.arithmetic.tile_width();
            let tiles = self.arithmetic.tiles(query.len());
            let resize = |lines: &mut Vec<Line>, tiles: usize| {
                lines.clear();
                lines.resize(tiles * TILE, Line([0; 16]));
            };
            resize(&mut scratch.query, tiles);
            for (rows, lines) in query.chunks(width).zip(scratch.query.chunks_mut(TILE)) {
                panel::round_rows(self.arithmetic, rows, lines);
            }
            scratch.scores.resize(self.groups * ROWS, [0.0; LANES]);
            let scores = scratch.scores.as_chunks_mut::<ROWS>().0;
            for (keys, scores) in self.keys.chunks(tiles * TILE).zip(scores) {
                kernel.multiply(keys, &scratch.query, scores, false);
            }
            let mut sums = [0.0; LANES];
            let per_group = self.arithmetic.tiles(LANES);
            resize(&mut scratch.weights, self.groups * per_group);
            let Scratch { scores, weights, .. } = scratch;
            match self.arithmetic {
                Arithmetic::F32 => {
                    softmax(scores, scale, visible, &mut sums);
                    let parts = scores.chunks(width).zip(weights.chunks_mut(TILE));
                    parts.for_each(|(rows, lines)| panel::round_rows(Arithmetic::F32, rows, lines));
                }
                Arithmetic::Bf16 => {
                    softmax_bf16(scores, scale, visible, &mut sums, weights);
                }
            }
            let factor = sums.map(|sum| 1.0 / sum);
            let values = self.values.chunks(self.groups * per_group * TILE);
            for (values, out) in values.zip(out.chunks_mut(ROWS)) {
                let mut mixed = [[0.0; LANES]; ROWS];
                kernel.multiply(values, &scratch.weights, &mut mixed, false);
                scale_lanes(&mut mixed, &factor);
                out.copy_from_slice(&mixed[..out.len()]);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::matmul::tests::Noise;

    /// All scores of a head at once, in f64.
    fn obvious(heads: Heads, causal: bool, n: usize, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f64> {
        let Heads { queries, keys, dim, scale } = heads;
        let mut out = vec![0.0; n * queries * dim];
        for head in 0..queries {
            let at = |x: &[f32], i: usize, width: usize, head: usize, d: usize| {
                f64::from(x[i * width * dim + head * dim + d])
            };
            let of = head / (queries / keys);
            for i in 0..n {
                let seen = if causal { i + 1 } else { n };
                let scores: Vec<f64> = (0..seen)
                    .map(|j| {
                        let products =
                            (0..dim).map(|d| at(q, i, queries, head, d) * at(k, j, keys, of, d));
                        products.sum::<f64>() * f64::from(scale)
                    })
                    .collect();
                let highest = scores.iter().fold(f64::MIN, |a, &b| a.max(b));
                let weights: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
                let total: f64 = weights.iter().sum();
                for d in 0..dim {
                    let mixed: f64 = (0..seen).map(|j| weights[j] * at(v, j, keys, of, d)).sum();
                    out[(i * queries + head) * dim + d] = mixed / total;
                }
            }
        }
        out
    }

    #[test]
    fn it_equals_the_obvious_one_for_any_heads_lengths_and_mask() {
        let mut noise = Noise::new(7);
        for (queries, keys, dim, lengths, causal) in [
            (8, 1, 256, vec![70], false),
            (16, 16, 72, vec![33], false),
            (4, 2, 10, vec![1, 32, 65], false),
            (2, 1, 32, vec![40, 5], true),
            (1, 1, 3, vec![1], true),
        ] {
            let heads = Heads { queries, keys, dim, scale: (dim as f32).powf(-0.5) };
            let total: usize = lengths.iter().sum();
            let mut make = |width: usize| noise.values(total * width * dim, 1.0);
            let (q, k, v) = (make(queries), make(keys), make(keys));
            for (arithmetic, tolerance) in [(Arithmetic::F32, 1e-6), (Arithmetic::Bf16, 3e-2)] {
                let lanes = |x: &[f32], width| Lanes::from_rows(&lengths, width * dim, x);
                let (ql, kl, vl) = (lanes(&q, queries), lanes(&k, keys), lanes(&v, keys));
                let got = attend(arithmetic, heads, causal, &ql, &kl, &vl).to_rows();
                let mut start = 0;
                for &n in &lengths {
                    let part = |x: &[f32], width: usize| {
                        x[start * width * dim..(start + n) * width * dim].to_vec()
                    };
                    let (q, k, v) = (part(&q, queries), part(&k, keys), part(&v, keys));
                    let expected = obvious(heads, causal, n, &q, &k, &v);
                    let got = part(&got, queries);
                    let worst = got.iter().zip(&expected);
                    let worst = worst.map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                    assert!(worst < tolerance, "{heads:?} {n} {arithmetic:?}: {worst}");
                    start += n;
                }
            }
        }
    }

    #[test]
    fn a_sequence_gives_the_same_alone_and_beside_others() {
        let mut noise = Noise::new(8);
        let heads = Heads { queries: 4, keys: 1, dim: 24, scale: 0.2 };
        let lengths = [37, 3, 64];
        let total: usize = lengths.iter().sum();
        let (q, k) = (noise.values(total * 96, 1.0), noise.values(total * 24, 1.0));
        let v = noise.values(total * 24, 1.0);
        for arithmetic in [Arithmetic::F32, Arithmetic::Bf16] {
            let run = |lengths: &[usize], q: &[f32], k: &[f32], v: &[f32]| {
                let lanes = |x: &[f32], width| Lanes::from_rows(lengths, width, x);
                attend(arithmetic, heads, false, &lanes(q, 96), &lanes(k, 24), &lanes(v, 24))
                    .to_rows()
            };
            let joined = run(&lengths, &q, &k, &v);
            let mut start = 0;
            for n in lengths {
                let end = start + n;
                let narrow = start * 24..end * 24;
                let alone = run(&[n], &q[start * 96..end * 96], &k[narrow.clone()], &v[narrow]);
                assert_eq!(alone, joined[start * 96..end * 96]);
                start = end;
            }
        }
    }
}
