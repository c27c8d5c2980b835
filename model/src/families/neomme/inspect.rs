//! What a NeoMME checkpoint is, without reading its weights.

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::neomme::inventory;
use crate::families::neomme::names::FAMILY_NAME;
use crate::families::neomme::opened::OpenedNeoMme;
use crate::families::neomme::pictures::picture;
use crate::families::neomme::sequence::Grid;
use crate::families::opened::Looks;
use crate::info::{A4, ModelInfo, PageCost};
use crate::options::LoadOptions;

/// Looks at `checkpoint`.
///
/// # Errors
/// [`ModelError`], the same that loading it would give.
pub fn inspect(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<ModelInfo, ModelError> {
    let OpenedNeoMme { config, limits, opened, id, .. } = OpenedNeoMme::read(checkpoint, options)?;
    let picture = picture(limits, A4);
    let grid = Grid::of(picture.width_px, picture.height_px, config.patch);
    let looks = Looks {
        family: FAMILY_NAME,
        vision_layers: 0,
        language_layers: config.layers.len(),
        page: PageCost {
            picture,
            vectors: grid.positions(),
            operations: inventory::operations(&config, grid.patches(), grid.positions()),
        },
        dim: config.dim,
        recipe_in_words: opened.recipe.in_words(limits),
    };
    let entries = inventory::all(&config, &opened.weights);
    opened.inspect(checkpoint, id, looks, &entries)
}
