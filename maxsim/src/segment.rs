//! The codes of some pages as one file, to be mapped into memory: what a search scans.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | data | from 0 | for each page `[n, dim]` int8 codes (dim in whole fours), `[n]` f32 scales, filled up to 64 |
//! | sketches | among the data | for some thousand pages, the rows of their [`Sketch`]es one after another, then the f16 scales of these, filled up to 64 |
//! | dropped | 32 each | documents whose pages in earlier segments are gone |
//! | pages | 96 each | document 32, number u32, vectors u32, start u64, error f32, length f32, CRC32C of the data u32, rows of the sketch u32, start of its rows u64, start of its scales u64, CRC32C of the sketch u32, 12 of zeros |
//! | mean | 4 dim | what the sketches are taken around, f32 |
//! | trailer | 64 | start of dropped u64, dropped u64, pages u64, dim u32, CRC32C of all from dropped to here u32, zeros, `PSCODE-2` |
//!
//! All little-endian. A segment never changes; later segments add to it and take away from it.
//! Everything in it can be derived again from the f16 masters. Sketches lie side by side, so that a
//! scan of very many pages reads nothing else.

use std::collections::HashSet;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

use half::f16;
use pagesight_core::{DocumentId, PageId, QueryVectors};

use crate::int8::Int8View;
use crate::sketch::{Sketches, row_bytes};
use crate::{DimMismatch, Int8Page, Sketch, SketchCoder, SketchQuery};

const MAGIC: &[u8; 8] = b"PSCODE-2";
const ALIGN: usize = 64;
const TRAILER: usize = 64;
const DOCUMENT: usize = 32;
const ENTRY: usize = 96;

/// Sketches held in memory while a segment is written, bytes.
const BLOCK: usize = 16 << 20;

/// What of a page has been compared with its checksum.
const DATA: u8 = 1;
const SKETCH: u8 = 2;

/// A file that is not a whole segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Cut off, or another kind of file.
    #[error("not a segment of codes, of another version, or cut off")]
    NotOne,
    /// The list of its pages is damaged.
    #[error("the list of pages is damaged")]
    List,
    /// The codes of a page are damaged.
    #[error("the codes of page {0} are damaged")]
    Page(PageId),
}

/// Writes a segment, page by page.
pub struct SegmentWriter<W> {
    out: W,
    mean: Vec<f32>,
    at: usize,
    dropped: Vec<u8>,
    pages: Vec<Entry>,
    /// Sketches that are not written yet, of the last pages: their codes, and their scales.
    codes: Vec<u8>,
    scales: Vec<u8>,
    waiting: usize,
}

impl<W: Write> SegmentWriter<W> {
    /// A segment of pages whose sketches `coder` makes.
    pub fn new(out: W, coder: &SketchCoder) -> Self {
        let mean = coder.mean().to_vec();
        let (codes, scales) = (Vec::new(), Vec::new());
        Self { out, mean, at: 0, dropped: Vec::new(), pages: Vec::new(), codes, scales, waiting: 0 }
    }

    /// Says that the pages of `document` in earlier segments are gone.
    pub fn drop_document(&mut self, document: DocumentId) {
        self.dropped.extend_from_slice(&document.0);
    }

    /// Adds a page.
    ///
    /// # Errors
    /// What the file says.
    ///
    /// # Panics
    /// When the page has another dim.
    pub fn push(&mut self, id: PageId, code: &Int8Page, sketch: &Sketch) -> io::Result<()> {
        assert_eq!(code.dim(), self.mean.len(), "one dim in a segment");
        let mut data = code.codes().to_vec();
        data.extend(code.scales().iter().flat_map(|scale| scale.to_le_bytes()));
        data.resize(data.len().next_multiple_of(ALIGN), 0);
        let sketch = sketch.page();
        let scales: Vec<[u8; 2]> = sketch.scales().iter().map(|s| s.to_le_bytes()).collect();
        let sketch = Sketches { codes: sketch.codes(), scales: &scales };
        let entry = Entry {
            id,
            vectors: code.scales().len(),
            start: 0,
            error: code.error(),
            length: code.length(),
            crc: crc32c::crc32c(&data),
            rows: scales.len(),
            rows_start: 0,
            scales_start: 0,
            sketch_crc: sketch.crc(),
        };
        self.append(entry, &data, sketch)
    }

