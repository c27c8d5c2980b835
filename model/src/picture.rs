//! Pictures from files, as PIL's `convert("RGB")` gives them: grey is repeated, alpha is dropped
//! and the colour under it kept. Source: Pillow 11.3 `src/libImaging/Convert.c`.

use std::path::Path;

use image::{DynamicImage, ImageError};
use pagesight_core::PageImage;

/// Reads the picture at `path`.
pub fn read_picture(path: &Path) -> Result<PageImage, ImageError> {
    let rgb = match image::open(path)? {
        // PIL cuts 16-bit grey off at 255 instead of scaling it: nearly all of it is white.
        DynamicImage::ImageLuma16(grey) => {
            let cut = DynamicImage::ImageLuma8(image::ImageBuffer::from_fn(
                grey.width(),
                grey.height(),
                |x, y| image::Luma([u8::try_from(grey.get_pixel(x, y).0[0]).unwrap_or(u8::MAX)]),
            ));
            cut.to_rgb8()
        }
        image => image.to_rgb8(),
    };
    let (width, height) = rgb.dimensions();
    Ok(PageImage::new(width, height, rgb.into_raw()).expect("the picture has its own size"))
}

/// `[n, 4]` CMYK to `[n, 3]` RGB: `K' - C K' / 255` with `K' = 255 - K`, rounded.
pub fn cmyk_to_rgb(pixels: &[u8]) -> Vec<u8> {
    let pixel = |pixel: &[u8]| {
        let light = 255 - u32::from(pixel[3]);
        [0, 1, 2].map(|ink| (light - (u32::from(pixel[ink]) * light + 127) / 255) as u8)
    };
    pixels.chunks_exact(4).flat_map(pixel).collect()
}
