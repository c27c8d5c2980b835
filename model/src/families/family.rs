//! What the registry knows of a family of models.

#[cfg(feature = "parity")]
use std::path::Path;
use std::sync::Arc;

use pagesight_core::seam::Model;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::layout::Names;
use crate::error::ModelError;
use crate::info::ModelInfo;
use crate::options::LoadOptions;
#[cfg(feature = "parity")]
use crate::parity::{ParityError, StageReport};

/// Loads a checkpoint.
type Load = fn(&Checkpoint, &LoadOptions) -> Result<Arc<dyn Model>, ModelError>;

/// A family: models that differ in sizes and recipes, not in what they compute.
#[derive(Debug)]
pub struct Family {
    /// What it is called, and what its models on a hub have in their names.
    pub name: &'static str,
    /// What `config.json` may call it: its `model_type`.
    pub model_types: &'static [&'static str],
    /// What its checkpoints call their tensors.
    pub names: &'static Names,
    /// The names of its recipes that come with pagesight.
    pub recipes: fn() -> Vec<&'static str>,
    /// Loads a checkpoint of the family.
    pub load: Load,
    /// Says what a checkpoint of the family is, without reading its weights.
    pub inspect: fn(&Checkpoint, &LoadOptions) -> Result<ModelInfo, ModelError>,
    /// Compares the family with the reference's tensors in a folder.
    #[cfg(feature = "parity")]
    pub parity: fn(&Path) -> Result<Vec<StageReport>, ParityError>,
}
