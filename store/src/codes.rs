//! int8 codes and sketches of the pages in `codes/`, which searches scan instead of the tables.
//!
//! A commit that adds or drops pages with vectors adds one segment; the pointer names those that
//! count, the oldest first. All of it can be derived again from the tables.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use pagesight_core::{DocumentId, PageId, PageRecord, PageVectors};
use pagesight_maxsim::{Int8Page, Segment, SegmentWriter, Segments, Sketch, SketchCoder};
use rayon::prelude::*;
use tantivy::directory::{Directory, MmapDirectory};

use crate::StoreError;
use crate::pointer::Snapshot;
use crate::reader::VectorStream;

/// Folder of the segments, below the index.
pub(crate) const FOLDER: &str = "codes";

/// A search that met damage leaves this file in the folder. Hidden, so that no sweep takes it
/// before a writer has seen it.
const DOUBT: &str = ".doubt";

/// Pages copied from one mapping of a segment, about 140 kB each.
const MAPPED: usize = 256;

/// A segment is joined with the newer ones when they have together at least this share of its
/// bytes: each page is copied a logarithmic number of times.
const JOIN: usize = 2;

/// Pages that are coded at once, and then written: all cores have work, and no batch is there in
/// yet another form as a whole.
const CODED: usize = 16;

/// How the segments of this version end; others, of an earlier pagesight, are as good as none.
const EXTENSION: &str = ".codes";

/// What the segment that commit `number` makes is called.
fn name(number: u64) -> String {
    format!("{number}{EXTENSION}")
}

/// The segments that `snapshot` has, unless an earlier pagesight wrote them.
pub(crate) fn readable(snapshot: &Snapshot) -> Option<&[String]> {
    let names = snapshot.codes.as_deref()?;
    names.iter().all(|name| name.ends_with(EXTENSION)).then_some(names)
}

/// Asks the next writer to derive all again. Where this process may not write, searches go on
/// without codes.
pub(crate) fn doubt(index: &Path) {
    let _ = File::create(index.join(FOLDER).join(DOUBT));
}

pub(crate) fn are_doubted(index: &Path) -> bool {
    index.join(FOLDER).join(DOUBT).exists()
}

/// Says that they are derived again.
pub(crate) fn trust(index: &Path) {
    let _ = fs::remove_file(index.join(FOLDER).join(DOUBT));
}

/// Pages that the mean of the first sketches is taken of.
const SAMPLE: usize = 256;

/// What makes the sketches of an index whose first pages are `pages`.
fn fit<'a>(dim: usize, pages: impl IntoIterator<Item = &'a PageVectors>) -> SketchCoder {
    let mut pages = pages.into_iter().take(SAMPLE).peekable();
    match pages.peek() {
        Some(_) => SketchCoder::fit(pages).expect("one dim in an index"),
        None => SketchCoder::around(vec![0.0; dim]),
    }
}

/// What makes the sketches that can be joined with those of the segments `names`; `None` when there
/// are none, or they are damaged: the next maintenance codes all anew then.
fn coder(index: &Path, names: &[String]) -> Option<SketchCoder> {
    let first = open(index, &names[..names.len().min(1)]).ok()?;
    Some(SketchCoder::around(first.segments().first()?.mean().to_vec()))
}

fn encode(coder: &SketchCoder, page: &PageVectors) -> (Int8Page, Sketch) {
    (Int8Page::encode(page), coder.encode(page).expect("one dim in an index"))
}

