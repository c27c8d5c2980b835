//! What brings raw patches to the width of the model: a norm, two linear layers, GELU between them.

use crate::blocks::elementwise::{exact_gelu_rows, layer_norm};
use crate::blocks::lanes::Lanes;
use crate::blocks::linear::Linear;
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::neomme::config::Config;
use crate::precision::Precision;

/// The stem.
#[derive(Debug, Clone)]
pub struct Stem {
    arithmetic: Arithmetic,
    weight: Vec<f32>,
    bias: Vec<f32>,
    up: Linear,
    down: Linear,
}

/// What the norm adds to the variance. A white patch has hardly any variance, so that this decides
/// how much of a single grey pixel is left.
const EPS: f32 = 1e-5;

impl Stem {
    /// Takes its tensors.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        config: &Config,
    ) -> Result<Self, ModelError> {
        let (width, hidden) = (3 * config.patch * config.patch, config.hidden);
        let mut norm = |part: &str| -> Result<Vec<f32>, ModelError> {
            Ok(weights.take(&format!("patch_embeddings.norm.{part}"), &[width])?.to_vec1()?)
        };
        let (weight, bias) = (norm("weight")?, norm("bias")?);
        let arithmetic = weights.arithmetic(precision);
        let mut linear = |name: &str, input, output, bias| {
            let key = format!("patch_embeddings.{name}");
            Linear::take(weights, precision, &key, input, output, bias)
        };
        Ok(Self {
            arithmetic,
            weight,
            bias,
            up: linear("up_proj", width, 2 * hidden, false)?,
            down: linear("down_proj", 2 * hidden, hidden, true)?,
        })
    }

    /// Embeds patches.
    pub fn embed(&self, patches: &Lanes) -> Lanes {
        let y = Operand::made(self.arithmetic, patches, |_, x, y| {
            layer_norm(x, &self.weight, &self.bias, EPS, y);
        });
        let y = self.up.apply_activated(&y, exact_gelu_rows);
        self.down.apply(&y, patches.lengths())
    }
}
