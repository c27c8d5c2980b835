//! Pixels to the vision tower's input. Source: transformers 4.57.6
//! `models/siglip/image_processing_siglip.py`: rescale, normalise, channels first.

use candle_core::{Device, Result, Tensor};
use pagesight_core::PageImage;

use crate::blocks::lanes::LANES;
use crate::families::colpali::config::PreprocessorConfig;

/// What each of the 256 values of a byte is in each channel: times the rescale factor, less the
/// mean, over the deviation.
pub fn worth(config: &PreprocessorConfig) -> [Vec<f32>; 3] {
    let factor = config.rescale_factor as f32;
    std::array::from_fn(|channel| {
        let (mean, std) = (config.image_mean[channel], config.image_std[channel]);
        (0..=255u8).map(|v| (f32::from(v) * factor - mean) / std).collect()
    })
}

/// `[3, height, width]`, f32: what each byte is worth. The picture has the input's size already.
pub fn pixel_values(image: &PageImage, config: &PreprocessorConfig) -> Result<Tensor> {
    let (width, height) = (image.width_px() as usize, image.height_px() as usize);
    let mut values = Vec::with_capacity(3 * width * height);
    for (channel, table) in worth(config).iter().enumerate() {
        let pixels = image.rgb().as_chunks::<3>().0;
        values.extend(pixels.iter().map(|pixel| table[usize::from(pixel[channel])]));
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

/// Patches `first ..` of `pixels`, `[3, height, width]`, in lanes: what [`patches`] gives as rows.
pub fn patch_lanes(
    pixels: &[f32],
    [height, width]: [usize; 2],
    patch: usize,
    first: usize,
    rows: &mut [[f32; LANES]],
) {
    let across = width / patch;
    for lane in 0..LANES.min((height / patch * across).saturating_sub(first)) {
        let (down, right) = ((first + lane) / across, (first + lane) % across);
        for (line, rows) in rows.chunks_mut(patch).enumerate() {
            let (channel, y) = (line / patch, line % patch);
            let start = (channel * height + down * patch + y) * width + right * patch;
            for (row, value) in rows.iter_mut().zip(&pixels[start..start + patch]) {
                row[lane] = *value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::lanes::Lanes;

    #[test]
    fn patches_in_lanes_are_patches() {
        let (patch, height, width) = (3, 21, 15);
        let values: Vec<f32> = (0..3 * height * width).map(|i| i as f32).collect();
        let pixels = Tensor::from_slice(&values, (3, height, width), &Device::Cpu).unwrap();
        let rows = patches(&pixels, patch).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let expected = Lanes::from_rows(&[35], 27, &rows);
        let mut lanes = Lanes::zeros(&[35], 27);
        lanes.each_group(|group, rows| {
            patch_lanes(&values, [height, width], patch, group * LANES, rows);
        });
        assert_eq!(lanes, expected);
    }
}
