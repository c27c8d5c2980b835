//! How many bits the weights have, and in which type products are made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::blocks::matmul::{Arithmetic, Format};

/// The precision that a model runs in. Norms, rotations, softmax and all sums are f32 in every one.
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
    /// Weights as they are stored, products in f32. Equal to the reference in f32.
    F32,
    /// Weights and activations are rounded to bf16 before they are multiplied.
    Bf16,
    /// Weights are rounded to f16, products are in f32, because activations overflow f16.
    F16,
    /// 8-bit weights with one scale per row; activations have 16 bits or more.
    Q8,
    /// 4-bit weights in the MLPs of the language model (four fifths of all weights), with one scale
    /// per 32 numbers of a row; 8-bit weights in the vision tower and in attention, where 4 bits
    /// cost more quality than they save memory. Activations as in [`Q8`](Self::Q8).
    Q4,
}

impl Precision {
    /// Every precision, the most exact first.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Q8, Self::Q4];

    /// What the CPU multiplies weights and activations as. A precision of 16 bits is bf16 where the
    /// CPU has instructions for it. Where it has none, whole numbers of 16 bits take its place if they
    /// were found to be `near_enough` for the checkpoint, else f32: both are nearer to the reference in
    /// f32 than bf16 is, so their vectors are those of the same model, as a GPU's are.
    ///
    /// For weights of 8 and 4 bits whole numbers are near enough with any checkpoint. Those of 8 bits
    /// stay as they are, those of 4 lose a hundredth of what they have lost already. Of activations,
    /// whose numbers have a scale for 256 of them, rounding takes no more than rounding each to bf16:
    /// the errors of `n` numbers up to `m` are `m √n / 2 / 4095` together, and with 256 of them that is
    /// below the 2⁻⁸ of the length of all that bf16 may take, which is `m` at least.
    pub(crate) fn arithmetic(self, near_enough: bool) -> Arithmetic {
        if self.is_of_sixteen_bits() {
            Arithmetic::of_sixteen_bits(near_enough || self.is_quantized())
        } else {
            Arithmetic::F32
        }
    }

    /// What the CPU multiplies queries, keys and values as. Whole numbers only where they were found to
    /// be `near_enough`: a weight of attention that is small beside the greatest becomes 0, and many of
    /// them can be most of what a position sees.
    pub(crate) fn attending(self, near_enough: bool) -> Arithmetic {
        if self.is_of_sixteen_bits() {
            Arithmetic::of_sixteen_bits(near_enough)
        } else {
            Arithmetic::F32
        }
    }

    /// Whether activations are rounded to 16 bits before they are multiplied.
    pub(crate) fn is_of_sixteen_bits(self) -> bool {
        matches!(self, Self::Bf16 | Self::Q8 | Self::Q4)
    }

    /// The format that the weight `name` is converted to when it is loaded. `None` leaves it as the
    /// file has it; the kernels round it when they read it.
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

    /// The precision of the first and the last layer: they have few weights, so they keep 16 bits.
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

/// A word that is not the name of a precision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a precision: expected f32, f16, bf16, q8 or q4")]
pub struct UnknownPrecision(String);

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|precision| precision.name() == name);
        found.ok_or_else(|| UnknownPrecision(name.into()))
    }
}
