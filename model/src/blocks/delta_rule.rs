//! The gated delta rule, one position after the other, in f32 (Yang et al., arXiv 2412.06464). It
//! equals the form in chunks that the reference has. A head's matrix (64 kB for heads of 128) stays
//! in the cache of a core: a page of 1,040 positions takes 1.3 s of one core with AVX-512 for all 16
//! heads and 18 layers of the 0.8B model, which is why there is no second form in chunks.

use pagesight_simd::compiled_for_each_cpu;
use rayon::prelude::*;

use crate::blocks::elementwise::exp;

/// What one position brings to one head.
pub struct Head<'a> {
    /// `[key_dim]`, of any length.
    pub query: &'a [f32],
    /// `[key_dim]`, of any length.
    pub key: &'a [f32],
    /// `[value_dim]`.
    pub value: &'a [f32],
    /// The share of the matrix that is kept, 0 to 1.
    pub kept: f32,
    /// The share of an error that is corrected, 0 to 1.
    pub strength: f32,
}

/// What is added to the square of a length before it divides.
const EPS: f32 = 1e-6;

/// `ln(1 + e^x)`; large numbers are themselves, as in the reference.
pub fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}

/// Each channel of `rows`, `[positions, width]`, mixed with the `reach - 1` positions before it, and
/// then `x sigmoid(x)` of that. `weight` is `[width, reach]`, the own position last.
pub fn convolve(rows: &[f32], width: usize, weight: &[f32], reach: usize) -> Vec<f32> {
    // By position, so that channels lie side by side.
    let taps: Vec<f32> =
        (0..reach).flat_map(|tap| (0..width).map(move |i| weight[i * reach + tap])).collect();
    let mut out = vec![0.0; rows.len()];
    out.par_chunks_mut(width.max(1)).enumerate().for_each(|(position, out)| {
        for back in (0..reach.min(position + 1)).rev() {
            let row = &rows[(position - back) * width..][..width];
            add_products(out, row, &taps[(reach - 1 - back) * width..][..width]);
        }
        silu(out);
    });
    out
}

/// One over the length of `row`.
fn unit(row: &[f32]) -> f32 {
    let squares: f32 = row.iter().map(|value| value * value).sum();
    1.0 / (squares + EPS).sqrt()
}

/// Forgets a part of `matrix`, `[key_dim, value_dim]`, corrects what it says of the key, and writes
/// what it then says of the query into `out`, `[value_dim]`.
pub fn read_and_correct(matrix: &mut [f32], head: &Head<'_>, out: &mut [f32]) {
    let of_query = unit(head.query) * (head.query.len() as f32).powf(-0.5);
    step(matrix, head, [of_query, unit(head.key)], out);
}

compiled_for_each_cpu! {
    fn add_products(out: &mut [f32], x: &[f32], weight: &[f32]) {
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out += x * weight;
        }
    }

    fn silu(row: &mut [f32]) {
        for value in row {
            *value /= 1.0 + exp(-*value);
        }
    }

    fn step(matrix: &mut [f32], head: &Head<'_>, factors: [f32; 2], out: &mut [f32]) {
        let width = out.len();
        out.fill(0.0);
        for (row, key) in matrix.chunks_exact_mut(width).zip(head.key) {
            let key = key * factors[1];
            for (value, out) in row.iter_mut().zip(out.iter_mut()) {
                *value *= head.kept;
                *out += *value * key;
            }
        }
        // What the matrix says of the key becomes what it should have said more.
        for (out, value) in out.iter_mut().zip(head.value) {
            *out = head.strength * (value - *out);
        }
        correct(matrix, head, factors, out);
    }
}

