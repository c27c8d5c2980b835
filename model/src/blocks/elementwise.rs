//! Operations on activations that concern one position at a time: norms, activation functions,
//! softmax, rotation.
//!
//! They are plain loops over rows of [`LANES`] positions (see [`lanes`](super::lanes)), which the
//! compiler turns into vector instructions.

#![expect(clippy::needless_range_loop, reason = "lanes of several arrays by one index")]

use pagesight_simd::compiled_for_each_cpu;

use crate::blocks::lanes::{LANES, Line};
use crate::blocks::matmul::panel::whole_shares;

/// Rows of values that [`add_weighted`] takes at once.
pub const WEIGHED: usize = 8;

/// `e^x`, relative error below 2e-7; 0 below -87.3, finite above 88.3. Source of the polynomial:
/// Cephes `expf` (S. Moshier, 1992).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.3;
    // Adding this number rounds to a whole number, which is then in the low bits.
    const ROUNDING: f32 = 12_582_912.0;
    let clamped = if x > 88.3 { 88.3 } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = clamped - n * 0.693_359_4;
    let r = r - n * -2.121_944_4e-4;
    let mut y = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        y = y * r + c;
    }
    let y = y * (r * r) + r + 1.0;
    let power = shifted.to_bits().wrapping_add(127).wrapping_shl(23);
    let value = y * f32::from_bits(power);
    // A NaN stays one.
    if x < LOWEST { 0.0 } else { value }
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

/// GELU by its tanh form (Hendrycks and Gimpel, arXiv 1606.08415), `gelu_pytorch_tanh` of the
/// reference: `x (1 + tanh u) / 2 = x / (1 + e^(-2u))`.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    const ROOT: f32 = 0.797_884_6;
    let u = ROOT * (x + 0.044_715 * (x * x * x));
    x / (1.0 + exp(-2.0 * u))
}

/// The hyperbolic tangent, absolute error below 2e-7.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

/// The error function, absolute error below 5e-7: the quotient of two polynomials that Eigen has.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = if x > 4.0 { 4.0 } else { x };
    let x = if x < -4.0 { -4.0 } else { x };
    let squared = x * x;
    let mut above = -2.726_142_3e-10_f32;
    for c in [
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_4e-2,
    ] {
        above = above * squared + c;
    }
    let mut below = -1.456_607_2e-5_f32;
    for c in [-2.133_740_6e-4, -1.682_827e-3, -7.373_329_3e-3, -1.426_473_9e-2] {
        below = below * squared + c;
    }
    x * above / below
}

/// GELU as it is defined, by the error function: `x (1 + erf(x / sqrt 2)) / 2`.
#[inline(always)]
pub fn exact_gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The keys that each position of a group attends to: from, inclusive, and to, exclusive; at least
/// one key each.
#[derive(Debug, Clone, Copy)]
pub struct Visible {
    pub from: [u32; LANES],
    pub to: [u32; LANES],
}

