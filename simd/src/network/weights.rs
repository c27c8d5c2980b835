//! Weights in bytes, laid out as the products take them.

use super::activation::fused;
use super::places::{Filled, Step};

/// A line of a cache: sixteen words of four weights.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line(#[expect(dead_code, reason = "read as a register")] [[i8; 4]; 16]);

/// Pairs of weights in 16 bits, for sixteen outputs.
pub(super) type Pairs = [[i16; 2]; 16];

/// Outputs of a register.
pub(super) const LANES: usize = 16;

/// The weights by blocks of sixteen outputs; in a block by input.
#[derive(Debug, Clone)]
pub(super) enum Blocks {
    /// `[blocks, inputs / 4]`, for VNNI.
    Quads(Vec<Line>),
    /// `[blocks, inputs / 2]`, for all other CPUs.
    Pairs(Vec<Pairs>),
}

/// How near bytes come to weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// A byte a weight.
    Once,
    /// A byte more for what the first one leaves, which is multiplied as well.
    Twice,
}

/// Weights `[outputs, inputs]` in bytes, with a scale and a bias for each output.
///
/// ```
/// use pagesight_simd::network::{ByteRows, ByteWeights, Filled};
/// // Two outputs of three inputs each.
/// let weights = ByteWeights::new(&[1.0, 0.5, -1.0, 2.0, 0.0, 1.0], &[0.0, 10.0]);
/// let mut rows = ByteRows::default();
/// rows.fill(&[1.0, 2.0, 3.0], 3);
/// let mut out = [0.0; 2];
/// weights.apply(rows.places(), &mut out, Filled::Replaced);
/// assert!((out[0] - -1.0).abs() < 0.03 && (out[1] - 15.0).abs() < 0.05);
/// ```
#[derive(Debug, Clone)]
pub struct ByteWeights {
    pub(super) outputs: usize,
    /// Numbers of a place.
    pub(super) width: usize,
    /// Bytes of a place, a multiple of four: what is missing is 0.
    pub(super) inputs: usize,
    pub(super) blocks: Blocks,
    /// What a unit of a sum stands for, by output; filled up with zeros to whole blocks.
    pub(super) scales: Vec<f32>,
    /// The sums of the weights of an output.
    pub(super) sums: Vec<f32>,
    pub(super) biases: Vec<f32>,
    /// What the numbers of a place are multiplied with before they become bytes; empty for nothing.
    pub(super) shares: Vec<f32>,
    /// What rounding left, where that counts.
    pub(super) rest: Option<Box<Self>>,
}

impl ByteWeights {
    /// Rounds `weights`, `[outputs, inputs]`; `biases` has one for each output.
    ///
    /// # Panics
    /// When there is no bias, or `weights` are not as many for each.
    pub fn new(weights: &[f32], biases: &[f32]) -> Self {
        Self::laid_out(weights, biases, has_vnni())
    }

