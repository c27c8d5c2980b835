//! The directions that matter most among the vectors of tokens: a basis brings them to fewer
//! numbers, and late interaction over these is nearly that over all.

use crate::blocks::lanes::Lanes;
use crate::blocks::linear::{Linear, stored_matrix};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::shard::Shard;
use crate::error::ModelError;
use crate::precision::Precision;

/// The file beside the weights, with one tensor of the same name, `[token_dim, hidden]`, rows of
/// length 1 that are orthogonal.
const FILE: &str = "basis.safetensors";
const KEY: &str = "basis";

/// A basis.
#[derive(Debug, Clone)]
pub struct Basis {
    rows: Linear,
    /// The hash of its numbers: vectors depend on it.
    pub digest: String,
}

impl Basis {
    /// The basis of `checkpoint`, whose hidden states have `hidden` numbers; `None` when it has
    /// none.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`], [`ModelError::Shape`], and what reading gives.
    pub fn of(checkpoint: &Checkpoint, hidden: usize) -> Result<Option<Self>, ModelError> {
        let file = checkpoint.file(FILE);
        if !file.exists() {
            return Ok(None);
        }
        let (path, key) = (file.shown(), KEY.to_string());
        let shard = Shard::open(file)?;
        let Some(stored) = shard.get(KEY) else {
            return Err(ModelError::MissingTensor { path, key });
        };
        let shape = stored.shape().to_vec();
        let &[rows, columns] = shape.as_slice() else {
            return Err(ModelError::Shape { path, key, expected: vec![128, hidden], got: shape });
        };
        if columns != hidden || rows == 0 || rows > hidden {
            return Err(ModelError::Shape { path, key, expected: vec![128, hidden], got: shape });
        }
        let digest = blake3::hash(stored.bytes()).to_hex().to_string();
        let matrix = stored_matrix(stored, [rows, columns])?;
        Ok(Some(Self { rows: Linear::of(Precision::F32, matrix, Vec::new()), digest }))
    }

    /// Numbers that are kept.
    pub fn dim(&self) -> usize {
        self.rows.weight().rows()
    }

    /// `x`, `[sum of lengths, hidden]`, in the basis, `[sum of lengths, dim]`.
    pub fn project(&self, x: &Lanes) -> Lanes {
        self.rows.apply(&self.rows.operand(x), x.lengths())
    }
}
