//! NeoMME, a retriever of one tower: a bidirectional Transformer takes the embeddings of tokens and
//! raw patches of a page side by side, in the shape that the page has. A linear head gives the
//! vector of every position, the marks around the patches included.
//!
//! The numeric reference is `NeoMMEForRetrieval` of transformers 5.24.0. It scores a page by the
//! mean over the tokens of a question, pagesight by the sum, as for every family: for one question
//! the two differ by a factor, so they rank alike.
//!
//! Its dense vector, the mean over all positions, is not made: pages are ranked by late
//! interaction.

mod config;
mod cpu;
mod gpu;
mod inspect;
mod inventory;
mod model;
mod names;
mod opened;
#[cfg(feature = "parity")]
mod parity;
mod pictures;
mod processor;
mod recipe;
mod sequence;
#[cfg(test)]
mod tests;
mod tokens;

use std::sync::Arc;

use pagesight_core::seam::Model;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::family::Family;
use crate::families::neomme::recipe::NeoMmeRecipe;
use crate::families::recipe::FamilyRecipe;
use crate::options::LoadOptions;

/// Its line in the registry.
pub static FAMILY: Family = Family {
    name: names::FAMILY_NAME,
    model_types: &["neomme"],
    names: &names::NAMES,
    recipes: NeoMmeRecipe::names,
    load,
    inspect: inspect::inspect,
    #[cfg(feature = "parity")]
    parity: parity::parity,
};

fn load(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Arc<dyn Model>, ModelError> {
    Ok(Arc::new(model::load(checkpoint, options)?))
}
