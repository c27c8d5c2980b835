//! pdfium's objects as handles that are closed when they are dropped.
//!
//! pdfium-render's own types hide their handles and offer neither marked content nor whether an
//! object is active, so its bindings are called directly. They keep the C types to themselves;
//! `cast` lets the compiler fill them in.

mod annotation;
mod attached;
mod document;
mod font;
mod geometry;
mod handle;
mod mark;
mod object;
mod page;
mod text_layer;

pub use annotation::Annotation;
pub use attached::AttachedFile;
pub use document::{Document, Library, OpenError};
pub use font::Font;
pub use geometry::{Box4, Matrix};
pub use handle::Handle;
pub use mark::Mark;
pub use object::{Kind, Object};
pub use page::{Drawn, Page};
pub use text_layer::TextLayer;
