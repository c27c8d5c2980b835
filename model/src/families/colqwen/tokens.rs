//! Words to ids, and the prompt around the features of a page.

use crate::checkpoint::files::CheckpointFile;
use crate::error::ModelError;
use crate::families::colqwen::config::Config;
use crate::families::colqwen::recipe::{ColQwenRecipe, PAD};
use crate::text::{Query, TextTokens};

/// The tokenizer of a checkpoint.
#[derive(Debug, Clone)]
pub struct Tokens {
    text: TextTokens,
    /// A feature.
    pub image: u32,
    pad: u32,
}

/// The ids around the features of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePrompt {
    /// Before them.
    pub before: Vec<u32>,
    /// After them.
    pub after: Vec<u32>,
}

impl Tokens {
    /// Reads a `tokenizer.json` and checks that it is the one of `config`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it does not parse, lacks a token of the model, or has one at
    /// another place.
    pub fn read(file: &CheckpointFile, config: &Config) -> Result<Self, ModelError> {
        const IMAGE: &str = "<|image_pad|>";
        let mut text = TextTokens::read(file, config.text.vocabulary)?;
        for token in ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"] {
            text.steering(token)?;
        }
        let (image, pad) = (text.steering(IMAGE)?, text.steering(PAD)?);
        if image != config.image_token {
            return Err(text.wrong(format!(
                "{IMAGE} is token {image}, config.json says {}: not this model's tokenizer",
                config.image_token
            )));
        }
        Ok(Self { text, image, pad })
    }

    /// The ids around the features of a page.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when they cannot be encoded or give an id that the model lacks.
    pub fn page(&self, recipe: &ColQwenRecipe) -> Result<PagePrompt, ModelError> {
        let before = self.text.ids(&recipe.page_prefix)?;
        let after = self.text.ids(&recipe.page_suffix)?;
        if before.contains(&self.image) || after.contains(&self.image) {
            return Err(self.text.wrong("the prompt of a page must not have features".into()));
        }
        Ok(PagePrompt { before, after })
    }

    /// Tokenizes a question with the prefix, padding and suffix of `recipe`.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub fn query(&self, recipe: &ColQwenRecipe, question: &str) -> Result<Query, ModelError> {
        let text = recipe.query_text(question);
        self.text.question(&text, &recipe.query_prefix, question, (self.pad, PAD))
    }
}