    /// Copies page `index` of another segment.
    ///
    /// # Errors
    /// What the file says; of kind `InvalidData` when the codes of the page are damaged, or the
    /// sketches of the two segments cannot stand side by side.
    pub fn copy(&mut self, from: &Segment, index: usize) -> io::Result<()> {
        let invalid = |error: Box<dyn std::error::Error + Send + Sync>| {
            io::Error::new(io::ErrorKind::InvalidData, error)
        };
        if from.mean() != self.mean {
            return Err(invalid("sketches around different means".into()));
        }
        let entry = from.entry(index);
        from.page(index).map_err(|error| invalid(error.into()))?;
        let (sketch, _) = from.sketches(index..index + 1).map_err(|error| invalid(error.into()))?;
        let data = from.data(&entry);
        self.append(entry, data, sketch)
    }

    /// Adds a page where it comes to stand.
    fn append(&mut self, entry: Entry, data: &[u8], sketch: Sketches<'_>) -> io::Result<()> {
        self.write(data)?;
        // Within the block until it is written.
        let (rows_start, scales_start) = (self.codes.len(), self.scales.len());
        let start = self.at - data.len();
        self.pages.push(Entry { start, rows_start, scales_start, ..entry });
        self.waiting += 1;
        self.codes.extend_from_slice(sketch.codes);
        self.scales.extend_from_slice(sketch.scales.as_flattened());
        if self.codes.len() >= BLOCK { self.write_sketches() } else { Ok(()) }
    }

    fn write_sketches(&mut self) -> io::Result<()> {
        let mut scales = std::mem::take(&mut self.scales);
        let codes = std::mem::take(&mut self.codes);
        let (rows, after) = (self.at, self.at + codes.len());
        let first = self.pages.len() - std::mem::take(&mut self.waiting);
        for entry in &mut self.pages[first..] {
            entry.rows_start += rows;
            entry.scales_start += after;
        }
        let end = (after + scales.len()).next_multiple_of(ALIGN);
        scales.resize(end - after, 0);
        self.write(&codes)?;
        self.write(&scales)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len();
        self.out.write_all(bytes)
    }

