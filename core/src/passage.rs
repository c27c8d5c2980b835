//! Passages: parts of a page's text, as a model of meaning encodes them.

use serde::{Deserialize, Serialize};

use crate::model::{ModelId, ModelSource};
use crate::multivector::{PageVectors, QueryVectors};

/// What an index remembers of the model that encoded its passages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbedderRecord {
    /// Which model, with its recipe. Vectors of different ids are never compared.
    pub id: ModelId,
    /// Row length of the vectors of passages.
    pub pooled_dim: usize,
    /// Row length of the vectors of tokens.
    pub token_dim: usize,
    /// Where it is found again; `None` for a model that the program brought itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ModelSource>,
    /// Its recipe as the model wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
}

impl EmbedderRecord {
    /// A model that the program brings itself.
    pub fn new(id: ModelId, pooled_dim: usize, token_dim: usize) -> Self {
        Self { id, pooled_dim, token_dim, source: None, recipe: None }
    }
}

/// The text of a page, encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedPassages {
    /// A vector a passage, `[n_passages, pooled_dim]`, rows of length 1.
    pub pooled: PageVectors,
    /// A vector a token, in the order of the text, `[n_tokens, token_dim]`, rows of at most length
    /// 1: where a model gives longer ones, they are cut to the directions that matter most.
    pub tokens: PageVectors,
}

/// A question, encoded to be compared with [`EncodedPassages`].
#[derive(Debug, Clone, PartialEq)]
pub struct PassageQuestion {
    /// One vector for all of it, `[1, pooled_dim]`.
    pub pooled: QueryVectors,
    /// A vector a token, `[n_tokens, token_dim]`.
    pub tokens: QueryVectors,
}
