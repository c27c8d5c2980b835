//! A checkpoint that was opened, with the recipe and the precision that it runs in; the part that is
//! the same for every family that sees a page in one piece.

use pagesight_core::ModelId;

use crate::blocks::quantize::choose_precision;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::digest::Digests;
use crate::checkpoint::identity::model_id;
use crate::checkpoint::inventory::Entry;
use crate::checkpoint::layout::Names;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::recipe::{FILE, RecipeOrigin};
use crate::families::whole_page::WholePageRecipe;
use crate::info::{ModelInfo, PageCost, Said};
use crate::options::LoadOptions;
use crate::precision::Precision;

/// Weights, of which only headers have been read, and how they are used.
pub struct Opened<R> {
    /// The tensors, not taken yet.
    pub weights: Weights,
    /// The recipe in force: the checkpoint's, or what took its place.
    pub recipe: R,
    /// Where the recipe comes from.
    pub recipe_origin: RecipeOrigin,
    /// What the model runs in.
    pub precision: Precision,
}

/// What a family says of its checkpoints.
pub struct About {
    /// What their tensors are called.
    pub names: &'static Names,
    /// The weight whose type is the type of the weights.
    pub key: &'static str,
    /// What takes the place of slices, since the family sees a page in one piece.
    pub instead_of_slices: &'static str,
}

/// What a family says of one checkpoint, for a person.
pub struct Looks {
    /// The family.
    pub family: &'static str,
    /// Layers of the vision tower.
    pub vision_layers: usize,
    /// Layers of the language model.
    pub language_layers: usize,
    /// What a page costs.
    pub page: PageCost,
    /// Numbers of a vector.
    pub dim: usize,
    /// The recipe.
    pub recipe_in_words: Vec<(&'static str, String)>,
}

impl<R: WholePageRecipe> Opened<R> {
    /// Opens the weights of `checkpoint`; `own` is the recipe that it has where nothing says another
    /// one, `default` what fields have that a recipe leaves out.
    ///
    /// # Errors
    /// [`ModelError`] with file and key for what is missing or damaged; and for slices.
    pub fn read(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        about: &About,
        default: &R,
        own: (R, RecipeOrigin),
    ) -> Result<Self, ModelError> {
        if let Some(slices) = options.slices.as_ref().filter(|slices| slices.count() > 1) {
            return Err(ModelError::Setting {
                path: FILE.into(),
                key: "slices".into(),
                expected: format!("1x1, since {}", about.instead_of_slices),
                got: slices.to_string(),
            });
        }
        let weights = Weights::open(checkpoint, about.names)?;
        let choice = options.recipe.as_ref();
        let (mut recipe, recipe_origin) = R::in_force(checkpoint, choice, default, own)?;
        let asked = options.precision.or(recipe.vectors().precision);
        let path = checkpoint.of_weights().shown();
        let (precision, is_of_the_weights) = choose_precision(asked, &weights, about.key, path)?;
        // Whether the precision of the weights is written down or not, the vectors are the same,
        // so the model id must be.
        recipe.vectors_mut().precision = (!is_of_the_weights).then_some(precision);
        Ok(Self { weights, recipe, recipe_origin, precision })
    }

    /// The hash of everything that vectors depend on. It reads all weights, so it comes last.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub fn id(
        &self,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
    ) -> Result<ModelId, ModelError> {
        let digests = Digests::new(options.digests.clone());
        model_id(checkpoint, &self.recipe.identity(), &digests)
    }

    /// Says what it is, and that `entries` are all tensors that it has.
    ///
    /// # Errors
    /// [`ModelError`], the same that loading it would give.
    pub fn inspect(
        mut self,
        checkpoint: &Checkpoint,
        model_id: ModelId,
        looks: Looks,
        entries: &[Entry],
    ) -> Result<ModelInfo, ModelError> {
        let said = Said {
            family: looks.family,
            vision_layers: looks.vision_layers,
            language_layers: looks.language_layers,
            input_px: None,
            patches: None,
            page: looks.page,
            dim: looks.dim,
            precision: self.precision,
            recipe: self.recipe.to_json(),
            recipe_in_words: looks.recipe_in_words,
            recipe_origin: self.recipe_origin.to_string(),
            model_id,
        };
        let info = ModelInfo::new(checkpoint, &self.weights, said)?;
        self.weights.skip(entries)?;
        self.weights.finish()?;
        Ok(info)
    }
}