/// Writes the segment of commit `number`, after the segments `names`: `dropped` documents and the
/// vectors of `pages`. `None` when there is nothing to say.
pub(crate) fn write(
    index: &Path,
    number: u64,
    dim: usize,
    names: &[String],
    dropped: &[DocumentId],
    pages: &[PageRecord],
) -> Result<Option<String>, StoreError> {
    let coded: Vec<_> = pages.iter().filter_map(|p| Some((p.id, p.vectors.as_ref()?))).collect();
    if coded.is_empty() && dropped.is_empty() {
        return Ok(None);
    }
    let fit = || fit(dim, coded.iter().map(|&(_, page)| page));
    let coder = coder(index, names).unwrap_or_else(fit);
    let folder = index.join(FOLDER);
    fs::create_dir_all(&folder).map_err(StoreError::io("making", &folder))?;
    let path = folder.join(name(number));
    let write = || {
        let mut writer = SegmentWriter::new(BufWriter::new(File::create(&path)?), &coder);
        dropped.iter().for_each(|&document| writer.drop_document(document));
        for some in coded.chunks(CODED) {
            let code = |&(id, page): &(PageId, &PageVectors)| (id, encode(&coder, page));
            for (id, (code, sketch)) in some.par_iter().map(code).collect::<Vec<_>>() {
                writer.push(id, &code, &sketch)?;
            }
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
    let mut next = vectors.next().await?;
    while next.as_ref().is_some_and(Vec::is_empty) {
        next = vectors.next().await?;
    }
    let Some(first) = &next else { return Ok(Vec::new()) };
    let coder = fit(dim, first.iter().map(|(_, page)| page));
    let file = File::create(&path).map_err(writing())?;
    let mut writer = SegmentWriter::new(BufWriter::new(file), &coder);
    while let Some(pages) = next {
        let code = |(id, page): &(PageId, PageVectors)| (*id, encode(&coder, page));
        for (id, (code, sketch)) in pages.par_iter().map(code).collect::<Vec<_>>() {
            writer.push(id, &code, &sketch).map_err(writing())?;
        }
        next = vectors.next().await?;
    }
    writer.finish().map_err(writing())?;
    Ok(vec![name(number)])
}

/// Maps the segments `names`, the oldest first.
pub(crate) fn open(index: &Path, names: &[String]) -> Result<Segments, StoreError> {
    let segments: Vec<Segment> =
        names.iter().map(|name| map(index, name)).collect::<Result<_, _>>()?;
    let Some(first) = names.first() else { return Ok(Segments::default()) };
    Segments::new(segments).map_err(|source| StoreError::Codes {
        path: index.join(FOLDER).join(first),
        source: source.into(),
    })
}

/// Maps one segment.
fn map(index: &Path, name: &str) -> Result<Segment, StoreError> {
    let folder = index.join(FOLDER);
    let damaged = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Codes {
        path: folder.join(name),
        source,
    };
    let files = MmapDirectory::open(&folder).map_err(|source| damaged(source.into()))?;
    let file = files.open_read(Path::new(name)).map_err(|source| damaged(source.into()))?;
    let bytes = file.read_bytes().map_err(StoreError::io("mapping", &folder.join(name)))?;
    Segment::open(bytes).map_err(|source| damaged(source.into()))
}

/// Joins the newest segments of `names` when that pays, as commit `number`; their names after.
pub(crate) fn join(index: &Path, names: &[String], number: u64) -> Result<Vec<String>, StoreError> {
    let segments = open(index, names)?;
    let first = first_to_join(segments.segments().iter().map(Segment::bytes).collect());
    let all: usize = segments.segments().iter().map(Segment::len).sum();
    // Half of the pages dead: all is written anew.
    let dead = all > 2 * segments.living().len();
    let first = if dead { 0 } else { first };
    if first + 1 >= names.len() && !(first == 0 && dead) {
        return Ok(names.to_vec());
    }
    let joined = &segments.segments()[first..];
    let coder = SketchCoder::around(joined[0].mean().to_vec());
    let dropped: BTreeSet<DocumentId> = joined.iter().flat_map(Segment::dropped).collect();
    let mut copied: Vec<Vec<usize>> = vec![Vec::new(); names.len()];
    for slot in segments.living() {
        copied[slot.segment as usize].push(slot.index as usize);
    }
    drop(segments);
    let path = index.join(FOLDER).join(name(number));
    let writing = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData => {
            StoreError::Codes { path: path.clone(), source: error.into() }
        }
        _ => StoreError::io("writing", &path)(error),
    };
    let file = File::create(&path).map_err(StoreError::io("writing", &path))?;
    let mut writer = SegmentWriter::new(BufWriter::new(file), &coder);
    dropped.into_iter().for_each(|document| writer.drop_document(document));
    for (name, pages) in names.iter().zip(copied).skip(first) {
        for some in pages.chunks(MAPPED) {
            // Mapped anew for each few: what was read of a mapping stays resident until it ends.
            let segment = map(index, name)?;
            for &page in some {
                writer.copy(&segment, page).map_err(writing)?;
            }
        }
    }
    writer.finish().map_err(writing)?;
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