    /// Writes what stands at the end, and gives the file back; the caller makes it durable.
    ///
    /// # Errors
    /// What the file says.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_sketches()?;
        let mean: Vec<u8> = self.mean.iter().flat_map(|x| x.to_le_bytes()).collect();
        let pages: Vec<u8> = self.pages.iter().flat_map(Entry::to_bytes).collect();
        let numbers = [self.at, self.dropped.len() / DOCUMENT, self.pages.len()];
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.extend(numbers.iter().flat_map(|&number| (number as u64).to_le_bytes()));
        trailer.extend_from_slice(&(self.mean.len() as u32).to_le_bytes());
        let parts = [&self.dropped, &pages, &mean, &trailer];
        self.out.write_all(&[&self.dropped[..], &pages, &mean].concat())?;
        let crc = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        trailer.extend_from_slice(&crc.to_le_bytes());
        trailer.resize(TRAILER - MAGIC.len(), 0);
        trailer.extend_from_slice(MAGIC);
        self.out.write_all(&trailer)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A segment, over bytes in memory or mapped into it.
pub struct Segment {
    bytes: Box<dyn AsRef<[u8]> + Send + Sync>,
    mean: Vec<f32>,
    dropped: usize,
    pages: usize,
    /// Where the dropped documents start; the pages follow.
    lists: usize,
    /// For each page, which of its checksums have been found right.
    checked: Vec<AtomicU8>,
}

/// A page of a segment.
struct Entry {
    id: PageId,
    vectors: usize,
    start: usize,
    error: f32,
    length: f32,
    crc: u32,
    rows: usize,
    rows_start: usize,
    scales_start: usize,
    sketch_crc: u32,
}

impl Entry {
    fn to_bytes(&self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(&self.id.document.0);
        put(&self.id.number.to_le_bytes());
        put(&(self.vectors as u32).to_le_bytes());
        put(&(self.start as u64).to_le_bytes());
        put(&self.error.to_le_bytes());
        put(&self.length.to_le_bytes());
        put(&self.crc.to_le_bytes());
        put(&(self.rows as u32).to_le_bytes());
        put(&(self.rows_start as u64).to_le_bytes());
        put(&(self.scales_start as u64).to_le_bytes());
        put(&self.sketch_crc.to_le_bytes());
        bytes
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({} pages, dim {})", self.pages, self.dim())
    }
}

impl Segment {
    /// Reads what stands at the end of `bytes`; the codes themselves are checked when they are
    /// first used.
    ///
    /// # Errors
    /// [`SegmentError::NotOne`] and [`SegmentError::List`].
    pub fn open(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self, SegmentError> {
        let all = bytes.as_ref();
        let Some((rest, trailer)) = all.split_last_chunk::<TRAILER>() else {
            return Err(SegmentError::NotOne);
        };
        if !trailer.ends_with(MAGIC) {
            return Err(SegmentError::NotOne);
        }
        let [lists, dropped, pages] = [0, 8, 16].map(|at| u64_at(trailer, at) as usize);
        let (dim, crc) = (u32_at(trailer, 24) as usize, u32_at(trailer, 28));
        let lengths = [(dropped, DOCUMENT), (pages, ENTRY), (dim, size_of::<f32>())];
        let end = lengths
            .iter()
            .try_fold(lists, |end, (n, bytes)| end.checked_add(n.checked_mul(*bytes)?));
        if dim == 0 || end != Some(rest.len()) {
            return Err(SegmentError::NotOne);
        }
        let found = crc32c::crc32c_append(crc32c::crc32c(&rest[lists..]), &trailer[..28]);
        if found != crc {
            return Err(SegmentError::List);
        }
        let mean = rest[rest.len() - dim * size_of::<f32>()..].as_chunks().0;
        let mean = mean.iter().map(|&four| f32::from_le_bytes(four)).collect();
        let checked = std::iter::repeat_with(|| AtomicU8::new(0)).take(pages).collect();
        let this = Self { bytes: Box::new(bytes), mean, dropped, pages, lists, checked };
        match this.is_inside() {
            true => Ok(this),
            false => Err(SegmentError::List),
        }
    }

    /// Whether all pages lie inside the file.
    fn is_inside(&self) -> bool {
        let (data, row) = (self.row_bytes() + size_of::<f32>(), row_bytes(self.dim()));
        let fits = |start: usize, count: usize, bytes: usize| {
            let end = count.checked_mul(bytes).and_then(|length| start.checked_add(length));
            count > 0 && end.is_some_and(|end| end.next_multiple_of(ALIGN) <= self.lists)
        };
        (0..self.pages).map(|index| self.entry(index)).all(|entry| {
            fits(entry.start, entry.vectors, data)
                && fits(entry.rows_start, entry.rows, row)
                && fits(entry.scales_start, entry.rows, size_of::<f16>())
        })
    }

    /// Row length.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// What the sketches are taken around, `[dim]`; segments can only be merged when they have it
    /// in common.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Pages, those that later segments replace or drop included.
    pub fn len(&self) -> usize {
        self.pages
    }

    /// Whether it has no pages; it may still drop some.
    pub fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> usize {
        (*self.bytes).as_ref().len()
    }

    /// Documents whose pages in earlier segments are gone.
    pub fn dropped(&self) -> impl Iterator<Item = DocumentId> + '_ {
        let lists = &(*self.bytes).as_ref()[self.lists..][..self.dropped * DOCUMENT];
        lists.as_chunks().0.iter().map(|&id| DocumentId(id))
    }

    /// Which page `index` is.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn id(&self, index: usize) -> PageId {
        self.entry(index).id
    }

