//! What a ColPali checkpoint is, without reading its weights.

use std::collections::BTreeMap;
use std::path::Path;

use pagesight_core::Fusion;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::Files;
use crate::error::ModelError;
use crate::families::colpali::inventory;
use crate::families::colpali::names::FAMILY_NAME;
use crate::families::colpali::opened::Opened;
use crate::families::colpali::recipe::Recipe;
use crate::info::ModelInfo;
use crate::options::LoadOptions;

/// Looks at `checkpoint`.
///
/// # Errors
/// [`ModelError`], the same that loading it would give.
pub fn inspect(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<ModelInfo, ModelError> {
    let Opened { config, mut weights, recipe, recipe_origin, precision, id, .. } =
        Opened::read(checkpoint, options)?;
    let layout = weights.layout().to_string();
    let mut types = BTreeMap::new();
    for tensor in weights.tensors() {
        *types.entry(tensor.dtype().to_string()).or_default() += tensor.numbers();
    }
    weights.skip(&inventory::all(&config))?;
    weights.finish()?;
    let files = checkpoint.weight_files();
    let lengths = files.iter().map(|file| file.length()).collect::<Result<Vec<_>, _>>()?;
    let vision = &config.vlm_config.vision_config;
    Ok(ModelInfo {
        family: FAMILY_NAME,
        source: checkpoint.source().clone(),
        folder: checkpoint.files().folder().map(Path::to_path_buf),
        base: checkpoint.base().map(Files::shown).map(|base| base.display().to_string()),
        layout,
        files: files.iter().map(|file| file.shown().display().to_string()).collect(),
        bytes: lengths.iter().sum(),
        parameters: types.values().sum(),
        types,
        vision_layers: vision.num_hidden_layers,
        language_layers: config.vlm_config.text_config.num_hidden_layers,
        input_px: Some(vision.image_size),
        patches: Some(vision.side() * vision.side()),
        dim: config.embedding_dim,
        precision,
        recipe_in_words: in_words(&recipe),
        recipe: serde_json::from_str(&recipe.to_json()).expect("a recipe is plain data"),
        recipe_origin: recipe_origin.to_string(),
        model_id: id,
    })
}

/// A recipe as a person reads it.
fn in_words(recipe: &Recipe) -> Vec<(&'static str, String)> {
    let mut lines = vec![("page", format!("{} slices, {:?}", recipe.slices, recipe.page_prompt))];
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
