//! Pictures as the networks take them.

use pagesight_core::PageImage;

/// `[height, width, 4]`, rows from the top: blue, green, red, and nothing, so that a place is a word of four bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    pub width: usize,
    pub height: usize,
    pub bytes: Vec<u8>,
}

impl Picture {
    /// Bytes of a place.
    pub const CHANNELS: usize = 4;

    /// The part from column and row `from` on, `wide` by `high`.
    pub fn part(&self, from: [usize; 2], [wide, high]: [usize; 2]) -> Self {
        let rows = self.bytes.chunks_exact(self.width * Self::CHANNELS).skip(from[1]).take(high);
        let columns = from[0] * Self::CHANNELS..(from[0] + wide) * Self::CHANNELS;
        let bytes = rows.flat_map(|row| &row[columns.clone()]).copied().collect();
        Self { width: wide, height: high, bytes }
    }

    /// Left, top, right and bottom of what is left when blank columns and rows are taken away from
    /// all sides; `None` when all is blank. What differs from the corner by less than print on its
    /// ground ever does is blank.
    pub fn inked(&self) -> Option<[usize; 4]> {
        /// Of 255 levels of a colour.
        const FAINT: u8 = 8;
        let corner: [u8; Self::CHANNELS] = *self.bytes.first_chunk()?;
        let (places, _) = self.bytes.as_chunks::<{ Self::CHANNELS }>();
        let is_ink = |place: &[u8; Self::CHANNELS]| {
            place.iter().zip(corner).any(|(byte, corner)| byte.abs_diff(corner) > FAINT)
        };
        let mut bounds: Option<[usize; 4]> = None;
        for (y, row) in places.chunks_exact(self.width).enumerate() {
            let Some(first) = row.iter().position(is_ink) else { continue };
            let last = row.iter().rposition(is_ink).unwrap_or(first);
            let [left, top, right, _] = bounds.unwrap_or([first, y, last + 1, y]);
            bounds = Some([left.min(first), top, right.max(last + 1), y + 1]);
        }
        bounds
    }
}

/// A line of text as it lies in a picture: the corner where it begins, the way along it and the way
/// down from its top to its bottom, px.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Frame {
    pub corner: [f32; 2],
    pub along: [f32; 2],
    pub down: [f32; 2],
}

impl Frame {
    pub fn length(&self) -> f32 {
        self.along[0].hypot(self.along[1])
    }

    pub fn height(&self) -> f32 {
        self.down[0].hypot(self.down[1])
    }

    /// The point at `along` and `down`, shares of both ways.
    pub fn at(&self, along: f32, down: f32) -> [f32; 2] {
        [0, 1].map(|i| self.corner[i] + along * self.along[i] + down * self.down[i])
    }

    /// The part from `from` to `to`, shares of its length.
    pub fn part(&self, from: f32, to: f32) -> Self {
        let along = self.along.map(|side| side * (to - from));
        Self { corner: self.at(from, 0.0), along, down: self.down }
    }

    /// The same line read from the other end, upside down.
    pub fn around(&self) -> Self {
        let back = |side: [f32; 2]| side.map(|s| -s);
        Self { corner: self.at(1.0, 1.0), along: back(self.along), down: back(self.down) }
    }

    /// The line as it is read by someone who turns the head to the right: what was its right side
    /// is its bottom.
    pub fn to_right(self) -> Self {
        let along = self.down;
        Self { corner: self.at(1.0, 0.0), along, down: self.along.map(|side| -side) }
    }

    /// Left, top, right and bottom of what it covers.
    pub fn bounds(&self) -> [f32; 4] {
        let corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)].map(|(a, d)| self.at(a, d));
        let low = |i: usize| corners.iter().map(|c| c[i]).fold(f32::MAX, f32::min);
        let high = |i: usize| corners.iter().map(|c| c[i]).fold(f32::MIN, f32::max);
        [low(0), low(1), high(0), high(1)]
    }
}

