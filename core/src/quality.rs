//! What an approximate ranking was measured to lose, and how far rankings are trusted.

use serde::{Deserialize, Serialize, Serializer};

/// What an approximate ranking keeps of the exact one, measured on the pages of an index.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Share of the exact ten best that are among its ten best; mean over the questions, 0 to 1.
    #[serde(serialize_with = "six_decimals")]
    pub overlap10: f64,
    /// nDCG@10 over that of exact MaxSim; 1 when no answers are known.
    #[serde(serialize_with = "six_decimals")]
    pub ndcg_ratio: f64,
    /// Questions that were asked.
    pub questions: usize,
}

impl Quality {
    /// What is lost beside exact MaxSim, 0 to 1: the larger of the losses of nDCG and overlap.
    ///
    /// ```
    /// use pagesight_core::Quality;
    /// let quality = Quality { overlap10: 0.9, ndcg_ratio: 1.01, questions: 50 };
    /// assert!((quality.loss() - 0.1).abs() < 1e-12);
    /// ```
    pub fn loss(&self) -> f64 {
        (1.0 - self.ndcg_ratio).max(1.0 - self.overlap10).max(0.0)
    }
}

/// serde_json reads numbers of more digits back with another last bit, and what was written must
/// equal what is read.
fn six_decimals<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((value * 1e6).round() / 1e6)
}

/// How far a model's ranking of pictures is trusted beside that of words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fusion {
    /// What the visual rank of a page with words counts; its text rank counts 1.
    pub visual_weight: f32,
    /// How much more, a query token, the visual score of a page without words must be to put it
    /// before one with words.
    pub visual_margin: f32,
}

impl Default for Fusion {
    /// Equal weight, no margin.
    fn default() -> Self {
        Self { visual_weight: 1.0, visual_margin: 0.0 }
    }
}
