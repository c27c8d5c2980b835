//! ColModernVBERT and ColSmol on the CPU: our kernels over weights where they lie in their files.

pub mod modern;

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::decoder::Decoder;
use crate::blocks::lanes::{LANES, Lanes, groups_of};
use crate::blocks::linear::{Linear, tensor, unit_rows};
use crate::blocks::siglip::Siglip;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::features::{places, put};
use crate::families::idefics3::config::{Config, TextSizes};
use crate::families::idefics3::cpu::modern::Modern;
use crate::families::idefics3::inventory;
use crate::families::idefics3::names::{CONNECTOR, LANGUAGE, VISION};
use crate::families::idefics3::sequence::Sequence;
use crate::precision::Precision;

/// The vision tower, what is behind it, the language model and the head.
#[derive(Debug)]
pub struct CpuModel {
    /// The tower and the connector; `None` when loaded for queries alone.
    vision: Option<(Siglip, Linear)>,
    pub text: Text,
    pub head: Linear,
    /// Patches along each side of a feature.
    pub shuffle: usize,
}

/// The two language models.
// One a model, which stays where it is.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Text {
    Modern(Modern),
    Llama(Decoder),
}

impl CpuModel {
    /// Takes all of `weights`. With `query_only` the tensors that only pages need stay unread.
    pub fn take(
        mut weights: Weights,
        precision: Precision,
        config: &Config,
        query_only: bool,
    ) -> Result<Self, ModelError> {
        let hidden = config.text.hidden();
        let vision = if query_only {
            weights.skip(&inventory::vision(config))?;
            None
        } else {
            let tower = Siglip::take(&mut weights, precision, VISION, &config.vision)?;
            let joined = config.vision.hidden * config.shuffle * config.shuffle;
            let connector =
                Linear::take(&mut weights, precision, CONNECTOR, joined, hidden, false)?;
            Some((tower, connector))
        };
        let text = match &config.text {
            TextSizes::Modern(sizes) => Text::Modern(Modern::take(&mut weights, precision, sizes)?),
            TextSizes::Llama(sizes) => {
                Text::Llama(Decoder::take(&mut weights, precision, LANGUAGE, sizes, true)?)
            }
        };
        let ends = precision.of_the_ends();
        let head = Linear::take(&mut weights, ends, "head", hidden, config.dim, true)?;
        weights.finish()?;
        Ok(Self { vision, text, head, shuffle: config.shuffle })
    }

    /// Whether it was loaded for queries alone.
    pub fn is_query_only(&self) -> bool {
        self.vision.is_none()
    }

    /// The tower and the connector.
    ///
    /// # Errors
    /// [`ModelError::QueryOnly`] when they were not loaded.
    pub fn vision(&self) -> Result<(&Siglip, &Linear), ModelError> {
        self.vision
            .as_ref()
            .map(|(tower, connector)| (tower, connector))
            .ok_or(ModelError::QueryOnly)
    }

    /// Encodes a page, given by its tiles, `[3, edge, edge]` each, to its vectors, `[positions,
    /// dim]` f32.
    ///
    /// # Errors
    /// [`ModelError::QueryOnly`] without the vision tower.
    pub fn encode_page(&self, tiles: &[Tensor], sequence: &Sequence) -> Result<Tensor, ModelError> {
        let seen = self.vision()?.0.encode(tiles)?;
        let features = self.connect(&seen)?.to_rows();
        let x = self.input(std::slice::from_ref(sequence), &features)?;
        Ok(self.rows(&self.encode(x))?)
    }

    /// Encodes texts to their vectors one after the other, `[sum of positions, dim]` f32. The
    /// weights are read once for all of them.
    pub fn encode_texts(&self, texts: &[Sequence]) -> CandleResult<Tensor> {
        self.rows(&self.encode(self.input(texts, &[])?))
    }

    /// Joins patches of tiles to features, and brings these to the language model's width.
    ///
    /// # Errors
    /// [`ModelError::QueryOnly`] without the connector.
    pub fn connect(&self, seen: &Lanes) -> Result<Lanes, ModelError> {
        let (_, connector) = self.vision()?;
        let joined = joined(seen, self.shuffle);
        Ok(connector.apply(&connector.operand(&joined), joined.lengths()))
    }

