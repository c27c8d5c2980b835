//! What places see of each other, f32.

use super::activation::{exponentials, fused, largest};
use crate::compiled_for_each_cpu;

/// Numbers of a head at most: a register.
const LANES: usize = 16;

/// What each of some places sees: the values of all of them, weighted by how well their keys fit its
/// query, head by head. `looks` is `[places, 3, heads, width]`: queries, keys and values. The result
/// is `[places, heads, width]`.
///
/// ```
/// use pagesight_simd::network::attention;
/// // One head of one number; the second place looks at the first with all its might.
/// let seen = attention(&[0.0, 100.0, 7.0, 10.0, 0.0, 3.0], 1, 1);
/// assert!((seen[0] - 5.0).abs() < 1e-5 && (seen[1] - 7.0).abs() < 1e-5);
/// ```
///
/// # Panics
/// When `looks` are no whole places, or a head is wider than 16.
pub fn attention(looks: &[f32], heads: usize, width: usize) -> Vec<f32> {
    assert!(width <= LANES && looks.len().is_multiple_of(3 * heads * width), "whole places");
    let count = looks.len() / (3 * heads * width);
    let mut seen = vec![0f32; count * heads * width];
    let mut keys = vec![0f32; width * count];
    let mut values = vec![[0f32; LANES]; count];
    let mut fits = vec![0f32; count];
    let at = |place: usize, of: usize, head: usize| {
        &looks[((place * 3 + of) * heads + head) * width..][..width]
    };
    for head in 0..heads {
        for (place, value) in values.iter_mut().enumerate() {
            for (number, key) in at(place, 1, head).iter().enumerate() {
                keys[number * count + place] = *key;
            }
            value[..width].copy_from_slice(at(place, 2, head));
        }
        for place in 0..count {
            fit(at(place, 0, head), &keys, &mut fits);
            let most = largest(&fits);
            let sum = exponentials(&mut fits, most);
            let mut mixed = [0f32; LANES];
            mix(&fits, &values, &mut mixed);
            let seen = &mut seen[(place * heads + head) * width..][..width];
            seen.iter_mut().zip(mixed).for_each(|(seen, mixed)| *seen = mixed / sum);
        }
    }
    seen
}

compiled_for_each_cpu! {
    /// How well the keys, `[width, places]`, fit a query.
    fn fit(query: &[f32], keys: &[f32], fits: &mut [f32]) {
        let scale = 1.0 / (query.len() as f32).sqrt();
        fits.fill(0.0);
        for (number, keys) in query.iter().zip(keys.chunks_exact(fits.len())) {
            let number = *number * scale;
            for (fit, key) in fits.iter_mut().zip(keys) {
                *fit = fused::<FUSED>(number, *key, *fit);
            }
        }
    }

    /// The sum of the values, each as often as its share says.
    fn mix(shares: &[f32], values: &[[f32; LANES]], mixed: &mut [f32; LANES]) {
        // Four sums, so that one need not wait for the other.
        let mut sums = [[0f32; LANES]; 4];
        for (shares, values) in shares.chunks(4).zip(values.chunks(4)) {
            for ((share, value), sum) in shares.iter().zip(values).zip(&mut sums) {
                for lane in 0..LANES {
                    sum[lane] = fused::<FUSED>(*share, value[lane], sum[lane]);
                }
            }
        }
        for lane in 0..LANES {
            mixed[lane] = (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_see_what_fits_their_queries() {
        for (count, heads, width) in [(1usize, 1usize, 1usize), (5, 2, 3), (37, 8, 15), (18, 1, 16)]
        {
            let number = |i: usize| ((i * 7_919) % 103) as f32 / 25.0 - 2.0;
            let looks: Vec<f32> = (0..count * 3 * heads * width).map(number).collect();
            let at = |place: usize, of: usize, head: usize| {
                &looks[((place * 3 + of) * heads + head) * width..][..width]
            };
            let seen = attention(&looks, heads, width);
            for place in 0..count {
                for head in 0..heads {
                    let fits = (0..count).map(|other| {
                        let products = at(place, 0, head).iter().zip(at(other, 1, head));
                        let sum: f32 = products.map(|(q, k)| q * k).sum();
                        (f64::from(sum) / (width as f64).sqrt()).exp()
                    });
                    let fits: Vec<f64> = fits.collect();
                    let all: f64 = fits.iter().sum();
                    for number in 0..width {
                        let values = (0..count).map(|other| f64::from(at(other, 2, head)[number]));
                        let expected: f64 =
                            values.zip(&fits).map(|(value, fit)| value * fit).sum::<f64>() / all;
                        let got = seen[(place * heads + head) * width + number];
                        assert!((f64::from(got) - expected).abs() < 1e-4, "{got} {expected}");
                    }
                }
            }
        }
    }
}
