//! Words to ids. Special tokens are written out (`<bos>`, `<pad>`, `<image>`), so the tokenizer's
//! own additions are off: a published tokenizer.json would put a second `<bos>` in front.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use crate::ModelError;
use crate::config::VlmConfig;
use crate::embedded::read;

/// The tokenizer of a checkpoint.
#[derive(Debug, Clone)]
pub struct Tokens {
    tokenizer: Tokenizer,
    path: PathBuf,
    image: u32,
    vocabulary: usize,
}

impl Tokens {
    /// Reads the `tokenizer.json` at `path` and checks that it is the one of `config`.
    pub fn read(path: &Path, config: &VlmConfig) -> Result<Self, ModelError> {
        let path = path.to_path_buf();
        let wrong = |reason: String| ModelError::Tokenizer { path: path.clone(), reason };
        let mut tokenizer =
            Tokenizer::from_bytes(read(&path)?).map_err(|e| wrong(e.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| wrong(e.to_string()))?;
        let image = config.image_token_index;
        match tokenizer.token_to_id("<image>") {
            Some(id) if id == image => {}
            got => {
                return Err(wrong(format!(
                    "<image> is token {got:?}, config.json says {image}: not this model's tokenizer"
                )));
            }
        }
        for token in ["<bos>", "<pad>"] {
            if tokenizer.token_to_id(token).is_none() {
                return Err(wrong(format!("it has no {token}: not this model's tokenizer")));
            }
        }
        let vocabulary = config.text_config.vocab_size;
        Ok(Self { tokenizer, path, image, vocabulary })
    }

    /// The ids of `text`.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let wrong = |reason: String| ModelError::Tokenizer { path: self.path.clone(), reason };
        let encoding = self.tokenizer.encode(text, false).map_err(|e| wrong(e.to_string()))?;
        let ids = encoding.get_ids().to_vec();
        match ids.iter().find(|&&id| id as usize >= self.vocabulary) {
            Some(id) => Err(wrong(format!(
                "it gives id {id}, the model has {} rows: not this model's tokenizer",
                self.vocabulary
            ))),
            None => Ok(ids),
        }
    }

    /// The ids of a page: `patches` image tokens, then the prompt.
    pub fn page_ids(&self, patches: usize, prompt: &str) -> Result<Vec<u32>, ModelError> {
        let mut ids = vec![self.image; patches];
        ids.extend(self.ids(prompt)?);
        Ok(ids)
    }

    /// Each id as a person reads it.
    pub fn names(&self, ids: &[u32]) -> Vec<String> {
        let name = |&id: &u32| self.tokenizer.id_to_token(id).unwrap_or_default();
        ids.iter().map(|id| name(id).replace('▁', " ")).collect()
    }
}
