//! The vocabulary of pagesight and the seams between its rooms.
//!
//! Everything here is plain data or a small trait; nothing touches a file, a network or a
//! model. The words, in the order in which data walks through the house:
//!
//! * a **document** is a PDF, known by the blake3 hash of its bytes ([`DocumentId`]);
//! * a **page** is a document and a 1-based number ([`PageId`]); its size is in points
//!   ([`PageSize`]), its picture is [`PageImage`];
//! * a **slice** is one model input cut from the page ([`Slices`]), a **patch** one 14 x 14 px
//!   square of a slice ([`PatchLayout`] maps it back to its rectangle on the page);
//! * a **multi-vector** is `[n_vectors, dim]`, one unit row a patch or query token
//!   ([`PageVectors`], [`QueryVectors`]; they do not mix);
//! * a **hit** is a ranked page with the reasons why ([`Hit`]).
//!
//! The seams ([`seam`]) are what the write path and the read path ask of a model and of a
//! store; [`testing`] has a fake and a contract suite for each.

#![forbid(unsafe_code)]

/// Compiled in so that cargo compiles this crate, and with it every crate of ours, again when
/// another clone in the same build folder was compiled last. `xtask/src/clone.rs` tells why.
const _: Option<&str> = option_env!("PAGESIGHT_CLONE");

mod composed;
mod corpus;
mod document;
mod encoded;
mod error;
mod failure;
mod geometry;
mod hit;
mod image;
mod layout;
mod model;
mod multivector;
mod neutral;
mod page;
mod passage;
mod phrases;
mod quality;
mod reading;
mod scale;
pub mod seam;
pub mod testing;
mod turn;

pub use composed::composed;
pub use corpus::{FoundWords, Frequencies, WordFacts};
pub use document::{Attachment, DocumentId, DocumentRecord, DocumentStatus, ParseDocumentIdError};
pub use encoded::EncodedPage;
pub use error::chain;
pub use failure::{Failure, FailureKind, PageFailure};
pub use geometry::{
    MAX_PIXELS, MAX_SIDE_PX, PageSize, ParseSlicesError, PictureSize, Rect, SliceGrid, Slices,
};
pub use hit::{Channel, ChannelScore, Hit};
pub use image::{ImageError, PageImage};
pub use layout::{Area, PatchLayout, Run};
pub use model::{ModelId, ModelRecord, ModelSource};
pub use multivector::{PageVectors, QueryToken, QueryVectors, VectorError, make_unit};
pub use neutral::NeutralQuestions;
pub use page::{PageId, PageRecord, TextSource};
pub use passage::{EmbedderRecord, EncodedPassages, PassageQuestion};
pub use phrases::phrases;
pub use quality::{Fusion, Quality};
pub use reading::{DrawSize, Filter, OcrChoice, OcrText, OcrWord, PageText, PageWord};
pub use scale::{Found, Scale, Sums};
pub use turn::Turn;