    /// As [`new`](Self::new), for places that [`ByteRows::fill_for`](super::ByteRows::fill_for)
    /// takes. An output has one scale for all its weights, so one large input makes the bytes of all
    /// others coarse, for all outputs that it is large in. Here half of what inputs differ by is
    /// taken from the weights and given to the places, whose own scales can bear it.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn balanced(weights: &[f32], biases: &[f32]) -> Self {
        let width = weights.len() / biases.len().max(1);
        let mut shares = vec![0f32; width];
        for row in weights.chunks_exact(width.max(1)) {
            for (most, weight) in shares.iter_mut().zip(row) {
                *most = most.max(weight.abs());
            }
        }
        for share in &mut shares {
            *share = if *share > 0.0 { share.sqrt() } else { 1.0 };
        }
        let columns = shares.iter().cycle();
        let divided: Vec<f32> = weights.iter().zip(columns).map(|(w, share)| w / share).collect();
        Self { shares, ..Self::new(&divided, biases) }
    }

    /// As [`new`](Self::new), as quads or as pairs.
    pub(super) fn laid_out(weights: &[f32], biases: &[f32], quads: bool) -> Self {
        assert!(!quads || has_vnni(), "quads are for VNNI");
        let outputs = biases.len();
        assert!(outputs > 0 && weights.len().is_multiple_of(outputs), "weights of each output");
        let width = weights.len() / outputs;
        let inputs = width.next_multiple_of(4);
        let blocks = outputs.div_ceil(LANES);
        let mut bytes = vec![0i8; blocks * LANES * inputs];
        let mut scales = vec![0f32; blocks * LANES];
        let mut sums = scales.clone();
        for (output, row) in weights.chunks_exact(width.max(1)).enumerate() {
            let most = row.iter().fold(0f32, |most, weight| most.max(weight.abs()));
            if most == 0.0 {
                continue;
            }
            let scale = most / 127.0;
            let rounded = row.iter().map(|weight| (weight / scale).round() as i8);
            let place = &mut bytes[output * inputs..][..width];
            place.iter_mut().zip(rounded).for_each(|(place, byte)| *place = byte);
            scales[output] = scale;
            sums[output] = place.iter().map(|byte| i32::from(*byte)).sum::<i32>() as f32 * scale;
        }
        let mut filled = biases.to_vec();
        filled.resize(blocks * LANES, 0.0);
        let at = |block: usize, lane: usize, input: usize| {
            bytes[(block * LANES + lane) * inputs + input]
        };
        let blocks = if quads {
            let line = |at_line: usize| {
                let (block, quad) = (at_line / (inputs / 4), at_line % (inputs / 4));
                Line(std::array::from_fn(|lane| {
                    std::array::from_fn(|i| at(block, lane, 4 * quad + i))
                }))
            };
            Blocks::Quads((0..blocks * inputs / 4).map(line).collect())
        } else {
            let pairs = |at_pairs: usize| {
                let (block, pair) = (at_pairs / (inputs / 2), at_pairs % (inputs / 2));
                std::array::from_fn(|lane| {
                    std::array::from_fn(|i| i16::from(at(block, lane, 2 * pair + i)))
                })
            };
            Blocks::Pairs((0..blocks * inputs / 2).map(pairs).collect())
        };
        let shares = Vec::new();
        Self { outputs, width, inputs, blocks, scales, sums, biases: filled, shares, rest: None }
    }

    /// The weights of a convolution, `[outputs, channels, rows, columns]`, for windows whose bytes
    /// lie by row, then by column, then by channel; `room` bytes a place, of which those after the
    /// channels count nothing. They are rounded once or twice.
    ///
    /// # Panics
    /// When `weights` are not of that shape, or `room` is less than the channels.
    pub fn convolution(
        weights: &[f32],
        [channels, rows, columns]: [usize; 3],
        room: usize,
        biases: &[f32],
        rounding: Rounding,
    ) -> Self {
        let window = channels * rows * columns;
        assert_eq!(weights.len(), biases.len() * window, "weights of the windows");
        assert!(room >= channels, "room for the channels");
        let mut turned = vec![0f32; biases.len() * rows * columns * room];
        let outputs = weights.chunks_exact(window);
        for (from, to) in outputs.zip(turned.chunks_exact_mut(rows * columns * room)) {
            for (channel, places) in from.chunks_exact(rows * columns).enumerate() {
                for (place, weight) in places.iter().enumerate() {
                    to[place * room + channel] = *weight;
                }
            }
        }
        let mut once = Self::new(&turned, biases);
        if rounding == Rounding::Twice {
            let width = turned.len() / biases.len();
            for (row, scale) in turned.chunks_exact_mut(width.max(1)).zip(&once.scales) {
                if *scale > 0.0 {
                    row.iter_mut().for_each(|weight| *weight -= (*weight / scale).round() * scale);
                }
            }
            once.rest = Some(Box::new(Self::new(&turned, &vec![0.0; biases.len()])));
        }
        once
    }

    /// How many numbers it makes of a place.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes of a place that it takes.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// What a number comes to: `sum` whole units of a place with `step`.
    #[inline(always)]
    fn value<const FUSED: bool>(&self, output: usize, sum: i32, step: Step) -> f32 {
        let shift = fused::<FUSED>(step.least, self.sums[output], self.biases[output]);
        fused::<FUSED>(sum as f32, step.size * self.scales[output], shift)
    }

    /// Writes what the sums of a place come to, for the outputs from `first` on; `row` begins
    /// there.
    #[inline(always)]
    pub(super) fn settle<const FUSED: bool>(
        &self,
        sums: &[i32; LANES],
        step: Step,
        first: usize,
        row: &mut [f32],
        filled: Filled,
    ) {
        for (lane, place) in row.iter_mut().take(LANES).enumerate() {
            let value = self.value::<FUSED>(first + lane, sums[lane], step);
            *place = if filled == Filled::Added { *place + value } else { value };
        }
    }
}

/// Whether bytes can be multiplied by VNNI.
pub(super) fn has_vnni() -> bool {
    crate::Extension::Avx512Vnni.is_available()
}
