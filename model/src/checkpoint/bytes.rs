//! The bytes of a weights file.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::checkpoint::files::CheckpointFile;
use crate::error::ModelError;

/// What a weights file holds: mapped into memory, or inside this program. Cheap to clone.
#[derive(Debug, Clone)]
pub enum FileBytes {
    /// A memory map of a file on disk.
    Mapped(Arc<Mmap>),
    /// Bytes of the program.
    Embedded(&'static [u8]),
}

impl FileBytes {
    /// Opens `file`; nothing of it is read yet.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub fn open(file: &CheckpointFile) -> Result<Self, ModelError> {
        match file {
            CheckpointFile::Nano(_) => {
                file.embedded().map(Self::Embedded).ok_or_else(|| file.missing())
            }
            CheckpointFile::Disk(path) => Self::map(path),
        }
    }

    fn map(path: &Path) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(io)?;
        // SAFETY: the map is read as plain bytes, inside ranges that whoever opens it checks
        // against its length. If another program changes the file while the model is in use, other
        // numbers are read; if it shortens the file, the system sends a bus error. Every mapped
        // model has these two properties.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self::Mapped(Arc::new(map)))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(bytes) => bytes,
        }
    }
}
