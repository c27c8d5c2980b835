//! How much of a disk the local copy of an index in a bucket may take.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::StoreError;

/// Where nobody says how much the copy may take: this part of what the disk has free, in hundredths.
const PART_OF_FREE: u64 = 90;

/// The room of one copy, shared by all who write to it in this process.
#[derive(Debug)]
pub(crate) struct Room {
    folder: PathBuf,
    limit: u64,
    used: AtomicU64,
    crowded: AtomicBool,
}

impl Room {
    /// The room of the copy in `folder`: `most` bytes, or most of what the disk has free.
    pub fn of(folder: &Path, most: Option<u64>) -> Self {
        let used = used(folder);
        let free = || {
            let known = folder.ancestors().find(|folder| folder.is_dir());
            known.and_then(|folder| fs4::available_space(folder).ok()).unwrap_or(u64::MAX / 2)
        };
        let limit = most.unwrap_or_else(|| used.saturating_add(free() / 100 * PART_OF_FREE));
        let (used, crowded) = (AtomicU64::new(used), AtomicBool::new(false));
        Self { folder: folder.to_path_buf(), limit, used, crowded }
    }

    /// What the copy may take, bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What the copy takes, bytes.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that there is room for.
    #[cfg(test)]
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Whether there is room for `bytes` more.
    pub fn fits(&self, bytes: u64) -> bool {
        self.used.load(Ordering::Relaxed).saturating_add(bytes) <= self.limit
    }

    /// Takes room for `bytes` more; false when there is none, which is remembered.
    pub fn take(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.limit);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if !taken {
            self.crowded.store(true, Ordering::Relaxed);
        }
        taken
    }

    /// Whether something was not kept for want of room since this was asked last.
    pub fn was_crowded(&self) -> bool {
        self.crowded.swap(false, Ordering::Relaxed)
    }

    /// Counts anew what the copy takes.
    pub fn measure(&self) {
        self.used.store(used(&self.folder), Ordering::Relaxed);
    }

    /// The error of an index that needs `wanted` bytes here whatever is searched.
    pub fn too_small(&self, wanted: u64) -> StoreError {
        StoreError::NoRoom { path: self.folder.clone(), wanted, limit: self.limit }
    }
}

/// What the files in `folder` and below take on the disk, bytes.
fn used(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => used(&entry.path()),
        Ok(meta) => on_disk(&meta),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

/// What a file takes on the disk, bytes: less than its length where it has holes.
#[cfg(unix)]
pub(crate) fn on_disk(meta: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // Blocks of this size whatever those of the disk are.
    meta.blocks() * 512
}

/// What a file takes on the disk, bytes.
#[cfg(not(unix))]
pub(crate) fn on_disk(meta: &fs::Metadata) -> u64 {
    meta.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_until_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), vec![1; 10_000]).unwrap();
        let room = Room::of(folder.path(), Some(1 << 20));
        let free = room.left();
        assert!(free <= (1 << 20) - 10_000, "{free}");
        assert!(room.take(free - 10) && !room.was_crowded());
        assert!(!room.take(11) && room.was_crowded() && !room.was_crowded());
        assert!(room.take(10) && room.left() == 0);
        room.measure();
        assert_eq!(room.left(), free);
        assert!(Room::of(folder.path(), None).limit() > 1 << 20);
        assert!(room.too_small(7 << 30).to_string().contains("7.52 GB"));
    }

    #[cfg(unix)]
    #[test]
    fn holes_take_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let file = fs::File::create(folder.path().join("a")).unwrap();
        file.set_len(1 << 30).unwrap();
        assert!(Room::of(folder.path(), Some(1 << 20)).left() > 1 << 19);
    }
}
