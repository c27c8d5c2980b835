//! Models of meaning: a text becomes vectors that lie near those of texts which say the same in
//! other words.
//!
//! An [`Embedder`] takes the passages of a page through a model of BERT's shape (all-MiniLM-L6-v2,
//! which comes with the program, or any of bge, e5, gte, arctic and their like) and gives two kinds
//! of vectors: one a passage, by which passages are found, and one a token, by which the best are
//! compared again by late interaction. Token vectors are brought to fewer dimensions by a basis,
//! where the model has one beside its weights.

mod basis;
mod bert;
mod config;
mod cut;
mod find;
mod model;
mod names;
#[cfg(test)]
mod parity;
mod recipe;
mod tokens;

pub use find::{EmbedderPlace, find_embedder};
pub use model::{Embedder, EmbedderOptions};
pub use recipe::{EmbedderRecipe, Languages, Pooling};
