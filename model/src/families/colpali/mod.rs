//! ColPali, written to give the reference's vectors: SigLIP sees the patches of a page, a linear
//! projector brings them to the language model's width, Gemma relates them to each other and to the
//! prompt, a linear head gives 128 numbers a position, and each row is scaled to length 1. A query
//! goes the same way without the vision tower.
//!
//! The numeric reference is `ColPaliForRetrieval` of transformers 4.57.6, equal to `ColPali` of
//! colpali-engine 0.3.13. The ColPali of candle-transformers 0.11.1 is no base for it, since its
//! vectors are others: it normalises image features, leaves the last norm out, makes rotations in
//! bf16 and has no masks.

pub mod config;
pub mod cpu;
pub mod gpu;
mod inspect;
mod inventory;
pub mod model;
pub mod names;
mod opened;
#[cfg(feature = "parity")]
mod parity;
pub mod preprocess;
pub mod processor;
pub mod recipe;
mod tokens;

use std::sync::Arc;

use pagesight_core::seam::Model;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::colpali::model::ColPali;
use crate::families::colpali::recipe::Recipe;
use crate::families::family::Family;
use crate::families::recipe::FamilyRecipe;
use crate::options::LoadOptions;

/// Its line in the registry.
pub static FAMILY: Family = Family {
    name: names::FAMILY_NAME,
    // As transformers and as colpali-engine write it.
    model_types: &["colpali", "paligemma"],
    names: &names::NAMES,
    recipes: <Recipe as FamilyRecipe>::names,
    load,
    inspect: inspect::inspect,
    #[cfg(feature = "parity")]
    parity: parity::parity,
};

fn load(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Arc<dyn Model>, ModelError> {
    Ok(Arc::new(ColPali::of(checkpoint, options)?))
}