/// The second half of a step: `error` is what the matrix has to learn, and becomes what it says of
/// the query.
#[inline(always)]
fn correct(matrix: &mut [f32], head: &Head<'_>, factors: [f32; 2], error: &mut [f32]) {
    const MOST: usize = 256;
    let width = error.len();
    // In blocks, so that sums lie on the stack.
    for start in (0..width).step_by(MOST) {
        let here = start..(start + MOST).min(width);
        let mut sums = [0.0f32; MOST];
        let sums = &mut sums[..here.len()];
        for ((row, key), query) in matrix.chunks_exact_mut(width).zip(head.key).zip(head.query) {
            let (key, query) = (key * factors[1], query * factors[0]);
            let row = &mut row[here.clone()];
            for ((value, error), sum) in
                row.iter_mut().zip(&error[here.clone()]).zip(sums.iter_mut())
            {
                *value += key * error;
                *sum += *value * query;
            }
        }
        error[here].copy_from_slice(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::matmul::tests::Noise;

    /// As it is defined, in f64.
    #[allow(clippy::needless_range_loop)] // rows and columns, as in the equation
    fn obvious(heads: &[Head<'_>], key_dim: usize, value_dim: usize) -> Vec<f64> {
        let mut matrix = vec![vec![0.0; value_dim]; key_dim];
        let mut out = Vec::new();
        for head in heads {
            let unit = |row: &[f32]| -> Vec<f64> {
                let squares: f64 = row.iter().map(|&v| f64::from(v).powi(2)).sum();
                row.iter().map(|&v| f64::from(v) / (squares + 1e-6).sqrt()).collect()
            };
            let (query, key) = (unit(head.query), unit(head.key));
            matrix.iter_mut().flatten().for_each(|value| *value *= f64::from(head.kept));
            for column in 0..value_dim {
                let said: f64 = (0..key_dim).map(|row| matrix[row][column] * key[row]).sum();
                let error = f64::from(head.strength) * (f64::from(head.value[column]) - said);
                (0..key_dim).for_each(|row| matrix[row][column] += key[row] * error);
                let read: f64 = (0..key_dim).map(|row| matrix[row][column] * query[row]).sum();
                out.push(read / (key_dim as f64).sqrt());
            }
        }
        out
    }

    #[test]
    fn it_equals_the_obvious_one_for_any_widths() {
        let mut noise = Noise::new(31);
        for (key_dim, value_dim) in [(1, 1), (12, 16), (128, 128), (33, 300)] {
            let numbers: Vec<[Vec<f32>; 3]> = (0..70)
                .map(|_| [key_dim, key_dim, value_dim].map(|width| noise.values(width, 1.0)))
                .collect();
            let shares: Vec<f32> = noise.values(140, 1.0).iter().map(|share| share.abs()).collect();
            let heads: Vec<Head<'_>> = numbers
                .iter()
                .zip(shares.as_chunks::<2>().0)
                .map(|([query, key, value], &[kept, strength])| Head {
                    query,
                    key,
                    value,
                    kept: kept.min(1.0),
                    strength: strength.min(1.0),
                })
                .collect();
            let expected = obvious(&heads, key_dim, value_dim);
            let mut matrix = vec![0.0; key_dim * value_dim];
            let mut out = vec![0.0; value_dim];
            for (head, expected) in heads.iter().zip(expected.chunks(value_dim)) {
                read_and_correct(&mut matrix, head, &mut out);
                for (got, expected) in out.iter().zip(expected) {
                    assert!((f64::from(*got) - expected).abs() < 2e-6, "{got} {expected}");
                }
            }
        }
    }

    #[test]
    fn the_convolution_sees_what_is_before_and_no_more() {
        let mut noise = Noise::new(32);
        let (width, reach, length) = (5, 4, 9);
        let (rows, weight) = (noise.values(length * width, 1.0), noise.values(width * reach, 1.0));
        let got = convolve(&rows, width, &weight, reach);
        for position in 0..length {
            for channel in 0..width {
                let taps = (0..reach).filter(|back| *back <= position).map(|back| {
                    let value = rows[(position - back) * width + channel];
                    f64::from(value) * f64::from(weight[channel * reach + reach - 1 - back])
                });
                let sum: f64 = taps.sum();
                let expected = sum / (1.0 + (-sum).exp());
                assert!((f64::from(got[position * width + channel]) - expected).abs() < 1e-6);
            }
        }
        assert!((softplus(-3.0) - 0.048_587_35).abs() < 1e-7 && softplus(30.0) == 30.0);
    }
}
