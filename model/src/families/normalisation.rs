//! What the bytes of a picture become.

use candle_core::{Device, Result as CandleResult, Tensor};
use pagesight_core::PageImage;

/// The scale and the place of numbers of pixels, by channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// What a byte is multiplied with.
    pub factor: f64,
    /// What is subtracted then.
    pub mean: [f32; 3],
    /// What that is divided by.
    pub deviation: [f32; 3],
}

impl Normalisation {
    /// The number that each of the 256 values of a byte becomes, a table per channel.
    pub fn worth(&self) -> [Vec<f32>; 3] {
        std::array::from_fn(|channel| {
            let (mean, deviation) = (self.mean[channel], self.deviation[channel]);
            let factor = self.factor as f32;
            (0..=u8::MAX).map(|value| (f32::from(value) * factor - mean) / deviation).collect()
        })
    }

    /// The numbers of a picture, `[3, height, width]` f32.
    pub fn pixel_values(&self, image: &PageImage) -> CandleResult<Tensor> {
        let (width, height) = (image.width_px() as usize, image.height_px() as usize);
        let mut values = Vec::with_capacity(3 * width * height);
        for (channel, table) in self.worth().iter().enumerate() {
            let pixels = image.rgb().as_chunks::<3>().0;
            values.extend(pixels.iter().map(|pixel| table[usize::from(pixel[channel])]));
        }
        Tensor::from_vec(values, (3, height, width), &Device::Cpu)
    }
}
