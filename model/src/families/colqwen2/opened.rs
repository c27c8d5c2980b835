//! What the files of a ColQwen checkpoint say, read and checked against each other.

use pagesight_core::ModelId;

use crate::blocks::quantize::choose_precision;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::digest::Digests;
use crate::checkpoint::identity::model_id;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::colqwen2::config::{Budget, Config, MERGE, Processor};
use crate::families::colqwen2::names::NAMES;
use crate::families::colqwen2::recipe::ColQwenRecipe;
use crate::families::colqwen2::tokens::{PagePrompt, Tokens};
use crate::families::recipe::{FILE, RecipeOrigin};
use crate::options::LoadOptions;
use crate::precision::Precision;

/// Everything but the weights, of which only headers have been read.
pub struct Opened {
    /// Sizes.
    pub config: Config,
    /// What pixels become.
    pub processor: Processor,
    /// Fewest and most pixels of a picture.
    pub budget: Budget,
    /// The tensors, not taken yet.
    pub weights: Weights,
    /// The recipe in force: the checkpoint's, or what took its place.
    pub recipe: ColQwenRecipe,
    /// Where the recipe comes from.
    pub recipe_origin: RecipeOrigin,
    /// What the model runs in.
    pub precision: Precision,
    /// The tokenizer.
    pub tokens: Tokens,
    /// Ids around the features of a page.
    pub prompt: PagePrompt,
    /// The hash of everything that vectors depend on.
    pub id: ModelId,
}

impl Opened {
    /// Reads the files of `checkpoint`.
    ///
    /// # Errors
    /// [`ModelError`] with file and key for what is missing, damaged, or not a ColQwen's; and for
    /// slices, since a ColQwen sees a page in one piece.
    pub fn read(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, ModelError> {
        /// Its type is the type of the weights.
        const KEY: &str = "language_model.layers.0.mlp.gate_proj.weight";
        if let Some(slices) = options.slices.as_ref().filter(|slices| slices.count() > 1) {
            return Err(ModelError::Setting {
                path: FILE.into(),
                key: "slices".into(),
                expected: "1x1, since a ColQwen sees a page in its own shape: more max_pixels \
                           make small print readable"
                    .into(),
                got: slices.to_string(),
            });
        }
        let config = Config::read(&checkpoint.file("config.json"))?;
        let files = Processor::FILES.map(|name| checkpoint.file(name));
        let processor = Processor::read(files, &config)?;
        let weights = Weights::open(checkpoint, &NAMES)?;
        let (mut recipe, recipe_origin) =
            ColQwenRecipe::in_force(checkpoint, options.recipe.as_ref())?;
        let asked = options.precision.or(recipe.precision);
        let path = checkpoint.of_weights().shown();
        let (precision, is_of_the_weights) = choose_precision(asked, &weights, KEY, path)?;
        // Whether the precision of the weights is written down or not, the vectors are the same,
        // so the model id must be.
        recipe.precision = (!is_of_the_weights).then_some(precision);
        let tokens = Tokens::read(&checkpoint.file("tokenizer.json"), &config)?;
        let prompt = tokens.page(&recipe)?;
        tokens.query(&recipe, "")?;
        let digests = Digests::new(options.digests.clone());
        let id = model_id(checkpoint, &recipe.identity(), &digests)?;
        let budget = recipe.budget(processor.budget);
        let feature = ((config.vision.patch * MERGE) as u64).pow(2);
        if budget.most < feature {
            return Err(ModelError::Setting {
                path: FILE.into(),
                key: "max_pixels".into(),
                expected: format!("at least {feature}, a feature"),
                got: budget.most.to_string(),
            });
        }
        Ok(Self {
            config,
            processor,
            budget,
            weights,
            recipe,
            recipe_origin,
            precision,
            tokens,
            prompt,
            id,
        })
    }
}
