//! The ColPali encoder, written to give the reference's vectors: SigLIP sees the patches of a
//! page, a linear projector brings them to the language model's width, Gemma relates them to
//! each other and to the prompt, a linear head gives 128 numbers a position, each row scaled to
//! length 1. A query goes the same way without the vision tower.
//!
//! The numeric reference is `ColPaliForRetrieval` of transformers 4.57.6, equal to `ColPali` of
//! colpali-engine 0.3.13; [`parity()`] proves it on a folder of reference tensors, stage by stage.
//! This is the only crate of pagesight that knows candle.
//!
//! ```
//! use pagesight_core::seam::{PageEncoder, QueryEncoder};
//! use pagesight_model::{ColPali, LoadOptions};
//!
//! let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity/hf");
//! let model = ColPali::load(folder.as_ref(), &LoadOptions::default())?;
//! let query = &model.encode_queries(&["page 3"]).unwrap()[0];
//! assert_eq!(query.dim(), 128);
//! assert_eq!(query.tokens()[0], "<bos>");
//! # Ok::<(), pagesight_model::ModelError>(())
//! ```

#![deny(missing_docs)]

mod adapter;
mod attention;
mod card;
mod checkpoint;
mod colpali;
mod config;
mod device;
mod digest;
mod embedded;
mod error;
#[cfg(feature = "hub")]
mod fetch;
mod hub_cache;
mod info;
mod ink;
mod inventory;
mod lanes;
mod language;
mod layout;
mod linear;
mod matmul;
mod models;
mod parity;
mod picture;
mod precision;
mod preprocess;
mod processor;
mod quantize;
mod quantized_checkpoint;
mod recipe;
mod shard;
mod stored;
mod tokens;
mod vision;
mod weights;

pub use colpali::{ColPali, LoadOptions};
pub use device::{Device, UnknownDevice};
pub use embedded::is_embedded;
pub use error::ModelError;
#[cfg(feature = "hub")]
pub use fetch::{FetchError, FetchEvent, FetchOptions, Fetched, fetch};
pub use hub_cache::{HubCache, HubSnapshot};
pub use info::{ModelInfo, VerifiedModel};
pub use matmul::peak;
pub use models::{ModelEntry, Models};
pub use parity::{ParityError, StageReport, parity};
pub use precision::{Precision, UnknownPrecision};
pub use quantized_checkpoint::{QuantizeSummary, quantize_checkpoint};
pub use recipe::{Pooler, Recipe, RecipeOrigin, Trust};
