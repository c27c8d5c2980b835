//! What a ColQwen checkpoint is, without reading its weights.

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::colqwen2::config::MERGE;
use crate::families::colqwen2::inventory;
use crate::families::colqwen2::opened::Opened;
use crate::families::colqwen2::pictures::picture;
use crate::info::{A4, ModelInfo, PageCost, Said};
use crate::options::LoadOptions;

/// Looks at `checkpoint`.
///
/// # Errors
/// [`ModelError`], the same that loading it would give.
pub fn inspect(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<ModelInfo, ModelError> {
    let Opened {
        config, budget, mut weights, recipe, recipe_origin, precision, prompt, id, ..
    } = Opened::read(checkpoint, options)?;
    let feature = (config.vision.patch * MERGE) as u32;
    let picture = picture(budget, feature, A4);
    let features = (picture.width_px / feature * (picture.height_px / feature)) as usize;
    let vectors = prompt.before.len() + features + prompt.after.len();
    let said = Said {
        family: config.family,
        vision_layers: config.vision.layers,
        language_layers: config.text.layers,
        input_px: None,
        patches: None,
        page: PageCost {
            picture,
            vectors,
            operations: inventory::operations(&config, features * MERGE * MERGE, vectors),
        },
        dim: config.dim,
        precision,
        recipe: recipe.to_json(),
        recipe_in_words: recipe.in_words(budget),
        recipe_origin: recipe_origin.to_string(),
        model_id: id,
    };
    let info = ModelInfo::new(checkpoint, &weights, said)?;
    weights.skip(&inventory::all(&config))?;
    weights.finish()?;
    Ok(info)
}
