//! Pixels to the vision tower's input. Source: transformers 4.57.6
//! `models/siglip/image_processing_siglip.py`: rescale, normalise, channels first.

use candle_core::{Device, Result, Tensor};
use pagesight_core::PageImage;

use crate::config::PreprocessorConfig;

/// `[3, height, width]`, f32: each value times the rescale factor, less the mean, over the
/// deviation. The picture has the input's size already.
pub fn pixel_values(image: &PageImage, config: &PreprocessorConfig) -> Result<Tensor> {
    let (width, height) = (image.width_px() as usize, image.height_px() as usize);
    let factor = config.rescale_factor as f32;
    let mut values = Vec::with_capacity(3 * width * height);
    for channel in 0..3 {
        let (mean, std) = (config.image_mean[channel], config.image_std[channel]);
        // 256 possible values: the same arithmetic, done once each.
        let table: Vec<f32> = (0..=255u8).map(|v| (f32::from(v) * factor - mean) / std).collect();
        let plane = image.rgb().iter().skip(channel).step_by(3);
        values.extend(plane.map(|&value| table[usize::from(value)]));
    }
    Tensor::from_vec(values, (3, height, width), &Device::Cpu)
}

/// `[3, h, w]` to `[n_patches, 3 * patch * patch]`: patches in row-major order, inside a patch
/// channel, row, column, the order of the convolution's weight.
pub fn patches(pixels: &Tensor, patch: usize) -> Result<Tensor> {
    let (channels, height, width) = pixels.dims3()?;
    pixels
        .reshape((channels, height / patch, patch, width / patch, patch))?
        .permute((1, 3, 0, 2, 4))?
        .contiguous()?
        .reshape(((height / patch) * (width / patch), channels * patch * patch))
}
