//! The end of the recogniser: columns look at each other, and each says which character it shows.

use pagesight_simd::network::{
    Activation, ByteRows, ByteWeights, Depthwise, Filled, attention, exponentials, largest,
};

use super::field::Field;
use super::tensors::{Layer, Tensors};
use crate::error::OcrError;

/// Numbers of a column.
const WIDTH: usize = 120;

/// Parts of a column that look around by themselves.
const HEADS: usize = 8;

/// Characters that are scored at once, for so many columns: both stay in the caches.
const SOME: usize = 384;
const COLUMNS: usize = 24;

/// Mean 0 and deviation 1 of the numbers of a column, then a factor and a shift for each.
struct Norm {
    factors: Vec<f32>,
    shifts: Vec<f32>,
    epsilon: f32,
}

/// Columns look at each other, then each by itself.
struct Mixer {
    norm: Norm,
    /// Queries, keys and values.
    look: ByteWeights,
    seen: ByteWeights,
    second: Norm,
    expand: ByteWeights,
    project: ByteWeights,
}

/// The whole end.
pub(super) struct Head {
    /// What goes past the mixers.
    past: ByteWeights,
    narrow: ByteWeights,
    around: Depthwise,
    mixers: [Mixer; 2],
    norm: Norm,
    /// Scores of characters, [`SOME`] each.
    characters: Vec<ByteWeights>,
}

/// Which character a column shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Guess {
    pub class: usize,
    /// Its probability.
    pub confidence: f32,
}

fn bytes_of(layer: &Layer) -> ByteWeights {
    ByteWeights::new(&layer.weights, &layer.biases)
}

impl Norm {
    fn take(tensors: &mut Tensors, epsilon: f32) -> Result<Self, OcrError> {
        let (factors, shifts) = (tensors.take(&[WIDTH])?, tensors.take(&[WIDTH])?);
        Ok(Self { factors, shifts, epsilon })
    }

    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut y = x.to_vec();
        for column in y.chunks_exact_mut(WIDTH) {
            let mean = column.iter().sum::<f32>() / WIDTH as f32;
            let squares = column.iter().map(|value| (value - mean) * (value - mean));
            let scale = 1.0 / (squares.sum::<f32>() / WIDTH as f32 + self.epsilon).sqrt();
            for (value, (factor, shift)) in
                column.iter_mut().zip(self.factors.iter().zip(&self.shifts))
            {
                *value = (*value - mean) * scale * factor + shift;
            }
        }
        y
    }
}

impl Mixer {
    fn take(tensors: &mut Tensors) -> Result<Self, OcrError> {
        Ok(Self {
            norm: Norm::take(tensors, 1e-5)?,
            look: bytes_of(&tensors.linear([WIDTH, 3 * WIDTH])?),
            seen: bytes_of(&tensors.linear([WIDTH, WIDTH])?),
            second: Norm::take(tensors, 1e-5)?,
            expand: bytes_of(&tensors.linear([WIDTH, 2 * WIDTH])?),
            project: bytes_of(&tensors.linear([2 * WIDTH, WIDTH])?),
        })
    }

    fn apply(&self, x: &mut [f32], rows: &mut ByteRows) {
        rows.fill(&self.norm.apply(x), WIDTH);
        let count = x.len() / WIDTH;
        let mut looks = vec![0f32; count * 3 * WIDTH];
        self.look.apply(rows.places(), &mut looks, Filled::Replaced);
        rows.fill(&attention(&looks, HEADS, WIDTH / HEADS), WIDTH);
        self.seen.apply(rows.places(), x, Filled::Added);
        rows.fill(&self.second.apply(x), WIDTH);
        let mut hidden = vec![0f32; count * 2 * WIDTH];
        self.expand.apply(rows.places(), &mut hidden, Filled::Replaced);
        Activation::Silu.apply(&mut hidden);
        rows.fill(&hidden, 2 * WIDTH);
        self.project.apply(rows.places(), x, Filled::Added);
    }
}

