//! Words to ids, and the text around the features of a page.

use crate::checkpoint::files::CheckpointFile;
use crate::error::ModelError;
use crate::families::idefics3::config::Config;
use crate::families::idefics3::names::MODERN;
use crate::families::idefics3::recipe::{PAD, TilesRecipe};
use crate::families::idefics3::sequence::Sequence;
use crate::families::idefics3::tiles::TileGrid;
use crate::text::{Query, TextTokens};

/// The tokenizer of a checkpoint.
#[derive(Debug, Clone)]
pub struct Tokens {
    text: TextTokens,
    /// A feature.
    pub image: u32,
    pad: u32,
    /// Features along each side of a tile.
    side: usize,
}

const IMAGE: &str = "<image>";
const AROUND: &str = "<fake_token_around_image>";
const WHOLE: &str = "<global-img>";

/// Rows and columns for which there are tokens; others are plain text.
const MARKED: usize = 6;

impl Tokens {
    /// Reads a `tokenizer.json` and checks that it is the one of `config`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it does not parse, lacks a token of the model, or has one at
    /// another place.
    pub fn read(file: &CheckpointFile, config: &Config) -> Result<Self, ModelError> {
        let mut text = TextTokens::read(file, config.text.vocabulary())?;
        let ends: &[&str] = if config.family == MODERN { &["[CLS]", "[SEP]"] } else { &[] };
        for token in [AROUND, WHOLE].iter().chain(ends) {
            text.steering(token)?;
        }
        for (row, column) in (1..=MARKED).flat_map(|row| (1..=MARKED).map(move |c| (row, c))) {
            text.steering(&mark(row, column))?;
        }
        let (image, pad) = (text.steering(IMAGE)?, text.steering(PAD)?);
        if image != config.image_token {
            return Err(text.wrong(format!(
                "{IMAGE} is token {image}, config.json says {}: not this model's tokenizer",
                config.image_token
            )));
        }
        Ok(Self { text, image, pad, side: config.side() })
    }

    /// The sequence of a page of so many tiles.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when its text cannot be encoded or gives an id that the model
    /// lacks, or when a prompt has features of its own.
    pub fn page(&self, recipe: &TilesRecipe, grid: TileGrid) -> Result<Sequence, ModelError> {
        // It is tokenized in one piece: ends of lines beside each other are one token.
        let text = format!("{}{}{}", recipe.page_prefix, tiles(grid), recipe.page_suffix);
        let sequence = Sequence::page(&self.text.ids(&text)?, self.image, self.side);
        if sequence.tiles.len() == grid.tiles() {
            return Ok(sequence);
        }
        Err(self.text.wrong("the prompt of a page must not have features".into()))
    }

    /// Tokenizes a question with the prefix, padding and suffix of `recipe`.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub fn query(&self, recipe: &TilesRecipe, question: &str) -> Result<Query, ModelError> {
        let text = recipe.query_text(question);
        self.text.question(&text, &recipe.query_prefix, question, (self.pad, PAD))
    }
}

fn mark(row: usize, column: usize) -> String {
    format!("<row_{row}_col_{column}>")
}

/// The text of the tiles of a page, each with one token for all of its features.
fn tiles(grid: TileGrid) -> String {
    let whole = format!("{AROUND}{WHOLE}{IMAGE}{AROUND}");
    if grid.cut() == 0 {
        return whole;
    }
    let rows = (1..=grid.rows).map(|row| {
        let tiles =
            (1..=grid.columns).map(|column| format!("{AROUND}{}{IMAGE}", mark(row, column)));
        tiles.collect::<String>() + "\n"
    });
    format!("{}\n{whole}", rows.collect::<String>())
}
