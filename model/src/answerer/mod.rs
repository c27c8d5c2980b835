//! PaliGemma 1 and 2: a picture and a prompt go in, a text comes out.
//!
//! The vision tower, the projector and the layers of Gemma are those of
//! [`ColPali`](crate::ColPali), which is a PaliGemma that finds pages. What is new is here: the
//! output layer, a cache of keys and values so that a token more costs one row, the choice of the
//! next token ([`Choice`]), the way from ids to text while it is written, and what the text means:
//! boxes ([`Objects`]) and masks ([`MaskDecoder`]).
//!
//! The picture and the prompt are a prefix whose positions all see each other; what is written sees
//! the prefix and what was written before it. A stranger's words never become control tokens,
//! whatever they spell.

mod beams;
mod cpu;
mod decoding;
mod gpu;
mod mask;
mod names;
mod objects;
mod paligemma;
#[cfg(feature = "parity")]
pub mod parity;
mod sampling;
mod sequences;
mod stops;
mod stream;
mod task;
mod tokens;

pub use decoding::{Choice, Decoding, Generated, Stop};
pub use mask::{MaskDecoder, ObjectMask};
pub use objects::{Object, Objects};
pub use paligemma::PaliGemma;
pub use sampling::Sampling;
pub use task::{Location, Task, UnknownTask};
