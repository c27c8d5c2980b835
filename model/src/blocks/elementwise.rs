//! Operations on activations that concern one position at a time: norms, activation functions,
//! softmax, rotation.
//!
//! They are plain loops over rows of [`LANES`] positions (see [`lanes`](super::lanes)), which the
//! compiler turns into vector instructions.

#![expect(clippy::needless_range_loop, reason = "lanes of several arrays by one index")]

use pagesight_simd::compiled_for_each_cpu;

use crate::blocks::lanes::{LANES, Line};

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

/// `2^x` for numbers that are rounded to bf16 next. The relative error is below 3e-6, much less
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

/// GELU by the error function, `gelu` of the reference: `x (1 + erf(x / sqrt 2)) / 2`. The error of
/// `erf` is below 2e-7 (Abramowitz and Stegun 1964, 7.1.26).
#[inline(always)]
pub fn gelu_erf(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut tail = 1.061_405_4_f32;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        tail = tail * t + c;
    }
    // What is left of 1 beyond z, on one side.
    let tail = tail * t * exp(-z * z) * 0.5;
    // Far below zero the product of the small number alone keeps its digits.
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

compiled_for_each_cpu! {
    /// Applies `gelu_erf` to every number.
    pub fn gelu_erf_rows(rows: &mut [[f32; LANES]]) {
        for row in rows {
            for value in row {
                *value = gelu_erf(*value);
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

    /// The softmax over the rows of each position, times `scale`, without its division: scores
    /// become `e^(scale (s - max))`, and `sums` their sums, in f32. Position `i` attends to the
    /// first `seen[i]` rows, at least one; the scores of the others become 0.
    pub fn softmax(
        scores: &mut [[f32; LANES]],
        scale: f32,
        seen: &[u32; LANES],
        sums: &mut [f32; LANES],
    ) {
        let (fewest, highest) = highest(scores, seen);
        let (all, some) = scores.split_at_mut(fewest);
        let mut partial = [[0.0; LANES]; 4];
        for (row, scores) in all.iter_mut().enumerate() {
            let partial = &mut partial[row % 4];
            for i in 0..LANES {
                scores[i] = exp((scores[i] - highest[i]) * scale);
                partial[i] += scores[i];
            }
        }
        for (row, scores) in some.iter_mut().enumerate() {
            let partial = &mut partial[(fewest + row) % 4];
            for i in 0..LANES {
                let p = exp((scores[i] - highest[i]) * scale);
                scores[i] = if ((fewest + row) as u32) < seen[i] { p } else { 0.0 };
                partial[i] += scores[i];
            }
        }
        for i in 0..LANES {
            sums[i] = (partial[0][i] + partial[1][i]) + (partial[2][i] + partial[3][i]);
        }
    }

    /// As [`softmax`], but the results are rounded to bf16 and written into the tiles of an
    /// operand: `lines` are those of pairs of rows. The number of rows is even.
    pub fn softmax_bf16(
        scores: &[[f32; LANES]],
        scale: f32,
        seen: &[u32; LANES],
        sums: &mut [f32; LANES],
        lines: &mut [Line],
    ) {
        let (fewest, highest) = highest(scores, seen);
        let scale = scale * std::f32::consts::LOG2_E;
        let mut partial = [[0.0; LANES]; 2];
        let whole = fewest / 2;
        let (all, some) = lines.as_chunks_mut::<2>().0.split_at_mut(whole);
        for (pair, lines) in scores.as_chunks::<2>().0.iter().zip(all) {
            let mut words = [0; LANES];
            for i in 0..LANES {
                let [first, second] = [pair[0][i], pair[1][i]]
                    .map(|s| exp2_for_bf16::<FUSED>((s - highest[i]) * scale));
                partial[0][i] += first;
                partial[1][i] += second;
                words[i] = pair_of_weights(first, second);
            }
            Line::set_both(lines, &words);
        }
        let pairs = scores.as_chunks::<2>().0[whole..].iter();
        for (n, (pair, lines)) in pairs.zip(some).enumerate() {
            let row = 2 * (whole + n) as u32;
            let mut words = [0; LANES];
            for i in 0..LANES {
                let [first, second] = [(pair[0][i], row), (pair[1][i], row + 1)].map(|(s, row)| {
                    let p = exp2_for_bf16::<FUSED>((s - highest[i]) * scale);
                    if row < seen[i] { p } else { 0.0 }
                });
                partial[0][i] += first;
                partial[1][i] += second;
                words[i] = pair_of_weights(first, second);
            }
            Line::set_both(lines, &words);
        }
        for i in 0..LANES {
            sums[i] = partial[0][i] + partial[1][i];
        }
    }
}

/// Two numbers of at most 1 as a pair of bf16, ties away from zero; a NaN stays one.
#[inline(always)]
fn pair_of_weights(first: f32, second: f32) -> u32 {
    let [first, second] = [first, second].map(|p| p.to_bits().wrapping_add(0x8000));
    (first >> 16) | (second & 0xffff_0000)
}

/// How many rows all positions attend to, and the highest score that each attends to.
#[inline(always)]
fn highest(scores: &[[f32; LANES]], seen: &[u32; LANES]) -> (usize, [f32; LANES]) {
    let fewest = seen.iter().fold(u32::MAX, |fewest, &n| fewest.min(n)) as usize;
    let fewest = fewest.min(scores.len());
    let (all, some) = scores.split_at(fewest);
    let mut highest = [f32::NEG_INFINITY; LANES];
    for row in all {
        for i in 0..LANES {
            highest[i] = if row[i] > highest[i] { row[i] } else { highest[i] };
        }
    }
    for (row, scores) in some.iter().enumerate() {
        for i in 0..LANES {
            let counts = ((fewest + row) as u32) < seen[i] && scores[i] > highest[i];
            highest[i] = if counts { scores[i] } else { highest[i] };
        }
    }
    (fewest, highest)
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
    use crate::blocks::matmul::tests::Noise;

    #[test]
    fn exp_and_gelu_are_exact_to_single_precision() {
        let mut x = -110.0f32;
        while x < 88.0 {
            let expected = f64::from(x).exp();
            let allowed = if x < -87.3 { 1.3e-38 } else { expected * 3e-7 };
            assert!((f64::from(exp(x)) - expected).abs() <= allowed, "{x}: {}", exp(x));
            let cubed = f64::from(x) + 0.044715 * f64::from(x).powi(3);
            let tanh = ((2.0 / std::f64::consts::PI).sqrt() * cubed).tanh();
            let expected = 0.5 * f64::from(x) * (1.0 + tanh);
            let allowed = expected.abs() * 1e-6 + 1e-7;
            assert!((f64::from(gelu(x)) - expected).abs() <= allowed, "{x}: {}", gelu(x));
            x += 0.0137;
        }
        assert_eq!((exp(f32::NEG_INFINITY), exp(0.0)), (0.0, 1.0));
        assert!(exp(f32::NAN).is_nan() && exp(f32::INFINITY).is_finite());
    }

    /// The error function by its series, which converges everywhere, in f64.
    #[test]
    fn gelu_by_the_error_function_equals_its_series() {
        let mut x = -4.0f32;
        while x < 4.0 {
            let z = f64::from(x) / std::f64::consts::SQRT_2;
            let (mut term, mut sum) = (z, z);
            for n in 1..200 {
                term *= -z * z / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            let erf = sum * 2.0 / std::f64::consts::PI.sqrt();
            let expected = f64::from(x) * (1.0 + erf) / 2.0;
            let got = f64::from(gelu_erf(x));
            assert!((got - expected).abs() < 4e-7, "{x}: {got} for {expected}");
            x += 0.0071;
        }
        assert_eq!((gelu_erf(0.0), gelu_erf(100.0), gelu_erf(-100.0)), (0.0, 100.0, -0.0));
        assert!(gelu_erf(f32::NAN).is_nan());
    }

    #[test]
    fn softmax_for_bf16_is_softmax_rounded() {
        let mut noise = Noise::new(9);
        let mut scores = [[0.0; LANES]; 8];
        for row in &mut scores {
            row.copy_from_slice(&noise.values(LANES, 40.0));
        }
        let causal: [u32; LANES] = std::array::from_fn(|lane| 1 + lane as u32 % 8);
        scores[0][7] = f32::NAN;
        for seen in [[8; LANES], [5; LANES], causal] {
            let (mut sums, mut exact_sums) = ([0.0; LANES], [0.0; LANES]);
            let mut lines = [Line([0; 16]); 8];
            softmax_bf16(&scores, 0.3, &seen, &mut sums, &mut lines);
            let mut exact = scores;
            softmax(&mut exact, 0.3, &seen, &mut exact_sums);
            for lane in 0..LANES {
                assert_eq!(sums[lane].is_nan(), exact_sums[lane].is_nan());
                if lane != 7 {
                    assert!((sums[lane] / exact_sums[lane] - 1.0).abs() < 1e-5);
                }
                for row in 0..8 {
                    let word = lines[row / 2 * 2 + lane / 16].0[lane % 16];
                    let bits = if row % 2 == 0 { word << 16 } else { word & 0xffff_0000 };
                    let (got, exact) = (f32::from_bits(bits), exact[row][lane]);
                    let near = (got - exact).abs() <= exact * 0.003_92 + 2e-38;
                    assert!(near || got.is_nan() && exact.is_nan(), "{row} {lane}: {got} {exact}");
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
