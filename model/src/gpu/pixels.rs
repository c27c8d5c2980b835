//! Patches of pictures, made on the GPU of their bytes, which are a quarter of the numbers that they
//! become.

use std::borrow::Cow;

use candle_core::{DType, Device as CandleDevice, Result as CandleResult, Tensor};
use pagesight_core::PageImage;
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::gpu::kernels;

/// In which order the numbers of a patch lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Row, column, channel.
    PixelByPixel,
    /// Channel, row, column.
    ChannelByChannel,
}

/// Patches of one or several pictures, which stay where they are until they are sent.
#[derive(Debug, Clone)]
pub struct Cuts<'a> {
    /// Edge of a patch, px.
    patch: usize,
    order: Order,
    pictures: Vec<Picture<'a>>,
}

/// A picture, and where its patches lie.
#[derive(Debug, Clone)]
struct Picture<'a> {
    image: Cow<'a, PageImage>,
    places: Vec<Place>,
}

/// Where a patch lies among the bytes of its picture.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Its first byte.
    first: usize,
    /// Bytes of a line of its picture.
    line: usize,
    /// Pixels of it that are on the picture, from left to right.
    across: usize,
    /// Lines of it that are on the picture.
    down: usize,
}

impl<'a> Cuts<'a> {
    /// No patches yet.
    pub fn new(patch: usize, order: Order) -> Self {
        Self { patch, order, pictures: Vec::new() }
    }

    /// Adds patches of a picture. `corners` has the row and the column of the first pixel of each;
    /// what lies past the right or the bottom edge of the picture is black.
    pub fn add(
        &mut self,
        image: Cow<'a, PageImage>,
        corners: impl IntoIterator<Item = [usize; 2]>,
    ) {
        let (width, height) = (image.width_px() as usize, image.height_px() as usize);
        let places = corners.into_iter().map(|[row, column]| Place {
            first: 3 * (row * width + column),
            line: 3 * width,
            across: width.saturating_sub(column).min(self.patch),
            down: height.saturating_sub(row).min(self.patch),
        });
        let places = places.collect();
        self.pictures.push(Picture { image, places });
    }

    /// The numbers of the patches, `[patches, 3 * patch * patch]` in `dtype`: what each byte is
    /// `worth`, 256 numbers a channel.
    pub fn patches(
        &self,
        device: &CandleDevice,
        worth: &[Vec<f32>; 3],
        dtype: DType,
    ) -> CandleResult<Tensor> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            return self.by_kernel(device, worth, dtype);
        }
        let width = 3 * self.patch * self.patch;
        let places = self.pictures.iter().flat_map(|Picture { image, places }| {
            places.iter().map(move |place| (image.rgb(), place))
        });
        let places: Vec<(&[u8], &Place)> = places.collect();
        let mut rows = vec![0.0; places.len() * width];
        let of_patches = rows.par_chunks_mut(width).zip(&places);
        of_patches.for_each(|(row, (bytes, place))| {
            for (n, to) in row.iter_mut().enumerate() {
                let (channel, y, x) = self.within(n);
                let is_there = y < place.down && x < place.across;
                let at = place.first + y * place.line + 3 * x + channel;
                let byte = if is_there { bytes[at] } else { 0 };
                *to = worth[channel][usize::from(byte)];
            }
        });
        let rows = Tensor::from_vec(rows, (places.len(), width), &CandleDevice::Cpu)?;
        rows.to_dtype(dtype)?.to_device(device)
    }

    /// Each picture is sent from where it lies, without a copy before.
    #[cfg(feature = "cuda")]
    fn by_kernel(
        &self,
        device: &CandleDevice,
        worth: &[Vec<f32>; 3],
        dtype: DType,
    ) -> CandleResult<Tensor> {
        let worth = Tensor::from_vec(worth.concat(), (3, 256), device)?;
        let by_pixel = usize::from(self.order == Order::PixelByPixel);
        let patches = self.pictures.iter().map(|Picture { image, places }| {
            let mut numbers = Vec::with_capacity(4 * places.len());
            for place in places {
                for number in [place.first, place.line, place.across, place.down] {
                    numbers.push(u32::try_from(number)?);
                }
            }
            let places = Tensor::from_vec(numbers, (places.len(), 4), device)?;
            let bytes = Tensor::from_slice(image.rgb(), image.rgb().len(), device)?;
            kernels::patches(&bytes, &worth, &places, [self.patch, by_pixel], dtype)
        });
        let patches = patches.collect::<CandleResult<Vec<_>>>()?;
        match patches.as_slice() {
            [one] => Ok(one.clone()),
            several => Tensor::cat(several, 0),
        }
    }

    /// Channel, row and column of number `n` of a patch.
    fn within(&self, n: usize) -> (usize, usize, usize) {
        let patch = self.patch;
        match self.order {
            Order::PixelByPixel => (n % 3, n / (3 * patch), n / 3 % patch),
            Order::ChannelByChannel => (n / (patch * patch), n / patch % patch, n % patch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_of_several_pictures_lie_one_after_the_other_and_are_black_past_the_edge() {
        // Bytes that say where they are: picture, row, column and channel.
        let picture = |number: u8, width: u8, height: u8| {
            let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
            let rgb =
                pixels.flat_map(|(y, x)| [0, 1, 2].map(|c| 100 * number + 20 * y + 4 * x + c));
            PageImage::new(width.into(), height.into(), rgb.collect()).unwrap()
        };
        let worth: [Vec<f32>; 3] =
            [0.0, 1000.0, 2000.0].map(|of| (0..256).map(|byte| byte as f32 + of).collect());
        let black = [0.0, 1000.0, 2000.0];
        for order in [Order::PixelByPixel, Order::ChannelByChannel] {
            let mut cuts = Cuts::new(2, order);
            cuts.add(Cow::Owned(picture(0, 3, 3)), [[0, 0], [0, 2], [2, 2]]);
            cuts.add(Cow::Owned(picture(1, 4, 2)), [[0, 2]]);
            let got = cuts.patches(&CandleDevice::Cpu, &worth, DType::F32).unwrap();
            let got: Vec<Vec<f32>> = got.to_vec2().unwrap();
            let corners = [(0, 3, 3, 0, 0), (0, 3, 3, 0, 2), (0, 3, 3, 2, 2), (1, 4, 2, 0, 2)];
            assert_eq!(got.len(), corners.len());
            for (row, (number, width, height, top, left)) in got.iter().zip(corners) {
                let pixel = |y: usize, x: usize, channel: usize| {
                    let (y, x) = (top + y, left + x);
                    let place = (100 * number + 20 * y + 4 * x + channel) as f32;
                    let inside = y < height && x < width;
                    black[channel] + if inside { place } else { 0.0 }
                };
                let expected: Vec<f32> = match order {
                    Order::PixelByPixel => {
                        (0..12).map(|n| pixel(n / 6, n / 3 % 2, n % 3)).collect()
                    }
                    Order::ChannelByChannel => {
                        (0..12).map(|n| pixel(n / 2 % 2, n % 2, n / 4)).collect()
                    }
                };
                assert_eq!(*row, expected, "{order:?} {top} {left}");
            }
        }
    }
}
