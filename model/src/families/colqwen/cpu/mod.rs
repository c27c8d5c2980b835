//! ColQwen on the CPU: our kernels over weights where they lie in their files.

pub mod vision;

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::decoder::Decoder;
use crate::blocks::lanes::Lanes;
use crate::blocks::linear::{Linear, tensor, unit_rows};
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::colqwen::config::Config;
use crate::families::colqwen::cpu::vision::Vision;
use crate::families::colqwen::inventory;
use crate::families::colqwen::recipe::ColQwenRecipe;
use crate::families::colqwen::sequence::{Grid, Sequence};
use crate::precision::Precision;

/// The vision tower, the language model and the head.
#[derive(Debug)]
pub struct CpuModel {
    /// `None` when loaded for queries alone.
    pub vision: Option<Vision>,
    pub text: Decoder,
    pub head: Linear,
    /// Numbers that are kept of what the head gives.
    pub dim: usize,
}

impl CpuModel {
    /// Takes all of `weights`. With `query_only` the tensors that only pages need stay unread.
    pub fn take(
        mut weights: Weights,
        precision: Precision,
        config: &Config,
        recipe: &ColQwenRecipe,
        query_only: bool,
    ) -> Result<Self, ModelError> {
        let vision = if query_only {
            weights.skip(&inventory::vision(config))?;
            None
        } else {
            Some(Vision::take(&mut weights, precision, config)?)
        };
        let prefix = inventory::LANGUAGE;
        let text = Decoder::take(&mut weights, precision, prefix, &config.text, recipe.causal)?;
        let ends = precision.of_the_ends();
        let head = Linear::take(&mut weights, ends, "head", config.text.hidden, config.dim, true)?;
        weights.finish()?;
        Ok(Self { vision, text, head, dim: recipe.dim.unwrap_or(config.dim) })
    }

    /// Whether it was loaded for queries alone.
    pub fn is_query_only(&self) -> bool {
        self.vision.is_none()
    }

    /// The vision tower.
    ///
    /// # Errors
    /// [`ModelError::QueryOnly`] when it was not loaded.
    pub fn vision(&self) -> Result<&Vision, ModelError> {
        self.vision.as_ref().ok_or(ModelError::QueryOnly)
    }

    /// Encodes a page, given by its patches, to its vectors, `[positions, dim]` f32.
    ///
    /// # Errors
    /// [`ModelError::QueryOnly`] without the vision tower.
    pub fn encode_page(
        &self,
        patches: &Lanes,
        grid: Grid,
        sequence: &Sequence,
    ) -> Result<Tensor, ModelError> {
        let features = self.vision()?.encode(patches, grid);
        let x = self.input(sequence, &features.to_rows())?;
        Ok(self.rows(&self.text.encode(x, &sequence.positions))?)
    }

    /// The input of the language model for a page: `features`, `[features, hidden]`, in their
    /// places.
    pub fn input(&self, sequence: &Sequence, features: &[f32]) -> CandleResult<Lanes> {
        let (first, hidden) = (sequence.first_feature, self.text.hidden());
        let expected = sequence.features * hidden;
        if features.len() != expected {
            candle_core::bail!("{} numbers of features, expected {expected}", features.len())
        }
        let mut rows = self.text.embed(&sequence.ids[..first])?;
        rows.extend(features);
        rows.extend(self.text.embed(&sequence.ids[first + sequence.features..])?);
        Ok(Lanes::from_rows(&[sequence.ids.len()], hidden, &rows))
    }

    /// The input of the language model for texts.
    pub fn inputs(&self, texts: &[Sequence]) -> CandleResult<Lanes> {
        let ids: Vec<u32> = texts.iter().flat_map(|text| text.ids.iter().copied()).collect();
        let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        Ok(Lanes::from_rows(&lengths, self.text.hidden(), &self.text.embed(&ids)?))
    }

    /// Encodes texts to their vectors one after the other, `[sum of positions, dim]` f32. The
    /// weights are read once for all of them.
    pub fn encode_texts(&self, texts: &[Sequence]) -> CandleResult<Tensor> {
        let axes: [Vec<u32>; 3] = std::array::from_fn(|axis| {
            texts.iter().flat_map(|text| text.positions[axis].iter().copied()).collect()
        });
        self.rows(&self.text.encode(self.inputs(texts)?, &axes))
    }

    /// Applies the head, leaves out the numbers that the recipe does, and scales rows to length 1.
    pub fn rows(&self, x: &Lanes) -> CandleResult<Tensor> {
        let rows = tensor(&self.head.apply(&self.head.operand(x), x.lengths()))?;
        unit_rows(&rows.narrow(1, 0, self.dim)?.contiguous()?, 0.0)
    }
}