/// A picture in another size. Each pixel is the mean of what it covers, weighted by nearness.
pub(super) fn resized(image: &PageImage, width: usize, height: usize) -> Picture {
    let from = (image.width_px() as usize, image.height_px() as usize);
    let columns = taps(from.0, width);
    let rows = taps(from.1, height);
    // Columns first: `[from.1, width, 3]`.
    let mut narrow = vec![0f32; from.1 * width * 3];
    for (row, out) in image.rgb().chunks_exact(from.0 * 3).zip(narrow.chunks_exact_mut(width * 3)) {
        for (taps, pixel) in columns.iter().zip(out.chunks_exact_mut(3)) {
            let mut sum = [0f32; 3];
            for (weight, rgb) in taps.weights.iter().zip(row[taps.first * 3..].chunks_exact(3)) {
                for (sum, value) in sum.iter_mut().zip(rgb) {
                    *sum += weight * f32::from(*value);
                }
            }
            pixel.copy_from_slice(&sum);
        }
    }
    let mut bytes = vec![0u8; width * height * Picture::CHANNELS];
    let mut line = vec![0f32; width * 3];
    for (taps, out) in rows.iter().zip(bytes.chunks_exact_mut(width * Picture::CHANNELS)) {
        line.fill(0.0);
        for (weight, row) in
            taps.weights.iter().zip(narrow[taps.first * width * 3..].chunks_exact(width * 3))
        {
            for (sum, value) in line.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
        for (rgb, place) in line.chunks_exact(3).zip(out.chunks_exact_mut(Picture::CHANNELS)) {
            for (byte, value) in place.iter_mut().zip(rgb.iter().rev()) {
                *byte = (value + 0.5) as u8;
            }
        }
    }
    Picture { width, height, bytes }
}

/// Which pixels of a side make one pixel of the new side, and how much of each.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f32 / to as f32;
    let reach = scale.max(1.0);
    (0..to)
        .map(|at| {
            let middle = (at as f32 + 0.5) * scale;
            let first = ((middle - reach - 0.5).ceil().max(0.0) as usize).min(from - 1);
            let last = ((middle + reach - 0.5).floor().max(0.0) as usize).clamp(first, from - 1);
            let near = |i: usize| 1.0 - ((i as f32 + 0.5 - middle) / reach).abs();
            let weights: Vec<f32> = (first..=last).map(|i| near(i).max(0.0) + 1e-6).collect();
            let sum: f32 = weights.iter().sum();
            Taps { first, weights: weights.iter().map(|weight| weight / sum).collect() }
        })
        .collect()
}

/// What stands in `frame`, as a picture of `width` by `height`.
pub(super) fn cut(image: &PageImage, frame: &Frame, width: usize, height: usize) -> Picture {
    let step = |side: [f32; 2], pixels: usize| side.map(|s| s / pixels as f32);
    let (along, down) = (step(frame.along, width), step(frame.down, height));
    // As many samples a pixel as it covers pixels of the picture.
    let samples = |way: [f32; 2]| (way[0].hypot(way[1]) - 0.25).ceil().clamp(1.0, 8.0) as usize;
    let (across, deep) = (samples(along), samples(down));
    let share = 1.0 / (across * deep) as f32;
    let mut bytes = vec![0u8; width * height * Picture::CHANNELS];
    let mut places = bytes.chunks_exact_mut(Picture::CHANNELS);
    for y in 0..height {
        for (x, place) in places.by_ref().take(width).enumerate() {
            let mut sum = [0f32; 3];
            for sub in 0..across * deep {
                let a = x as f32 + ((sub % across) as f32 + 0.5) / across as f32;
                let d = y as f32 + ((sub / across) as f32 + 0.5) / deep as f32;
                let px = frame.corner[0] + a * along[0] + d * down[0] - 0.5;
                let py = frame.corner[1] + a * along[1] + d * down[1] - 0.5;
                let rgb = sample(image, px, py);
                for (sum, value) in sum.iter_mut().zip(rgb) {
                    *sum += value;
                }
            }
            for (byte, sum) in place.iter_mut().zip(sum.iter().rev()) {
                *byte = (sum * share + 0.5) as u8;
            }
        }
    }
    Picture { width, height, bytes }
}

