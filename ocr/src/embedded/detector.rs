//! Where lines of text are: for each place of a picture, how likely it is the core of one.

use std::sync::{Mutex, PoisonError};

use pagesight_simd::network::{
    Activation, ByteRows, ByteWeights, Depthwise, Filled, Rounding, Step, largest, round_to,
};

use super::backbone::{Backbone, Scratch, window};
use super::field::{ByteField, Field};
use super::pixels::Picture;
use super::squeeze::Squeeze;
use super::tensors::Tensors;
use crate::error::OcrError;

const NAME: &str = "the detector";

/// The network halves pictures five times.
pub(super) const MULTIPLE: usize = 32;

/// Channels of the first, of the second and after the last convolution of the stem.
const STEM: [usize; 3] = [24, 12, 48];

/// Rows and columns from a place to the next, by block.
const STRIDES: [[usize; 2]; 13] = {
    let mut strides = [[1, 1]; 13];
    strides[2] = [2, 2];
    strides[5] = [2, 2];
    strides[10] = [2, 2];
    strides
};

/// Channels of the four sizes that the backbone gives: a quarter of the sides, and half of that each.
const SIZES: [usize; 4] = [48, 96, 192, 384];

/// Channels that all sizes are brought to, and those that each has in the end.
const COMMON: usize = 96;
const FEW: usize = COMMON / SIZES.len();

/// A size is looked at through windows of so many rows and columns.
const WINDOW: usize = 7;

/// How steep the shares of channels are.
const SLOPE: f32 = 0.2;

/// A size, brought to [`COMMON`] channels.
struct Lateral {
    weights: ByteWeights,
    squeeze: Squeeze,
}

/// A size, looked at in windows and brought to [`FEW`] channels.
struct Smooth {
    around: Depthwise,
    weights: ByteWeights,
    squeeze: Squeeze,
}

/// Finds lines.
pub(super) struct Detector {
    backbone: Backbone,
    /// From the largest size to the smallest.
    laterals: Vec<Lateral>,
    smooths: Vec<Smooth>,
    joined: ByteWeights,
    /// Each place becomes two by two, and each of these again.
    grown: ByteWeights,
    last: ByteWeights,
    /// Memory that nobody uses.
    free: Mutex<Vec<Scratch>>,
}

/// A product without biases, `[out, in]`.
fn unbiased(tensors: &mut Tensors, [output, input]: [usize; 2]) -> Result<ByteWeights, OcrError> {
    let weights = tensors.take(&[output, input, 1, 1])?;
    Ok(ByteWeights::new(&weights, &vec![0.0; output]))
}

/// A convolution that makes two by two places of one, as a product: `[2 * 2 * out, in]`.
fn growing(tensors: &mut Tensors, [input, output]: [usize; 2]) -> Result<ByteWeights, OcrError> {
    let stored = tensors.take(&[input, output, 2, 2])?;
    let biases = tensors.take(&[1, output, 1, 1])?;
    let mut weights = vec![0f32; stored.len()];
    for (at, weight) in stored.iter().enumerate() {
        let (from, to, place) = (at / 4 / output, at / 4 % output, at % 4);
        weights[(place * output + to) * input + from] = *weight;
    }
    Ok(ByteWeights::new(&weights, &biases.repeat(4)))
}

