//! Everything between pixels or words and vectors that is not a weight: it differs between
//! published checkpoints and is part of the model's identity.

use std::path::Path;

use pagesight_core::Slices;
use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::config::read_json;

/// `recipe.json` beside the weights; fields left out have these defaults, which are what
/// `ColPaliProcessor` of transformers does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The grid that a page is cut into, each slice one model input.
    pub slices: Slices,
    /// Follows the image tokens of a page.
    pub page_prompt: String,
    /// Stands before the question.
    pub query_prefix: String,
    /// `<pad>` tokens after the question; they are attended to and score.
    pub query_pads: usize,
    /// Stands after them.
    pub query_suffix: String,
    /// Query tokens see only what is before them, as v1.0 to v1.2 were trained. Pages never.
    pub causal_queries: bool,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            slices: Slices::default(),
            page_prompt: "<bos>Describe the image.\n".into(),
            query_prefix: "<bos>Question: ".into(),
            query_pads: 10,
            query_suffix: "\n".into(),
            causal_queries: false,
        }
    }
}

impl Recipe {
    /// The recipe at `path`, or the default where there is no file.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a file that does not parse or has a field that is not known.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        match path.exists() {
            true => read_json(path),
            false => Ok(Self::default()),
        }
    }

    /// What is tokenized for `question`.
    pub fn query_text(&self, question: &str) -> String {
        let pads = "<pad>".repeat(self.query_pads);
        format!("{}{question}{pads}{}", self.query_prefix, self.query_suffix)
    }
}
