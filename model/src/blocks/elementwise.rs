//! Operations on activations that concern one position at a time: norms, activation functions,
//! rotation.
//!
//! They are plain loops over rows of [`LANES`] positions (see [`lanes`](super::lanes) and
//! [`rows`](super::rows)), which the compiler turns into vector instructions.

use pagesight_simd::compiled_for_each_cpu;

use crate::blocks::lanes::LANES;
use crate::blocks::rows::{Row, apart, each_lane, sum};

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

compiled_for_each_cpu! {
    /// Applies `exact_gelu` to every number.
    pub fn exact_gelu_rows(rows: &mut [Row]) {
        for row in rows {
            for value in row {
                *value = exact_gelu(*value);
            }
        }
    }

    /// `x sigmoid(1.702 x)`, the quick GELU of OpenAI's CLIP.
    pub fn quick_gelu_rows(rows: &mut [Row]) {
        for row in rows {
            for value in row {
                *value /= 1.0 + exp(-1.702 * *value);
            }
        }
    }

    /// `gate` becomes `gate sigmoid(gate) up`.
    pub fn silu_gated_rows(gate: &mut [Row], up: &[Row]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            for i in 0..LANES {
                gate[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
            }
        }
    }

    /// What is below 0 becomes 0, the rest its square, times `factor`.
    pub fn squared_relu_rows(rows: &mut [Row], factor: f32) {
        for value in rows.as_flattened_mut() {
            let positive = if *value < 0.0 { 0.0 } else { *value };
            *value = positive * positive * factor;
        }
    }

    /// `y` becomes `a x + b z`.
    pub fn mix_rows(x: &[Row], a: f32, z: &[Row], b: f32, y: &mut [Row]) {
        for ((x, z), y) in x.as_flattened().iter().zip(z.as_flattened()).zip(y.as_flattened_mut()) {
            *y = a * x + b * z;
        }
    }

    /// Root mean square norm of each position without a weight, in place.
    pub fn plain_rms_norm(rows: &mut [Row], eps: f32) {
        let squares = sum(rows, |value, _| value * value);
        let width = rows.len() as f32;
        let factor = each_lane(|i| 1.0 / (squares[i] / width + eps).sqrt());
        for row in rows {
            let x = *row;
            *row = each_lane(|i| x[i] * factor[i]);
            apart();
        }
    }

    /// Takes from `x` the given share of what lies along `direction`, for each position.
    pub fn take_along(x: &mut [Row], direction: &[Row], share: f32) {
        let (mut along, mut squares) = ([0.0; LANES], [0.0; LANES]);
        for (x, direction) in x.iter().zip(direction) {
            let (x, v) = (*x, *direction);
            along = each_lane(|i| along[i] + x[i] * v[i]);
            squares = each_lane(|i| squares[i] + v[i] * v[i]);
            apart();
        }
        // The least length that the reference divides by is 1e-12.
        let squared = each_lane(|i| if squares[i] < 1e-24 { 1e-24 } else { squares[i] });
        let factor = each_lane(|i| share * along[i] / squared[i]);
        for (row, direction) in x.iter_mut().zip(direction) {
            let (x, v) = (*row, *direction);
            *row = each_lane(|i| x[i] - factor[i] * v[i]);
            apart();
        }
    }

    /// `x` becomes `factor sigmoid(gate) x`.
    pub fn sigmoid_gate(x: &mut [Row], gate: &[Row], factor: f32) {
        for (x, gate) in x.iter_mut().zip(gate) {
            for i in 0..LANES {
                x[i] *= factor / (1.0 + exp(-gate[i]));
            }
        }
    }

    /// Applies `gelu` to every number.
    pub fn gelu_rows(rows: &mut [Row]) {
        for row in rows {
            for value in row {
                *value = gelu(*value);
            }
        }
    }

    /// `gate` becomes `gelu(gate) * up`.
    pub fn gated_rows(gate: &mut [Row], up: &[Row]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            for i in 0..LANES {
                gate[i] = gelu(gate[i]) * up[i];
            }
        }
    }

    /// `gate` becomes `exact_gelu(gate) * up`.
    pub fn exact_gated_rows(gate: &mut [Row], up: &[Row]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            for i in 0..LANES {
                gate[i] = exact_gelu(gate[i]) * up[i];
            }
        }
    }

    /// Root mean square norm of each position (Zhang and Sennrich, arXiv 1910.07467), times
    /// `weight`, `[width]`, in f32.
    pub fn rms_norm(x: &[Row], weight: &[f32], eps: f32, y: &mut [Row]) {
        let squares = sum(x, |value, _| value * value);
        let width = x.len() as f32;
        let factor = each_lane(|i| 1.0 / (squares[i] / width + eps).sqrt());
        for ((x, y), weight) in x.iter().zip(y).zip(weight) {
            let (x, weight) = (*x, *weight);
            *y = each_lane(|i| x[i] * factor[i] * weight);
            apart();
        }
    }

    /// Layer norm of each position (Ba et al., arXiv 1607.06450), in f32.
    pub fn layer_norm(x: &[Row], weight: &[f32], bias: &[f32], eps: f32, y: &mut [Row]) {
        let width = x.len() as f32;
        let total = sum(x, |value, _| value);
        let mean = each_lane(|i| total[i] / width);
        let squares = sum(x, |value, i| (value - mean[i]) * (value - mean[i]));
        let factor = each_lane(|i| 1.0 / (squares[i] / width + eps).sqrt());
        for (((x, y), weight), bias) in x.iter().zip(y).zip(weight).zip(bias) {
            let (x, weight, bias) = (*x, *weight, *bias);
            *y = each_lane(|i| (x[i] - mean[i]) * factor[i] * weight + bias);
            apart();
        }
    }

    /// Rotates row `i` and row `i + n` of each head of `2 n` rows by the angles of each position;
    /// `cos` and `sin` are `[n, LANES]`.
    pub fn rotate(rows: &mut [Row], cos: &[Row], sin: &[Row]) {
        let half = cos.len();
        for head in rows.chunks_mut(2 * half) {
            let (low, high) = head.split_at_mut(half);
            for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                let (x, y, cos, sin) = (*low, *high, *cos, *sin);
                *low = each_lane(|i| x[i] * cos[i] - y[i] * sin[i]);
                *high = each_lane(|i| y[i] * cos[i] + x[i] * sin[i]);
                apart();
            }
        }
    }

    /// Adds `y` to `x`, and a bias per row unless `bias` is empty.
    pub fn add_rows(x: &mut [Row], y: &[Row], bias: &[f32]) {
        for (row, (x, y)) in x.iter_mut().zip(y).enumerate() {
            let bias = if bias.is_empty() { 0.0 } else { bias[row] };
            let (before, y) = (*x, *y);
            *x = each_lane(|i| before[i] + (y[i] + bias));
            apart();
        }
    }

    /// Sets `x` to `y`, plus a bias per row unless `bias` is empty.
    pub fn copy_rows(x: &mut [Row], y: &[Row], bias: &[f32]) {
        for (row, (x, y)) in x.iter_mut().zip(y).enumerate() {
            let bias = if bias.is_empty() { 0.0 } else { bias[row] };
            let y = *y;
            *x = each_lane(|i| y[i] + bias);
            apart();
        }
    }

    /// Multiplies every number with the factor of its position.
    pub fn scale_lanes(rows: &mut [Row], factor: &Row) {
        let factor = *factor;
        for row in rows {
            let x = *row;
            *row = each_lane(|i| x[i] * factor[i]);
            apart();
        }
    }

    /// A number `x` becomes `cap tanh(factor x / cap)`.
    pub fn cap_rows(rows: &mut [Row], factor: f32, cap: f32) {
        let inner = factor / cap;
        for row in rows {
            for value in row {
                *value = cap * tanh(*value * inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::lanes::Lanes;
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
