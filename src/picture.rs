//! Pictures of pages and of heat as files: PNG, JPEG and WebP.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError, ImageReader, Limits};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use pagesight_core::{MAX_SIDE_PX, PageImage, Rect};
use pagesight_query::HeatMap;

use crate::error::Error;
use crate::page::Page;

/// How a picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// WebP without loss.
    WebP,
    /// PNG.
    Png,
    /// JPEG of a quality from 1 to 100.
    Jpeg(u8),
}

impl Format {
    /// The media type, e.g. `image/png`.
    pub fn mime_type(self) -> &'static str {
        match self {
            Self::WebP => "image/webp",
            Self::Png => "image/png",
            Self::Jpeg(_) => "image/jpeg",
        }
    }
}

/// A picture as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Picture {
    /// The bytes of the file.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub mime_type: &'static str,
    /// Width, px.
    pub width_px: u32,
    /// Height, px.
    pub height_px: u32,
}

/// Encodes `image`.
///
/// # Errors
/// [`Error::Picture`], e.g. for a WebP wider than 16,383 px.
pub fn encode(image: &PageImage, format: Format) -> Result<Picture, Error> {
    let (width, height) = (image.width_px(), image.height_px());
    let (rgb, colour) = (image.rgb(), ExtendedColorType::Rgb8);
    let mut bytes = Vec::new();
    match format {
        Format::WebP => WebPEncoder::new_lossless(&mut bytes)
            .write_image(rgb, width, height, colour)
            .map_err(failed)?,
        Format::Png => png(&mut bytes, FilterType::Adaptive)
            .write_image(rgb, width, height, colour)
            .map_err(failed)?,
        Format::Jpeg(quality) => jpeg(&mut bytes, image, quality)?,
    }
    Ok(Picture { bytes, mime_type: format.mime_type(), width_px: width, height_px: height })
}

/// `map` as a PNG of `width_px` by `height_px` px that lies over the picture of its page.
///
/// # Errors
/// [`Error::Picture`].
pub fn encode_heat(
    map: &HeatMap,
    width_px: u32,
    height_px: u32,
    smooth: bool,
) -> Result<Picture, Error> {
    let rgba = map.picture(width_px, height_px, smooth);
    let mut bytes = Vec::new();
    let written = png(&mut bytes, FilterType::NoFilter).write_image(
        &rgba,
        width_px,
        height_px,
        ExtendedColorType::Rgba8,
    );
    written.map_err(failed)?;
    Ok(Picture { bytes, mime_type: "image/png", width_px, height_px })
}

/// The pixels of a picture that is a file; transparency is dropped.
///
/// # Errors
/// [`Error::Picture`] for what is no PNG, JPEG or WebP, or wider or higher than 10,000 px.
pub fn decode(bytes: &[u8]) -> Result<PageImage, Error> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| Error::Picture(error.into()))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PX);
    limits.max_image_height = Some(MAX_SIDE_PX);
    reader.limits(limits);
    let rgb = reader.decode().map_err(failed)?.into_rgb8();
    let (width, height) = rgb.dimensions();
    PageImage::new(width, height, rgb.into_raw()).map_err(|error| Error::Picture(error.into()))
}

/// A page, or the part of it in `region` (points), as a JPEG of at most `most` bytes: first its
/// quality, then its width goes down from `width_px`.
///
/// # Errors
/// What drawing says; [`Error::Picture`] when nothing of `region` is on the page, or not even 64 px
/// are small enough.
pub fn jpeg_within(
    page: &Page,
    width_px: u32,
    region: Option<Rect>,
    most: usize,
    stop: &Arc<AtomicBool>,
) -> Result<Picture, Error> {
    let mut width = width_px;
    loop {
        let image = match region {
            None => page.image_until(width, stop)?,
            Some(rect) => page
                .image_of(rect, width, stop)?
                .ok_or_else(|| Error::Picture("nothing of the region is on the page".into()))?,
        };
        for quality in [85, 70, 55, 40] {
            let picture = encode(&image, Format::Jpeg(quality))?;
            if picture.bytes.len() <= most {
                return Ok(picture);
            }
        }
        if width <= 64 {
            return Err(Error::Picture(format!("64 px take more than {most} bytes").into()));
        }
        width = width * 3 / 4;
    }
}

/// Colours are kept at the full width and height, so that coloured print keeps its edges.
fn jpeg(bytes: &mut Vec<u8>, image: &PageImage, quality: u8) -> Result<(), Error> {
    let side = |px| u16::try_from(px).map_err(|error| Error::Picture(Box::new(error)));
    let (width, height) = (side(image.width_px())?, side(image.height_px())?);
    let mut encoder = Encoder::new(bytes, quality.clamp(1, 100));
    encoder.set_sampling_factor(SamplingFactor::R_4_4_4);
    let written = encoder.encode(image.rgb(), width, height, ColorType::Rgb);
    written.map_err(|error| Error::Picture(Box::new(error)))
}

fn png(bytes: &mut Vec<u8>, filter: FilterType) -> PngEncoder<&mut Vec<u8>> {
    PngEncoder::new_with_quality(bytes, CompressionType::Fast, filter)
}

fn failed(error: ImageError) -> Error {
    Error::Picture(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_without_loss_is_read_back() {
        let rgb: Vec<u8> = (0..5 * 7 * 3).map(|n| (n * 37 % 251) as u8).collect();
        let image = PageImage::new(5, 7, rgb).unwrap();
        for format in [Format::Png, Format::WebP] {
            let picture = encode(&image, format).unwrap();
            assert_eq!((picture.width_px, picture.height_px), (5, 7));
            assert_eq!(decode(&picture.bytes).unwrap(), image, "{format:?}");
        }
        assert!(decode(b"no picture").is_err());
    }

    #[test]
    fn a_jpeg_is_near_to_what_was_encoded() {
        let (width, height) = (61, 47);
        let rgb =
            (0..height).flat_map(|y| (0..width).flat_map(move |x| [4 * x, 5 * y, 2 * (x + y)]));
        let image = PageImage::new(width, height, rgb.map(|value| value as u8).collect()).unwrap();
        let (good, small) = (encode(&image, Format::Jpeg(90)), encode(&image, Format::Jpeg(20)));
        let (good, small) = (good.unwrap(), small.unwrap());
        assert!(small.bytes.len() < good.bytes.len());
        let read = decode(&good.bytes).unwrap();
        assert_eq!((read.width_px(), read.height_px()), (width, height));
        let off = read.rgb().iter().zip(image.rgb()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off.unwrap() <= 12, "a value is {off:?} off");
    }
}