impl Visible {
    /// The rows, of `rows`, that all positions attend to.
    fn by_all(&self, rows: usize) -> std::ops::Range<usize> {
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
    /// Applies `exact_gelu` to every number.
    pub fn exact_gelu_rows(rows: &mut [[f32; LANES]]) {
        for row in rows {
            for value in row {
                *value = exact_gelu(*value);
            }
        }
    }

    /// `x sigmoid(1.702 x)`, the quick GELU of OpenAI's CLIP.
    pub fn quick_gelu_rows(rows: &mut [[f32; LANES]]) {
        for row in rows {
            for value in row {
                *value /= 1.0 + exp(-1.702 * *value);
            }
        }
    }

    /// `gate` becomes `gate sigmoid(gate) up`.
    pub fn silu_gated_rows(gate: &mut [[f32; LANES]], up: &[[f32; LANES]]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            for i in 0..LANES {
                gate[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
            }
        }
    }

    /// What is below 0 becomes 0, the rest its square, times `factor`.
    pub fn squared_relu_rows(rows: &mut [[f32; LANES]], factor: f32) {
        for row in rows {
            for value in row {
                let positive = if *value < 0.0 { 0.0 } else { *value };
                *value = positive * positive * factor;
            }
        }
    }

    /// `y` becomes `a x + b z`.
    pub fn mix_rows(x: &[[f32; LANES]], a: f32, z: &[[f32; LANES]], b: f32, y: &mut [[f32; LANES]]) {
        for ((x, z), y) in x.iter().zip(z).zip(y) {
            for i in 0..LANES {
                y[i] = a * x[i] + b * z[i];
            }
        }
    }

    /// Root mean square norm of each position without a weight, in place.
    pub fn plain_rms_norm(rows: &mut [[f32; LANES]], eps: f32) {
        let squares = sum(rows, |value, _| value * value);
        let mut factor = [0.0; LANES];
        for i in 0..LANES {
            factor[i] = 1.0 / (squares[i] / rows.len() as f32 + eps).sqrt();
        }
        for row in rows {
            for i in 0..LANES {
                row[i] *= factor[i];
            }
        }
    }

    /// Takes from `x` the given share of what lies along `direction`, for each position.
    pub fn take_along(x: &mut [[f32; LANES]], direction: &[[f32; LANES]], share: f32) {
        let mut along = [0.0; LANES];
        let mut squares = [0.0; LANES];
        for (x, direction) in x.iter().zip(direction) {
            for i in 0..LANES {
                along[i] += x[i] * direction[i];
                squares[i] += direction[i] * direction[i];
            }
        }
        let mut factor = [0.0; LANES];
        for i in 0..LANES {
            // The least length that the reference divides by is 1e-12.
            let squared = if squares[i] < 1e-24 { 1e-24 } else { squares[i] };
            factor[i] = share * along[i] / squared;
        }
        for (x, direction) in x.iter_mut().zip(direction) {
            for i in 0..LANES {
                x[i] -= factor[i] * direction[i];
            }
        }
    }

    /// `x` becomes `factor sigmoid(gate) x`.
    pub fn sigmoid_gate(x: &mut [[f32; LANES]], gate: &[[f32; LANES]], factor: f32) {
        for (x, gate) in x.iter_mut().zip(gate) {
            for i in 0..LANES {
                x[i] *= factor / (1.0 + exp(-gate[i]));
            }
        }
    }

    /// Applies `gelu` to every number.
    pub fn gelu_rows(rows: &mut [[f32; LANES]]) {
        for row in rows {
            for value in row {
                *value = gelu(*value);
            }
        }
    }

    /// `gate` becomes `gelu(gate) * up`.
    pub fn gated_rows(gate: &mut [[f32; LANES]], up: &[[f32; LANES]]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            for i in 0..LANES {
                gate[i] = gelu(gate[i]) * up[i];
            }
        }
    }

