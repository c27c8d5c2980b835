//! Segments of codes as files: their names, and how they are mapped.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use pagesight_maxsim::{Segment, Segments};
use tantivy::directory::{Directory, MmapDirectory};

use crate::error::StoreError;
use crate::snapshot::contents::Snapshot;
use crate::snapshot::names::CODES;

/// How the segments of this version end. An earlier version's end otherwise, and are made again.
const EXTENSION: &str = ".codes";

/// What the segment is called that commit `number` makes.
pub(super) fn name(number: u64) -> String {
    format!("{number}{EXTENSION}")
}

/// What the segment of commit `number` is called whose name ends as that of `like`, one of the same
/// kind.
pub(super) fn name_like(like: &str, number: u64) -> String {
    let ending = like.rfind('.').map_or(EXTENSION, |at| &like[at..]);
    format!("{number}{ending}")
}

/// The segments of `snapshot`; `None` when it has none, or those of an earlier version.
pub(crate) fn readable(snapshot: &Snapshot) -> Option<&[String]> {
    let names = snapshot.codes.as_deref()?;
    names.iter().all(|name| name.ends_with(EXTENSION)).then_some(names)
}

/// Makes the file of the segment that commit `number` makes.
pub(super) fn create(index: &Path, number: u64) -> Result<(PathBuf, BufWriter<File>), StoreError> {
    create_named(index, &name(number))
}

/// Makes the file of a segment.
pub(super) fn create_named(
    index: &Path,
    name: &str,
) -> Result<(PathBuf, BufWriter<File>), StoreError> {
    let folder = index.join(CODES);
    fs::create_dir_all(&folder).map_err(StoreError::io("making", &folder))?;
    let path = folder.join(name);
    let file = File::create(&path).map_err(StoreError::io("writing", &path))?;
    Ok((path, BufWriter::new(file)))
}

/// Maps the segments `names`, the oldest first.
pub(crate) fn open(index: &Path, names: &[String]) -> Result<Segments, StoreError> {
    let segments: Vec<Segment> =
        names.iter().map(|name| map(index, name)).collect::<Result<_, _>>()?;
    let Some(first) = names.first() else { return Ok(Segments::default()) };
    Segments::new(segments).map_err(|source| StoreError::Codes {
        path: index.join(CODES).join(first),
        source: source.into(),
    })
}

/// Maps one segment.
pub(crate) fn map(index: &Path, name: &str) -> Result<Segment, StoreError> {
    let folder = index.join(CODES);
    let damaged = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Codes {
        path: folder.join(name),
        source,
    };
    let files = MmapDirectory::open(&folder).map_err(|source| damaged(source.into()))?;
    let file = files.open_read(Path::new(name)).map_err(|source| damaged(source.into()))?;
    let bytes = file.read_bytes().map_err(StoreError::io("mapping", &folder.join(name)))?;
    Segment::open(bytes).map_err(|source| damaged(source.into()))
}
