//! Norms with weights, of each position.

use crate::blocks::elementwise::{layer_norm, rms_norm};
use crate::blocks::lanes::{LANES, Lanes};
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;

/// By mean and variance (Ba et al., arXiv 1607.06450).
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// `[width]`.
    pub weight: Vec<f32>,
    /// `[width]`.
    pub bias: Vec<f32>,
    /// What is added to the variance.
    pub eps: f32,
}

impl LayerNorm {
    /// Takes `key.weight` and `key.bias`.
    pub fn take(
        weights: &mut Weights,
        key: &str,
        width: usize,
        eps: f64,
    ) -> Result<Self, ModelError> {
        let bias = weights.take(&format!("{key}.bias"), &[width])?.to_vec1()?;
        Ok(Self { bias, ..Self::without_bias(weights, key, width, eps)? })
    }

    /// Takes `key.weight`; nothing is added behind it.
    pub fn without_bias(
        weights: &mut Weights,
        key: &str,
        width: usize,
        eps: f64,
    ) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{key}.weight"), &[width])?.to_vec1()?;
        Ok(Self { weight, bias: vec![0.0; width], eps: eps as f32 })
    }

    /// Writes the norm of `x` into `y`, both `[width, LANES]`.
    pub fn apply(&self, x: &[[f32; LANES]], y: &mut [[f32; LANES]]) {
        layer_norm(x, &self.weight, &self.bias, self.eps, y);
    }

    /// The norm of all positions.
    pub fn over(&self, x: &Lanes) -> Lanes {
        x.map_groups(x.width(), |x, y| self.apply(x, y))
    }
}

/// By the root of the mean square (Zhang and Sennrich, arXiv 1910.07467).
#[derive(Debug, Clone)]
pub struct RootNorm {
    /// `[width]`.
    pub weight: Vec<f32>,
    /// What is added to the mean square.
    pub eps: f32,
}

impl RootNorm {
    /// Takes `key.weight`.
    pub fn take(
        weights: &mut Weights,
        key: &str,
        width: usize,
        eps: f32,
    ) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{key}.weight"), &[width])?.to_vec1()?;
        Ok(Self { weight, eps })
    }

    /// Takes `key.weight` as what a weight is more than 1.
    pub fn more_than_one(
        weights: &mut Weights,
        key: &str,
        width: usize,
        eps: f32,
    ) -> Result<Self, ModelError> {
        let mut this = Self::take(weights, key, width, eps)?;
        this.weight.iter_mut().for_each(|weight| *weight += 1.0);
        Ok(this)
    }

    /// Writes the norm of `x` into `y`, both `[width, LANES]`.
    pub fn apply(&self, x: &[[f32; LANES]], y: &mut [[f32; LANES]]) {
        rms_norm(x, &self.weight, self.eps, y);
    }

    /// The norm of all positions.
    pub fn over(&self, x: &Lanes) -> Lanes {
        x.map_groups(x.width(), |x, y| self.apply(x, y))
    }
}
