//! What brings raw patches to the width of the model: a norm, two linear layers, GELU between them.

use crate::blocks::elementwise::exact_gelu_rows;
use crate::blocks::lanes::Lanes;
use crate::blocks::linear::Linear;
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::blocks::norm::LayerNorm;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::neomme::config::Config;
use crate::precision::Precision;

/// The stem.
#[derive(Debug, Clone)]
pub struct Stem {
    arithmetic: Arithmetic,
    pub norm: LayerNorm,
    pub up: Linear,
    pub down: Linear,
}

/// What the norm adds to the variance. A white patch has hardly any variance, so that this decides
/// how much of a single grey pixel is left.
const EPS: f64 = 1e-5;

impl Stem {
    /// Takes its tensors.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        config: &Config,
    ) -> Result<Self, ModelError> {
        let (width, hidden) = (3 * config.patch * config.patch, config.hidden);
        let norm = LayerNorm::take(weights, "patch_embeddings.norm", width, EPS)?;
        let arithmetic = weights.arithmetic(precision);
        let mut linear = |name: &str, input, output, bias| {
            let key = format!("patch_embeddings.{name}");
            Linear::take(weights, precision, &key, input, output, bias)
        };
        Ok(Self {
            arithmetic,
            norm,
            up: linear("up_proj", width, 2 * hidden, false)?,
            down: linear("down_proj", 2 * hidden, hidden, true)?,
        })
    }

    /// Embeds patches.
    pub fn embed(&self, patches: &Lanes) -> Lanes {
        let y = Operand::made(self.arithmetic, patches, |_, x, y| self.norm.apply(x, y));
        let y = self.up.apply_activated(&y, exact_gelu_rows);
        self.down.apply(&y, patches.lengths())
    }
}
