//! What the files of a checkpoint say, read and checked against each other.

use pagesight_core::ModelId;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::idefics3::config::{Config, TextSizes};
use crate::families::idefics3::names::{ADDED, MODERN, MODERN_NAMES, SMOL_NAMES};
use crate::families::idefics3::processor::Processor;
use crate::families::idefics3::recipe::TilesRecipe;
use crate::families::idefics3::tiles::TileGrid;
use crate::families::idefics3::tokens::Tokens;
use crate::families::opened::{About, Opened};
use crate::families::recipe::RecipeOrigin;
use crate::options::LoadOptions;

/// Everything but the weights, of which only headers have been read.
pub struct OpenedTiles {
    /// Sizes.
    pub config: Config,
    /// What pixels become.
    pub processor: Processor,
    /// The longest side that a page is brought to, px.
    pub longest: u32,
    /// The tokenizer.
    pub tokens: Tokens,
    /// Weights, recipe and precision.
    pub opened: Opened<TilesRecipe>,
    /// The hash of everything that vectors depend on.
    pub id: ModelId,
}

static MODERN_ABOUT: About = About {
    names: &MODERN_NAMES,
    key: "language_model.layers.0.mlp.Wi.weight",
    instead_of_slices: INSTEAD,
};

static SMOL_ABOUT: About = About {
    names: &SMOL_NAMES,
    key: "language_model.layers.0.mlp.gate_proj.weight",
    instead_of_slices: INSTEAD,
};

const INSTEAD: &str = "the model cuts a page into tiles of its own: a larger longest_side makes \
                       small print readable";

impl OpenedTiles {
    /// Reads the files of `checkpoint`.
    ///
    /// # Errors
    /// [`ModelError`] with file and key for what is missing, damaged, or not this family's; and for
    /// slices, since a page is cut into tiles already.
    pub fn read(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, ModelError> {
        let mut config = Config::read(&checkpoint.file("config.json"))?;
        let processor = Processor::read(checkpoint, &config)?;
        let about = if config.family == MODERN { &MODERN_ABOUT } else { &SMOL_ABOUT };
        let default = TilesRecipe::of_family(config.family);
        let own = (default.clone(), RecipeOrigin::Default);
        let opened = Opened::read(checkpoint, options, about, &default, own)?;
        // A checkpoint may state how many tokens were added though they are in the one table.
        if let TextSizes::Modern(sizes) = &mut config.text
            && !opened.weights.contains(ADDED)
        {
            sizes.added = 0;
        }
        let tokens = Tokens::read(&checkpoint.file("tokenizer.json"), &config)?;
        tokens.page(&opened.recipe, TileGrid { rows: 2, columns: 2 })?;
        tokens.query(&opened.recipe, "")?;
        let longest = opened.recipe.longest(processor.longest);
        let id = opened.id(checkpoint, options)?;
        Ok(Self { config, processor, longest, tokens, opened, id })
    }
}