impl Head {
    /// Takes the weights, for as many `classes`.
    pub fn take(tensors: &mut Tensors, channels: usize, classes: usize) -> Result<Self, OcrError> {
        let past = bytes_of(&tensors.normalised([WIDTH, channels, 1, 1])?);
        let narrow = bytes_of(&tensors.normalised([WIDTH, channels, 1, 1])?);
        let around = tensors.normalised([WIDTH, 1, 1, 7])?;
        let around = Depthwise::new(&around.weights, [1, 7], &around.biases);
        let mixers = [Mixer::take(tensors)?, Mixer::take(tensors)?];
        let norm = Norm::take(tensors, 1e-6)?;
        let all = tensors.linear([WIDTH, classes])?;
        let some = all.weights.chunks(SOME * WIDTH).zip(all.biases.chunks(SOME));
        let characters = some.map(|(weights, biases)| ByteWeights::new(weights, biases)).collect();
        Ok(Self { past, narrow, around, mixers, norm, characters })
    }

    /// What the columns of `field` show, from left to right, two of its columns each.
    pub fn apply(&self, field: &Field) -> Vec<Guess> {
        let mut rows = ByteRows::default();
        let count = field.columns / 2;
        rows.fill(&pooled(field), field.channels);
        let mut past = vec![0f32; count * WIDTH];
        self.past.apply(rows.places(), &mut past, Filled::Replaced);
        Activation::Silu.apply(&mut past);
        let mut x = vec![0f32; count * WIDTH];
        self.narrow.apply(rows.places(), &mut x, Filled::Replaced);
        Activation::Silu.apply(&mut x);
        // Three columns of nothing on both sides.
        let mut bordered = vec![0f32; (count + 6) * WIDTH];
        bordered[3 * WIDTH..][..x.len()].copy_from_slice(&x);
        let mut around = vec![0f32; x.len()];
        self.around.apply_row(&[&bordered], 1, &mut around);
        Activation::Silu.apply(&mut around);
        x.iter_mut().zip(&around).for_each(|(value, around)| *value += around);
        for mixer in &self.mixers {
            mixer.apply(&mut x, &mut rows);
        }
        let mut x = self.norm.apply(&x);
        x.iter_mut().zip(&past).for_each(|(value, past)| *value += past);
        self.guesses(&x)
    }

    /// The best character of each column.
    fn guesses(&self, x: &[f32]) -> Vec<Guess> {
        let some: Vec<ByteRows> = x
            .chunks(COLUMNS * WIDTH)
            .map(|columns| {
                let mut rows = ByteRows::default();
                rows.fill(columns, WIDTH);
                rows
            })
            .collect();
        // The greatest score so far, its class, and the sum of the exponentials of what all have
        // less than it.
        let mut best = vec![(f32::MIN, 0usize, 0f32); x.len() / WIDTH];
        let mut scores = vec![0f32; COLUMNS * SOME];
        for (part, weights) in self.characters.iter().enumerate() {
            for (rows, best) in some.iter().zip(best.chunks_mut(COLUMNS)) {
                let scores = &mut scores[..best.len() * weights.outputs()];
                weights.apply(rows.places(), scores, Filled::Replaced);
                let columns = scores.chunks_exact_mut(weights.outputs());
                for (scores, (most, class, sum)) in columns.zip(best) {
                    let here = largest(scores);
                    if here > *most {
                        *sum *= (*most - here).exp();
                        *most = here;
                        let at = scores.iter().position(|score| *score == here);
                        *class = part * SOME + at.unwrap_or(0);
                    }
                    *sum += exponentials(scores, *most);
                }
            }
        }
        best.into_iter().map(|(_, class, sum)| Guess { class, confidence: 1.0 / sum }).collect()
    }
}

/// The means over all rows and every two columns, `[columns / 2, channels]`.
fn pooled(field: &Field) -> Vec<f32> {
    let channels = field.channels;
    let mut means = vec![0f32; field.columns / 2 * channels];
    for row in 0..field.rows {
        let pairs = field.row(row).chunks_exact(2 * channels);
        for (means, pair) in means.chunks_exact_mut(channels).zip(pairs) {
            for (mean, (left, right)) in
                means.iter_mut().zip(pair[..channels].iter().zip(&pair[channels..]))
            {
                *mean += left + right;
            }
        }
    }
    let share = 1.0 / (2 * field.rows) as f32;
    means.iter_mut().for_each(|mean| *mean *= share);
    means
}
