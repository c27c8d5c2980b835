//! What the files of a NeoMME checkpoint say, read and checked against each other.

use pagesight_core::ModelId;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::neomme::config::Config;
use crate::families::neomme::names::NAMES;
use crate::families::neomme::processor::{Limits, Processor};
use crate::families::neomme::recipe::NeoMmeRecipe;
use crate::families::neomme::tokens::Tokens;
use crate::families::opened::{About, Opened};
use crate::families::recipe::RecipeOrigin;
use crate::options::LoadOptions;

/// Everything but the weights, of which only headers have been read.
pub struct OpenedNeoMme {
    /// Sizes.
    pub config: Config,
    /// What pixels become.
    pub processor: Processor,
    /// How large pictures are at most.
    pub limits: Limits,
    /// The tokenizer.
    pub tokens: Tokens,
    /// Weights, recipe and precision.
    pub opened: Opened<NeoMmeRecipe>,
    /// The hash of everything that vectors depend on.
    pub id: ModelId,
}

static ABOUT: About = About {
    names: &NAMES,
    key: "language_model.layers.0.mlp.up_proj.weight",
    instead_of_slices: "a NeoMME sees a page in its own shape: a larger max_side makes small print \
                        readable",
};

impl OpenedNeoMme {
    /// Reads the files of `checkpoint`.
    ///
    /// # Errors
    /// [`ModelError`] with file and key for what is missing, damaged, or not a NeoMME's; and for
    /// slices, since a NeoMME sees a page in one piece.
    pub fn read(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, ModelError> {
        let config = Config::read(&checkpoint.file("config.json"))?;
        let processor = Processor::read(checkpoint, &config)?;
        let default = NeoMmeRecipe::default();
        let own = (default.clone(), RecipeOrigin::Default);
        let opened = Opened::read(checkpoint, options, &ABOUT, &default, own)?;
        let tokens = Tokens::read(&checkpoint.file("tokenizer.json"), &config)?;
        tokens.query(&opened.recipe, "")?;
        let id = opened.id(checkpoint, options)?;
        let limits = opened.recipe.limits(processor.limits);
        Ok(Self { config, processor, limits, tokens, opened, id })
    }
}
