//! One consistent version of an index: what it says, the file that says it, and how it is
//! published, held, checked and cleaned up after.
//!
//! * [`contents`]: what a snapshot knows of itself.
//! * [`mod@pointer`]: its bytes, in this format and in earlier ones.
//! * [`publish`]: where the pointer lies, and how it is replaced atomically. Together with
//!   [`lock`] (one writer) and [`lease`] (readers hold what they read) it is all that is particular
//!   to a folder on a local disk.
//! * [`files`]: the data files that a snapshot names: synced, hashed, compared, copied.
//! * [`garbage`]: the removal of files that no snapshot in use names.
//! * [`mod@sums`]: checksums of large files by blocks, which are compared as they are read.
//! * [`names`]: what files and folders are called.

pub(crate) mod contents;
pub(crate) mod files;
pub(crate) mod garbage;
pub(crate) mod lease;
pub(crate) mod lock;
pub(crate) mod names;
pub(crate) mod pointer;
pub(crate) mod publish;
pub(crate) mod sums;
