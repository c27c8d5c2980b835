//! A file whose blocks are compared with their checksums when they are first read.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use tantivy::HasLen;
use tantivy::directory::{FileHandle, OwnedBytes};

use crate::error::DamagedBlock;
use crate::snapshot::sums::{BLOCK, Sums};

/// A file, mapped, that gives no byte that was not checked.
pub(super) struct CheckedFile {
    path: PathBuf,
    bytes: OwnedBytes,
    sums: Sums,
    /// The blocks that were found to be what was written.
    sound: Vec<AtomicBool>,
}

impl CheckedFile {
    /// The file at `path`, which has `bytes`, whose length is that of the file that `sums` are of.
    pub fn new(path: PathBuf, bytes: OwnedBytes, sums: Sums) -> Self {
        let sound = std::iter::repeat_with(AtomicBool::default).take(sums.blocks()).collect();
        Self { path, bytes, sums, sound }
    }

    fn check(&self, number: usize) -> io::Result<()> {
        let known = self.sound.get(number);
        if known.is_some_and(|sound| sound.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let range = self.sums.range(number);
        let block = self.bytes.get(range.clone());
        if !block.is_some_and(|block| self.sums.fits(number, block)) {
            let damage = DamagedBlock { path: self.path.clone(), range };
            return Err(io::Error::new(io::ErrorKind::InvalidData, damage));
        }
        if let Some(known) = known {
            known.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl fmt::Debug for CheckedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckedFile({})", self.path.display())
    }
}

impl HasLen for CheckedFile {
    fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl FileHandle for CheckedFile {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        if !range.is_empty() {
            (range.start / BLOCK..range.end.div_ceil(BLOCK)).try_for_each(|n| self.check(n))?;
        }
        Ok(self.bytes.slice(range))
    }
}
