//! What the files of a ColQwen checkpoint say, read and checked against each other.

use pagesight_core::ModelId;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::settings::Settings;
use crate::error::ModelError;
use crate::families::colqwen::config::Config;
use crate::families::colqwen::names::NAMES;
use crate::families::colqwen::processor::{Budget, Processor, feature_pixels};
use crate::families::colqwen::recipe::ColQwenRecipe;
use crate::families::colqwen::tokens::{PagePrompt, Tokens};
use crate::families::opened::{About, Opened};
use crate::families::recipe::FILE;
use crate::options::LoadOptions;

/// Everything but the weights, of which only headers have been read.
pub struct OpenedColQwen {
    /// Sizes.
    pub config: Config,
    /// What pixels become.
    pub processor: Processor,
    /// Fewest and most pixels of a picture.
    pub budget: Budget,
    /// The tokenizer.
    pub tokens: Tokens,
    /// Ids around the features of a page.
    pub prompt: PagePrompt,
    /// Weights, recipe and precision.
    pub opened: Opened<ColQwenRecipe>,
    /// Numbers of a vector.
    pub dim: usize,
    /// The hash of everything that vectors depend on.
    pub id: ModelId,
}

static ABOUT: About = About {
    names: &NAMES,
    key: "language_model.layers.0.mlp.gate_proj.weight",
    instead_of_slices: "a ColQwen sees a page in its own shape: more max_pixels make small print \
                        readable",
};

impl OpenedColQwen {
    /// Reads the files of `checkpoint`.
    ///
    /// # Errors
    /// [`ModelError`] with file and key for what is missing, damaged, or not a ColQwen's; and for
    /// slices, since a ColQwen sees a page in one piece.
    pub fn read(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, ModelError> {
        let config = Config::read(&checkpoint.file("config.json"))?;
        let processor = Processor::read(checkpoint, &config)?;
        let default = ColQwenRecipe::of_family(config.family);
        let own = ColQwenRecipe::of_checkpoint(config.family, checkpoint)?;
        let opened = Opened::read(checkpoint, options, &ABOUT, &default, own)?;
        let recipe = &opened.recipe;
        let settings = Settings::of(&checkpoint.files().file(FILE));
        let dim = recipe.dim.unwrap_or(config.dim);
        settings.within("dim", config.dim, dim)?;
        let (budget, feature) = (recipe.budget(processor.budget), feature_pixels(&config));
        if budget.most < feature {
            let expected = format!("at least {feature}, a feature");
            return settings.wrong("max_pixels", &expected, budget.most.to_string());
        }
        let tokens = Tokens::read(&checkpoint.file("tokenizer.json"), &config)?;
        let prompt = tokens.page(recipe)?;
        tokens.query(recipe, "")?;
        let id = opened.id(checkpoint, options)?;
        Ok(Self { config, processor, budget, tokens, prompt, opened, dim, id })
    }
}
