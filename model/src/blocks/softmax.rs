//! The softmax of attention, over the keys that each position attends to.

use std::ops::Range;

use pagesight_simd::compiled_for_each_cpu;

use crate::blocks::elementwise::exp;
use crate::blocks::lanes::{LANES, Line};
use crate::blocks::matmul::whole::whole_shares;

/// The keys that each position of a group attends to: from, inclusive, and to, exclusive; at least
/// one key each.
#[derive(Debug, Clone, Copy)]
pub struct Visible {
    pub from: [u32; LANES],
    pub to: [u32; LANES],
}

impl Visible {
    /// The rows, of `rows`, that all positions attend to.
    fn by_all(&self, rows: usize) -> Range<usize> {
        let start = self.from.iter().fold(0, |most, &n| most.max(n)) as usize;
        let end = self.to.iter().fold(u32::MAX, |least, &n| least.min(n)) as usize;
        let start = start.min(rows);
        start..end.min(rows).max(start)
    }

    #[inline(always)]
    fn has(&self, lane: usize, row: usize) -> bool {
        self.from[lane] <= row as u32 && (row as u32) < self.to[lane]
    }
}

compiled_for_each_cpu! {
    /// The softmax over the rows of each position, times `scale`, without its division: scores
    /// become `e^(scale (s - max))`, and `sums` their sums, in f32. The scores of rows that a
    /// position does not attend to become 0.
    pub fn softmax(
        scores: &mut [[f32; LANES]],
        scale: f32,
        visible: &Visible,
        sums: &mut [f32; LANES],
    ) {
        let (by_all, highest) = highest(scores, visible);
        let mut partial = [[0.0; LANES]; 4];
        for (row, scores) in scores.iter_mut().enumerate() {
            let partial = &mut partial[row % 4];
            if by_all.contains(&row) {
                for i in 0..LANES {
                    scores[i] = exp((scores[i] - highest[i]) * scale);
                    partial[i] += scores[i];
                }
            } else {
                for i in 0..LANES {
                    let p = exp((scores[i] - highest[i]) * scale);
                    scores[i] = if visible.has(i, row) { p } else { 0.0 };
                    partial[i] += scores[i];
                }
            }
        }
        for i in 0..LANES {
            sums[i] = (partial[0][i] + partial[1][i]) + (partial[2][i] + partial[3][i]);
        }
    }

    /// As [`softmax`] with a factor for each position, but the results are rounded to bf16 and
    /// written into the tiles of an operand: `lines` are those of pairs of rows. The number of rows
    /// is even.
    pub fn softmax_bf16(
        scores: &[[f32; LANES]],
        scales: &[f32; LANES],
        visible: &Visible,
        sums: &mut [f32; LANES],
        lines: &mut [Line],
    ) {
        softmax_pairs::<FUSED, PairOfBf16>(scores, scales, visible, sums, lines);
    }

    /// As [`softmax_bf16`], but the results become whole numbers: 1 is the greatest that an
    /// activation becomes.
    pub fn softmax_int16(
        scores: &[[f32; LANES]],
        scales: &[f32; LANES],
        visible: &Visible,
        sums: &mut [f32; LANES],
        lines: &mut [Line],
    ) {
        softmax_pairs::<FUSED, PairOfWhole>(scores, scales, visible, sums, lines);
    }
}

/// `2^x` for numbers that are rounded to bf16, or to as few bits, next. The relative error is below 3e-6, much less
/// than that of the rounding. `x` must not be above 127; below -126 the result is the smallest
/// normal number.
#[inline(always)]
fn exp2_for_bf16<const FUSED: bool>(x: f32) -> f32 {
    const ROUNDING: f32 = 12_582_912.0;
    // A NaN stays one.
    let x = if x < -126.0 { -126.0 } else { x };
    let shifted = x + ROUNDING;
    let r = x - (shifted - ROUNDING);
    // The polynomial with the smallest maximum of the relative error over [-0.5, 0.5].
    let mut y = 0.009_570_102_f32;
    for c in [0.055_917_863, 0.240_247_44, 0.693_121_8, 0.999_999_3] {
        y = if FUSED { y.mul_add(r, c) } else { y * r + c };
    }
    y * f32::from_bits(shifted.to_bits().wrapping_add(127).wrapping_shl(23))
}

/// What two results of a softmax become in a word of an operand. It is a trait because a closure
/// that is called from two places becomes a function of its own, which is not compiled for the
/// instruction set of its caller.
trait Pair {
    fn of(first: f32, second: f32) -> u32;
}

struct PairOfBf16;

impl Pair for PairOfBf16 {
    #[inline(always)]
    fn of(first: f32, second: f32) -> u32 {
        pair_of_weights(first, second)
    }
}

struct PairOfWhole;

impl Pair for PairOfWhole {
    #[inline(always)]
    fn of(first: f32, second: f32) -> u32 {
        whole_shares(first, second)
    }
}

