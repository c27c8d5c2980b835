//! The part that both networks begin with: PP-LCNetV4, a stem of five convolutions and blocks that
//! look around in each channel and then mix the channels of a place.

use pagesight_simd::network::{
    Activation, ByteRows, ByteWeights, Depthwise, Filled, Places, Rounding, Step, largest,
    round_rest, round_to,
};

use super::field::{ByteField, Field};
use super::pixels::Picture;
use super::squeeze::Squeeze;
use super::tensors::Tensors;
use crate::error::OcrError;

/// Places that go through a block together: what becomes of them meanwhile stays in the caches.
const PLACES: usize = 48;

/// What the bytes of a picture stand for.
const PIXELS: Step = Step { least: -1.0, size: 2.0 / 255.0 };

/// The byte that is nearest to nothing, which is around a picture.
const NOTHING: u8 = 128;

/// Memory that is used again for each picture.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    fields: [Field; 2],
    bytes: [ByteField; 4],
    values: [Vec<f32>; 2],
    rows: ByteRows,
}

/// The first convolutions. They make a quarter of the rows and of the columns.
struct Stem {
    first: ByteWeights,
    narrow: ByteWeights,
    wide: ByteWeights,
    /// Over the greatest of the first, and over the wide.
    joined: [ByteWeights; 2],
    /// The same for what is left when their input is rounded: all that follows hangs on that more
    /// than on anything else.
    rest: [ByteWeights; 2],
    last: ByteWeights,
}

struct Block {
    around: Depthwise,
    /// Rows and columns from a place to the next.
    strides: [usize; 2],
    squeeze: Option<Squeeze>,
    expand: ByteWeights,
    project: ByteWeights,
}

/// The whole part.
pub(super) struct Backbone {
    stem: Stem,
    blocks: Vec<Block>,
}

impl Backbone {
    /// Takes the weights. `widths` are the channels of the first, of the second and after the last
    /// convolution of the stem, `rounding` is that of the weights between these, `strides` are those of the blocks,
    /// in rows and columns.
    pub fn take(
        tensors: &mut Tensors,
        widths: [usize; 3],
        rounding: Rounding,
        strides: &[[usize; 2]],
    ) -> Result<Self, OcrError> {
        let stem = Stem::take(tensors, widths, rounding)?;
        let mut channels = widths[2];
        let mut blocks = Vec::with_capacity(strides.len());
        for &strides in strides {
            let block = Block::take(tensors, channels, strides)?;
            channels = block.project.outputs();
            blocks.push(block);
        }
        Ok(Self { stem, blocks })
    }

    /// What it makes of a picture. `each` gets what there is before it is made smaller, and the
    /// result.
    pub fn apply<'a>(
        &self,
        picture: &Picture,
        scratch: &'a mut Scratch,
        mut each: impl FnMut(&Field),
    ) -> &'a Field {
        self.stem.apply(picture, scratch);
        for block in &self.blocks {
            if block.strides != [1, 1] {
                each(&scratch.fields[0]);
            }
            block.apply(scratch);
        }
        each(&scratch.fields[0]);
        &scratch.fields[0]
    }
}

impl Stem {
    fn take(
        tensors: &mut Tensors,
        [first, narrow, last]: [usize; 3],
        rounding: Rounding,
    ) -> Result<Self, OcrError> {
        let mut windows = |outputs: usize, [channels, side]: [usize; 2], room, rounding| {
            let layer = tensors.convolution([outputs, channels, side, side])?;
            let shape = [channels, side, side];
            Ok(ByteWeights::convolution(&layer.weights, shape, room, &layer.biases, rounding))
        };
        let of_pixels = windows(first, [3, 3], Picture::CHANNELS, Rounding::Twice)?;
        let of_first = windows(narrow, [first, 2], first, rounding)?;
        let of_narrow = windows(first, [narrow, 2], narrow, rounding)?;
        let layer = tensors.convolution([first, 2 * first, 3, 3])?;
        // The channels of what is joined: first the one half, then the other.
        let half = |from: usize, biases: &[f32], rounding: Rounding| {
            let channels = layer.weights.chunks_exact(9);
            let some = channels.enumerate().filter(|(at, _)| at / first % 2 == from);
            let weights: Vec<f32> = some.flat_map(|(_, window)| window).copied().collect();
            ByteWeights::convolution(&weights, [first, 3, 3], first, biases, rounding)
        };
        let none = vec![0.0; first];
        let joined = [half(0, &layer.biases, rounding), half(1, &none, rounding)];
        let rest = [0, 1].map(|from| half(from, &none, Rounding::Once));
        let layer = tensors.convolution([last, first, 1, 1])?;
        let last = ByteWeights::balanced(&layer.weights, &layer.biases);
        Ok(Self { first: of_pixels, narrow: of_first, wide: of_narrow, joined, rest, last })
    }

