//! What the files of a NeoMME checkpoint say, read and checked against each other.

use pagesight_core::ModelId;

use crate::blocks::quantize::choose_precision;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::digest::Digests;
use crate::checkpoint::identity::model_id;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::neomme::config::{Config, Limits, Processor};
use crate::families::neomme::names::NAMES;
use crate::families::neomme::recipe::NeoMmeRecipe;
use crate::families::neomme::tokens::Tokens;
use crate::families::recipe::{FILE, RecipeOrigin};
use crate::options::LoadOptions;
use crate::precision::Precision;

/// Everything but the weights, of which only headers have been read.
pub struct Opened {
    /// Sizes.
    pub config: Config,
    /// What pixels become.
    pub processor: Processor,
    /// How large pictures are at most.
    pub limits: Limits,
    /// The tensors, not taken yet.
    pub weights: Weights,
    /// The recipe in force: the checkpoint's, or what took its place.
    pub recipe: NeoMmeRecipe,
    /// Where the recipe comes from.
    pub recipe_origin: RecipeOrigin,
    /// What the model runs in.
    pub precision: Precision,
    /// The tokenizer.
    pub tokens: Tokens,
    /// The hash of everything that vectors depend on.
    pub id: ModelId,
}

impl Opened {
    /// Reads the files of `checkpoint`.
    ///
    /// # Errors
    /// [`ModelError`] with file and key for what is missing, damaged, or not a NeoMME's; and for
    /// slices, since a NeoMME sees a page in one piece.
    pub fn read(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, ModelError> {
        /// Its type is the type of the weights.
        const KEY: &str = "language_model.layers.0.mlp.up_proj.weight";
        if let Some(slices) = options.slices.as_ref().filter(|slices| slices.count() > 1) {
            return Err(ModelError::Setting {
                path: FILE.into(),
                key: "slices".into(),
                expected: "1x1, since a NeoMME sees a page in its own shape: a larger max_side \
                           makes small print readable"
                    .into(),
                got: slices.to_string(),
            });
        }
        let config = Config::read(&checkpoint.file("config.json"))?;
        let files = Processor::FILES.map(|name| checkpoint.file(name));
        let processor = Processor::read(files, &config)?;
        let weights = Weights::open(checkpoint, &NAMES)?;
        let (mut recipe, recipe_origin) =
            NeoMmeRecipe::in_force(checkpoint, options.recipe.as_ref())?;
        let asked = options.precision.or(recipe.precision);
        let path = checkpoint.of_weights().shown();
        let (precision, is_of_the_weights) = choose_precision(asked, &weights, KEY, path)?;
        // Whether the precision of the weights is written down or not, the vectors are the same,
        // so the model id must be.
        recipe.precision = (!is_of_the_weights).then_some(precision);
        let tokens = Tokens::read(&checkpoint.file("tokenizer.json"), &config)?;
        tokens.query(&recipe, "")?;
        let digests = Digests::new(options.digests.clone());
        let id = model_id(checkpoint, &recipe.identity(), &digests)?;
        let limits = recipe.limits(processor.limits);
        Ok(Self {
            config,
            processor,
            limits,
            weights,
            recipe,
            recipe_origin,
            precision,
            tokens,
            id,
        })
    }
}
