//! A reader's hold on its snapshot.
//!
//! The rule: a reader keeps a shared lock on `snapshots/N.json` while it reads snapshot N. A
//! writer removes what only older snapshots need once it gets an exclusive lock on their copies;
//! the system lets go of a reader's lock when its process ends, however. So a file is never
//! pulled from under a reader, and a reader that died keeps nothing.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use crate::StoreError;
use crate::pointer::Snapshot;

/// Held while a snapshot is read.
#[derive(Debug)]
pub(crate) struct Lease {
    _file: Option<File>,
}

impl Lease {
    /// Reads the pointer of the index in `folder` and holds the snapshot that it names.
    ///
    /// # Errors
    /// As [`Snapshot::read`], and when the copy cannot be locked.
    pub fn take(folder: &Path) -> Result<(Snapshot, Self), StoreError> {
        loop {
            let snapshot = Snapshot::read(folder)?;
            let lease = Self { _file: Self::lock(folder, snapshot.number)? };
            // Only now: a snapshot that the pointer still names cannot have been swept before
            // the lock, and will not be after it.
            if Snapshot::read(folder)?.number == snapshot.number {
                return Ok((snapshot, lease));
            }
        }
    }

    /// `None` where there is no copy: format 1 had none, and `verify` names one that is lost.
    fn lock(folder: &Path, number: u64) -> Result<Option<File>, StoreError> {
        let path = Snapshot::copy(folder, number);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(StoreError::io("opening", &path)(e)),
        };
        // A sweep holds it for a moment at most.
        file.lock_shared().map_err(StoreError::io("locking", &path))?;
        Ok(Some(file))
    }
}
