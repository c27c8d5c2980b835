//! What a checkpoint is, without reading its weights.

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::idefics3::inventory;
use crate::families::idefics3::opened::OpenedTiles;
use crate::families::idefics3::tiles::{TileGrid, picture};
use crate::families::opened::Looks;
use crate::info::{A4, ModelInfo, PageCost};
use crate::options::LoadOptions;

/// Looks at `checkpoint`.
///
/// # Errors
/// [`ModelError`], the same that loading it would give.
pub fn inspect(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<ModelInfo, ModelError> {
    let OpenedTiles { config, longest, tokens, opened, id, .. } =
        OpenedTiles::read(checkpoint, options)?;
    let picture = picture(longest, A4);
    let grid = TileGrid::of(picture, config.vision.edge as u32);
    let vectors = tokens.page(&opened.recipe, grid)?.ids.len();
    let looks = Looks {
        family: config.family,
        vision_layers: config.vision.layers,
        language_layers: config.text.layers(),
        page: PageCost {
            picture,
            vectors,
            operations: inventory::operations(&config, grid.tiles(), vectors),
        },
        dim: config.dim,
        recipe_in_words: opened.recipe.in_words(longest, config.vision.edge),
    };
    opened.inspect(checkpoint, id, looks, &inventory::all(&config))
}
