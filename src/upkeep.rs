//! Care of an index on disk: check it, mend it, keep it small, move it.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use pagesight_store::{Address, Writer};

use crate::error::Error;

pub use pagesight_store::{Collected, Damage, Repaired, Snapshot, Verified};

/// Compares every file of the index in `folder` with its hash, every page with its checksum, and
/// ledger, pages and words with each other. Writers and readers may go on.
///
/// # Errors
/// [`Error::Store`] when there is no index or it cannot be read at all; damage is no error, it is
/// in the answer.
pub fn verify(folder: impl AsRef<Path>) -> Result<Verified, Error> {
    Ok(pagesight_store::verify(folder.as_ref())?)
}

/// Mends the index in `folder`: copies take the place of damaged files, words are indexed again
/// from the pages, and pages that are lost are marked for the next sync to read again.
///
/// # Errors
/// [`Error::Store`], e.g. when another process writes.
pub fn repair(folder: impl AsRef<Path>) -> Result<Repaired, Error> {
    Ok(pagesight_store::repair(folder.as_ref())?)
}

/// Joins small files of the index in `folder` and removes what no snapshot in use needs. A sync
/// does the same at its end. Ends early when `stop` is set.
///
/// # Errors
/// [`Error::Store`], e.g. when another process writes.
pub fn collect_garbage(folder: impl AsRef<Path>, stop: &AtomicBool) -> Result<Collected, Error> {
    Ok(Writer::open(folder.as_ref())?.maintain(stop)?)
}

/// Writes the index in `folder` as Arrow IPC files into the new folder `to`.
///
/// # Errors
/// [`Error::Store`], e.g. when there is something at `to` already or a page is damaged.
pub fn export(folder: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Snapshot, Error> {
    Ok(pagesight_store::export(folder.as_ref(), to.as_ref())?)
}

/// As [`verify`], of the index at `address`: every object of its newest snapshot is read. `local` is
/// where copies of its words and codes are kept.
///
/// # Errors
/// As [`verify`].
pub fn verify_bucket(address: &Address, local: &Path) -> Result<Verified, Error> {
    Ok(pagesight_store::verify_bucket(address, local)?)
}

/// As [`export`], of the index at `address`.
///
/// # Errors
/// As [`export`].
pub fn export_bucket(
    address: &Address,
    local: &Path,
    to: impl AsRef<Path>,
) -> Result<Snapshot, Error> {
    Ok(pagesight_store::export_bucket(address, local, to.as_ref())?)
}

/// As [`import`], into the bucket of `address`. The meaning of the text is left behind: an index in a
/// bucket has none.
///
/// # Errors
/// As [`import`].
pub fn import_bucket(
    address: &Address,
    local: &Path,
    from: impl AsRef<Path>,
) -> Result<Snapshot, Error> {
    Ok(pagesight_store::Fleet::open(address, local)?.import(from.as_ref())?)
}

/// Makes a new index in `folder` from what [`export`] wrote into `from`.
///
/// # Errors
/// [`Error::Store`], e.g. when there is an index already or the export is damaged.
pub fn import(folder: impl AsRef<Path>, from: impl AsRef<Path>) -> Result<Snapshot, Error> {
    Ok(pagesight_store::import(folder.as_ref(), from.as_ref())?)
}
