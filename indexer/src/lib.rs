//! The write path: folders of PDFs in, committed pages out.
//!
//! [`sync()`] walks folders, compares them with the ledger of the index, reads what is new, encodes
//! the pictures of its pages, and commits pages and ledger together, batch by batch. A document or
//! page that cannot be read costs that document or page; the ledger keeps the reason. [`add()`]
//! takes a document with vectors that were made elsewhere. [`FolderWatch`] waits until it is worth
//! walking again.
//!
//! What reads PDFs, pictures of text and pages is behind seams ([`Engines`]), and so is the store:
//! nothing here knows a PDF library, a model or a database.

#![forbid(unsafe_code)]

mod add;
mod ahead;
mod attached;
mod claims;
mod committing;
mod discover;
mod encoding;
mod error;
mod estimate;
mod event;
mod first_look;
mod ink;
mod ledger;
mod legible;
mod missing;
mod options;
mod page;
mod pipeline;
mod reading;
mod recognise;
mod scan;
mod survey;
mod sync;
mod waiting;
mod watch;

pub use add::add;
pub use attached::read_attached;
pub use discover::{decode_path, encode_path};
pub use encoding::apart;
pub use error::{AddError, IndexError};
pub use event::{Emptied, Event, Outcome, Progress, Stages, Summary};
pub use options::{BatchSize, Engines, Limits, SyncOptions};
pub use survey::{Survey, SurveyedFile, read_files, survey, survey_listed};
pub use sync::sync;
pub use watch::FolderWatch;
