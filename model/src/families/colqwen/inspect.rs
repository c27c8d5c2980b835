//! What a ColQwen checkpoint is, without reading its weights.

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::colqwen::config::MERGE;
use crate::families::colqwen::inventory;
use crate::families::colqwen::opened::OpenedColQwen;
use crate::families::colqwen::pictures::picture;
use crate::families::opened::Looks;
use crate::info::{A4, ModelInfo, PageCost};
use crate::options::LoadOptions;

/// Looks at `checkpoint`.
///
/// # Errors
/// [`ModelError`], the same that loading it would give.
pub fn inspect(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<ModelInfo, ModelError> {
    let OpenedColQwen { config, budget, prompt, opened, dim, id, .. } =
        OpenedColQwen::read(checkpoint, options)?;
    let feature = (config.vision.patch * MERGE) as u32;
    let picture = picture(budget, feature, A4);
    let features = (picture.width_px / feature * (picture.height_px / feature)) as usize;
    let vectors = prompt.before.len() + features + prompt.after.len();
    let looks = Looks {
        family: config.family,
        vision_layers: config.vision.layers,
        language_layers: config.text.layers.len(),
        page: PageCost {
            picture,
            vectors,
            operations: inventory::operations(&config, features * MERGE * MERGE, vectors),
        },
        dim,
        recipe_in_words: opened.recipe.in_words(budget),
    };
    opened.inspect(checkpoint, id, looks, &inventory::all(&config))
}
