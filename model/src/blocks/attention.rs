//! Scaled dot-product attention with one key head per query head (SigLIP), or with key heads that
//! several query heads share (Gemma, NeoMME); over all keys, those before, or those around.
//!
//! A task is one head and 32 queries. Their scores over all keys, `[n, 32]`, fit the second-level
//! cache of a core (132 kB for a page of 448 px), so the softmax is the plain one in f32: the
//! largest score is known before the first exponential. The `[n, n]` scores of a head never exist
//! at the same time, and the numbers of a query do not depend on queries of other groups or
//! sequences.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use crate::blocks::elementwise::{cap_rows, scale_lanes};
use crate::blocks::lanes::{LANES, Lanes, Line, groups_of};
use crate::blocks::matmul::{
    Ahead, Arithmetic, Factor, Kernel, MOST_OF_ACTIVATIONS, MOST_OF_WEIGHTS, ROWS, RUN, TILE,
    activations, best, whole,
};
use crate::blocks::softmax::{Visible, softmax, softmax_bf16, softmax_int16};
use crate::blocks::zeros::Zeros;

/// How the width of an attention layer is divided into heads.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Number of query heads.
    pub queries: usize,
    /// Number of heads of keys and values. Each serves `queries / keys` query heads.
    pub keys: usize,
    /// Width of a head.
    pub dim: usize,
    /// The factor of the scores.
    pub scale: f32,
    /// The bound `c` of the scores, where they have one: after the factor a score `s` becomes
    /// `c tanh(s / c)` (Gemma 2).
    pub cap: Option<f32>,
}

impl Heads {
    /// As many heads of keys as of queries, and the usual factor of scores.
    pub fn alike(heads: usize, dim: usize) -> Self {
        Self::shared(heads, heads, dim)
    }

    /// Heads of keys that several heads of queries share, and the usual factor of scores.
    pub fn shared(queries: usize, keys: usize, dim: usize) -> Self {
        Self { queries, keys, dim, scale: (dim as f64).powf(-0.5) as f32, cap: None }
    }
}

/// What a position attends to, inside its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask<'a> {
    /// All positions.
    All,
    /// Itself and those before it.
    Causal,
    /// Those that are at most so many positions away, before and after it.
    Window(usize),
    /// Those of its part of the sequence, given the ends of the parts, in order.
    Parts(&'a [usize]),
    /// All of the first so many; a later position also those between them and itself, and itself.
    Prefix(usize),
}

impl Mask<'_> {
    /// The keys that a position of a sequence of `length` attends to. A lane past the end attends
    /// to what the last position does: its numbers mean nothing, but they must be numbers.
    pub fn keys(self, position: usize, length: usize) -> Range<usize> {
        let position = position.min(length.saturating_sub(1));
        match self {
            Self::All => 0..length,
            Self::Causal => 0..position + 1,
            Self::Window(reach) => {
                let end = position.saturating_add(reach).saturating_add(1).min(length);
                position.saturating_sub(reach)..end
            }
            Self::Parts(ends) => {
                let part = ends.partition_point(|&end| end <= position);
                let start = part.checked_sub(1).map_or(0, |before| ends[before]);
                start..ends.get(part).map_or(length, |&end| end.min(length))
            }
            Self::Prefix(prefix) => 0..prefix.max(position + 1).min(length),
        }
    }
}

