//! Functions of single numbers, f32, as plain loops that are compiled for each CPU.

use crate::compiled_for_each_cpu;

/// What becomes of single numbers between two products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Negative numbers become 0.
    Relu,
    /// `x (1 + erf(x / sqrt 2)) / 2`, absolute error below 2e-4: a byte of what it is rounded to
    /// is fifty times as wide.
    Gelu,
    /// `x / (1 + e^-x)`.
    Silu,
}

impl Activation {
    /// Applies it to every number.
    ///
    /// ```
    /// use pagesight_simd::network::Activation;
    /// let mut values = [-1.0, 3.0];
    /// Activation::Relu.apply(&mut values);
    /// assert_eq!(values, [0.0, 3.0]);
    /// ```
    pub fn apply(self, values: &mut [f32]) {
        match self {
            Self::Relu => relu(values),
            Self::Gelu => gelu(values),
            Self::Silu => silu(values),
        }
    }
}

/// `a * b + c`, in one rounding where the CPU has that.
#[inline(always)]
pub(super) fn fused<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` for `x` of at most 0, relative error below 1e-5; what is below -87 counts as -87.
#[inline(always)]
fn exponential<const FUSED: bool>(x: f32) -> f32 {
    // Adding this number rounds to a whole number, which is then in the low bits.
    const ROUNDING: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = x * std::f32::consts::LOG2_E;
    let shifted = x + ROUNDING;
    let r = x - (shifted - ROUNDING);
    // The polynomial with the smallest maximum of the relative error over [-0.5, 0.5].
    let mut y = 0.009_570_102_f32;
    for c in [0.055_917_863, 0.240_247_44, 0.693_121_8, 0.999_999_3] {
        y = fused::<FUSED>(y, r, c);
    }
    y * f32::from_bits(shifted.to_bits().wrapping_add(127).wrapping_shl(23))
}

/// Half of `erf(x / sqrt 2)`, by the odd polynomial of degree 13 that makes the error of GELU least
/// between -4 and 4.
#[inline(always)]
fn half_error_function<const FUSED: bool>(x: f32) -> f32 {
    let t = if x > 4.0 { 4.0 } else { x };
    let t = if t < -4.0 { -4.0 } else { t };
    let square = t * t;
    let mut y = 2.278_198_8e-8_f32;
    for c in [
        -1.598_635_6e-6,
        4.795_632_3e-5,
        -8.140_252_4e-4,
        8.772_450_3e-3,
        -6.457_33e-2,
        0.397_883_56,
    ] {
        y = fused::<FUSED>(y, square, c);
    }
    let y = y * t;
    let y = if y > 0.5 { 0.5 } else { y };
    if y < -0.5 { -0.5 } else { y }
}

compiled_for_each_cpu! {
    fn relu(values: &mut [f32]) {
        for value in values {
            *value = if *value > 0.0 { *value } else { 0.0 };
        }
    }

    fn gelu(values: &mut [f32]) {
        for value in values {
            *value *= 0.5 + half_error_function::<FUSED>(*value);
        }
    }

    fn silu(values: &mut [f32]) {
        for value in values {
            // Of the exponential of what is negative, which never overflows.
            let x = *value;
            let e = exponential::<FUSED>(if x > 0.0 { -x } else { x });
            *value = x * (if x > 0.0 { 1.0 } else { e }) / (1.0 + e);
        }
    }

    fn exponentials_into(values: &mut [f32], most: f32, sum: &mut f32) {
        let mut sums = [0.0f32; 16];
        let (chunks, rest) = values.as_chunks_mut::<16>();
        for chunk in chunks {
            for (value, sum) in chunk.iter_mut().zip(&mut sums) {
                *value = exponential::<FUSED>(*value - most);
                *sum += *value;
            }
        }
        for (value, sum) in rest.iter_mut().zip(&mut sums) {
            *value = exponential::<FUSED>(*value - most);
            *sum += *value;
        }
        *sum = sums.iter().sum();
    }

    fn largest_into(values: &[f32], most: &mut f32) {
        let mut mosts = [f32::MIN; 16];
        let (chunks, rest) = values.as_chunks::<16>();
        for chunk in chunks {
            for (value, most) in chunk.iter().zip(&mut mosts) {
                *most = if *value > *most { *value } else { *most };
            }
        }
        for value in rest.iter().chain(&mosts) {
            *most = if *value > *most { *value } else { *most };
        }
    }
}

/// The greatest number, and `f32::MIN` where there is none.
///
/// ```
/// assert_eq!(pagesight_simd::network::largest(&[1.0, 4.0, -9.0]), 4.0);
/// ```
pub fn largest(values: &[f32]) -> f32 {
    let mut most = f32::MIN;
    largest_into(values, &mut most);
    most
}

/// Replaces each number by the exponential of what it has less than `most`, which is at least as
/// great as all; returns their sum.
///
/// ```
/// let mut values = [0.0, -1.0];
/// let sum = pagesight_simd::network::exponentials(&mut values, 0.0);
/// assert!((sum - 1.3678794).abs() < 1e-5 && (values[1] - 0.3678794).abs() < 1e-5);
/// ```
pub fn exponentials(values: &mut [f32], most: f32) -> f32 {
    let mut sum = 0.0;
    exponentials_into(values, most, &mut sum);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `erf` by its series, in f64.
    fn erf(x: f64) -> f64 {
        let (mut sum, mut term) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn functions_are_what_they_say() {
        let x: Vec<f32> = (-1_200..1_200).map(|i| i as f32 / 200.0).collect();
        let after = |activation: Activation| {
            let mut values = x.clone();
            activation.apply(&mut values);
            values
        };
        for ((&x, gelu), silu) in x.iter().zip(after(Activation::Gelu)).zip(after(Activation::Silu))
        {
            let wide = f64::from(x);
            let expected = wide * (1.0 + erf(wide * std::f64::consts::FRAC_1_SQRT_2)) / 2.0;
            // The series itself is good to 1e-6 below 4.3.
            if x.abs() < 4.3 {
                assert!((f64::from(gelu) - expected).abs() < 2.1e-4, "gelu {x} {gelu} {expected}");
            }
            let expected = wide / (1.0 + (-wide).exp());
            assert!((f64::from(silu) - expected).abs() < 2e-5, "silu {x} {silu} {expected}");
        }
        let mut far = [-300.0, 300.0];
        Activation::Gelu.apply(&mut far);
        assert_eq!(far, [0.0, 300.0]);
        let mut far = [-300.0, 300.0];
        Activation::Silu.apply(&mut far);
        assert!(far[0].abs() < 1e-30 && (far[1] - 300.0).abs() < 1e-3, "{far:?}");
        assert_eq!(largest(&x), 5.995);
        assert_eq!(largest(&[]), f32::MIN);
    }

    #[test]
    fn exponentials_are_counted_once() {
        for length in [0usize, 1, 15, 16, 17, 100] {
            let mut values: Vec<f32> = (0..length).map(|i| -(i as f32) * 0.7).collect();
            let before = values.clone();
            let sum = exponentials(&mut values, 0.0);
            let mut expected = 0.0;
            for (value, before) in values.iter().zip(before) {
                let e = f64::from(before).exp();
                expected += e;
                assert!((f64::from(*value) - e).abs() <= 1e-5 * e + 1e-37, "{before} {value} {e}");
            }
            assert!((f64::from(sum) - expected).abs() <= 1e-5 * (1.0 + expected), "{length}");
        }
    }
}
