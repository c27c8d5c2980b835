//! A model that can be stopped between any two of its steps, to be held beside its reference.

use candle_core::Tensor;

use crate::blocks::lanes::Lanes;
use crate::blocks::linear::Linear;
use crate::families::retriever::Network;
use crate::parity::{ParityError, Stages};

/// The steps of a family's model, from a page or a question to its vectors.
pub trait Staged: Network {
    /// What its language model reads: ids, and what it needs to know beside them.
    type Sequence;

    /// Whether the reference pads a batch of questions before them, not after them.
    const PADDED_BEFORE: bool = true;

    /// Whether the reference scores by the mean over the tokens of a question, not by the sum.
    const MEAN: bool = false;

    /// The sequence of a text.
    fn text(ids: Vec<u32>) -> Self::Sequence;

    /// The ids of a sequence.
    fn ids(sequence: &Self::Sequence) -> &[u32];

    /// What the first layer reads of a question, `[positions, width]` in lanes.
    ///
    /// # Errors
    /// [`ParityError::Model`].
    fn input(&self, question: &Self::Sequence) -> Result<Lanes, ParityError>;

    /// The vectors of page `n`, `[positions, dim]`, from the reference's own resized picture on.
    ///
    /// # Errors
    /// [`ParityError`].
    fn page(&self, stages: &Stages, n: usize) -> Result<Tensor, ParityError>;

    /// Number of layers of the language model.
    fn depth(&self) -> usize;

    /// What layer `n` makes of `x`, where the first layer's input was `input`.
    ///
    /// # Errors
    /// [`ParityError::Model`].
    fn layer(
        &self,
        n: usize,
        sequence: &Self::Sequence,
        input: &Lanes,
        x: &Lanes,
    ) -> Result<Lanes, ParityError>;

    /// The last norm.
    fn output(&self, x: &Lanes) -> Lanes;

    /// The head, of which rows of length 1 are made.
    fn head(&self) -> &Linear;

    /// The vectors that the head and the scaling make of `x`, `[positions, dim]`.
    ///
    /// # Errors
    /// [`ParityError::Model`].
    fn vectors(&self, x: &Lanes) -> Result<Tensor, ParityError>;
}