#[inline(always)]
fn softmax_pairs<const FUSED: bool, P: Pair>(
    scores: &[[f32; LANES]],
    scales: &[f32; LANES],
    visible: &Visible,
    sums: &mut [f32; LANES],
    lines: &mut [Line],
) {
    let (by_all, highest) = highest(scores, visible);
    let scales = scales.map(|scale| scale * std::f32::consts::LOG2_E);
    let mut partial = [[0.0; LANES]; 2];
    let pairs = scores.as_chunks::<2>().0.iter();
    for (n, (pair, lines)) in pairs.zip(lines.as_chunks_mut::<2>().0).enumerate() {
        let row = 2 * n;
        let mut words = [0; LANES];
        if by_all.start <= row && row + 1 < by_all.end {
            for i in 0..LANES {
                let [first, second] = [pair[0][i], pair[1][i]]
                    .map(|s| exp2_for_bf16::<FUSED>((s - highest[i]) * scales[i]));
                partial[0][i] += first;
                partial[1][i] += second;
                words[i] = P::of(first, second);
            }
        } else {
            for i in 0..LANES {
                let [first, second] = [(pair[0][i], row), (pair[1][i], row + 1)].map(|(s, row)| {
                    // What is not attended to may be larger than all that is.
                    let s = (s - highest[i]) * scales[i];
                    let p = exp2_for_bf16::<FUSED>(if s > 0.0 { 0.0 } else { s });
                    if visible.has(i, row) { p } else { 0.0 }
                });
                partial[0][i] += first;
                partial[1][i] += second;
                words[i] = P::of(first, second);
            }
        }
        Line::set_both(lines, &words);
    }
    for i in 0..LANES {
        sums[i] = partial[0][i] + partial[1][i];
    }
}

/// Two numbers of at most 1 as a pair of bf16, ties away from zero; a NaN stays one.
#[inline(always)]
fn pair_of_weights(first: f32, second: f32) -> u32 {
    let [first, second] = [first, second].map(|p| p.to_bits().wrapping_add(0x8000));
    (first >> 16) | (second & 0xffff_0000)
}

/// The rows that all positions attend to, and the highest score that each attends to.
#[inline(always)]
fn highest(scores: &[[f32; LANES]], visible: &Visible) -> (Range<usize>, [f32; LANES]) {
    let by_all = visible.by_all(scores.len());
    let mut highest = [f32::NEG_INFINITY; LANES];
    for row in &scores[by_all.clone()] {
        for i in 0..LANES {
            highest[i] = if row[i] > highest[i] { row[i] } else { highest[i] };
        }
    }
    for row in (0..by_all.start).chain(by_all.end..scores.len()) {
        let scores = &scores[row];
        for i in 0..LANES {
            let counts = visible.has(i, row) && scores[i] > highest[i];
            highest[i] = if counts { scores[i] } else { highest[i] };
        }
    }
    (by_all, highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::matmul::MOST_OF_ACTIVATIONS;
    use crate::blocks::matmul::tests::Noise;

    #[test]
    fn softmax_for_bf16_is_softmax_rounded() {
        let mut noise = Noise::new(9);
        let mut scores = [[0.0; LANES]; 8];
        for row in &mut scores {
            row.copy_from_slice(&noise.values(LANES, 40.0));
        }
        let first = |to| Visible { from: [0; LANES], to };
        let causal = first(std::array::from_fn(|lane| 1 + lane as u32 % 8));
        let window = Visible {
            from: std::array::from_fn(|lane| (lane as u32 % 8).saturating_sub(2)),
            to: std::array::from_fn(|lane| (lane as u32 % 8 + 3).min(8)),
        };
        let apart = Visible { from: causal.to.map(|to| to - 1), to: causal.to };
        scores[0][7] = f32::NAN;
        for seen in [first([8; LANES]), first([5; LANES]), causal, window, apart] {
            let (mut sums, mut exact_sums) = ([0.0; LANES], [0.0; LANES]);
            let mut lines = [Line([0; 16]); 8];
            softmax_bf16(&scores, &[0.3; LANES], &seen, &mut sums, &mut lines);
            let (mut whole_sums, mut whole) = ([0.0; LANES], [Line([0; 16]); 8]);
            softmax_int16(&scores, &[0.3; LANES], &seen, &mut whole_sums, &mut whole);
            let mut exact = scores;
            softmax(&mut exact, 0.3, &seen, &mut exact_sums);
            for lane in 0..LANES {
                if seen.has(lane, 0) {
                    assert_eq!(sums[lane].is_nan(), exact_sums[lane].is_nan());
                }
                if lane != 7 {
                    assert!((sums[lane] / exact_sums[lane] - 1.0).abs() < 1e-5);
                    assert_eq!(sums[lane], whole_sums[lane]);
                }
                for row in 0..8 {
                    let word = lines[row / 2 * 2 + lane / 16].0[lane % 16];
                    let bits = if row % 2 == 0 { word << 16 } else { word & 0xffff_0000 };
                    let (got, exact) = (f32::from_bits(bits), exact[row][lane]);
                    let near = (got - exact).abs() <= exact * 0.003_92 + 2e-38;
                    assert!(near || got.is_nan() && exact.is_nan(), "{row} {lane}: {got} {exact}");
                    let word = whole[row / 2 * 2 + lane / 16].0[lane % 16];
                    let got = if row % 2 == 0 { word & 0xffff } else { word >> 16 };
                    let near = (got as f32 - exact * MOST_OF_ACTIVATIONS).abs() < 0.52;
                    assert!(near || exact.is_nan(), "{row} {lane}: {got} {exact}");
                }
            }
        }
    }
}
