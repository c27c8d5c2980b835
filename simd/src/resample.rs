//! Pillow's 8-bit resizing, to the last bit.
//!
//! The references bring a page to their size with `PIL.Image.resize` (Pillow 11.3,
//! `src/libImaging/Resample.c`): two integer passes, horizontal first, each rounded and clipped
//! to u8. General crates work in float or in another order and differ in a tenth of the bytes,
//! which moves embeddings by 5e-3.

use pagesight_core::{Filter, PageImage};

/// Fixed-point bits of a weight: 32 bits less 8 for the pixel and 2 for the overshoot.
const PRECISION_BITS: u32 = 22;

/// Resizes to `width_px` x `height_px` exactly as Pillow's `resize` with `BICUBIC` does.
///
/// ```
/// use pagesight_core::PageImage;
/// use pagesight_simd::resize_bicubic;
/// let grey = PageImage::new(4, 4, vec![77; 48]).unwrap();
/// assert_eq!(resize_bicubic(&grey, 2, 3).rgb(), &[77; 18]);
/// ```
///
/// # Panics
/// When a target side is 0.
pub fn resize_bicubic(image: &PageImage, width_px: u32, height_px: u32) -> PageImage {
    resize(image, width_px, height_px, Filter::Bicubic)
}

/// Resizes to `width_px` x `height_px` exactly as Pillow's `resize` does: the filter widens when
/// shrinking (antialias), a pass is skipped when its size already matches.
///
/// ```
/// use pagesight_core::PageImage;
/// use pagesight_simd::{Filter, resize};
/// let edge = PageImage::new(4, 1, vec![0, 0, 0, 0, 0, 0, 80, 80, 80, 80, 80, 80]).unwrap();
/// assert_eq!(resize(&edge, 2, 1, Filter::Bilinear).rgb(), &[11, 11, 11, 69, 69, 69]);
/// ```
///
/// # Panics
/// When a target side is 0.
pub fn resize(image: &PageImage, width_px: u32, height_px: u32, filter: Filter) -> PageImage {
    assert!(width_px > 0 && height_px > 0, "a resize to nothing");
    let (in_width, in_height) = (image.width_px() as usize, image.height_px() as usize);
    let (out_width, out_height) = (width_px as usize, height_px as usize);
    let narrowed = if out_width == in_width {
        None
    } else {
        let windows = windows(filter, in_width, out_width);
        Some(horizontal_pass(image.rgb(), in_width, in_height, &windows))
    };
    let rows = narrowed.as_deref().unwrap_or(image.rgb());
    let rgb = if out_height == in_height {
        rows.to_vec()
    } else {
        vertical_pass(rows, out_width, &windows(filter, in_height, out_height))
    };
    PageImage::new(width_px, height_px, rgb).expect("the passes keep the size")
}

/// The source pixels that make one output pixel: from `start`, one weight each.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

/// How far a filter reaches to each side, in pixels of the smaller picture.
fn support(filter: Filter) -> f64 {
    match filter {
        Filter::Bilinear => 1.0,
        Filter::Bicubic => 2.0,
        Filter::Lanczos => 3.0,
    }
}