    /// `gate` becomes `exact_gelu(gate) * up`.
    pub fn exact_gated_rows(gate: &mut [[f32; LANES]], up: &[[f32; LANES]]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            for i in 0..LANES {
                gate[i] = exact_gelu(gate[i]) * up[i];
            }
        }
    }

    /// Root mean square norm of each position (Zhang and Sennrich, arXiv 1910.07467), times
    /// `weight`, `[width]`, in f32.
    pub fn rms_norm(x: &[[f32; LANES]], weight: &[f32], eps: f32, y: &mut [[f32; LANES]]) {
        let squares = sum(x, |value, _| value * value);
        let mut factor = [0.0; LANES];
        for i in 0..LANES {
            factor[i] = 1.0 / (squares[i] / x.len() as f32 + eps).sqrt();
        }
        for ((x, y), weight) in x.iter().zip(y).zip(weight) {
            for i in 0..LANES {
                y[i] = x[i] * factor[i] * *weight;
            }
        }
    }

    /// Layer norm of each position (Ba et al., arXiv 1607.06450), in f32.
    pub fn layer_norm(
        x: &[[f32; LANES]],
        weight: &[f32],
        bias: &[f32],
        eps: f32,
        y: &mut [[f32; LANES]],
    ) {
        let n = x.len() as f32;
        let mut mean = sum(x, |value, _| value);
        for i in 0..LANES {
            mean[i] /= n;
        }
        let squares = sum(x, |value, i| (value - mean[i]) * (value - mean[i]));
        let mut factor = [0.0; LANES];
        for i in 0..LANES {
            factor[i] = 1.0 / (squares[i] / n + eps).sqrt();
        }
        for (row, ((x, y), weight)) in x.iter().zip(y).zip(weight).enumerate() {
            for i in 0..LANES {
                y[i] = (x[i] - mean[i]) * factor[i] * *weight + bias[row];
            }
        }
    }

    /// Rotates row `i` and row `i + n` of each head of `2 n` rows by the angles of each position;
    /// `cos` and `sin` are `[n, LANES]`.
    pub fn rotate(rows: &mut [[f32; LANES]], cos: &[[f32; LANES]], sin: &[[f32; LANES]]) {
        let half = cos.len();
        for head in rows.chunks_mut(2 * half) {
            let (low, high) = head.split_at_mut(half);
            for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                for i in 0..LANES {
                    let (x, y) = (low[i], high[i]);
                    low[i] = x * cos[i] - y * sin[i];
                    high[i] = y * cos[i] + x * sin[i];
                }
            }
        }
    }

    /// Adds `y` to `x`, and a bias per row unless `bias` is empty.
    pub fn add_rows(x: &mut [[f32; LANES]], y: &[[f32; LANES]], bias: &[f32]) {
        for (row, (x, y)) in x.iter_mut().zip(y).enumerate() {
            let bias = if bias.is_empty() { 0.0 } else { bias[row] };
            for i in 0..LANES {
                x[i] += y[i] + bias;
            }
        }
    }

    /// Sets `x` to `y`, plus a bias per row unless `bias` is empty.
    pub fn copy_rows(x: &mut [[f32; LANES]], y: &[[f32; LANES]], bias: &[f32]) {
        for (row, (x, y)) in x.iter_mut().zip(y).enumerate() {
            let bias = if bias.is_empty() { 0.0 } else { bias[row] };
            for i in 0..LANES {
                x[i] = y[i] + bias;
            }
        }
    }

    /// Multiplies every number with the factor of its position.
    pub fn scale_lanes(rows: &mut [[f32; LANES]], factor: &[f32; LANES]) {
        for row in rows {
            for i in 0..LANES {
                row[i] *= factor[i];
            }
        }
    }

    /// A number `x` becomes `cap tanh(factor x / cap)`.
    pub fn cap_rows(rows: &mut [[f32; LANES]], factor: f32, cap: f32) {
        let inner = factor / cap;
        for row in rows {
            for value in row {
                *value = cap * tanh(*value * inner);
            }
        }
    }

    /// Adds the products of a query, `[dim]`, with 32 keys, `[dim, LANES]`, to `scores`.
    pub fn add_scores(query: &[f32], keys: &[[f32; LANES]], scores: &mut [f32; LANES]) {
        // Four sums for each key make rounding errors small and keep the CPU busy.
        let mut parts = [[0.0f32; LANES]; 4];
        for (at, (query, keys)) in query.iter().zip(keys).enumerate() {
            let part = &mut parts[at % 4];
            for i in 0..LANES {
                part[i] += *query * keys[i];
            }
        }
        for i in 0..LANES {
            scores[i] += (parts[0][i] + parts[1][i]) + (parts[2][i] + parts[3][i]);
        }
    }

    /// Adds values, each times its weight, to `sums`, `[WEIGHED, LANES]`: of each group of `values`,
    /// `[groups, width, LANES]`, the first [`WEIGHED`] rows from `start` on, or what there is of them.
    /// `weights` are `[groups, LANES]`.
    pub fn add_weighted(
        values: &[[f32; LANES]],
        width: usize,
        start: usize,
        weights: &[[f32; LANES]],
        sums: &mut [[f32; LANES]; WEIGHED],
    ) {
        let mut local = *sums;
        for (values, weights) in values.chunks_exact(width).zip(weights) {
            // A count that the compiler knows keeps the sums in registers.
            if let Some(values) = values[start..].first_chunk::<WEIGHED>() {
                for row in 0..WEIGHED {
                    for i in 0..LANES {
                        local[row][i] += weights[i] * values[row][i];
                    }
                }
            } else {
                for (sums, values) in local.iter_mut().zip(&values[start..]) {
                    for i in 0..LANES {
                        sums[i] += weights[i] * values[i];
                    }
                }
            }
        }
        *sums = local;
    }

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
fn highest(scores: &[[f32; LANES]], visible: &Visible) -> (std::ops::Range<usize>, [f32; LANES]) {
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

/// The sum of `of` over the rows, for each position. It is made in eight parts, which makes
/// rounding errors small and keeps the CPU busy.
#[inline(always)]
fn sum(rows: &[[f32; LANES]], of: impl Fn(f32, usize) -> f32) -> [f32; LANES] {
    let mut parts = [[0.0f32; LANES]; 8];
    for (row, values) in rows.iter().enumerate() {
        let part = &mut parts[row % 8];
        for i in 0..LANES {
            part[i] += of(values[i], i);
        }
    }
    let mut total = [0.0; LANES];
    for i in 0..LANES {
        let pairs: [f32; 4] = std::array::from_fn(|p| parts[2 * p][i] + parts[2 * p + 1][i]);
        total[i] = (pairs[0] + pairs[1]) + (pairs[2] + pairs[3]);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::lanes::Lanes;
    use crate::blocks::matmul::MOST_OF_ACTIVATIONS;
    use crate::blocks::matmul::tests::Noise;

    /// GELU with the error function as a series of positive terms.
    fn exactly(x: f64) -> f64 {
        let t = x / 2f64.sqrt();
        if t.abs() > 6.0 {
            return x.max(0.0);
        }
        let (mut term, mut total) = (t, t);
        for n in 1..200 {
            term *= 2.0 * t * t / f64::from(2 * n + 1);
            total += term;
        }
        let erf = 2.0 / std::f64::consts::PI.sqrt() * (-t * t).exp() * total;
        0.5 * x * (1.0 + erf)
    }

    #[test]
    fn what_lies_along_a_direction_is_taken_and_gates_scale() {
        let mut noise = Noise::new(6);
        let [x, v, gate] = [(); 3].map(|()| noise.values(LANES * 5, 2.0));
        let rows = |values: &[f32]| Lanes::from_rows(&[LANES], 5, values);
        let (mut lanes, v_lanes, gates) = (rows(&x), rows(&v), rows(&gate));
        lanes.each_group(|_, x| {
            take_along(x, v_lanes.group(0), 0.75);
            sigmoid_gate(x, gates.group(0), 0.5);
        });
        let mut norm = rows(&x);
        norm.each_group(|_, x| plain_rms_norm(x, 1e-6));
        let (got, norm) = (lanes.to_rows(), norm.to_rows());
        for at in 0..LANES {
            let of = |values: &[f32], i: usize| f64::from(values[at * 5 + i]);
            let dot = |a: &[f32], b: &[f32]| (0..5).map(|i| of(a, i) * of(b, i)).sum::<f64>();
            for i in 0..5 {
                let left = of(&x, i) - 0.75 * dot(&x, &v) / dot(&v, &v) * of(&v, i);
                let expected = left * 0.5 / (1.0 + (-of(&gate, i)).exp());
                assert!((of(&got, i) - expected).abs() < 1e-5);
                let expected = of(&x, i) / (dot(&x, &x) / 5.0 + 1e-6).sqrt();
                assert!((of(&norm, i) - expected).abs() < 1e-6);
            }
        }
        // A direction of no length takes nothing.
        let mut same = rows(&x);
        same.each_group(|_, x| take_along(x, &[[0.0; LANES]; 5], 1.0));
        assert_eq!(same.to_rows(), x);
        let [mut quick, mut gated] = [rows(&x), rows(&x)];
        quick.each_group(|_, x| quick_gelu_rows(x));
        gated.each_group(|_, x| silu_gated_rows(x, gates.group(0)));
        for (at, (quick, gated)) in quick.to_rows().iter().zip(gated.to_rows()).enumerate() {
            let (x, up) = (f64::from(x[at]), f64::from(gate[at]));
            assert!((f64::from(*quick) - x / (1.0 + (-1.702 * x).exp())).abs() < 1e-6);
            assert!((f64::from(gated) - x / (1.0 + (-x).exp()) * up).abs() < 1e-6);
        }
        let mut squares = [[-3.0; LANES], [3.0; LANES]];
        squared_relu_rows(&mut squares, 0.5);
        assert_eq!(squares, [[0.0; LANES], [4.5; LANES]]);
    }

    #[test]
    fn exp_and_gelu_are_exact_to_single_precision() {
        let mut x = -110.0f32;
        while x < 88.0 {
            let expected = f64::from(x).exp();
            let allowed = if x < -87.3 { 1.3e-38 } else { expected * 3e-7 };
            assert!((f64::from(exp(x)) - expected).abs() <= allowed, "{x}: {}", exp(x));
            let cubed = f64::from(x) + 0.044715 * f64::from(x).powi(3);
            let inner = ((2.0 / std::f64::consts::PI).sqrt() * cubed).tanh();
            let expected = 0.5 * f64::from(x) * (1.0 + inner);
            let allowed = expected.abs() * 1e-6 + 1e-7;
            assert!((f64::from(gelu(x)) - expected).abs() <= allowed, "{x}: {}", gelu(x));
            let error = f64::from(exact_gelu(x)) - exactly(f64::from(x));
            let allowed = f64::from(x).abs() * 5e-7 + 1e-9;
            assert!(error.abs() <= allowed, "{x}: {} off by {error}", exact_gelu(x));
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 2e-7, "{x}: {}", tanh(x));
            x += 0.0137;
        }
        let mut rows = [[6.0; LANES], [-0.3; LANES]];
        cap_rows(&mut rows, 2.0, 5.0);
        let expected = [6.0f64, -0.3].map(|x| 5.0 * (2.0 * x / 5.0).tanh());
        assert!((f64::from(rows[0][3]) - expected[0]).abs() < 1e-6);
        assert!((f64::from(rows[1][9]) - expected[1]).abs() < 1e-6);
        assert_eq!((exp(f32::NEG_INFINITY), exp(0.0)), (0.0, 1.0));
        assert!(exp(f32::NAN).is_nan() && exp(f32::INFINITY).is_finite());
    }

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

    #[test]
    fn norms_and_rotations_equal_their_formulas() {
        let mut noise = Noise::new(5);
        let (n, width) = (40, 37);
        let (rows, weight) = (noise.values(n * width, 3.0), noise.values(width, 1.0));
        let bias = noise.values(width, 1.0);
        let x = Lanes::from_rows(&[n], width, &rows);
        let root = x.map_groups(width, |x, y| rms_norm(x, &weight, 1e-6, y)).to_rows();
        let layer = x.map_groups(width, |x, y| layer_norm(x, &weight, &bias, 1e-6, y)).to_rows();
        for p in 0..n {
            let row: Vec<f64> = rows[p * width..][..width].iter().map(|&v| v.into()).collect();
            let mean = row.iter().sum::<f64>() / width as f64;
            let squares = row.iter().map(|v| v * v).sum::<f64>() / width as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
            for i in 0..width {
                let w = f64::from(weight[i]);
                let expected = row[i] / (squares + 1e-6).sqrt() * w;
                assert!((f64::from(root[p * width + i]) - expected).abs() < 1e-6);
                let expected = (row[i] - mean) / (variance + 1e-6).sqrt() * w + f64::from(bias[i]);
                assert!((f64::from(layer[p * width + i]) - expected).abs() < 1e-6);
            }
        }
        // Two heads of width 4.
        let x = noise.values(8, 1.0);
        let angles = noise.values(2, 3.0);
        let mut lanes = Lanes::from_rows(&[1], 8, &x);
        let table = |of: fn(f32) -> f32| [[of(angles[0]); LANES], [of(angles[1]); LANES]];
        lanes.each_group(|_, rows| rotate(rows, &table(f32::cos), &table(f32::sin)));
        let got = lanes.to_rows();
        for head in 0..2 {
            for i in 0..2 {
                let (a, b) = (x[head * 4 + i], x[head * 4 + 2 + i]);
                let (sin, cos) = angles[i].sin_cos();
                assert!((got[head * 4 + i] - (a * cos - b * sin)).abs() < 1e-6);
                assert!((got[head * 4 + 2 + i] - (b * cos + a * sin)).abs() < 1e-6);
            }
        }
    }
}
