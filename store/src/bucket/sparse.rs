//! Files of codes that are here in part: the lists and the sketches, which every search scans, and of
//! the codes of pages those that were compared, or fetched while there was nothing else to do.
//!
//! Such a file has every byte where the whole one has it, with holes between. What is here of it
//! nobody writes down: the checksum of a page says whether its codes are, after a restart too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use pagesight_maxsim::{Segment, SegmentError};

use super::room::on_disk;
use crate::codes::segments::map;
use crate::error::StoreError;
use crate::snapshot::names::CODES;

/// In which pieces files of codes come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pieces {
    /// A file that is no larger is fetched whole, bytes: it costs no more requests.
    pub small: u64,
    /// What is fetched of a larger file first, from its end, bytes at least.
    pub end: u64,
    /// And which part of it, one of so many.
    pub part: u64,
}

impl Pieces {
    /// What is fetched first of a file of `bytes`, from its end.
    pub fn first(&self, bytes: u64) -> u64 {
        self.end.max(bytes / self.part)
    }
}

impl Default for Pieces {
    /// Small is a megabyte. At the end of a file of some thousand pages lie the sketches and then the lists:
    /// of pages that a model made, with a row of a sketch for eight vectors, they are a 31st of the file,
    /// so that a 28th has both in one request. What more comes is of codes, and kept.
    fn default() -> Self {
        Self { small: 1 << 20, end: 256 << 10, part: 28 }
    }
}

/// What is fetched at once of what nobody waits for, bytes.
const AT_ONCE: u64 = 8 << 20;

/// Opens the file of codes `name` below the copy in `folder`; `None` where there is none whose lists are
/// sound, and where they are scanned its sketches.
pub(super) fn sound(folder: &Path, name: &str, bytes: u64, scanned: bool) -> Option<Segment> {
    let path = folder.join(CODES).join(name);
    if fs::metadata(&path).ok()?.len() != bytes {
        return None;
    }
    map(folder, name).ok().filter(|segment| !scanned || segment.are_sketches_sound())
}

/// Makes a file of `length` bytes that is one hole.
pub(super) fn make_hole(path: &Path, length: u64) -> Result<(), StoreError> {
    let made = File::create(path).and_then(|file| file.set_len(length));
    made.map_err(StoreError::io("writing", path))
}

/// Writes `bytes` at `at`.
pub(super) fn write_at(path: &Path, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)
    };
    write().map_err(StoreError::io("writing", path))
}

/// Takes the codes of pages out of the file `name`: what is left are the lists and the sketches. Whoever
/// has mapped the file goes on with it as it was, and its room is free when nobody has.
pub(super) fn thin(folder: &Path, name: &str) -> Result<(), StoreError> {
    let path = folder.join(CODES).join(name);
    let segment = map(folder, name)?;
    let part = part_of(&path);
    let copy = || -> Result<(), StoreError> {
        make_hole(&part, segment.lists().end)?;
        let mut from = File::open(&path).map_err(StoreError::io("reading", &path))?;
        for range in segment.sketch_ranges().into_iter().chain([segment.lists()]) {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            let read =
                from.seek(SeekFrom::Start(range.start)).and_then(|_| from.read_exact(&mut bytes));
            read.map_err(StoreError::io("reading", &path))?;
            write_at(&part, range.start, &bytes)?;
        }
        fs::rename(&part, &path).map_err(StoreError::io("writing", &path))
    };
    let copied = copy();
    if copied.is_err() {
        let _ = fs::remove_file(&part);
    }
    copied
}

pub(super) fn damaged(path: &Path, source: SegmentError) -> StoreError {
    StoreError::Codes { path: path.to_path_buf(), source: source.into() }
}

/// The ranges of codes of pages that the file `name` lacks, in pieces of some MB; empty where it is
/// whole.
pub(super) fn holes(folder: &Path, name: &str) -> Result<Vec<Vec<Range<u64>>>, StoreError> {
    let path = folder.join(CODES).join(name);
    let meta = fs::metadata(&path).map_err(StoreError::io("reading", &path))?;
    // As many blocks as it has bytes: no hole, and a page that is damaged is found when it is used.
    if cfg!(unix) && on_disk(&meta) >= meta.len() {
        return Ok(Vec::new());
    }
    let segment = map(folder, name)?;
    let missing = (0..segment.len()).filter(|&index| !segment.has(index));
    let mut pieces: Vec<Vec<Range<u64>>> = Vec::new();
    let mut in_piece = 0;
    for range in missing.map(|index| segment.data_range(index)) {
        if pieces.is_empty() || in_piece >= AT_ONCE {
            pieces.push(Vec::new());
            in_piece = 0;
        }
        in_piece += range.end - range.start;
        let piece = pieces.last_mut().expect("there is one");
        match piece.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => piece.push(range),
        }
    }
    Ok(pieces)
}

/// Where a file lies while it is made.
pub(super) fn part_of(path: &Path) -> PathBuf {
    path.with_extension(format!("{}.part", super::random()))
}