impl Detector {
    pub fn load(onnx: &[u8]) -> Result<Self, OcrError> {
        let mut tensors = Tensors::read(NAME, onnx)?;
        // Measured: the map hangs on the stem more than on all that follows.
        let backbone = Backbone::take(&mut tensors, STEM, Rounding::Twice, &STRIDES)?;
        // The file has the smallest size first.
        let mut laterals = Vec::new();
        for channels in SIZES.into_iter().rev() {
            laterals.push(Lateral {
                weights: unbiased(&mut tensors, [COMMON, channels])?,
                squeeze: Squeeze::take(&mut tensors, COMMON, SLOPE)?,
            });
        }
        laterals.reverse();
        let mut smooths = Vec::new();
        for _ in SIZES {
            let around = tensors.convolution([COMMON, 1, WINDOW, WINDOW])?;
            smooths.push(Smooth {
                around: Depthwise::new(&around.weights, [WINDOW, WINDOW], &around.biases),
                weights: unbiased(&mut tensors, [FEW, COMMON])?,
                squeeze: Squeeze::take(&mut tensors, FEW, SLOPE)?,
            });
        }
        smooths.reverse();
        let joined = tensors.convolution([FEW, COMMON, 3, 3])?;
        let joined = ByteWeights::convolution(
            &joined.weights,
            [COMMON, 3, 3],
            COMMON,
            &joined.biases,
            Rounding::Twice,
        );
        let grown = growing(&mut tensors, [FEW, FEW])?;
        let last = growing(&mut tensors, [FEW, 1])?;
        tensors.end()?;
        let free = Mutex::default();
        Ok(Self { backbone, laterals, smooths, joined, grown, last, free })
    }

    /// The map of `picture`, `[height, width]`, from 0 to 1.
    ///
    /// # Panics
    /// When a side is no multiple of [`MULTIPLE`].
    pub fn map(&self, picture: &Picture) -> Vec<f32> {
        assert!([picture.width, picture.height].iter().all(|side| side % MULTIPLE == 0));
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch = free.unwrap_or_default();
        let mut sizes: Vec<Field> = Vec::with_capacity(self.laterals.len());
        self.backbone.apply(picture, &mut scratch, |field| {
            sizes.push(self.laterals[sizes.len()].apply(field));
        });
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        for size in (1..sizes.len()).rev() {
            let (large, small) = sizes.split_at_mut(size);
            add_enlarged(&mut large[size - 1], &small[0]);
        }
        let smooth = self.smooths.iter().zip(&sizes);
        let sizes: Vec<Field> = smooth.map(|(smooth, size)| smooth.apply(size)).collect();
        let (joined, step) = joined(&sizes);
        self.grow(&joined, step, picture)
    }

    /// The end: places become two by two, twice.
    fn grow(&self, joined: &ByteField, step: Step, picture: &Picture) -> Vec<f32> {
        let (columns, width) = (joined.columns, picture.width);
        let mut map = vec![0f32; picture.height * width];
        let mut rows = ByteRows::default();
        let mut few = vec![0f32; columns * FEW];
        let mut grown = vec![0f32; columns * 4 * FEW];
        let mut last = vec![0f32; columns * 4 * 4];
        for (y, map) in map.chunks_exact_mut(4 * width).enumerate() {
            self.joined.apply(
                window(joined, [3, 1], y, columns, &[step]),
                &mut few,
                Filled::Replaced,
            );
            Activation::Relu.apply(&mut few);
            rows.fill(&few, FEW);
            self.grown.apply(rows.places(), &mut grown, Filled::Replaced);
            Activation::Relu.apply(&mut grown);
            rows.fill(&grown, FEW);
            self.last.apply(rows.places(), &mut last, Filled::Replaced);
            for (at, value) in last.iter().enumerate() {
                // By place, then by quarter of it, then by quarter of that.
                let (x, quarter, part) = (at / 16, at / 4 % 4, at % 4);
                let row = quarter / 2 * 2 + part / 2;
                let column = 4 * x + quarter % 2 * 2 + part % 2;
                map[row * width + column] = 1.0 / (1.0 + (-value).exp());
            }
        }
        map
    }
}

impl Lateral {
    fn apply(&self, field: &Field) -> Field {
        let mut out = Field::new([field.rows, field.columns, COMMON], WINDOW / 2);
        let mut rows = ByteRows::default();
        for row in 0..field.rows {
            rows.fill(field.row(row), field.channels);
            self.weights.apply(rows.places(), out.row_mut(row), Filled::Replaced);
        }
        scale_up(&mut out, &self.squeeze);
        out
    }
}

