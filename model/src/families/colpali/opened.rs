//! What the files of a ColPali checkpoint say, read and checked against each other.

use pagesight_core::ModelId;

use crate::blocks::quantize::choose_precision;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::digest::Digests;
use crate::checkpoint::identity::model_id;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::colpali::config::Config;
use crate::families::colpali::names::NAMES;
use crate::families::colpali::processor::normalisation;
use crate::families::colpali::recipe::Recipe;
use crate::families::colpali::tokens::Tokens;
use crate::families::normalisation::Normalisation;
use crate::families::recipe::RecipeOrigin;
use crate::options::LoadOptions;
use crate::precision::Precision;

/// Everything but the weights, of which only headers have been read.
pub struct Opened {
    /// Sizes.
    pub config: Config,
    /// What pixels become.
    pub normalisation: Normalisation,
    /// The tensors, not taken yet.
    pub weights: Weights,
    /// The recipe in force: the checkpoint's, or what took its place.
    pub recipe: Recipe,
    /// Where the recipe comes from.
    pub recipe_origin: RecipeOrigin,
    /// What the model runs in.
    pub precision: Precision,
    /// The tokenizer.
    pub tokens: Tokens,
    /// Ids of a slice of a page: its image tokens, then the prompt.
    pub page_ids: Vec<u32>,
    /// The hash of everything that vectors depend on.
    pub id: ModelId,
}

impl Opened {
    /// Reads the files of `checkpoint`.
    ///
    /// # Errors
    /// [`ModelError`] with file and key for what is missing, damaged, or not a ColPali's.
    pub fn read(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, ModelError> {
        let config = Config::read(&checkpoint.file("config.json"))?;
        if config.vlm_config.text_config.is_gemma2() {
            // No retriever over Gemma 2 was compared with its reference yet.
            return Err(ModelError::Setting {
                path: checkpoint.file("config.json").shown(),
                key: "text_config.model_type".into(),
                expected: "gemma (a PaliGemma 2 answers questions and finds no pages)".into(),
                got: "gemma2".into(),
            });
        }
        let normalisation = normalisation(checkpoint, &config)?;
        let mut weights = Weights::open(checkpoint, &NAMES)?;
        let (recipe, recipe_origin, precision) = in_force(checkpoint, &weights, options)?;
        weights.use_adapter(recipe.adapter);
        let tokens = Tokens::read(&checkpoint.file("tokenizer.json"), &config.vlm_config)?;
        let side = config.vlm_config.vision_config.side();
        let page_ids = tokens.page_ids(side * side, &recipe.page_prompt)?;
        tokens.ids(&recipe.query_text(""))?;
        let digests = Digests::new(options.digests.clone());
        let id = model_id(checkpoint, &recipe.identity(), &digests)?;
        Ok(Self {
            config,
            normalisation,
            weights,
            recipe,
            recipe_origin,
            precision,
            tokens,
            page_ids,
            id,
        })
    }
}

/// The recipe and the precision that a checkpoint runs with: its own, or what takes their place.
fn in_force(
    checkpoint: &Checkpoint,
    weights: &Weights,
    options: &LoadOptions,
) -> Result<(Recipe, RecipeOrigin, Precision), ModelError> {
    /// Its type is the type of the weights.
    const KEY: &str = "language_model.layers.0.mlp.gate_proj.weight";
    let (mut recipe, origin) = Recipe::in_force(checkpoint, options.recipe.as_ref())?;
    if let Some(slices) = &options.slices {
        recipe.slices = slices.clone();
    }
    let asked = options.precision.or(recipe.precision);
    let path = checkpoint.of_weights().shown();
    let (precision, is_of_the_weights) = choose_precision(asked, weights, KEY, path)?;
    // Whether the precision of the weights is written down or not, the vectors are the same, so
    // the model id must be.
    recipe.precision = (!is_of_the_weights).then_some(precision);
    Ok((recipe, origin, precision))
}
