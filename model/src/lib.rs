//! Encoders: pages and questions in, multi-vectors out, equal to the reference implementations.
//!
//! [`load`] takes a [`ModelSource`](pagesight_core::ModelSource) (nano, a folder, a model in a
//! hub's cache), finds out which family of models the checkpoint belongs to, and gives a
//! [`Model`](pagesight_core::seam::Model). The families are listed in one place: ColPali
//! ([`ColPali`]), which squeezes a page into a square; NeoMME and the ColQwens, which see it in its own
//! shape; ColModernVBERT and ColSmol, which cut it into tiles. This is the only crate of pagesight that knows candle.
//!
//! [`PaliGemma`], which ColPali is made of, also writes: it answers a question about a picture,
//! reads it aloud, and finds things on it.
//!
//! The way of a page through ColPali: its picture becomes pixels (`families/NAME/preprocess`),
//! pixels become patch features in the vision tower, features and the prompt go through the
//! language model, and a head makes rows of length 1 of it. NeoMME has no tower of its own for
//! pictures: one Transformer takes patches and tokens. The parts are `blocks` on the CPU, with kernels of our own, and
//! `gpu` on a GPU, with candle's operations. Weights stay where they lie in their files
//! (`checkpoint`).
//!
//! ```
//! use pagesight_core::ModelSource;
//! use pagesight_core::seam::{PageEncoder, QueryEncoder};
//! use pagesight_model::LoadOptions;
//!
//! let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity/hf");
//! let source = ModelSource::Folder(folder.into());
//! let model = pagesight_model::load(&source, &LoadOptions::default())?;
//! let query = &model.encode_queries(&["page 3"]).unwrap()[0];
//! assert_eq!(query.dim(), 128);
//! assert_eq!(query.tokens()[0].text, "<bos>");
//! # Ok::<(), pagesight_model::ModelError>(())
//! ```

// Steps that only a comparison with the reference takes one by one.
#![cfg_attr(not(feature = "parity"), allow(dead_code))]

mod answerer;
mod blocks;
mod checkpoint;
mod device;
mod embedder;
mod error;
mod families;
mod gate;
mod gpu;
mod info;
mod kernels;
mod models;
mod options;
#[cfg(feature = "parity")]
mod parity;
#[cfg(feature = "parity")]
mod picture;
mod precision;
mod quantized_checkpoint;
mod text;
mod verify;

// Loading any model.
pub use checkpoint::adapter::AdapterUse;
pub use device::{Device, UnknownDevice};
pub use error::ModelError;
pub use families::recipe::{Pooler, RecipeOrigin};
pub use families::{load, recipe_names};
pub use gpu::device_in_use;
pub use options::{LoadOptions, RecipeChoice};
pub use precision::{Precision, UnknownPrecision};

// ColPali, the first family.
pub use families::colpali::model::ColPali;
pub use families::colpali::recipe::Recipe;

// Answers: texts about a picture.
pub use answerer::{
    Choice, Decoding, Generated, Location, MaskDecoder, Object, ObjectMask, Objects, PaliGemma,
    Sampling, Stop, Task, UnknownTask,
};

// Meaning of text.
pub use embedder::{
    Embedder, EmbedderOptions, EmbedderPlace, EmbedderRecipe, Languages, Pooling, find_embedder,
};

// Checkpoints: find, fetch, look at, check, make smaller.
#[cfg(feature = "hub")]
pub use checkpoint::fetch::{FetchError, FetchEvent, FetchOptions, Fetched, fetch};
pub use checkpoint::hub_cache::{HubCache, HubSnapshot};
pub use families::inspect_checkpoint;
pub use info::{ModelInfo, PageCost};
pub use models::{ModelEntry, Models};
pub use quantized_checkpoint::{QuantizeSummary, quantize_checkpoint};
pub use verify::{VerifiedModel, verify_checkpoint};

// Proof against the reference, which kernels run, and the limit that they are measured against.
pub use blocks::matmul::peak;
#[cfg(feature = "parity")]
pub use families::parity;
pub use kernels::{ChosenKernel, kernels};
pub use pagesight_simd::{Limit, LimitError, UnknownLimit};
#[cfg(feature = "parity")]
pub use parity::{ParityError, StageReport};
