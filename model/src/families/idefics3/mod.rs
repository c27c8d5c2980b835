//! ColModernVBERT and ColSmol, retrievers in the shape of Idefics3: a page is stretched to whole
//! tiles and cut, and SigLIP sees each tile, and the whole page as one more, on its own. Blocks of
//! patches are joined to features, which a language model reads between marks of rows and columns:
//! ModernBERT, which sees everything, or a causal Llama. A linear head gives the vector of every
//! position.
//!
//! The numeric references are `ColModernVBertForRetrieval` of transformers 5.24.0, equal to
//! colpali-engine 0.3.18 and 0.3.13, and `ColIdefics3` of colpali-engine 0.3.18 on transformers
//! 5.24.0. Releases of transformers from 4.55 to 4.57 shift the positions of ColSmol's patches, and
//! their pages have other vectors.

mod config;
mod cpu;
mod gpu;
mod inspect;
mod inventory;
mod model;
mod modern_config;
mod names;
mod opened;
#[cfg(feature = "parity")]
mod parity;
mod processor;
mod recipe;
mod sequence;
#[cfg(test)]
mod tests;
mod tiles;
mod tokens;

use std::sync::Arc;

use pagesight_core::seam::Model;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::family::Family;
use crate::families::idefics3::recipe::TilesRecipe;
use crate::families::recipe::FamilyRecipe;
use crate::options::LoadOptions;

/// The line of ColModernVBERT in the registry.
pub const FAMILY_MODERN: Family = Family {
    name: names::MODERN,
    // As transformers and as colpali-engine write it.
    model_types: &["colmodernvbert", "modernvbert"],
    names: &names::MODERN_NAMES,
    recipes: TilesRecipe::names,
    load,
    inspect: inspect::inspect,
    #[cfg(feature = "parity")]
    parity: parity::parity,
};

/// The line of ColSmol in the registry; recipes of both are listed with ColModernVBERT.
pub static FAMILY_SMOL: Family = Family {
    name: names::SMOL,
    model_types: &["idefics3"],
    names: &names::SMOL_NAMES,
    recipes: Vec::new,
    ..FAMILY_MODERN
};

fn load(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Arc<dyn Model>, ModelError> {
    Ok(Arc::new(model::load(checkpoint, options)?))
}