    /// The codes of page `index`. Their checksum is compared the first time.
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    ///
    /// # Panics
    /// When there is no such page.
    pub fn page(&self, index: usize) -> Result<Int8View<'_>, SegmentError> {
        let entry = self.entry(index);
        let data = self.data(&entry);
        self.check(index, DATA, || crc32c::crc32c(data) == entry.crc)?;
        let (codes, rest) = data.split_at(entry.vectors * self.row_bytes());
        let scales = &rest.as_chunks().0[..entry.vectors];
        let scales = scales.iter().map(|&four| f32::from_le_bytes(four)).collect();
        Ok(Int8View::new(self.dim(), codes, scales, entry.error, entry.length))
    }

    /// The sketches of `pages` as far as they lie side by side, one at least, and the rows of each.
    /// Their checksums are compared the first time.
    pub(crate) fn sketches(
        &self,
        pages: Range<usize>,
    ) -> Result<(Sketches<'_>, Vec<usize>), SegmentError> {
        let row = row_bytes(self.dim());
        let all = (*self.bytes).as_ref();
        let first = self.entry(pages.start);
        let within = |before: usize, rows: usize| Sketches {
            codes: &all[first.rows_start + before * row..][..rows * row],
            scales: &all[first.scales_start..].as_chunks().0[before..before + rows],
        };
        let (mut lengths, mut rows) = (Vec::with_capacity(pages.len()), 0);
        for index in pages {
            let entry = self.entry(index);
            let follows = entry.rows_start == first.rows_start + rows * row
                && entry.scales_start == first.scales_start + rows * size_of::<f16>();
            if !follows {
                break;
            }
            self.check(index, SKETCH, || within(rows, entry.rows).crc() == entry.sketch_crc)?;
            lengths.push(entry.rows);
            rows += entry.rows;
        }
        Ok((within(0, rows), lengths))
    }

    /// Asks once whether a part of page `index` is as it was written.
    fn check(
        &self,
        index: usize,
        part: u8,
        sound: impl FnOnce() -> bool,
    ) -> Result<(), SegmentError> {
        if self.checked[index].load(Ordering::Relaxed) & part == 0 {
            if !sound() {
                return Err(SegmentError::Page(self.id(index)));
            }
            self.checked[index].fetch_or(part, Ordering::Relaxed);
        }
        Ok(())
    }

    fn row_bytes(&self) -> usize {
        self.dim().next_multiple_of(4)
    }

    fn entry(&self, index: usize) -> Entry {
        assert!(index < self.pages, "page {index} of a segment of {}", self.pages);
        let at = self.lists + self.dropped * DOCUMENT + index * ENTRY;
        let entry = &(*self.bytes).as_ref()[at..at + ENTRY];
        let document = DocumentId(*entry.first_chunk().expect("an entry starts with 32 bytes"));
        Entry {
            id: PageId { document, number: u32_at(entry, 32) },
            vectors: u32_at(entry, 36) as usize,
            start: u64_at(entry, 40) as usize,
            error: f32::from_bits(u32_at(entry, 48)),
            length: f32::from_bits(u32_at(entry, 52)),
            crc: u32_at(entry, 56),
            rows: u32_at(entry, 60) as usize,
            rows_start: u64_at(entry, 64) as usize,
            scales_start: u64_at(entry, 72) as usize,
            sketch_crc: u32_at(entry, 80),
        }
    }

    /// Inside the file: `open` has checked it.
    fn data(&self, entry: &Entry) -> &[u8] {
        let length = entry.vectors * (self.row_bytes() + size_of::<f32>());
        &(*self.bytes).as_ref()[entry.start..][..length.next_multiple_of(ALIGN)]
    }
}

/// Where a living page is: a segment, and the page in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Which page.
    pub id: PageId,
    /// Index of the segment.
    pub segment: u32,
    /// Index in the segment.
    pub index: u32,
}

/// The segments of one snapshot, the oldest first, and the pages that are left of them.
#[derive(Debug, Default)]
pub struct Segments {
    segments: Vec<Segment>,
    living: Vec<Slot>,
}