/// Attention of `q`, of width `queries * dim`, over `k` and `v`, of width `keys * dim`, inside each
/// sequence. The result has the width of `q`. With [`Mask::All`], `q` may have fewer positions than
/// `k` and `v`.
pub fn attend(
    arithmetic: Arithmetic,
    heads: Heads,
    mask: Mask<'_>,
    q: &Lanes,
    k: &Lanes,
    v: &Lanes,
) -> Lanes {
    let mut seen = Lanes::to_be_written(q.lengths(), q.width());
    let writer = seen.writer();
    let (mut first_group, mut first_key) = (0, 0);
    for (&asking, &length) in q.lengths().iter().zip(k.lengths()) {
        let groups = groups_of(asking);
        let of_keys = first_key..first_key + groups_of(length);
        first_key = of_keys.end;
        let keys: Vec<Keys> = (0..heads.keys)
            .into_par_iter()
            .map(|head| Keys::new(arithmetic, heads.dim, head, (of_keys.clone(), length), k, v))
            .collect();
        (0..heads.queries * groups).into_par_iter().with_max_len(2).for_each(|task| {
            let (head, group) = (task / groups, task % groups);
            let rows = head * heads.dim..(head + 1) * heads.dim;
            let seen: [Range<usize>; LANES] =
                std::array::from_fn(|lane| mask.keys(group * LANES + lane, length));
            let keys = &keys[head / (heads.queries / heads.keys)];
            // SAFETY: a task has these rows of this group for itself.
            let out = unsafe { writer.rows(first_group + group, rows.start, heads.dim) };
            keys.attend(&q.group(first_group + group)[rows], &seen, heads, out);
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
    keys: Zeros<Line>,
    /// `[row tiles of the head's width, tiles of the keys]`: rows are components.
    values: Zeros<Line>,
    /// Of keys that are whole numbers, `[groups, runs of the head's width]`.
    key_scales: Vec<[f32; ROWS]>,
    /// Of values that are whole numbers, `[row tiles, runs of the keys]`: those of a component are
    /// the same over all keys.
    value_scales: Vec<[f32; ROWS]>,
}

/// Buffers that a thread keeps between tasks.
#[derive(Default)]
struct Scratch {
    query: Vec<Line>,
    query_scales: Vec<[f32; LANES]>,
    scores: Vec<[f32; LANES]>,
    weights: Vec<Line>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Keys {
    /// Those of the groups `of_keys`, which hold a sequence of the given length.
    fn new(
        arithmetic: Arithmetic,
        dim: usize,
        head: usize,
        of_keys: (Range<usize>, usize),
        k: &Lanes,
        v: &Lanes,
    ) -> Self {
        let (groups, length) = of_keys;
        let rows = head * dim..(head + 1) * dim;
        let (count, width) = (groups.len(), arithmetic.tile_width());
        let tiles = arithmetic.tiles(dim);
        let is_whole = arithmetic == Arithmetic::Int16;
        let runs = if is_whole { tiles.div_ceil(RUN) } else { 0 };
        let mut keys = Zeros::<Line>::new(count * tiles * TILE);
        let mut key_scales = vec![[0.0; ROWS]; count * runs];
        let of_groups = keys.par_chunks_mut((tiles * TILE).max(1)).zip(groups.clone());
        if is_whole {
            let of_groups = of_groups.zip(key_scales.par_chunks_mut(runs.max(1)));
            of_groups.for_each(|((lines, group), scales)| {
                let parts = k.group(group)[rows.clone()].chunks(RUN * width);
                for ((rows, lines), scales) in parts.zip(lines.chunks_mut(RUN * TILE)).zip(scales) {
                    let mut inverses = [0.0; LANES];
                    whole::lane_scales(rows, MOST_OF_WEIGHTS, scales, &mut inverses);
                    for (rows, lines) in rows.chunks(width).zip(lines.chunks_mut(TILE)) {
                        whole::turn_whole(rows, &inverses, lines);
                    }
                }
            });
        } else {
            of_groups.for_each(|(lines, group)| {
                let parts = k.group(group)[rows.clone()].chunks(width);
                for (rows, lines) in parts.zip(lines.chunks_mut(TILE)) {
                    activations::turn_rows(arithmetic, rows, lines);
                }
            });
        }
        let per_group = arithmetic.tiles(LANES) * TILE;
        let mut values = Zeros::<Line>::new(dim.div_ceil(ROWS) * count * per_group);
        let of_tiles = values.par_chunks_mut((count * per_group).max(1)).enumerate();
        let value_scales = of_tiles.map(|(tile, lines)| {
            let rows = rows.start + tile * ROWS..rows.end.min(rows.start + (tile + 1) * ROWS);
            let (mut scales, mut inverses) = ([0.0; ROWS], [0.0; ROWS]);
            if is_whole {
                let mut bits = [0; ROWS];
                for (n, group) in groups.clone().enumerate() {
                    // What lies past the end of the sequence means nothing.
                    let count = LANES.min(length.saturating_sub(n * LANES));
                    whole::raise_row_bits(&v.group(group)[rows.clone()], count, &mut bits);
                }
                whole::row_scales(&bits, &mut scales, &mut inverses);
            }
            for (group, lines) in groups.clone().zip(lines.chunks_mut(per_group)) {
                let rows = &v.group(group)[rows.clone()];
                if is_whole {
                    whole::along_whole(rows, &inverses, lines);
                } else {
                    activations::along_rows(arithmetic, rows, lines);
                }
            }
            scales
        });
        let value_scales: Vec<[f32; ROWS]> = value_scales.collect();
        let value_runs = if is_whole { count.div_ceil(RUN) } else { 0 };
        let value_scales = value_scales
            .into_iter()
            .flat_map(|scales| std::iter::repeat_n(scales, value_runs))
            .collect();
        Self { arithmetic, groups: count, keys, values, key_scales, value_scales }
    }

    /// `query` and `out` are `[dim, LANES]`. Position `i` attends to the keys `seen[i]`. Groups of
    /// keys that none of the positions attends to are left out.
    fn attend(
        &self,
        query: &[[f32; LANES]],
        seen: &[Range<usize>; LANES],
        heads: Heads,
        out: &mut [[f32; LANES]],
    ) {
        let first = seen.iter().map(|keys| keys.start).min().unwrap_or(0) / LANES;
        let last = groups_of(seen.iter().map(|keys| keys.end).max().unwrap_or(0));
        let inside = |key: usize| (key - first * LANES) as u32;
        let visible = Visible {
            from: std::array::from_fn(|lane| inside(seen[lane].start)),
            to: std::array::from_fn(|lane| inside(seen[lane].end)),
        };
        let kernel = Kernel::new(self.arithmetic, best(self.arithmetic));
        SCRATCH.with_borrow_mut(|scratch| {
            let width = self.arithmetic.tile_width();
            let tiles = self.arithmetic.tiles(query.len());
            let resize = |lines: &mut Vec<Line>, tiles: usize| {
                lines.clear();
                lines.resize(tiles * TILE, Line([0; 16]));
            };
            resize(&mut scratch.query, tiles);
            let is_whole = self.arithmetic == Arithmetic::Int16;
            let runs = if is_whole { tiles.div_ceil(RUN) } else { 0 };
            scratch.query_scales.clear();
            scratch.query_scales.resize(runs, [0.0; LANES]);
            if is_whole {
                let parts = query.chunks(RUN * width).zip(scratch.query.chunks_mut(RUN * TILE));
                for ((rows, lines), scales) in parts.zip(&mut scratch.query_scales) {
                    let mut inverses = [0.0; LANES];
                    whole::lane_scales(rows, MOST_OF_ACTIVATIONS, scales, &mut inverses);
                    for (rows, lines) in rows.chunks(width).zip(lines.chunks_mut(TILE)) {
                        whole::round_whole(rows, &inverses, lines);
                    }
                }
            } else {
                for (rows, lines) in query.chunks(width).zip(scratch.query.chunks_mut(TILE)) {
                    activations::round_rows(self.arithmetic, rows, lines);
                }
            }
            scratch.scores.resize((last - first) * ROWS, [0.0; LANES]);
            let scores = scratch.scores.as_chunks_mut::<ROWS>().0;
            // The scales of a head of up to 256 numbers are applied with the factor of the scores.
            let later = runs == 1 && heads.cap.is_none();
            let now = if later { &[] } else { scratch.query_scales.as_slice() };
            let query = Factor { lines: &scratch.query, scales: now };
            for (group, scores) in (first..last).zip(scores) {
                let keys = Factor {
                    lines: &self.keys[group * tiles * TILE..(group + 1) * tiles * TILE],
                    scales: &self.key_scales[group * runs..(group + 1) * runs],
                };
                kernel.multiply(keys, query, scores, false, LANES, &mut Ahead::nothing());
            }
            let mut sums = [0.0; LANES];
            let per_group = self.arithmetic.tiles(LANES);
            resize(&mut scratch.weights, (last - first) * per_group);
            let Scratch { scores, weights, query_scales, .. } = scratch;
            let scale = match heads.cap {
                Some(cap) => {
                    cap_rows(scores, heads.scale, cap);
                    1.0
                }
                None => heads.scale,
            };
            let of_lanes = if later { query_scales[0] } else { [1.0; LANES] };
            let scales = of_lanes.map(|of_lane| of_lane * scale);
            match self.arithmetic {
                Arithmetic::F32 => {
                    softmax(scores, scale, &visible, &mut sums);
                    let parts = scores.chunks(width).zip(weights.chunks_mut(TILE));
                    parts.for_each(|(rows, lines)| {
                        activations::round_rows(Arithmetic::F32, rows, lines)
                    });
                }
                Arithmetic::Bf16 => {
                    softmax_bf16(scores, &scales, &visible, &mut sums, weights);
                }
                Arithmetic::Int16 => {
                    softmax_int16(scores, &scales, &visible, &mut sums, weights);
                }
            }
            // What is summed up are whole numbers: the greatest stands for 1.
            let one = if is_whole { MOST_OF_ACTIVATIONS } else { 1.0 };
            let factor = sums.map(|sum| 1.0 / (sum * one));
            let values = self.values.chunks(self.groups * per_group * TILE);
            let of_tile = if is_whole { self.groups.div_ceil(RUN) } else { 0 };
            let runs = if is_whole { (last - first).div_ceil(RUN) } else { 0 };
            let weights = Factor { lines: &*weights, scales: &[] };
            for (tile, (values, out)) in values.zip(out.chunks_mut(ROWS)).enumerate() {
                let mut mixed = [[0.0; LANES]; ROWS];
                let values = Factor {
                    lines: &values[first * per_group * TILE..last * per_group * TILE],
                    scales: &self.value_scales[tile * of_tile..][..runs],
                };
                kernel.multiply(values, weights, &mut mixed, false, LANES, &mut Ahead::nothing());
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
    fn obvious(
        heads: Heads,
        mask: Mask<'_>,
        n: usize,
        q: &[f32],
        k: &[f32],
        v: &[f32],
    ) -> Vec<f64> {
        let Heads { queries, keys, dim, scale, cap } = heads;
        let mut out = vec![0.0; n * queries * dim];
        for head in 0..queries {
            let at = |x: &[f32], i: usize, width: usize, head: usize, d: usize| {
                f64::from(x[i * width * dim + head * dim + d])
            };
            let of = head / (queries / keys);
            for i in 0..n {
                let attends = |j: usize| match mask {
                    Mask::All => true,
                    Mask::Causal => j <= i,
                    Mask::Window(reach) => i.abs_diff(j) <= reach,
                    Mask::Parts(ends) => {
                        let part = |at: usize| ends.iter().filter(|&&end| end <= at).count();
                        part(i) == part(j)
                    }
                    Mask::Prefix(prefix) => j <= i || (i < prefix && j < prefix),
                };
                let seen: Vec<usize> = (0..n).filter(|&j| attends(j)).collect();
                let scores: Vec<f64> = seen
                    .iter()
                    .map(|&j| {
                        let products =
                            (0..dim).map(|d| at(q, i, queries, head, d) * at(k, j, keys, of, d));
                        let score = products.sum::<f64>() * f64::from(scale);
                        cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                    })
                    .collect();
                let highest = scores.iter().fold(f64::MIN, |a, &b| a.max(b));
                let weights: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
                let total: f64 = weights.iter().sum();
                for d in 0..dim {
                    let mixed = seen.iter().zip(&weights);
                    let mixed: f64 = mixed.map(|(&j, w)| w * at(v, j, keys, of, d)).sum();
                    out[(i * queries + head) * dim + d] = mixed / total;
                }
            }
        }
        out
    }

    #[test]
    fn it_equals_the_obvious_one_for_any_heads_lengths_and_mask() {
        let mut noise = Noise::new(7);
        for (queries, keys, dim, lengths, mask) in [
            (8, 1, 256, vec![70], Mask::All),
            (16, 16, 72, vec![33], Mask::All),
            (4, 2, 10, vec![1, 32, 65], Mask::All),
            (2, 1, 32, vec![40, 5], Mask::Causal),
            (1, 1, 3, vec![1], Mask::Causal),
            (4, 1, 16, vec![300, 7, 64], Mask::Window(9)),
            (2, 2, 8, vec![130, 97], Mask::Window(40)),
            (2, 1, 8, vec![65], Mask::Window(0)),
            (1, 1, 8, vec![33], Mask::Window(usize::MAX)),
            (2, 1, 8, vec![150], Mask::Parts(&[64, 80, 81, 150])),
            (1, 1, 8, vec![40], Mask::Parts(&[32])),
            (4, 2, 8, vec![75], Mask::Prefix(40)),
            (1, 1, 8, vec![9], Mask::Prefix(9)),
            (1, 1, 8, vec![70], Mask::Prefix(0)),
        ] {
            // Scores that a cap changes, and a cap for every second case.
            let cap = (lengths[0] % 2 == 1).then_some(1.5);
            let heads = Heads { queries, keys, dim, scale: 2.0 * (dim as f32).powf(-0.5), cap };
            let total: usize = lengths.iter().sum();
            let mut make = |width: usize| noise.values(total * width * dim, 1.0);
            let (q, k, v) = (make(queries), make(keys), make(keys));
            let all =
                [(Arithmetic::F32, 1e-6), (Arithmetic::Bf16, 3e-2), (Arithmetic::Int16, 3e-3)];
            for (arithmetic, tolerance) in all {
                let lanes = |x: &[f32], width| Lanes::from_rows(&lengths, width * dim, x);
                let (ql, kl, vl) = (lanes(&q, queries), lanes(&k, keys), lanes(&v, keys));
                let got = attend(arithmetic, heads, mask, &ql, &kl, &vl).to_rows();
                let mut start = 0;
                for &n in &lengths {
                    let part = |x: &[f32], width: usize| {
                        x[start * width * dim..(start + n) * width * dim].to_vec()
                    };
                    let (q, k, v) = (part(&q, queries), part(&k, keys), part(&v, keys));
                    let expected = obvious(heads, mask, n, &q, &k, &v);
                    let got = part(&got, queries);
                    let worst = got.iter().zip(&expected);
                    let worst = worst.map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                    assert!(worst < tolerance, "{heads:?} {mask:?} {n} {arithmetic:?}: {worst}");
                    start += n;
                }
            }
        }
    }

    #[test]
    fn a_sequence_gives_the_same_alone_and_beside_others() {
        let mut noise = Noise::new(8);
        let heads = Heads { queries: 4, keys: 1, dim: 24, scale: 0.2, cap: None };
        let lengths = [37, 3, 64];
        let total: usize = lengths.iter().sum();
        let (q, k) = (noise.values(total * 96, 1.0), noise.values(total * 24, 1.0));
        let v = noise.values(total * 24, 1.0);
        for arithmetic in [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int16] {
            let run = |lengths: &[usize], q: &[f32], k: &[f32], v: &[f32]| {
                let lanes = |x: &[f32], width| Lanes::from_rows(lengths, width, x);
                attend(arithmetic, heads, Mask::All, &lanes(q, 96), &lanes(k, 24), &lanes(v, 24))
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
