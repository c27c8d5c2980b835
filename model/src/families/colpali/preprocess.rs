//! Numbers of pixels, channels first, are cut into patches. Source: transformers 4.57.6
//! `models/siglip/image_processing_siglip.py`.

use candle_core::{Result, Tensor};

/// Cuts `[3, h, w]` into patches, `[n_patches, 3 * patch * patch]`: patches in row-major order, and
/// inside a patch channel, row, column, which is the order of the convolution's weight.
pub fn patches(pixels: &Tensor, patch: usize) -> Result<Tensor> {
    let (channels, height, width) = pixels.dims3()?;
    pixels
        .reshape((channels, height / patch, patch, width / patch, patch))?
        .permute((1, 3, 0, 2, 4))?
        .contiguous()?
        .reshape(((height / patch) * (width / patch), channels * patch * patch))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::blocks::lanes::{LANES, Lanes};
    use crate::blocks::siglip::patch_lanes;

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
