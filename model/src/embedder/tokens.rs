//! Text to ids of pieces.

use std::path::PathBuf;

use tokenizers::{Encoding, Tokenizer};

use crate::checkpoint::files::CheckpointFile;
use crate::embedder::config::Config;
use crate::error::ModelError;

/// Pieces of a passage, without the special ones: MiniLM was trained on texts of 128.
pub const LONGEST_PASSAGE: usize = 126;

/// The tokenizer of a checkpoint.
#[derive(Debug, Clone)]
pub struct Tokens {
    tokenizer: Tokenizer,
    path: PathBuf,
    vocabulary: usize,
    first: u32,
    last: u32,
    unknown: Option<u32>,
    /// Pieces of a passage or a question, without the special ones.
    pub most: usize,
}

impl Tokens {
    /// Reads a `tokenizer.json` and checks that it is one for texts of the model of `config`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it does not parse or lacks a token of the model.
    pub fn read(file: &CheckpointFile, config: &Config) -> Result<Self, ModelError> {
        let path = file.shown();
        let wrong = |reason: String| ModelError::Tokenizer { path: path.clone(), reason };
        let mut tokenizer =
            Tokenizer::from_bytes(file.read()?).map_err(|e| wrong(e.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| wrong(e.to_string()))?;
        // BERT's names, and RoBERTa's.
        let special = |names: [&str; 2]| {
            let lacks = || wrong(format!("it has neither {} nor {}", names[0], names[1]));
            names.iter().find_map(|name| tokenizer.token_to_id(name)).ok_or_else(lacks)
        };
        let (first, last) = (special(["[CLS]", "<s>"])?, special(["[SEP]", "</s>"])?);
        let unknown = ["[UNK]", "<unk>"].iter().find_map(|name| tokenizer.token_to_id(name));
        let vocabulary = config.vocab_size;
        let most = LONGEST_PASSAGE.min(config.longest() - 2);
        let this = Self { tokenizer, path, vocabulary, first, last, unknown, most };
        match [first, last].into_iter().find(|&id| id as usize >= vocabulary) {
            Some(id) => Err(this.not_of_the_model(id)),
            None => Ok(this),
        }
    }

    /// Cuts `text` into pieces, without special ones. Offsets are bytes.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it cannot be cut, or gives an id that the model lacks.
    pub fn pieces(&self, text: &str) -> Result<Encoding, ModelError> {
        let encoding = self.tokenizer.encode(text, false).map_err(|e| ModelError::Tokenizer {
            path: self.path.clone(),
            reason: e.to_string(),
        })?;
        match encoding.get_ids().iter().find(|&&id| id as usize >= self.vocabulary) {
            Some(&id) => Err(self.not_of_the_model(id)),
            None => Ok(encoding),
        }
    }

    /// `ids` as the model reads them: between the two special pieces.
    pub fn framed(&self, ids: impl IntoIterator<Item = u32>) -> Vec<u32> {
        [self.first].into_iter().chain(ids).chain([self.last]).collect()
    }

    /// Whether `id` stands for letters that the tokenizer has no piece for.
    pub fn is_unknown(&self, id: u32) -> bool {
        self.unknown == Some(id)
    }

    /// `id` as a person reads it.
    pub fn name(&self, id: u32) -> String {
        self.tokenizer.id_to_token(id).unwrap_or_default().replace('▁', " ")
    }

    fn not_of_the_model(&self, id: u32) -> ModelError {
        let reason = format!(
            "it gives id {id}, the model has {} rows: not this model's tokenizer",
            self.vocabulary
        );
        ModelError::Tokenizer { path: self.path.clone(), reason }
    }
}
