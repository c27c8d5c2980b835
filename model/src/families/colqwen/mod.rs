//! ColQwen2, ColQwen2.5 (ColNomic is one of them) and ColQwen3.5 (Vultron, EVIE): a page keeps its
//! shape, up to a budget of pixels. A vision tower sees its patches, 2 x 2 of them are merged into
//! one feature, and a language model reads the features between two pieces of prompt. It is causal,
//! or in EVIE only its delta nets are. A linear head gives the vector of every position.
//!
//! The numeric reference of the first two is colpali-engine 0.3.13 on transformers 4.57.6. Releases
//! of transformers from 5.3 on give other vectors with `ColQwen2ForRetrieval`: they lose the
//! positions down and across the page. That of ColQwen3.5 is colpali-engine 0.3.18 on 5.24.0.

mod config;
mod cpu;
mod gpu;
mod inspect;
mod inventory;
mod learned;
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
mod text_config;
mod tokens;
mod vision_config;
mod windows;

use std::sync::Arc;

use pagesight_core::seam::Model;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::families::colqwen::recipe::ColQwenRecipe;
use crate::families::family::Family;
use crate::families::recipe::FamilyRecipe;
use crate::options::LoadOptions;

/// What is the same in the lines of all of them in the registry.
const ALL: Family = Family {
    name: "",
    model_types: &[],
    names: &names::NAMES,
    // Those of all are listed with ColQwen2.
    recipes: Vec::new,
    load,
    inspect: inspect::inspect,
    #[cfg(feature = "parity")]
    parity: parity::parity,
};

/// The line of ColQwen2 in the registry.
pub static FAMILY_2: Family = Family {
    name: names::FAMILY_2,
    // As transformers and as colpali-engine write it.
    model_types: &["colqwen2", "qwen2_vl"],
    recipes: ColQwenRecipe::names,
    ..ALL
};

/// The line of ColQwen2.5 in the registry.
pub static FAMILY_2_5: Family =
    Family { name: names::FAMILY_2_5, model_types: &["colqwen2_5", "qwen2_5_vl"], ..ALL };

/// The line of ColQwen3.5 in the registry.
pub static FAMILY_3_5: Family =
    Family { name: names::FAMILY_3_5, model_types: &["colqwen3_5", "qwen3_5"], ..ALL };

fn load(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Arc<dyn Model>, ModelError> {
    Ok(Arc::new(model::load(checkpoint, options)?))
}
