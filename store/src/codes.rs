//! int8 codes of the pages in `codes/`, which searches scan instead of the tables.
//!
//! A commit that adds or drops pages with vectors adds one segment; the pointer names those that
//! count, the oldest first. All of it can be derived again from the tables.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use pagesight_core::{DocumentId, PageId, PageRecord, PageVectors};
use pagesight_maxsim::{Int8Page, Segment, SegmentWriter, Segments};
use rayon::prelude::*;
use tantivy::directory::{Directory, MmapDirectory};

use crate::StoreError;
use crate::reader::VectorStream;

/// Folder of the segments, below the index.
pub(crate) const FOLDER: &str = "codes";

/// A segment is joined with the newer ones when they have together at least this share of its
/// bytes: each page is copied a logarithmic number of times.
const JOIN: usize = 2;

/// What the segment that commit `number` makes is called.
fn name(number: u64) -> String {
    format!("{number}.int8")
}

/// Writes the segment of commit `number`: `dropped` documents and the vectors of `pages`. `None`
/// when there is nothing to say.
pub(crate) fn write(
    index: &Path,
    number: u64,
    dim: usize,
    dropped: &[DocumentId],
    pages: &[PageRecord],
) -> Result<Option<String>, StoreError> {
    let coded: Vec<_> = pages.iter().filter_map(|p| Some((p.id, p.vectors.as_ref()?))).collect();
    if coded.is_empty() && dropped.is_empty() {
        return Ok(None);
    }
    let codes: Vec<Int8Page> = coded.par_iter().map(|(_, page)| Int8Page::encode(page)).collect();
    let folder = index.join(FOLDER);
    fs::create_dir_all(&folder).map_err(StoreError::io("making", &folder))?;
    let path = folder.join(name(number));
    let write = || {
        let mut writer = SegmentWriter::new(BufWriter::new(File::create(&path)?), dim);
        dropped.iter().for_each(|&document| writer.drop_document(document));
        for ((id, _), code) in coded.iter().zip(&codes) {
            writer.push(*id, code)?;
        }
        writer.finish().map(drop)
    };
    write().map_err(StoreError::io("writing", &path))?;
    Ok(Some(name(number)))
}

/// Codes all vectors of the tables anew, as commit `number`.
pub(crate) async fn derive(
    index: &Path,
    number: u64,
    dim: usize,
    mut vectors: VectorStream,
) -> Result<Vec<String>, StoreError> {
    let folder = index.join(FOLDER);
    fs::create_dir_all(&folder).map_err(StoreError::io("making", &folder))?;
    let path = folder.join(name(number));
    let writing = || StoreError::io("writing", &path);
    let file = File::create(&path).map_err(writing())?;
    let mut writer = SegmentWriter::new(BufWriter::new(file), dim);
    let mut any = false;
    while let Some(pages) = vectors.next().await? {
        let code = |(id, page): &(PageId, PageVectors)| (*id, Int8Page::encode(page));
        for (id, code) in pages.par_iter().map(code).collect::<Vec<_>>() {
            writer.push(id, &code).map_err(writing())?;
            any = true;
        }
    }
    writer.finish().map_err(writing())?;
    Ok(if any { vec![name(number)] } else { Vec::new() })
}

/// Maps the segments `names`, the oldest first.
pub(crate) fn open(index: &Path, names: &[String]) -> Result<Segments, StoreError> {
    let folder = index.join(FOLDER);
    let damaged = |name: &String, source: Box<dyn std::error::Error + Send + Sync>| {
        StoreError::Codes { path: folder.join(name), source }
    };
    let Some(first) = names.first() else { return Ok(Segments::default()) };
    let files = MmapDirectory::open(&folder).map_err(|source| damaged(first, source.into()))?;
    let mut segments = Vec::with_capacity(names.len());
    for name in names {
        let file = files.open_read(Path::new(name)).map_err(|e| damaged(name, e.into()))?;
        let bytes = file.read_bytes().map_err(StoreError::io("mapping", &folder.join(name)))?;
        segments.push(Segment::open(bytes).map_err(|e| damaged(name, e.into()))?);
    }
    Segments::new(segments).map_err(|source| damaged(first, source.into()))
}

/// Joins the newest segments of `names` when that pays, as commit `number`; their names after.
pub(crate) fn join(index: &Path, names: &[String], number: u64) -> Result<Vec<String>, StoreError> {
    let segments = open(index, names)?;
    let first = first_to_join(segments.segments().iter().map(Segment::bytes).collect());
    let living = segments.living().len();
    let all: usize = segments.segments().iter().map(Segment::len).sum();
    // Half of the pages dead: all is written anew.
    let first = if all > 2 * living { 0 } else { first };
    if first + 1 >= names.len() && !(first == 0 && all > 2 * living) {
        return Ok(names.to_vec());
    }
    let path = index.join(FOLDER).join(name(number));
    let file = File::create(&path).map_err(StoreError::io("writing", &path))?;
    segments.merge(first, BufWriter::new(file)).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => {
            StoreError::Codes { path: path.clone(), source: error.into() }
        }
        _ => StoreError::io("writing", &path)(error),
    })?;
    Ok(names[..first].iter().cloned().chain([name(number)]).collect())
}

/// The first of the segments to join: going back from the newest, as long as what was gathered is
/// not small beside the next.
fn first_to_join(bytes: Vec<usize>) -> usize {
    let mut first = bytes.len().saturating_sub(1);
    let mut gathered = bytes.last().copied().unwrap_or(0);
    while first > 0 && gathered * JOIN >= bytes[first - 1] {
        first -= 1;
        gathered += bytes[first];
    }
    first
}

#[cfg(test)]
mod tests {
    use super::first_to_join;

    #[test]
    fn small_segments_are_joined_and_large_ones_left() {
        assert_eq!(first_to_join(vec![1000, 10]), 1);
        assert_eq!(first_to_join(vec![1000, 10, 10, 10]), 1);
        assert_eq!(first_to_join(vec![1000, 400, 100]), 2);
        assert_eq!(first_to_join(vec![1000, 300, 200]), 0);
        assert_eq!(first_to_join(vec![]), 0);
    }
}