    /// Fills the first field.
    fn apply(&self, picture: &Picture, scratch: &mut Scratch) {
        let Scratch { fields: [field, out], bytes, values: [first, values], rows } = scratch;
        let channels = self.first.outputs();
        // Halves of the sides, and their halves.
        let (high, wide) = (picture.height.div_ceil(2), picture.width.div_ceil(2));
        let (lines, columns) = (high.div_ceil(2), wide.div_ceil(2));
        let [pixels, other, greatest, last] = bytes;

        pixels.reset([picture.height, picture.width, Picture::CHANNELS], [1, 1], NOTHING);
        for (y, line) in picture.bytes.chunks_exact(picture.width * Picture::CHANNELS).enumerate() {
            pixels.row_mut(y).copy_from_slice(line);
        }
        let first = convolve(&self.first, pixels, [3, 2], PIXELS, [high, wide], first);
        let of_first = step_of(first);
        round_rows(of_first, first, [high, wide, channels], [0, 1], other);
        let narrow = convolve(&self.narrow, other, [2, 1], of_first, [high, wide], values);
        let step = step_of(narrow);
        round_rows(step, narrow, [high, wide, self.narrow.outputs()], [0, 1], other);
        let values = convolve(&self.wide, other, [2, 1], step, [high, wide], values);
        greatest_of_four(first, [high, wide, channels]);

        let steps = [of_first, step_of(values)];
        let shape = [high, wide, channels];
        round_rows(steps[0], first, shape, [1, 1], greatest);
        round_rows(steps[1], values, shape, [1, 1], last);
        field.reset(lines, columns, channels);
        for y in 0..lines {
            let row = field.row_mut(y);
            let both = [(&*greatest, Filled::Replaced), (&*last, Filled::Added)];
            for (weights, ((bytes, filled), step)) in
                self.joined.iter().zip(both.into_iter().zip(&steps))
            {
                let step = std::slice::from_ref(step);
                weights.apply(window(bytes, [3, 2], y, columns, step), row, filled);
            }
        }
        for ((weights, step), (values, bytes)) in
            self.rest.iter().zip(&steps).zip([(&*first, &mut *greatest), (&*values, &mut *last)])
        {
            bytes.border_of_rest();
            for (y, values) in values.chunks_exact(wide * channels).enumerate() {
                round_rest(*step, values, bytes.row_mut(y));
            }
            let step = [step.of_rest()];
            for y in 0..lines {
                let places = window(bytes, [3, 2], y, columns, &step);
                weights.apply(places, field.row_mut(y), Filled::Added);
            }
        }
        // Each place by itself once more, from one field to the other.
        out.reset(lines, columns, self.last.outputs());
        for y in 0..lines {
            let row = field.row_mut(y);
            Activation::Relu.apply(row);
            rows.fill_for(&self.last, row);
            self.last.apply(rows.places(), out.row_mut(y), Filled::Replaced);
            Activation::Relu.apply(out.row_mut(y));
        }
        std::mem::swap(field, out);
    }
}

/// Replaces each number of `values`, `[rows, columns, channels]`, by the greatest of itself and those
/// to the right, below, and below to the right.
fn greatest_of_four(values: &mut [f32], [rows, columns, channels]: [usize; 3]) {
    let width = columns * channels;
    for row in 0..rows {
        let (here, below) = values[row * width..].split_at_mut(width);
        let below = below.get(..width).unwrap_or(&[]);
        here.iter_mut().zip(below).for_each(|(here, below)| *here = here.max(*below));
        for at in 0..width - channels {
            here[at] = here[at].max(here[at + channels]);
        }
    }
}

/// The windows of `side` rows and columns that begin in row `y * stride` of `bytes`.
pub(super) fn window<'a>(
    bytes: &'a ByteField,
    [side, stride]: [usize; 2],
    y: usize,
    count: usize,
    steps: &'a [Step],
) -> Places<'a> {
    Places {
        bytes: bytes.from_row(y * stride),
        count,
        stride: stride * bytes.channels,
        part: side * bytes.channels,
        parts: side,
        part_stride: bytes.stride(),
        steps,
    }
}

