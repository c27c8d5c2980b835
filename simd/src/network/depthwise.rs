//! Convolutions of each channel by itself, f32.

use super::activation::fused;
use crate::compiled_for_each_cpu;

/// Channels that are taken at once: a register.
const LANES: usize = 16;

/// A convolution of each channel with a window of its own.
///
/// ```
/// use pagesight_simd::network::Depthwise;
/// // One channel, a window of one row and three columns that sums up.
/// let sum = Depthwise::new(&[1.0, 1.0, 1.0], [1, 3], &[0.5]);
/// // A row of three places with a border of one on both sides.
/// let mut out = [0.0; 3];
/// sum.apply_row(&[&[0.0, 1.0, 2.0, 4.0, 0.0]], 1, &mut out);
/// assert_eq!(out, [3.5, 7.5, 6.5]);
/// ```
#[derive(Debug, Clone)]
pub struct Depthwise {
    channels: usize,
    rows: usize,
    columns: usize,
    /// `[rows, columns, channels]`.
    weights: Vec<f32>,
    biases: Vec<f32>,
}

impl Depthwise {
    /// Takes `weights`, `[channels, rows, columns]`, and a bias for each channel.
    ///
    /// # Panics
    /// When `weights` are not of that shape.
    pub fn new(weights: &[f32], [rows, columns]: [usize; 2], biases: &[f32]) -> Self {
        let (channels, window) = (biases.len(), rows * columns);
        assert_eq!(weights.len(), channels * window, "weights of the windows");
        let at = |i: usize| weights[i % channels * window + i / channels];
        let weights = (0..channels * window).map(at).collect();
        Self { channels, rows, columns, weights, biases: biases.to_vec() }
    }

    /// How many channels there are.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// A row of results, `[places, channels]`, from as many rows of the picture as the window has,
    /// each `[places and borders, channels]`: place `i` has its window from column `i * stride` on.
    ///
    /// # Panics
    /// When the rows are not as many as the window's, or too short.
    pub fn apply_row(&self, rows: &[&[f32]], stride: usize, out: &mut [f32]) {
        assert_eq!(rows.len(), self.rows, "rows of the window");
        let count = out.len() / self.channels;
        assert_eq!(out.len(), count * self.channels, "whole places");
        if count == 0 {
            return;
        }
        let needed = ((count - 1) * stride + self.columns) * self.channels;
        assert!(rows.iter().all(|row| row.len() >= needed), "columns of the window");
        match (rows, self.columns) {
            ([above, row, below], 3) if self.channels.is_multiple_of(LANES) => {
                window_of_nine(self, [above, row, below], stride, out);
            }
            _ => any_window(self, rows, stride, out),
        }
    }
}

/// Neighbouring places that are taken at once: their windows share columns.
const PLACES: usize = 4;

/// Adds the products of the windows of `P` places, `stride` columns apart, to their sums. `columns`
/// has the columns of a row from the first place on, all channels of one after the other.
#[inline(always)]
fn add_row<const FUSED: bool, const P: usize, const C: usize>(
    columns: &[[f32; LANES]],
    groups: usize,
    window: &[[f32; LANES]],
    stride: usize,
    sums: &mut [[f32; LANES]; P],
) {
    for column in 0..C {
        let values = &columns[column * groups];
        for place in 0..P {
            if let Some(weights) = column.checked_sub(place * stride).and_then(|i| window.get(i)) {
                for lane in 0..LANES {
                    sums[place][lane] =
                        fused::<FUSED>(values[lane], weights[lane], sums[place][lane]);
                }
            }
        }
    }
}

compiled_for_each_cpu! {
    fn window_of_nine(depthwise: &Depthwise, rows: [&[f32]; 3], stride: usize, out: &mut [f32]) {
        let groups = depthwise.channels / LANES;
        let rows = rows.map(|row| row.as_chunks::<LANES>().0);
        let weights = depthwise.weights.as_chunks::<LANES>().0;
        let out = out.as_chunks_mut::<LANES>().0;
        let count = out.len() / groups;
        let together = if stride == 1 { count / PLACES * PLACES } else { 0 };
        for group in 0..groups {
            let window: [[f32; LANES]; 9] = std::array::from_fn(|i| weights[i * groups + group]);
            let bias: [f32; LANES] = *depthwise.biases[group * LANES..].first_chunk().unwrap();
            for place in (0..together).step_by(PLACES) {
                let mut sums = [bias; PLACES];
                for (row, window) in rows.iter().zip(window.as_chunks::<3>().0) {
                    let columns = &row[place * groups + group..][..(PLACES + 1) * groups + 1];
                    add_row::<FUSED, PLACES, { PLACES + 2 }>(columns, groups, window, 1, &mut sums);
                }
                for (i, sums) in sums.into_iter().enumerate() {
                    out[(place + i) * groups + group] = sums;
                }
            }
            for place in together..count {
                let mut sums = [bias];
                for (row, window) in rows.iter().zip(window.as_chunks::<3>().0) {
                    let columns = &row[place * stride * groups + group..][..2 * groups + 1];
                    add_row::<FUSED, 1, 3>(columns, groups, window, stride, &mut sums);
                }
                out[place * groups + group] = sums[0];
            }
        }
    }

    fn any_window(depthwise: &Depthwise, rows: &[&[f32]], stride: usize, out: &mut [f32]) {
        let channels = depthwise.channels;
        for (place, out) in out.chunks_exact_mut(channels).enumerate() {
            out.copy_from_slice(&depthwise.biases);
            let mut weights = depthwise.weights.chunks_exact(channels);
            for row in rows {
                let window = &row[place * stride * channels..][..depthwise.columns * channels];
                for values in window.chunks_exact(channels) {
                    let weights = weights.next().unwrap();
                    for ((out, value), weight) in out.iter_mut().zip(values).zip(weights) {
                        *out = fused::<FUSED>(*value, *weight, *out);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_summed_channel_by_channel() {
        for (channels, [rows, columns], stride) in
            [(16, [3, 3], 1), (48, [3, 3], 2), (5, [3, 3], 1), (8, [1, 7], 1), (24, [7, 7], 1)]
        {
            let number = |i: usize| ((i * 7_919) % 101) as f32 / 50.0 - 1.0;
            let weights: Vec<f32> = (0..channels * rows * columns).map(number).collect();
            let biases: Vec<f32> = (0..channels).map(|i| i as f32).collect();
            let depthwise = Depthwise::new(&weights, [rows, columns], &biases);
            let width = 6 * stride + columns;
            let picture: Vec<f32> = (0..rows * width * channels).map(|i| number(i + 3)).collect();
            let given: Vec<&[f32]> = picture.chunks(width * channels).collect();
            let mut out = vec![0f32; 7 * channels];
            depthwise.apply_row(&given, stride, &mut out);
            for place in 0..7 {
                for channel in 0..channels {
                    let mut expected = biases[channel];
                    for row in 0..rows {
                        for column in 0..columns {
                            expected += given[row][(place * stride + column) * channels + channel]
                                * weights[(channel * rows + row) * columns + column];
                        }
                    }
                    let got = out[place * channels + channel];
                    assert!((got - expected).abs() < 1e-4, "{channels} {place} {got} {expected}");
                }
            }
        }
    }
}
