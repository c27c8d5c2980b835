//! Words to ids. A page is its image tokens, then the prompt.

use std::ops::Range;

use pagesight_core::QueryToken;

use crate::checkpoint::files::CheckpointFile;
use crate::error::ModelError;
use crate::families::colpali::config::VlmConfig;
use crate::text::{Query, TextTokens};

/// The tokenizer of a checkpoint.
#[derive(Debug, Clone)]
pub struct Tokens {
    text: TextTokens,
    image: u32,
    bos: u32,
}

impl Tokens {
    /// Reads a `tokenizer.json` and checks that it is the one of `config`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it does not parse or lacks a token of the model.
    pub fn read(file: &CheckpointFile, config: &VlmConfig) -> Result<Self, ModelError> {
        let mut text = TextTokens::read(file, config.text_config.vocab_size)?;
        let image = config.image_token_index;
        match text.find("<image>") {
            Some(id) if id == image => {}
            got => {
                return Err(text.wrong(format!(
                    "<image> is token {got:?}, config.json says {image}: not this model's tokenizer"
                )));
            }
        }
        text.steering("<image>")?;
        let bos = text.steering("<bos>")?;
        text.steering("<pad>")?;
        Ok(Self { text, image, bos })
    }

    /// The ids of `text`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it cannot be encoded or gives an id that the model lacks.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.text.ids(text)
    }

    /// The ids of a page: `patches` image tokens, then the prompt.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn page_ids(&self, patches: usize, prompt: &str) -> Result<Vec<u32>, ModelError> {
        let mut ids = vec![self.image; patches];
        ids.extend(self.ids(prompt)?);
        Ok(ids)
    }

    /// The ids of `text`, of which the bytes `question` are the question, and which bytes of the
    /// question each stands for. A text without any token, such as a question of punctuation alone
    /// for a tokenizer that drops it, becomes a `<bos>` that counts as not spelled.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn query(&self, text: &str, question: Range<usize>) -> Result<Query, ModelError> {
        let query = self.text.query(text, question)?;
        if query.ids.is_empty() {
            let nothing = QueryToken { spelled: false, ..QueryToken::special("<bos>") };
            return Ok(Query { ids: vec![self.bos], tokens: vec![nothing] });
        }
        Ok(query)
    }
}