/// The colour at a point between pixels; outside, that of the nearest edge.
fn sample(image: &PageImage, x: f32, y: f32) -> [f32; 3] {
    let (width, height) = (image.width_px() as usize, image.height_px() as usize);
    let x = x.clamp(0.0, (width - 1) as f32);
    let y = y.clamp(0.0, (height - 1) as f32);
    let (x0, y0) = (x as usize, y as usize);
    let (x1, y1) = ((x0 + 1).min(width - 1), (y0 + 1).min(height - 1));
    let (right, low) = (x - x0 as f32, y - y0 as f32);
    let rgb = image.rgb();
    let pixel = |x: usize, y: usize| &rgb[(y * width + x) * 3..][..3];
    let (a, b, c, d) = (pixel(x0, y0), pixel(x1, y0), pixel(x0, y1), pixel(x1, y1));
    let mix = |from: f32, to: f32, by: f32| from + (to - from) * by;
    let mut colour = [0f32; 3];
    for i in 0..3 {
        let [a, b, c, d] = [a[i], b[i], c[i], d[i]].map(f32::from);
        colour[i] = mix(mix(a, b, right), mix(c, d, right), low);
    }
    colour
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red grows to the right, green downwards.
    fn slope(width: u32, height: u32) -> PageImage {
        let pixel = |at: u32| [(at % width) as u8, (at / width) as u8, 7];
        PageImage::new(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
    }

    #[test]
    fn a_smaller_picture_has_the_means() {
        let small = resized(&slope(80, 40), 20, 10);
        assert_eq!((small.width, small.height, small.bytes.len()), (20, 10, 800));
        // Blue comes first, and is the same everywhere. Pixel (5, 3) covers columns 20 to 24 and
        // rows 12 to 16: the means are 21.5 and 13.5.
        let [blue, green, red, nothing] = *small.bytes[(3 * 20 + 5) * 4..].first_chunk().unwrap();
        assert!(blue == 7 && (13..15).contains(&green) && (21..23).contains(&red) && nothing == 0);
        let same = resized(&slope(8, 4), 8, 4);
        assert_eq!(same.bytes[(8 + 3) * 4..][..4], [7, 1, 3, 0]);
        assert_eq!(resized(&slope(1, 1), 32, 32).bytes.len(), 4 * 32 * 32);
    }

    #[test]
    fn ink_is_what_differs_from_the_ground() {
        let mut picture =
            Picture { width: 50, height: 40, bytes: [200, 210, 220, 0].repeat(2_000) };
        assert_eq!(picture.inked(), None);
        // A faint place, which is none, and two of ink.
        picture.bytes[(3 * 50 + 3) * 4] += 8;
        assert_eq!(picture.inked(), None);
        picture.bytes[(20 * 50 + 7) * 4] -= 9;
        picture.bytes[(30 * 50 + 41) * 4 + 2] = 0;
        assert_eq!(picture.inked(), Some([7, 20, 42, 31]));
        let part = picture.part([7, 20], [35, 11]);
        assert_eq!((part.width, part.height, part.bytes.len()), (35, 11, 35 * 11 * 4));
        assert_eq!(part.bytes[..4], [191, 210, 220, 0]);
        assert_eq!(part.bytes[35 * 11 * 4 - 4..], [200, 210, 0, 0]);
    }

    #[test]
    fn frames_turn() {
        let frame = Frame { corner: [10.0, 5.0], along: [20.0, 0.0], down: [0.0, 10.0] };
        assert_eq!(frame.bounds(), [10.0, 5.0, 30.0, 15.0]);
        assert_eq!(frame.around().at(0.0, 0.0), [30.0, 15.0]);
        assert_eq!(frame.around().around(), frame);
        // Read downwards: it begins in the upper right corner.
        let right = frame.to_right();
        assert_eq!((right.corner, right.length(), right.height()), ([30.0, 5.0], 10.0, 20.0));
        assert_eq!(right.to_right(), frame.around());
        assert_eq!(frame.part(0.25, 0.5).bounds(), [15.0, 5.0, 20.0, 15.0]);
    }

    #[test]
    fn what_is_cut_is_what_stands_there() {
        let image = slope(80, 40);
        let frame = Frame { corner: [10.0, 5.0], along: [20.0, 0.0], down: [0.0, 10.0] };
        let line = cut(&image, &frame, 20, 10);
        assert_eq!(line.bytes[..4], [7, 5, 10, 0]);
        assert_eq!(line.bytes[(9 * 20 + 19) * 4..], [7, 14, 29, 0]);
        let around = cut(&image, &frame.around(), 20, 10);
        assert_eq!(around.bytes[..4], [7, 14, 29, 0]);
        // Outside the picture it goes on as its edge.
        let outside = Frame { corner: [-50.0, -50.0], along: [10.0, 0.0], down: [0.0, 10.0] };
        assert_eq!(cut(&image, &outside, 4, 4).bytes[..4], [7, 0, 0, 0]);
    }
}