impl Segments {
    /// Finds the living pages of `segments`, the oldest first: a later copy of a page counts, and
    /// no page of an earlier segment whose document was dropped.
    ///
    /// # Errors
    /// [`DimMismatch`] when the segments differ in dim.
    pub fn new(segments: Vec<Segment>) -> Result<Self, DimMismatch> {
        if let Some(other) = segments.iter().find(|other| other.dim() != segments[0].dim()) {
            return Err(DimMismatch { query: segments[0].dim(), page: other.dim() });
        }
        let living = living(&segments);
        Ok(Self { segments, living })
    }

    /// The living pages, in the order in which they lie in the files.
    pub fn living(&self) -> &[Slot] {
        &self.living
    }

    /// The codes of a page.
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    pub fn page(&self, slot: &Slot) -> Result<Int8View<'_>, SegmentError> {
        self.segments[slot.segment as usize].page(slot.index as usize)
    }

    /// Lays `query` out for the sketches of each file.
    ///
    /// # Errors
    /// [`DimMismatch`] when its dim is another one.
    pub fn sketch_queries(&self, query: &QueryVectors) -> Result<Vec<SketchQuery>, DimMismatch> {
        let lay_out = |segment: &Segment| SketchCoder::around(segment.mean.clone()).query(query);
        self.segments.iter().map(lay_out).collect()
    }

    /// Estimates of MaxSim for the pages `slots`, of what [`sketch_queries`](Self::sketch_queries)
    /// gave: fastest where the slots follow each other as in [`living`](Self::living).
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    pub fn score_sketches(
        &self,
        queries: &[SketchQuery],
        slots: &[Slot],
    ) -> Result<Vec<f32>, SegmentError> {
        let mut scores = Vec::with_capacity(slots.len());
        let follows = |a: &Slot, b: &Slot| a.segment == b.segment && a.index + 1 == b.index;
        for run in slots.chunk_by(follows) {
            let (segment, mut first) = (run[0].segment as usize, run[0].index as usize);
            let end = first + run.len();
            while first < end {
                let (sketches, rows) = self.segments[segment].sketches(first..end)?;
                scores.extend(queries[segment].scores(sketches, &rows));
                first += rows.len();
            }
        }
        Ok(scores)
    }

    /// The files.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

fn living(segments: &[Segment]) -> Vec<Slot> {
    let (mut dropped, mut seen) = (HashSet::new(), HashSet::new());
    let mut living = Vec::new();
    for (segment, content) in segments.iter().enumerate().rev() {
        for index in (0..content.len()).rev() {
            let id = content.id(index);
            // A page is in a segment once, and nothing comes before the first.
            let first = if segment == 0 { !seen.contains(&id) } else { seen.insert(id) };
            if first && !dropped.contains(&id.document) {
                living.push(Slot { id, segment: segment as u32, index: index as u32 });
            }
        }
        dropped.extend(content.dropped());
    }
    living.reverse();
    living
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("inside a checked part"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("inside a checked part"))
}

#[cfg(test)]
mod tests {
    use pagesight_core::PageVectors;

    use super::*;
    use crate::Int8Query;
    use crate::testing::query;

    fn page(seed: f32) -> PageVectors {
        PageVectors::from_f32(3, &[seed, 0.5, -0.25, 0.125, seed, 0.75]).unwrap()
    }

    fn id(document: u8, number: u32) -> PageId {
        PageId { document: DocumentId([document; 32]), number }
    }

    fn segment(dropped: &[u8], pages: &[(PageId, f32)]) -> Vec<u8> {
        let coder = SketchCoder::around(vec![0.0, 0.25, 0.0]);
        let mut writer = SegmentWriter::new(Vec::new(), &coder);
        dropped.iter().for_each(|&document| writer.drop_document(DocumentId([document; 32])));
        for &(id, seed) in pages {
            let page = page(seed);
            writer.push(id, &Int8Page::encode(&page), &coder.encode(&page).unwrap()).unwrap();
        }
        writer.finish().unwrap()
    }

    fn open(files: &[&Vec<u8>]) -> Segments {
        let segments = files.iter().map(|&file| Segment::open(file.clone()).unwrap());
        Segments::new(segments.collect()).unwrap()
    }

