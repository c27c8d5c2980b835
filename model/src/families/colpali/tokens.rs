//! Words to ids. Special tokens are written out (`<bos>`, `<pad>`, `<image>`), so the tokenizer's
//! own additions are off: a published tokenizer.json would put a second `<bos>` in front.

use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;

use pagesight_core::QueryToken;
use tokenizers::{Encoding, Tokenizer};

use crate::checkpoint::files::CheckpointFile;
use crate::error::ModelError;
use crate::families::colpali::config::VlmConfig;

/// The tokenizer of a checkpoint.
#[derive(Debug, Clone)]
pub struct Tokens {
    tokenizer: Tokenizer,
    path: PathBuf,
    image: u32,
    vocabulary: usize,
    /// Ids that say nothing of the letters they stand for: single bytes, and "unknown".
    unspelled: HashSet<u32>,
}

/// A question as the model reads it.
#[derive(Debug, Clone)]
pub struct Query {
    /// Ids of prefix, question, padding and suffix.
    pub ids: Vec<u32>,
    /// What each id stands for.
    pub tokens: Vec<QueryToken>,
}

impl Tokens {
    /// Reads a `tokenizer.json` and checks that it is the one of `config`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it does not parse or lacks a token of the model.
    pub fn read(file: &CheckpointFile, config: &VlmConfig) -> Result<Self, ModelError> {
        let path = file.shown();
        let wrong = |reason: String| ModelError::Tokenizer { path: path.clone(), reason };
        let mut tokenizer =
            Tokenizer::from_bytes(file.read()?).map_err(|e| wrong(e.to_string()))?;
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
        // SentencePiece calls the piece of a byte `<0x41>`.
        let bytes = (0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>"));
        let unspelled = bytes.chain(["<unk>".into()]);
        let unspelled = unspelled.filter_map(|token| tokenizer.token_to_id(&token)).collect();
        let vocabulary = config.text_config.vocab_size;
        Ok(Self { tokenizer, path, image, vocabulary, unspelled })
    }

    fn encode(&self, text: &str) -> Result<Encoding, ModelError> {
        let wrong = |reason: String| ModelError::Tokenizer { path: self.path.clone(), reason };
        let encoding = self.tokenizer.encode(text, false).map_err(|e| wrong(e.to_string()))?;
        match encoding.get_ids().iter().find(|&&id| id as usize >= self.vocabulary) {
            Some(id) => Err(wrong(format!(
                "it gives id {id}, the model has {} rows: not this model's tokenizer",
                self.vocabulary
            ))),
            None => Ok(encoding),
        }
    }

    /// The ids of `text`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it cannot be encoded or gives an id that the model lacks.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        Ok(self.encode(text)?.get_ids().to_vec())
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
    /// question each stands for.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn query(&self, text: &str, question: Range<usize>) -> Result<Query, ModelError> {
        let encoding = self.encode(text)?;
        let ids = encoding.get_ids();
        let tokens =
            ids.iter().zip(encoding.get_offsets()).map(|(&id, &(start, end))| QueryToken {
                text: self.name(id),
                span: part_of(text, question.clone(), start..end),
                spelled: !self.unspelled.contains(&id),
            });
        Ok(Query { tokens: tokens.collect(), ids: ids.to_vec() })
    }

    /// `id` as a person reads it.
    fn name(&self, id: u32) -> String {
        self.tokenizer.id_to_token(id).unwrap_or_default().replace('▁', " ")
    }
}

/// The bytes of the question that `token`, a range of `text`, stands for: without white space
/// around them, whole characters, counted from the start of the question.
fn part_of(text: &str, question: Range<usize>, token: Range<usize>) -> Option<Range<usize>> {
    let start = text.floor_char_boundary(token.start.max(question.start));
    let end = text.ceil_char_boundary(token.end.min(question.end));
    let part = text.get(start..end).filter(|part| !part.is_empty())?;
    let leading = part.len() - part.trim_start().len();
    let trimmed = part.trim();
    let first = start + leading - question.start;
    // A token of spaces alone stands for them.
    let (first, length) = if trimmed.is_empty() {
        (start - question.start, part.len())
    } else {
        (first, trimmed.len())
    };
    Some(first..first + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_for_its_part_of_the_question_alone() {
        let text = "<bos>Question: où est 日本?<pad>\n";
        let question = 15..text.len() - 6;
        for (token, expected) in [
            (0..5, None),          // <bos>
            (5..15, None),         // the prefix
            (14..18, Some("où")),  // with the space of the prefix before it
            (18..22, Some("est")), // with its own
            (18..19, Some(" ")),   // a space alone
            (23..24, Some("日")),  // one byte of three
            (23..29, Some("日本")),
            (29..30, Some("?")),
            (29..35, Some("?")), // and the padding behind it
            (30..35, None),      // padding
            (20..20, None),      // nothing
        ] {
            let got = part_of(text, question.clone(), token.clone());
            let got = got.map(|span| &text[question.clone()][span]);
            assert_eq!(got, expected, "{token:?}");
        }
    }
}
