//! Pillow's 8-bit bicubic, to the last bit.
//!
//! The reference squeezes a page with `PIL.Image.resize(..., BICUBIC)` (Pillow 11.3,
//! `src/libImaging/Resample.c`): two integer passes, horizontal first, each rounded and clipped
//! to u8. General crates work in float or in another order and differ in a tenth of the bytes,
//! which moves embeddings by 5e-3.

use crate::PageImage;

/// Fixed-point bits of a weight: 32 bits less 8 for the pixel and 2 for the overshoot.
const PRECISION_BITS: u32 = 22;

/// Resizes to `width_px` x `height_px` exactly as Pillow's `resize` with `BICUBIC` does: the
/// filter widens when shrinking (antialias), a pass is skipped when its size already matches.
///
/// ```
/// use pagesight_core::{PageImage, resize_bicubic};
/// let grey = PageImage::new(4, 4, vec![77; 48]).unwrap();
/// assert_eq!(resize_bicubic(&grey, 2, 3).rgb(), &[77; 18]);
/// ```
///
/// # Panics
/// When a target side is 0.
pub fn resize_bicubic(image: &PageImage, width_px: u32, height_px: u32) -> PageImage {
    assert!(width_px > 0 && height_px > 0, "a resize to nothing");
    let (in_width, in_height) = (image.width_px() as usize, image.height_px() as usize);
    let (out_width, out_height) = (width_px as usize, height_px as usize);
    let narrowed = if out_width == in_width {
        None
    } else {
        Some(horizontal_pass(image.rgb(), in_width, in_height, out_width))
    };
    let rows = narrowed.as_deref().unwrap_or(image.rgb());
    let rgb = if out_height == in_height {
        rows.to_vec()
    } else {
        vertical_pass(rows, out_width, in_height, out_height)
    };
    PageImage::new(width_px, height_px, rgb).expect("the passes keep the size")
}

/// The source pixels that make one output pixel: from `start`, one weight each.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

/// Keys' cubic with a = -0.5, as Pillow has it.
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

fn windows(input: usize, output: usize) -> Vec<Window> {
    let scale = input as f64 / output as f64;
    let filter_scale = scale.max(1.0);
    let support = 2.0 * filter_scale;
    (0..output)
        .map(|i| {
            let center = (i as f64 + 0.5) * scale;
            // `as` truncates towards zero as C does; both ends are clamped to the picture.
            let start = ((center - support + 0.5) as i64).max(0) as usize;
            let end = ((center + support + 0.5) as i64).min(input as i64) as usize;
            let weights: Vec<f64> = (start..end)
                .map(|x| cubic((x as f64 - center + 0.5) * (1.0 / filter_scale)))
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

fn horizontal_pass(rgb: &[u8], in_width: usize, height: usize, out_width: usize) -> Vec<u8> {
    let windows = windows(in_width, out_width);
    let mut out = Vec::with_capacity(out_width * height * 3);
    for row in rgb.chunks_exact(in_width * 3) {
        for window in &windows {
            let mut sums = [HALF; 3];
            let pixels = row[window.start * 3..].chunks_exact(3);
            for (pixel, &weight) in pixels.zip(&window.weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            out.extend(sums.map(clip8));
        }
    }
    out
}

fn vertical_pass(rgb: &[u8], width: usize, in_height: usize, out_height: usize) -> Vec<u8> {
    let stride = width * 3;
    let mut out = Vec::with_capacity(stride * out_height);
    let mut sums = vec![HALF; stride];
    for window in windows(in_height, out_height) {
        sums.fill(HALF);
        let rows = rgb[window.start * stride..].chunks_exact(stride);
        for (row, &weight) in rows.zip(&window.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| clip8(sum)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matching_size_is_left_alone() {
        let image = PageImage::new(3, 2, (0..18).collect()).unwrap();
        assert_eq!(resize_bicubic(&image, 3, 2), image);
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