/// The first numbers of `values`, which grows when it is too short. They are anything.
fn sized(values: &mut Vec<f32>, count: usize) -> &mut [f32] {
    if values.len() < count {
        values.resize(count, 0.0);
    }
    &mut values[..count]
}

/// Fills `values` with what `weights` make of `bytes`, nothing below 0.
fn convolve<'a>(
    weights: &ByteWeights,
    bytes: &ByteField,
    sides: [usize; 2],
    step: Step,
    [high, wide]: [usize; 2],
    values: &'a mut Vec<f32>,
) -> &'a mut [f32] {
    let width = wide * weights.outputs();
    let values = sized(values, high * width);
    for (y, row) in values.chunks_exact_mut(width).enumerate() {
        weights.apply(window(bytes, sides, y, wide, &[step]), row, Filled::Replaced);
        Activation::Relu.apply(row);
    }
    values
}

/// The step of numbers none of which is below 0.
fn step_of(values: &[f32]) -> Step {
    Step::between(0.0, largest(values).max(0.0))
}

/// Rounds `values` to a picture of `shape`, `[rows, columns, channels]`.
fn round_rows(
    step: Step,
    values: &[f32],
    shape: [usize; 3],
    borders: [usize; 2],
    bytes: &mut ByteField,
) {
    bytes.reset(shape, borders, 0);
    for (y, row) in values.chunks_exact(shape[1] * shape[2]).enumerate() {
        round_to(step, row, bytes.row_mut(y));
    }
}

impl Block {
    fn take(tensors: &mut Tensors, channels: usize, strides: [usize; 2]) -> Result<Self, OcrError> {
        let around = tensors.convolution([channels, 1, 3, 3])?;
        let around = Depthwise::new(&around.weights, [3, 3], &around.biases);
        let has_squeeze = tensors.next_shape() == [channels / 4, channels, 1, 1];
        let squeeze =
            has_squeeze.then(|| Squeeze::take(tensors, channels, 1.0 / 6.0)).transpose()?;
        let hidden = tensors.next_shape().first().copied().unwrap_or(0);
        let expand = tensors.convolution([hidden, channels, 1, 1])?;
        let outputs = tensors.next_shape().first().copied().unwrap_or(0);
        let project = tensors.convolution([outputs, hidden, 1, 1])?;
        Ok(Self {
            around,
            strides,
            squeeze,
            expand: ByteWeights::balanced(&expand.weights, &expand.biases),
            project: ByteWeights::balanced(&project.weights, &project.biases),
        })
    }

    /// From the first field to the first field.
    fn apply(&self, scratch: &mut Scratch) {
        let Scratch { fields: [input, output], values: [hidden, ..], rows, .. } = scratch;
        let [down, right] = self.strides;
        let channels = input.channels;
        output.reset(input.rows.div_ceil(down), input.columns.div_ceil(right), channels);
        for y in 0..output.rows {
            let above = [0, 1, 2].map(|row| input.with_border(y * down + row));
            self.around.apply_row(&above, right, output.row_mut(y));
        }
        if let Some(squeeze) = &self.squeeze {
            output.scale(&squeeze.shares(output));
        }
        let width = self.expand.outputs();
        let is_kept = self.project.outputs() == channels;
        if !is_kept {
            input.reset(output.rows, output.columns, self.project.outputs());
        }
        for y in 0..output.rows {
            for (at, places) in output.row_mut(y).chunks_mut(PLACES * channels).enumerate() {
                let count = places.len() / channels;
                let hidden = sized(hidden, count * width);
                rows.fill_for(&self.expand, places);
                self.expand.apply(rows.places(), hidden, Filled::Replaced);
                Activation::Gelu.apply(hidden);
                rows.fill_for(&self.project, hidden);
                if is_kept {
                    self.project.apply(rows.places(), places, Filled::Added);
                } else {
                    let outputs = self.project.outputs();
                    let places = &mut input.row_mut(y)[at * PLACES * outputs..][..count * outputs];
                    self.project.apply(rows.places(), places, Filled::Replaced);
                }
            }
        }
        if is_kept {
            std::mem::swap(input, output);
        }
    }
}
