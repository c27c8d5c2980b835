//! Codes and sketches of the pages in `codes/`, which searches scan instead of the tables.
//!
//! A commit that adds or drops pages with vectors adds one segment; the pointer names those that
//! count, the oldest first. int8 codes and sketches can be derived again from the tables. A compact
//! index has residual codes instead, and no vectors in its tables: they are all that there is.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use pagesight_core::{DocumentId, PageId, PageRecord, PageVectors};
use pagesight_maxsim::{
    Bits, Int8Page, ResidualCoder, Segment, SegmentWriter, Segments, Sketch, SketchCoder,
};
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

/// Pages that the mean of the first sketches is taken of, and the centres of residual codes.
const SAMPLE: usize = 256;

/// Bits a number of residual codes.
const BITS: Bits = Bits::Four;

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
/// vectors of `pages`; of a `compact` index in residual codes. `None` when there is nothing to say.
pub(crate) fn write(
    index: &Path,
    number: u64,
    dim: usize,
    names: &[String],
    dropped: &[DocumentId],
    pages: &[PageRecord],
    compact: bool,
) -> Result<Option<String>, StoreError> {
    let coded: Vec<_> = pages.iter().filter_map(|p| Some((p.id, p.vectors.as_ref()?))).collect();
    if coded.is_empty() && dropped.is_empty() {
        return Ok(None);
    }
    if compact {
        return write_residual(index, number, names, dropped, &coded).map(Some);
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

/// As [`write()`], around the centres that the first of `names` has.
fn write_residual(
    index: &Path,
    number: u64,
    names: &[String],
    dropped: &[DocumentId],
    pages: &[(PageId, &PageVectors)],
) -> Result<String, StoreError> {
    let first = names.first().expect("a compact index has codes");
    let first = map(index, first).map_err(all_there_is)?;
    let path = index.join(FOLDER).join(name(number));
    let write = || {
        let mut writer = SegmentWriter::like(BufWriter::new(File::create(&path)?), &first);
        let coder = first.residual_coder().expect("a compact index");
        let sketches = SketchCoder::around(first.mean().to_vec());
        dropped.iter().for_each(|&document| writer.drop_document(document));
        for some in pages.chunks(CODED) {
            push_residual(&mut writer, coder, &sketches, some)?;
        }
        writer.finish().map(drop)
    };
    write().map_err(StoreError::io("writing", &path))?;
    Ok(name(number))
}

/// Codes `pages` on all cores.
fn push_residual(
    writer: &mut SegmentWriter<BufWriter<File>>,
    coder: &ResidualCoder,
    sketches: &SketchCoder,
    pages: &[(PageId, &PageVectors)],
) -> io::Result<()> {
    let code = |&(_, page): &(PageId, &PageVectors)| {
        let dims = "one dim in an index";
        (coder.encode(page).expect(dims), sketches.encode(page).expect(dims))
    };
    let coded: Vec<_> = pages.par_iter().map(code).collect();
    for ((id, page), (code, sketch)) in pages.iter().zip(coded) {
        writer.push_residual(*id, &code, page.places(), &sketch)?;
    }
    Ok(())
}

/// Codes all vectors of the tables in residual codes, as commit `number`; they are read twice, the
/// first time for a sample of `pages`, as many as there are. `None` when there are no vectors.
pub(crate) async fn compact(
    index: &Path,
    number: u64,
    pages: u64,
    mut once: VectorStream,
    mut again: VectorStream,
) -> Result<Option<String>, StoreError> {
    let every = (pages as usize).div_ceil(SAMPLE).max(1);
    let (mut sample, mut seen) = (Vec::new(), 0usize);
    while let Some(batch) = once.next().await? {
        for (_, page) in batch {
            if seen.is_multiple_of(every) {
                sample.push(page);
            }
            seen += 1;
        }
    }
    if sample.is_empty() {
        return Ok(None);
    }
    let dims = "one dim in an index";
    let sketches = SketchCoder::fit(&sample).expect(dims);
    let coder = ResidualCoder::fit(BITS, &sample).expect(dims);
    drop(sample);
    let folder = index.join(FOLDER);
    fs::create_dir_all(&folder).map_err(StoreError::io("making", &folder))?;
    let path = folder.join(name(number));
    let writing = || StoreError::io("writing", &path);
    let file = BufWriter::new(File::create(&path).map_err(writing())?);
    let mut writer = SegmentWriter::residual(file, &sketches, coder.clone());
    while let Some(batch) = again.next().await? {
        let batch: Vec<_> = batch.iter().map(|(id, page)| (*id, page)).collect();
        push_residual(&mut writer, &coder, &sketches, &batch).map_err(writing())?;
    }
    writer.finish().map_err(writing())?;
    Ok(Some(name(number)))
}

/// Of a compact index, where damage to codes is damage to the index.
pub(crate) fn all_there_is(error: StoreError) -> StoreError {
    match error {
        StoreError::Codes { path, source } => {
            StoreError::DamagedFile { path, what: source.to_string() }
        }
        other => other,
    }
}

/// The vectors of a compact index, from its codes.
pub(crate) struct Residuals {
    pub segments: Segments,
    slots: HashMap<PageId, usize>,
}

impl Residuals {
    /// Maps the segments `names`.
    pub fn open(index: &Path, names: &[String]) -> Result<Self, StoreError> {
        let segments = open(index, names).map_err(all_there_is)?;
        let slots = segments.living().iter().enumerate().map(|(n, slot)| (slot.id, n)).collect();
        Ok(Self { segments, slots })
    }

    /// The vectors of page `id`; `None` when it has none.
    pub fn vectors(&self, index: &Path, id: PageId) -> Option<Result<PageVectors, StoreError>> {
        let slot = &self.segments.living()[*self.slots.get(&id)?];
        Some(self.segments.vectors(slot).map_err(|error| StoreError::DamagedPage {
            path: index.join(FOLDER),
            page: id.to_string(),
            what: error.to_string(),
        }))
    }
}

/// The pages that can be saved of the segments `names`, some of which are damaged.
pub(crate) fn salvage(index: &Path, names: &[String]) -> BTreeSet<PageId> {
    let mut sound = BTreeSet::new();
    for segment in names.iter().filter_map(|name| map(index, name).ok()) {
        let mut scratch = SegmentWriter::like(io::sink(), &segment);
        let pages = (0..segment.len()).filter(|&page| scratch.copy(&segment, page).is_ok());
        sound.extend(pages.map(|page| segment.id(page)));
    }
    sound
}

/// Writes those pages of the segments `names` that are in `keep` anew, as commit `number`; what is
/// damaged is passed over. `None` when nothing is left to tell how pages are coded.
pub(crate) fn keep(
    index: &Path,
    number: u64,
    names: &[String],
    keep: &BTreeSet<PageId>,
) -> Result<Option<String>, StoreError> {
    // The newest copy of a page counts; all copies are of the same vectors.
    let sound: Vec<Segment> = names.iter().rev().filter_map(|name| map(index, name).ok()).collect();
    let Some(first) = sound.first() else { return Ok(None) };
    let path = index.join(FOLDER).join(name(number));
    let file = File::create(&path).map_err(StoreError::io("writing", &path))?;
    let mut writer = SegmentWriter::like(BufWriter::new(file), first);
    let mut missing = keep.clone();
    for segment in &sound {
        for page in 0..segment.len() {
            if missing.contains(&segment.id(page)) {
                match writer.copy(segment, page) {
                    Ok(()) => _ = missing.remove(&segment.id(page)),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                    Err(error) => return Err(StoreError::io("writing", &path)(error)),
                }
            }
        }
    }
    writer.finish().map_err(StoreError::io("writing", &path))?;
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
    let first_segment = map(index, &names[first])?;
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
    let mut writer = SegmentWriter::like(BufWriter::new(file), &first_segment);
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
