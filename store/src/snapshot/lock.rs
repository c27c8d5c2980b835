//! One writer at a time: an advisory lock on a file that names the writer.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use crate::StoreError;

/// Held while its owner writes; the system lets go of it when the process ends, however.
#[derive(Debug)]
pub struct WriterLock {
    _file: File,
}

impl WriterLock {
    /// Takes the lock of the index in `folder`, at once or not at all.
    ///
    /// # Errors
    /// [`StoreError::Locked`] with the other writer's pid.
    pub fn take(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("write.lock");
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(StoreError::io("opening", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = pid_in(&mut file).unwrap_or_else(|| "unknown".into());
                return Err(StoreError::Locked { path: folder.to_path_buf(), pid });
            }
            Err(TryLockError::Error(source)) => {
                return Err(StoreError::io("locking", &path)(source));
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(StoreError::io("writing", &path))?;
        Ok(Self { _file: file })
    }
}

/// Says at once whether another process writes to the index in `folder`.
///
/// # Errors
/// [`StoreError::Locked`] with that process.
pub fn check_lock(folder: &Path) -> Result<(), StoreError> {
    WriterLock::take(folder).map(drop)
}

/// The number that the holder of the lock wrote, which it does right after it got it.
fn pid_in(file: &mut File) -> Option<String> {
    for _ in 0..10 {
        let mut pid = String::new();
        let read = file.rewind().and_then(|()| file.read_to_string(&mut pid));
        if read.is_ok() && pid.ends_with('\n') {
            return Some(pid.trim().to_string());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}
