//! How many bits weights have and what is multiplied.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::blocks::matmul::{Arithmetic, Format};

/// The precision that a model runs in. Norms, rotations, softmax and all sums are f32 in each.
///
/// ```
/// use pagesight_model::Precision;
/// assert_eq!("bf16".parse(), Ok(Precision::Bf16));
/// assert_eq!(Precision::Q8.to_string(), "q8");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// Weights as stored, products in f32: equal to the reference in f32.
    F32,
    /// Weights and activations are rounded to bf16 before they are multiplied.
    Bf16,
    /// Weights are rounded to f16, products are in f32: f16 activations overflow.
    F16,
    /// 8-bit weights, one scale a row, products as in bf16.
    Q8,
    /// 4-bit weights in the language model's MLPs (four fifths of all), one scale for 32 of a row;
    /// 8 bits in the vision tower and in attention, where 4 cost more than they save. Products as
    /// in bf16.
    Q4,
}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Q8, Self::Q4];

    /// What is multiplied.
    pub(crate) fn arithmetic(self) -> Arithmetic {
        match self {
            Self::F32 | Self::F16 => Arithmetic::F32,
            Self::Bf16 | Self::Q8 | Self::Q4 => Arithmetic::Bf16,
        }
    }

    /// How the weight `name` is to be held; `None` as the file has it (the kernels round on the
    /// way).
    pub(crate) fn weight_format(self, name: &str) -> Option<Format> {
        match self {
            Self::F32 | Self::Bf16 => None,
            Self::F16 => Some(Format::F16),
            Self::Q8 => Some(Format::Q8),
            Self::Q4 if name.starts_with("language_model.") && name.contains(".mlp.") => {
                Some(Format::Q4)
            }
            Self::Q4 => Some(Format::Q8),
        }
    }

    /// Whether its weights are whole numbers with scales.
    pub(crate) fn is_quantized(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4)
    }

    /// For the layers that pixels enter and vectors leave by: few weights, so they keep 16 bits.
    pub(crate) fn of_the_ends(self) -> Self {
        match self {
            Self::Q8 | Self::Q4 => Self::Bf16,
            other => other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no precision has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no precision: expected f32, f16, bf16, q8 or q4")]
pub struct UnknownPrecision(String);

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|precision| precision.name() == name);
        found.ok_or_else(|| UnknownPrecision(name.into()))
    }
}
