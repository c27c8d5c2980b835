//! Sequences that begin with a picture and a prompt, and go on token by token.

use candle_core::Tensor;

use crate::error::ModelError;

/// A sequence that can go on.
#[derive(Debug, Clone)]
pub struct Begun<C> {
    /// Its keys and values.
    pub caches: C,
    /// The logits of its next token, before the bound.
    pub logits: Vec<f32>,
}

/// A model that reads sequences and goes on with them.
pub trait Sequences {
    /// Keys and values of all layers for one sequence.
    type Caches: Clone;

    /// Reads a picture, `[3, edge, edge]` f32, and a prompt whose image tokens come first.
    ///
    /// # Errors
    /// [`ModelError::Compute`] for ids that the model lacks, or when the arithmetic fails.
    fn begin(&self, pixels: &Tensor, ids: &[u32]) -> Result<Begun<Self::Caches>, ModelError>;

    /// Goes on with an id in each of several sequences, at most
    /// [`LANES`](crate::blocks::lanes::LANES); gives the logits of what follows, before the bound.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn step(
        &self,
        sequences: &mut [&mut Self::Caches],
        ids: &[u32],
    ) -> Result<Vec<Vec<f32>>, ModelError>;
}