impl Smooth {
    fn apply(&self, field: &Field) -> Field {
        let mut out = Field::new([field.rows, field.columns, FEW], 0);
        let mut rows = ByteRows::default();
        let mut around = vec![0f32; field.columns * COMMON];
        for row in 0..field.rows {
            let above: [&[f32]; WINDOW] = std::array::from_fn(|i| field.with_border(row + i));
            self.around.apply_row(&above, 1, &mut around);
            rows.fill(&around, COMMON);
            self.weights.apply(rows.places(), out.row_mut(row), Filled::Replaced);
        }
        scale_up(&mut out, &self.squeeze);
        out
    }
}

/// Channels that count much are made up to twice as large; none becomes smaller.
fn scale_up(field: &mut Field, squeeze: &Squeeze) {
    let mut shares = squeeze.shares(field);
    shares.iter_mut().for_each(|share| *share += 1.0);
    field.scale(&shares);
}

/// Adds each place of `small` to the two by two places of `large` that it stands for.
fn add_enlarged(large: &mut Field, small: &Field) {
    let channels = large.channels;
    for row in 0..large.rows {
        let pairs = large.row_mut(row).chunks_mut(2 * channels);
        for (pair, place) in pairs.zip(small.row(row / 2).chunks_exact(channels)) {
            for half in pair.chunks_exact_mut(channels) {
                half.iter_mut().zip(place).for_each(|(value, more)| *value += more);
            }
        }
    }
}

/// All sizes, brought to the sides of the largest and laid side by side, the smallest first.
fn joined(sizes: &[Field]) -> (ByteField, Step) {
    let (mut least, mut most) = (0f32, 0f32);
    for field in sizes {
        for row in 0..field.rows {
            most = most.max(largest(field.row(row)));
            least = field.row(row).iter().fold(least, |least, value| least.min(*value));
        }
    }
    let (step, zero) = Step::around_zero(least, most);
    let mut out = ByteField::default();
    out.reset([sizes[0].rows, sizes[0].columns, COMMON], [1, 1], zero);
    let mut bytes = Vec::new();
    for (at, field) in sizes.iter().rev().enumerate() {
        let times = sizes[0].rows / field.rows;
        bytes.resize(field.columns * FEW, 0);
        for row in 0..sizes[0].rows {
            if row % times == 0 {
                round_to(step, field.row(row / times), &mut bytes);
            }
            for (x, place) in out.row_mut(row).chunks_exact_mut(COMMON).enumerate() {
                place[at * FEW..][..FEW].copy_from_slice(&bytes[x / times * FEW..][..FEW]);
            }
        }
    }
    (out, step)
}

#[cfg(test)]
mod tests {
    use super::super::oracle::Oracle;
    use super::super::pixels::resized;
    use super::*;
    use crate::places::DETECTOR;

    /// The bytes say what the published network says in f32, run by rten.
    #[test]
    fn maps_are_those_of_the_published_network() {
        let folder = std::env::var_os("PAGESIGHT_OCR").expect("run the tests with cargo");
        let onnx = DETECTOR.read(std::path::Path::new(&folder)).expect("cargo xtask setup");
        let ours = Detector::load(&onnx).unwrap();
        let oracle = Oracle::load(onnx);
        for (name, wide, high) in
            [("english", 608, 320), ("table", 480, 256), ("columns", 448, 608)]
        {
            let picture = resized(&crate::testing::fixture(name), wide, high);
            let (shape, expected) = oracle.run(&picture);
            assert_eq!(shape, [1, 1, high, wide]);
            let got = ours.map(&picture);
            let off: f32 = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).sum();
            let off = off / got.len() as f32;
            // Places that belong to a line for both, and for one at least.
            let is_core = |value: &f32| *value > 0.3;
            let pairs = || got.iter().map(is_core).zip(expected.iter().map(is_core));
            let both = pairs().filter(|(a, b)| *a && *b).count();
            let any = pairs().filter(|(a, b)| *a || *b).count();
            let share = both as f32 / any as f32;
            println!("{name}: off by {off}, {share} of {any} places the same");
            assert!(any > 5_000 && off < 0.01 && share > 0.95, "{name} {off} {share} {any}");
        }
    }
}
