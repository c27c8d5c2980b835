//! How a checkpoint is loaded.

use std::path::PathBuf;

use pagesight_core::{ModelSource, Slices};

use crate::checkpoint::hub_cache::HubCache;
use crate::device::Device;
use crate::precision::Precision;

/// What a caller may choose beyond the checkpoint.
///
/// ```
/// use pagesight_model::{LoadOptions, Precision};
/// let options = LoadOptions { precision: Some(Precision::Bf16), ..LoadOptions::default() };
/// assert!(options.recipe.is_none(), "the checkpoint's own");
/// ```
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Takes the place of the checkpoint's recipe.
    pub recipe: Option<RecipeChoice>,
    /// Takes the place of the grids that the recipe cuts a page into.
    pub slices: Option<Slices>,
    /// Takes the place of the recipe's precision. By default a model runs in the precision that
    /// its weights are stored in.
    pub precision: Option<Precision>,
    /// Whether whole numbers of 16 bits may take the place of bf16 on a CPU without instructions
    /// for it. By default they do for nano, where they were compared with f32 and are nearer to it
    /// than bf16 is, and for other checkpoints where [`measured`](Self::measured) says that
    /// they are near enough; else f32 takes the place. It does not change the model's id.
    pub whole_numbers: Option<bool>,
    /// A file that remembers of which models whole numbers are near enough: of which the least cosine
    /// of a vector to f32's is 0.999 or more. [`load`](crate::load) measures a model that is not in
    /// it once, with a page and four questions in both, unless it is
    /// [for questions alone](Self::query_only); [`PaliGemma::load`](crate::PaliGemma::load) does so with
    /// what it keeps of a page and a question. Without it nothing is measured.
    pub measured: Option<PathBuf>,
    /// Is called before a model is measured, which takes as long as about two pages take.
    pub on_measuring: Option<fn()>,
    /// Where it runs.
    pub device: Device,
    /// Inputs that a GPU encodes at once [default: 4]: slices of pages for ColPali (one a page by
    /// default), whole pages for the other families. More are faster and take more of its memory,
    /// 180 MB each for 3B parameters. A core of the CPU encodes one at a time.
    pub gpu_slices: Option<usize>,
    /// Loads only what queries need: the vision tower stays in its file, unread.
    pub query_only: bool,
    /// The whole weights that an adapter is merged into. By default they are looked for by the name
    /// that the adapter gives.
    pub base: Option<ModelSource>,
    /// The hub's local cache, where models of a hub and the bases of adapters are looked up.
    pub hub: Option<HubCache>,
    /// A file that remembers the hashes of weights files, so that gigabytes are not read at each
    /// start; it is made when it is not there.
    pub digests: Option<PathBuf>,
}

/// Inputs that a GPU encodes at once by default: four of ColPali's have 4,120 positions, which nearly
/// fill a large GPU, and their activations take 0.7 GB. A core of the CPU encodes one at a time, so
/// that the activations of a small model stay in its caches.
const ON_A_GPU_AT_ONCE: usize = 4;

impl LoadOptions {
    /// Inputs that a GPU encodes at once.
    pub(crate) fn on_a_gpu_at_once(&self) -> usize {
        self.gpu_slices.unwrap_or(ON_A_GPU_AT_ONCE).max(1)
    }
}

/// Which recipe to use instead of the checkpoint's own. The family of the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecipeChoice {
    /// One that comes with pagesight, by its name.
    Named(String),
    /// A JSON file.
    File(PathBuf),
    /// JSON text, such as an index keeps in
    /// [`ModelRecord::recipe`](pagesight_core::ModelRecord::recipe).
    Json(String),
}
