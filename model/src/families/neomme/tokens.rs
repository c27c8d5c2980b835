//! Words to ids, and the marks around the patches of a page.

use crate::checkpoint::files::CheckpointFile;
use crate::error::ModelError;
use crate::families::neomme::config::Config;
use crate::families::neomme::recipe::NeoMmeRecipe;
use crate::text::{Query, TextTokens};

/// The tokenizer of a checkpoint.
#[derive(Debug, Clone)]
pub struct Tokens {
    text: TextTokens,
    /// The mark before a page.
    pub document: u32,
    /// A patch, and the mark before all patches.
    pub image: u32,
    /// The mark after each row of patches.
    pub row: u32,
    query: u32,
}

impl Tokens {
    /// Reads a `tokenizer.json` and checks that it is the one of `config`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it does not parse, lacks a token of the model, or has one at
    /// another place.
    pub fn read(file: &CheckpointFile, config: &Config) -> Result<Self, ModelError> {
        let mut text = TextTokens::read(file, config.vocabulary)?;
        let [document, image, row, query] =
            ["<doc>", "<img>", "<row>", "<query>"].map(|token| text.steering(token));
        text.steering("<mask>")?;
        let (document, image, row, query) = (document?, image?, row?, query?);
        for (token, got, expected) in
            [("<doc>", document, config.document_token), ("<img>", image, config.image_token)]
        {
            if got != expected {
                return Err(text.wrong(format!(
                    "{token} is token {got}, config.json says {expected}: not this model's \
                     tokenizer"
                )));
            }
        }
        Ok(Self { text, document, image, row, query })
    }

    /// Tokenizes a question with the prefix and the masks of `recipe`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it cannot be encoded or gives an id that the model lacks.
    pub fn query(&self, recipe: &NeoMmeRecipe, question: &str) -> Result<Query, ModelError> {
        let text = recipe.query_text(question);
        self.text.question(&text, &recipe.query_prefix, question, (self.query, "<query>"))
    }
}
