//! What a ColPali checkpoint is, without reading its weights.

use pagesight_core::{Fusion, PictureSize};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::adapter::AdapterUse;
use crate::error::ModelError;
use crate::families::colpali::inventory;
use crate::families::colpali::names::FAMILY_NAME;
use crate::families::colpali::opened::Opened;
use crate::families::colpali::recipe::Recipe;
use crate::info::{ModelInfo, PageCost, Said};
use crate::options::LoadOptions;

/// Looks at `checkpoint`.
///
/// # Errors
/// [`ModelError`], the same that loading it would give.
pub fn inspect(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<ModelInfo, ModelError> {
    let Opened { config, mut weights, recipe, recipe_origin, precision, id, page_ids, .. } =
        Opened::read(checkpoint, options)?;
    let vision = &config.vlm_config.vision_config;
    let (edge, slices) = (vision.image_size as u32, &recipe.slices);
    let said = Said {
        family: FAMILY_NAME,
        vision_layers: vision.num_hidden_layers,
        language_layers: config.vlm_config.text_config.num_hidden_layers,
        input_px: Some(vision.image_size),
        patches: Some(vision.side() * vision.side()),
        page: PageCost {
            picture: PictureSize {
                width_px: edge * slices.cols(),
                height_px: edge * slices.rows(),
            },
            vectors: slices.count() * page_ids.len(),
            operations: slices.count() as u64 * inventory::operations(&config, page_ids.len()),
        },
        dim: config.embedding_dim,
        precision,
        recipe: recipe.to_json(),
        recipe_in_words: in_words(&recipe),
        recipe_origin: recipe_origin.to_string(),
        model_id: id,
    };
    let info = ModelInfo::new(checkpoint, &weights, said)?;
    weights.skip(&inventory::all(&config))?;
    weights.finish()?;
    Ok(info)
}

/// A recipe as a person reads it.
fn in_words(recipe: &Recipe) -> Vec<(&'static str, String)> {
    let mut lines = vec![("page", format!("{} slices, {:?}", recipe.slices, recipe.page_prompt))];
    if recipe.adapter == AdapterUse::Apart {
        lines.push(("", "an adapter is applied beside the weights, not merged".into()));
    }
    if let Some(range) = recipe.prune_blank {
        lines.push(("", format!("patches that vary by {range} of 255 at most are left out")));
    }
    if recipe.pooling > 1 {
        let (factor, pooler) = (recipe.pooling, recipe.pooler);
        lines.push(("", format!("vectors are pooled to one in {factor}, {pooler}")));
    }
    let causal = if recipe.causal_queries { ", causal" } else { "" };
    let Recipe { query_prefix: prefix, query_pads: pads, query_suffix: suffix, .. } = recipe;
    lines.push(("query", format!("{prefix:?}, the question, {pads} <pad>, {suffix:?}{causal}")));
    let Fusion { visual_weight, visual_margin } = recipe.fusion;
    let fusion = format!("beside words {visual_weight}, for pages without {visual_margin} more");
    lines.push(("trust", fusion));
    lines
}
