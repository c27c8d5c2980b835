//! ColQwen on the CPU: our kernels over weights where they lie in their files.

mod text;
mod vision;

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::lanes::Lanes;
use crate::blocks::linear::{Linear, tensor, unit_rows};
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::colqwen2::config::Config;
use crate::families::colqwen2::cpu::text::Text;
use crate::families::colqwen2::cpu::vision::Vision;
use crate::families::colqwen2::inventory;
use crate::families::colqwen2::sequence::{Grid, Sequence};
use crate::precision::Precision;

/// The vision tower, the language model and the head.
#[derive(Debug)]
pub struct CpuModel {
    /// `None` when loaded for queries alone.
    vision: Option<Vision>,
    pub text: Text,
    pub head: Linear,
}

impl CpuModel {
    /// Takes all of `weights`. With `query_only` the tensors that only pages need stay unread.
    pub fn take(
        mut weights: Weights,
        precision: Precision,
        config: &Config,
        query_only: bool,
    ) -> Result<Self, ModelError> {
        let vision = if query_only {
            weights.skip(&inventory::vision(config))?;
            None
        } else {
            Some(Vision::take(&mut weights, precision, config)?)
        };
        let text = Text::take(&mut weights, precision, &config.text)?;
        let ends = precision.of_the_ends();
        let head = Linear::take(&mut weights, ends, "head", config.text.hidden, config.dim, true)?;
        weights.finish()?;
        Ok(Self { vision, text, head })
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
        let x = self.text.input(sequence, &features.to_rows())?;
        Ok(self.rows(&self.text.encode(x, std::slice::from_ref(sequence)))?)
    }

    /// Encodes texts to their vectors one after the other, `[sum of positions, dim]` f32. The
    /// weights are read once for all of them.
    pub fn encode_texts(&self, texts: &[Sequence]) -> CandleResult<Tensor> {
        let x = self.text.inputs(texts)?;
        self.rows(&self.text.encode(x, texts))
    }

    /// Applies the head and scales rows to length 1.
    pub fn rows(&self, x: &Lanes) -> CandleResult<Tensor> {
        unit_rows(&tensor(&self.head.apply(&self.head.operand(x), x.lengths()))?, 0.0)
    }
}
