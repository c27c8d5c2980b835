//! The families of models, and the one list of them. A new family is a folder here and a line in
//! [`FAMILIES`].

#[cfg(feature = "parity")]
mod check;
pub mod colpali;
mod colqwen;
pub mod engine;
pub mod family;
mod features;
mod idefics3;
mod ink;
mod neomme;
pub mod normalisation;
mod opened;
mod processor_file;
pub mod recipe;
mod retriever;
#[cfg(feature = "parity")]
mod staged;
#[cfg(test)]
pub mod testing;
mod vector_recipe;
mod whole_page;

#[cfg(feature = "parity")]
use std::collections::BTreeMap;
#[cfg(feature = "parity")]
use std::path::Path;
use std::sync::Arc;

use pagesight_core::ModelSource;
use pagesight_core::seam::Model;
use serde::Deserialize;
#[cfg(feature = "parity")]
use serde::de::IgnoredAny;

#[cfg(feature = "parity")]
use crate::answerer;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::error::ModelError;
use crate::families::family::Family;
use crate::gate;
use crate::info::ModelInfo;
use crate::options::LoadOptions;
#[cfg(feature = "parity")]
use crate::parity::{ParityError, StageReport};

/// All families, a line each.
pub static FAMILIES: [&Family; 7] = [
    &colpali::FAMILY,
    &neomme::FAMILY,
    &colqwen::FAMILY_2,
    &colqwen::FAMILY_2_5,
    &colqwen::FAMILY_3_5,
    &idefics3::FAMILY_MODERN,
    &idefics3::FAMILY_SMOL,
];

/// The names of the recipes that come with pagesight, of all families, as
/// [`RecipeChoice::Named`](crate::RecipeChoice::Named) takes them.
///
/// ```
/// let known = pagesight_model::recipe_names();
/// assert!(known.contains(&"colpali-v1.3") && known.contains(&"neomme-1024"));
/// ```
pub fn recipe_names() -> Vec<&'static str> {
    FAMILIES.iter().flat_map(|family| (family.recipes)()).collect()
}

/// Loads the model of `source`, whichever family it belongs to.
///
/// # Errors
/// [`ModelError::NotFound`] when there is no such checkpoint, [`ModelError::UnknownFamily`] for one
/// of a model that pagesight does not have, and [`ModelError`] with file and key for whatever is
/// missing, left over, of another shape or cut off. Nothing is ever filled in.
///
/// ```
/// use pagesight_core::ModelSource;
/// use pagesight_core::seam::QueryEncoder;
/// use pagesight_model::LoadOptions;
///
/// let model = pagesight_model::load(&ModelSource::Nano, &LoadOptions::default())?;
/// let query = &model.encode_queries(&["net sales"]).unwrap()[0];
/// assert_eq!(query.dim(), model.record().dim);
/// # Ok::<(), pagesight_model::ModelError>(())
/// ```
pub fn load(source: &ModelSource, options: &LoadOptions) -> Result<Arc<dyn Model>, ModelError> {
    let mut checkpoint = Checkpoint::open(source, options)?;
    let family = family_of(&checkpoint)?;
    let about = |checkpoint: &Checkpoint| {
        let info = (family.inspect)(checkpoint, options)?;
        Ok((info.model_id.to_string(), info.precision))
    };
    let encode = |checkpoint: &Checkpoint| {
        let model = (family.load)(checkpoint, options)?;
        // A model that cannot encode says so when it is asked to.
        Ok(gate::vectors_of(&*model).ok())
    };
    gate::decide(&mut checkpoint, options, about, encode)?;
    (family.load)(&checkpoint, options)
}

/// Says what the checkpoint of `source` is, without reading its weights.
///
/// # Errors
/// [`ModelError`], the same that loading it would give.
///
/// ```
/// use pagesight_core::ModelSource;
/// use pagesight_model::{LoadOptions, inspect_checkpoint};
///
/// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity/orig");
/// let info = inspect_checkpoint(&ModelSource::Folder(folder.into()), &LoadOptions::default())?;
/// assert_eq!((info.family, info.layout.as_str()), ("colpali", "colpali-engine"));
/// assert_eq!(info.parameters, 181_432);
/// # Ok::<(), pagesight_model::ModelError>(())
/// ```
pub fn inspect_checkpoint(
    source: &ModelSource,
    options: &LoadOptions,
) -> Result<ModelInfo, ModelError> {
    let checkpoint = Checkpoint::open(source, options)?;
    (family_of(&checkpoint)?.inspect)(&checkpoint, options)
}

/// Compares a family with tensors that its reference gave, stage by stage: a difference points at
/// its cause. `folder/fixture.json` names the family (`family`; ColPali where it names none), and
/// the rest of the folder is as the family's own parity says. A folder whose `fixture.json` has
/// `checkpoints` is one of PaliGemmas that write.
///
/// # Errors
/// [`ParityError`] when a comparison cannot be made; a difference is a report, not an error.
///
/// ```
/// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity");
/// let stages = pagesight_model::parity(folder.as_ref())?;
/// assert!(stages.iter().all(|stage| stage.passed()));
/// # Ok::<(), pagesight_model::ParityError>(())
/// ```
#[cfg(feature = "parity")]
pub fn parity(folder: &Path) -> Result<Vec<StageReport>, ParityError> {
    #[derive(Deserialize)]
    struct Fixture {
        family: Option<String>,
        checkpoints: Option<BTreeMap<String, IgnoredAny>>,
    }
    let path = folder.join("fixture.json");
    let fixture: Fixture = read_json(&path.as_path().into())?;
    if fixture.checkpoints.is_some() {
        return answerer::parity::parity(folder);
    }
    let name = fixture.family.as_deref().unwrap_or(colpali::FAMILY.name);
    let found = FAMILIES.iter().find(|family| family.name == name);
    let family = found.ok_or_else(|| unknown(path, name.into()))?;
    (family.parity)(folder)
}

#[derive(Deserialize)]
struct ModelType {
    model_type: Option<String>,
}

/// The family of a checkpoint: the one whose `model_type` its `config.json` has, or, where that
/// says none, the one whose names most of its tensors have.
///
/// # Errors
/// [`ModelError::UnknownFamily`], and what reading gives.
pub fn family_of(checkpoint: &Checkpoint) -> Result<&'static Family, ModelError> {
    let file = checkpoint.file("config.json");
    let config: ModelType = read_json(&file)?;
    let found = match &config.model_type {
        Some(said) => FAMILIES.iter().find(|family| family.model_types.contains(&said.as_str())),
        None => {
            let keys = checkpoint.shards.iter().flat_map(|shard| shard.keys());
            let known = FAMILIES.iter().map(|family| (family, family.names.known(keys.clone())));
            let best = known.reduce(|best, next| if next.1 > best.1 { next } else { best });
            best.filter(|(_, count)| *count > 0).map(|(family, _)| family)
        }
    };
    let got = config.model_type.as_deref().unwrap_or("no model_type");
    found.copied().ok_or_else(|| unknown(file.shown(), got.into()))
}

fn unknown(path: std::path::PathBuf, got: String) -> ModelError {
    let known = FAMILIES.iter().map(|family| family.name).collect();
    ModelError::UnknownFamily { path, got, known }
}