    /// The input of the first layer: `features`, `[features of all sequences, hidden]`, in their
    /// places.
    pub fn input(&self, sequences: &[Sequence], features: &[f32]) -> CandleResult<Lanes> {
        let ids: Vec<u32> = sequences.iter().flat_map(|s| s.ids.iter().copied()).collect();
        let lengths: Vec<usize> = sequences.iter().map(|s| s.ids.len()).collect();
        let (mut rows, hidden) = match &self.text {
            Text::Modern(model) => (model.embed(&ids)?, model.hidden()),
            Text::Llama(model) => (model.embed(&ids)?, model.hidden()),
        };
        let places = places(sequences.iter().map(|s| (s.ids.len(), s.features())));
        put(features, places, &mut rows, hidden)?;
        let x = Lanes::from_rows(&lengths, hidden, &rows);
        Ok(match &self.text {
            Text::Modern(model) => model.begin(&x),
            Text::Llama(_) => x,
        })
    }

    fn encode(&self, x: Lanes) -> Lanes {
        match &self.text {
            Text::Modern(model) => model.encode(x),
            Text::Llama(model) => {
                let axes = [counted(x.lengths())];
                model.encode(x, &axes)
            }
        }
    }

    /// Applies the head and scales rows to length 1.
    pub fn rows(&self, x: &Lanes) -> CandleResult<Tensor> {
        unit_rows(&tensor(&self.head.apply(&self.head.operand(x), x.lengths()))?, 0.0)
    }
}

/// For the comparison with the reference, stage by stage, of one sequence.
#[cfg(feature = "parity")]
impl CpuModel {
    /// Number of layers of the language model.
    pub fn depth(&self) -> usize {
        match &self.text {
            Text::Modern(model) => model.depth(),
            Text::Llama(model) => model.depth(),
        }
    }

    /// What layer `n` makes of `x`.
    pub fn layer(&self, n: usize, x: &Lanes) -> Lanes {
        match &self.text {
            Text::Modern(model) => model.layer(n, x),
            Text::Llama(model) => model.layer(n, x, &[counted(x.lengths())]),
        }
    }

    /// The last norm.
    pub fn finish(&self, x: &Lanes) -> Lanes {
        match &self.text {
            Text::Modern(model) => model.finish(x),
            Text::Llama(model) => model.finish(x),
        }
    }
}

/// The positions of sequences that are counted, one after the other.
pub fn counted(lengths: &[usize]) -> Vec<u32> {
    lengths.iter().flat_map(|&length| 0..length as u32).collect()
}

/// The patches of each tile, a square, joined in blocks of `factor` x `factor`: block by block row by
/// row, and in a block patch by patch row by row.
fn joined(seen: &Lanes, factor: usize) -> Lanes {
    let width = seen.width();
    let lengths: Vec<usize> = seen.lengths().iter().map(|n| n / (factor * factor)).collect();
    // Of each group its first block, how many blocks its tile has along a side and in all, and the
    // first group of the tile's patches.
    let mut tile_of = Vec::new();
    let mut first = 0;
    for (&patches, &blocks) in seen.lengths().iter().zip(&lengths) {
        let side = patches.isqrt() / factor;
        tile_of.extend((0..blocks).step_by(LANES).map(|block| (block, side, blocks, first)));
        first += groups_of(patches);
    }
    let mut joined = Lanes::zeros(&lengths, factor * factor * width);
    joined.each_group(|group, rows| {
        let (start, side, blocks, first) = tile_of[group];
        for (lane, block) in (start..blocks.min(start + LANES)).enumerate() {
            let (down, across) = (block / side * factor, block % side * factor);
            for (n, rows) in rows.chunks_exact_mut(width).enumerate() {
                let patch = (down + n / factor) * side * factor + across + n % factor;
                let from = seen.group(first + patch / LANES);
                for (to, from) in rows.iter_mut().zip(from) {
                    to[lane] = from[patch % LANES];
                }
            }
        }
    });
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_joined_row_by_row() {
        // Two tiles of 4 x 4 patches, of which each has its number.
        let rows: Vec<f32> = (0..32).map(|n| n as f32).collect();
        let joined = joined(&Lanes::from_rows(&[16, 16], 1, &rows), 2);
        assert_eq!((joined.lengths(), joined.width()), ([4, 4].as_slice(), 4));
        let first = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15];
        let expected: Vec<f32> =
            first.iter().chain(&first.map(|n| n + 16)).map(|&n| n as f32).collect();
        assert_eq!(joined.to_rows(), expected);
    }
}
