//! What a NeoMME checkpoint is, without reading its weights.

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::neomme::inventory;
use crate::families::neomme::names::FAMILY_NAME;
use crate::families::neomme::opened::Opened;
use crate::families::neomme::pictures::picture;
use crate::families::neomme::sequence::Grid;
use crate::info::{A4, ModelInfo, PageCost, Said};
use crate::options::LoadOptions;

/// Looks at `checkpoint`.
///
/// # Errors
/// [`ModelError`], the same that loading it would give.
pub fn inspect(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<ModelInfo, ModelError> {
    let Opened { config, limits, mut weights, recipe, recipe_origin, precision, id, .. } =
        Opened::read(checkpoint, options)?;
    let picture = picture(limits, A4);
    let grid = Grid::of(picture.width_px, picture.height_px, config.patch);
    let said = Said {
        family: FAMILY_NAME,
        vision_layers: 0,
        language_layers: config.layers.len(),
        input_px: None,
        patches: None,
        page: PageCost {
            picture,
            vectors: grid.positions(),
            operations: inventory::operations(&config, grid.patches(), grid.positions()),
        },
        dim: config.dim,
        precision,
        recipe: recipe.to_json(),
        recipe_in_words: recipe.in_words(limits),
        recipe_origin: recipe_origin.to_string(),
        model_id: id,
    };
    let info = ModelInfo::new(checkpoint, &weights, said)?;
    let entries = inventory::all(&config, &weights);
    weights.skip(&entries)?;
    weights.finish()?;
    Ok(info)
}