    fn ids(segments: &Segments) -> Vec<PageId> {
        segments.living().iter().map(|slot| slot.id).collect()
    }

    #[test]
    fn a_page_scores_as_its_code_does() {
        let query = Int8Query::new(&query(3, vec![0.5, 0.25, 1.0]));
        let segments = open(&[&segment(&[], &[(id(1, 1), 0.1), (id(1, 2), 0.9)])]);
        for (slot, seed) in segments.living().iter().zip([0.1, 0.9]) {
            let (view, code) = (segments.page(slot).unwrap(), Int8Page::encode(&page(seed)));
            assert_eq!(query.score_view(&view), query.score(&code));
            assert_eq!(query.bound_view(&view), query.bound(&code));
        }
    }

    #[test]
    fn sketches_score_in_runs_as_each_alone() {
        let q = query(3, vec![0.5, 0.25, 1.0]);
        let first: Vec<_> = (0..40).map(|n| (id(1, n), n as f32 / 40.0)).collect();
        // Gaps: pages that the second segment replaces.
        let segments = open(&[&segment(&[], &first), &segment(&[], &first[7..9])]);
        let queries = segments.sketch_queries(&q).unwrap();
        let coder = SketchCoder::around(vec![0.0, 0.25, 0.0]);
        let alone = |slot: &Slot| {
            let seed = first.iter().find(|(id, _)| *id == slot.id).unwrap().1;
            coder.query(&q).unwrap().score(&coder.encode(&page(seed)).unwrap())
        };
        let expected: Vec<f32> = segments.living().iter().map(alone).collect();
        assert_eq!(segments.score_sketches(&queries, segments.living()).unwrap(), expected);
        assert_eq!(expected.len(), 40);
    }

    #[test]
    fn later_segments_replace_and_drop() {
        let first = segment(&[], &[(id(1, 1), 0.1), (id(1, 2), 0.2), (id(2, 1), 0.3)]);
        let second = segment(&[2], &[(id(1, 2), 0.4), (id(3, 1), 0.5)]);
        // Dropped and added again in one step: the new pages stay.
        let third = segment(&[3], &[(id(3, 2), 0.6)]);
        assert_eq!(ids(&open(&[&first])), [id(1, 1), id(1, 2), id(2, 1)]);
        assert_eq!(ids(&open(&[&first, &second])), [id(1, 1), id(1, 2), id(3, 1)]);
        let all = open(&[&first, &second, &third]);
        assert_eq!(ids(&all), [id(1, 1), id(1, 2), id(3, 2)]);
        // Copies of the living pages in one file are what a reader sees.
        let mut writer = SegmentWriter::new(Vec::new(), &SketchCoder::around(vec![0.0, 0.25, 0.0]));
        for slot in all.living() {
            writer.copy(&all.segments()[slot.segment as usize], slot.index as usize).unwrap();
        }
        let again = open(&[&writer.finish().unwrap()]);
        assert_eq!(ids(&again), ids(&all));
        for (a, b) in all.living().iter().zip(again.living()) {
            assert_eq!(all.page(a), again.page(b));
        }
    }

    #[test]
    fn damage_is_found() {
        let good = segment(&[7], &[(id(1, 1), 0.1), (id(1, 2), 0.2)]);
        for cut in 0..good.len() {
            assert!(Segment::open(good[..cut].to_vec()).is_err(), "{cut}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let Ok(segment) = Segment::open(bad) else { continue };
            // What is not in the lists or the trailer is the codes.
            let zeros = (good.len() - TRAILER + 32..good.len() - MAGIC.len()).contains(&at);
            let damaged =
                |n: usize| segment.page(n).is_err() || segment.sketches(n..n + 1).is_err();
            assert!(zeros || (0..2).any(damaged), "{at}");
        }
        assert_eq!(Segment::open(Vec::new()).unwrap_err(), SegmentError::NotOne);
    }

    #[test]
    fn an_empty_segment_is_one() {
        let empty = open(&[&segment(&[], &[])]);
        assert!(empty.living().is_empty() && empty.segments()[0].is_empty());
        assert!(open(&[]).living().is_empty());
    }
}