/// The weight of a filter at a distance.
fn weight(filter: Filter, x: f64) -> f64 {
    match filter {
        Filter::Bilinear => (1.0 - x.abs()).max(0.0),
        Filter::Bicubic => cubic(x),
        Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
        Filter::Lanczos => 0.0,
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// Keys' cubic, as Pillow has it.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn windows(filter: Filter, input: usize, output: usize) -> Vec<Window> {
    let scale = input as f64 / output as f64;
    let filter_scale = scale.max(1.0);
    let support = support(filter) * filter_scale;
    (0..output)
        .map(|i| {
            let center = (i as f64 + 0.5) * scale;
            // `as` truncates towards zero as C does; both ends are clamped to the picture.
            let start = ((center - support + 0.5) as i64).max(0) as usize;
            let end = ((center + support + 0.5) as i64).min(input as i64) as usize;
            let weights: Vec<f64> = (start..end)
                .map(|x| weight(filter, (x as f64 - center + 0.5) * (1.0 / filter_scale)))
                .collect();
            let sum: f64 = weights.iter().sum();
            let weights = weights
                .into_iter()
                .map(|w| {
                    let fixed = w / sum * (1u32 << PRECISION_BITS) as f64;
                    (fixed + if fixed < 0.0 { -0.5 } else { 0.5 }) as i32
                })
                .collect();
            Window { start, weights }
        })
        .collect()
}

fn clip8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Rows that are narrowed together, a lane each.
const LANES: usize = 16;

fn horizontal_pass(rgb: &[u8], in_width: usize, height: usize, windows: &[Window]) -> Vec<u8> {
    let out_width = windows.len();
    let mut out = vec![0; out_width * height * 3];
    let mut columns = vec![[0; LANES]; in_width * 3];
    let mut narrowed = vec![[0; LANES]; out_width * 3];
    let blocks = rgb.chunks(LANES * in_width * 3);
    for (rows, out) in blocks.zip(out.chunks_mut(LANES * out_width * 3)) {
        for (lane, row) in rows.chunks_exact(in_width * 3).enumerate() {
            for (column, &value) in columns.iter_mut().zip(row) {
                column[lane] = value;
            }
        }
        narrow(&columns, windows, &mut narrowed);
        for (lane, row) in out.chunks_exact_mut(out_width * 3).enumerate() {
            for (value, column) in row.iter_mut().zip(&narrowed) {
                *value = column[lane];
            }
        }
    }
    out
}

fn vertical_pass(rgb: &[u8], width: usize, windows: &[Window]) -> Vec<u8> {
    let stride = width * 3;
    let mut out = Vec::with_capacity(stride * windows.len());
    let mut sums = vec![HALF; stride];
    for window in windows {
        sums.fill(HALF);
        let rows = rgb[window.start * stride..].chunks_exact(stride);
        for (row, &weight) in rows.zip(&window.weights) {
            add_weighted(&mut sums, row, weight);
        }
        out.extend(sums.iter().map(|&sum| clip8(sum)));
    }
    out
}

// Sums fit by the choice of `PRECISION_BITS`; a check of each would keep them out of vectors.
crate::compiled_for_each_cpu! {
    fn narrow(columns: &[[u8; LANES]], windows: &[Window], narrowed: &mut [[u8; LANES]]) {
        for (window, narrowed) in windows.iter().zip(narrowed.as_chunks_mut::<3>().0) {
            let mut sums = [[HALF; LANES]; 3];
            let pixels = columns[window.start * 3..].as_chunks::<3>().0;
            for (pixel, &weight) in pixels.iter().zip(&window.weights) {
                for (sums, values) in sums.iter_mut().zip(pixel) {
                    for (sum, &value) in sums.iter_mut().zip(values) {
                        *sum = sum.wrapping_add(i32::from(value).wrapping_mul(weight));
                    }
                }
            }
            *narrowed = sums.map(|sums| sums.map(clip8));
        }
    }

    fn add_weighted(sums: &mut [i32], row: &[u8], weight: i32) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum = sum.wrapping_add(i32::from(value).wrapping_mul(weight));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matching_size_is_left_alone() {
        let image = PageImage::new(3, 2, (0..18).collect()).unwrap();
        assert_eq!(resize_bicubic(&image, 3, 2), image);
    }

    /// Pixel by pixel, window by window.
    fn obvious(image: &PageImage, width: usize, height: usize, filter: Filter) -> Vec<u8> {
        let (in_width, in_height) = (image.width_px() as usize, image.height_px() as usize);
        let resample = |pixel: &dyn Fn(usize) -> u8, window: &Window| {
            let weighted = window.weights.iter().enumerate();
            let sum = weighted.map(|(i, w)| i32::from(pixel(window.start + i)) * w).sum::<i32>();
            clip8(HALF + sum)
        };
        let across = windows(filter, in_width, width);
        let down = windows(filter, in_height, height);
        let mut out = Vec::new();
        for vertical in &down {
            for x in &across {
                for channel in 0..3 {
                    let narrowed = |y: usize| {
                        let value = |x: usize| image.rgb()[(y * in_width + x) * 3 + channel];
                        resample(&value, x)
                    };
                    out.push(resample(&narrowed, vertical));
                }
            }
        }
        out
    }

    #[test]
    fn blocks_of_rows_give_what_single_pixels_do() {
        for (width, height, to_width, to_height) in
            [(40, 33, 13, 17), (7, 5, 20, 31), (1, 50, 3, 16), (64, 16, 63, 15)]
        {
            let noise =
                (0..width * height * 3).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
            let image = PageImage::new(width, height, noise.collect()).unwrap();
            for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
                let got = resize(&image, to_width, to_height, filter);
                let expected = obvious(&image, to_width as usize, to_height as usize, filter);
                assert_eq!(got.rgb(), expected, "{filter:?}");
            }
        }
    }

    #[test]
    fn a_hard_edge_overshoots_and_is_clipped_between_the_passes() {
        // Black left half, white right half, enlarged: bicubic rings on both sides of the edge.
        let row: Vec<u8> = [0, 0, 255, 255].iter().flat_map(|&v| [v; 3]).collect();
        let image = PageImage::new(4, 1, row).unwrap();
        let wide = resize_bicubic(&image, 16, 1);
        let red: Vec<u8> = wide.rgb().iter().step_by(3).copied().collect();
        assert_eq!(red.first(), Some(&0));
        assert_eq!(red.last(), Some(&255));
        assert!(red[6] < red[7] && red[7] < red[8] && red[8] < red[9]);
    }
}
