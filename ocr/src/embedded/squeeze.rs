//! Which channels count how much, judged by a picture as a whole.

use super::field::Field;
use super::tensors::{Layer, Tensors};
use crate::error::OcrError;

/// From the means of the channels over a picture, by a few numbers, to shares of 0 to 1.
pub(super) struct Squeeze {
    down: Layer,
    up: Layer,
    /// How steep the way from 0 to 1 is.
    slope: f32,
}

impl Squeeze {
    /// Takes the weights.
    pub fn take(tensors: &mut Tensors, channels: usize, slope: f32) -> Result<Self, OcrError> {
        let few = channels / 4;
        let down = tensors.convolution([few, channels, 1, 1])?;
        let up = tensors.convolution([channels, few, 1, 1])?;
        Ok(Self { down, up, slope })
    }

    /// The shares of the channels.
    pub fn shares(&self, field: &Field) -> Vec<f32> {
        let mut means = vec![0f32; field.channels];
        for row in 0..field.rows {
            // Row by row, so that small numbers are not lost in a large sum.
            let mut sums = vec![0f32; field.channels];
            for place in field.row(row).chunks_exact(field.channels) {
                sums.iter_mut().zip(place).for_each(|(sum, value)| *sum += value);
            }
            means.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum);
        }
        let count = (field.rows * field.columns) as f32;
        means.iter_mut().for_each(|mean| *mean /= count);
        let mut few = product(&self.down, &means);
        few.iter_mut().for_each(|value| *value = value.max(0.0));
        let mut shares = product(&self.up, &few);
        for share in &mut shares {
            *share = (*share * self.slope + 0.5).clamp(0.0, 1.0);
        }
        shares
    }
}

fn product(layer: &Layer, x: &[f32]) -> Vec<f32> {
    let rows = layer.weights.chunks_exact(x.len()).zip(&layer.biases);
    rows.map(|(row, bias)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>() + bias).collect()
}
