//! An index in a bucket: the same index in another place, with many writers and many readers, and
//! no lock.
//!
//! ```text
//! snapshots/<number>.json      the commit: put where there is none, never rewritten
//! latest.json                  a hint
//! conditional-put              that the store keeps to the condition was tried
//! manifests/                   the files of snapshots, with bytes and BLAKE3
//! lists/                       the segments of words and files of codes of snapshots that have very many
//! documents.lance/ pages.lance/  plain Lance tables; the version that counts stands in the snapshot
//! codes/ text/                 codes and words, by parts of plans
//! rows/                        which pages the rows of the table of pages are
//! coders/                      around what all workers make sketches
//! plans/                       what is to be done, and the parts that are
//! leases/                      which snapshots readers hold
//! ```
//!
//! * [`address`], [`objects`], [`kept`]: where it is, and what is asked of a store.
//! * [`entry`], [`lists`], [`log`]: a snapshot, and the log of them, which is the only truth.
//! * [`record`], [`worker`], [`coder`], [`pdfs`]: plans, the parts that workers lay down, and PDFs that lie
//!   in a bucket.
//! * [`parts`], [`changes`], [`words`], [`commit`]: parts become a snapshot.
//! * [`lease`], [`gc`], [`join`]: readers hold what they read, the rest is removed, and what is small
//!   is joined.
//! * [`repair`]: what is gone or damaged is made again, as a commit.
//! * [`mirror`], [`sparse`], [`texts`], [`room`], [`distant`], [`share`]: the copy of words, codes and texts
//!   that a machine searches, what it lacks, and what other machines search in its place.
//! * [`fleet`]: all of it for those who write.

pub(crate) mod address;
pub(crate) mod changes;
pub(crate) mod coder;
pub(crate) mod commit;
pub(crate) mod distant;
pub(crate) mod entry;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod figures;
pub(crate) mod fleet;
pub(crate) mod gc;
pub(crate) mod join;
pub(crate) mod kept;
pub(crate) mod lease;
pub(crate) mod lists;
pub(crate) mod log;
pub(crate) mod mirror;
pub(crate) mod objects;
pub(crate) mod parts;
pub(crate) mod pdfs;
pub(crate) mod record;
pub(crate) mod repair;
pub(crate) mod room;
pub(crate) mod share;
pub(crate) mod sparse;
#[cfg(test)]
mod tests;
pub(crate) mod texts;
pub(crate) mod words;
pub(crate) mod worker;

use std::fmt::Write;

/// 64 bits that nobody else has, in 16 hexadecimal digits: in names that only one program may give.
pub(crate) fn random() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}
