//! The int8 codes of some pages as one file, to be mapped into memory: what a search scans.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | data | from 0 | for each page `[n, dim]` codes (dim in whole fours), `[n]` f32 scales, filled up to 64 |
//! | dropped | 32 each | documents whose pages in earlier segments are gone |
//! | pages | 64 each | document 32, number u32, vectors u32, start u64, error f32, length f32, CRC32C of the data u32, 4 of zeros |
//! | trailer | 64 | start of dropped u64, dropped u64, pages u64, dim u32, CRC32C of all from dropped to here u32, zeros, `PSINT8-1` |
//!
//! All little-endian. A segment never changes; later segments add to it and take away from it.
//! Everything in it can be derived again from the f16 masters.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU8, Ordering};

use pagesight_core::{DocumentId, PageId};

use crate::int8::Int8View;
use crate::{DimMismatch, Int8Page};

const MAGIC: &[u8; 8] = b"PSINT8-1";
const ALIGN: usize = 64;
const TRAILER: usize = 64;
const DOCUMENT: usize = 32;
const ENTRY: usize = 64;

/// A file that is not a whole segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Cut off, or another kind of file.
    #[error("not a segment of int8 codes, or cut off")]
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
    dim: usize,
    at: u64,
    dropped: Vec<u8>,
    pages: Vec<u8>,
}

impl<W: Write> SegmentWriter<W> {
    /// A segment of pages of row length `dim`.
    pub fn new(out: W, dim: usize) -> Self {
        Self { out, dim, at: 0, dropped: Vec::new(), pages: Vec::new() }
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
    pub fn push(&mut self, id: PageId, code: &Int8Page) -> io::Result<()> {
        assert_eq!(code.dim(), self.dim, "one dim in a segment");
        let mut data = code.codes().to_vec();
        data.extend(code.scales().iter().flat_map(|scale| scale.to_le_bytes()));
        data.resize(data.len().next_multiple_of(ALIGN), 0);
        let (vectors, crc) = (code.scales().len(), crc32c::crc32c(&data));
        self.append(id, vectors, code.error(), code.length(), crc, &data)
    }

    /// Copies page `index` of another segment.
    ///
    /// # Errors
    /// What the file says; of kind `InvalidData` when the codes of the page are damaged.
    ///
    /// # Panics
    /// When the segment has another dim.
    pub fn copy(&mut self, from: &Segment, index: usize) -> io::Result<()> {
        assert_eq!(from.dim, self.dim, "one dim in a segment");
        let entry = from.entry(index);
        from.page(index).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let data = from.data(&entry);
        self.append(entry.id, entry.vectors, entry.error, entry.length, entry.crc, data)
    }

    fn append(
        &mut self,
        id: PageId,
        vectors: usize,
        error: f32,
        length: f32,
        crc: u32,
        data: &[u8],
    ) -> io::Result<()> {
        self.out.write_all(data)?;
        self.pages.extend_from_slice(&id.document.0);
        self.pages.extend_from_slice(&id.number.to_le_bytes());
        self.pages.extend_from_slice(&(vectors as u32).to_le_bytes());
        self.pages.extend_from_slice(&self.at.to_le_bytes());
        self.pages.extend_from_slice(&error.to_le_bytes());
        self.pages.extend_from_slice(&length.to_le_bytes());
        self.pages.extend_from_slice(&crc.to_le_bytes());
        self.pages.extend_from_slice(&[0; 4]);
        self.at += data.len() as u64;
        Ok(())
    }

    /// Writes what stands at the end, and gives the file back; the caller makes it durable.
    ///
    /// # Errors
    /// What the file says.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&self.dropped)?;
        self.out.write_all(&self.pages)?;
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.extend_from_slice(&self.at.to_le_bytes());
        trailer.extend_from_slice(&((self.dropped.len() / DOCUMENT) as u64).to_le_bytes());
        trailer.extend_from_slice(&((self.pages.len() / ENTRY) as u64).to_le_bytes());
        trailer.extend_from_slice(&(self.dim as u32).to_le_bytes());
        let parts = [&self.dropped, &self.pages, &trailer];
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
    dim: usize,
    dropped: usize,
    pages: usize,
    /// Where the dropped documents start; the pages follow.
    lists: usize,
    /// For each page, whether its checksum has been found right.
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
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({} pages, dim {})", self.pages, self.dim)
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
        let length = dropped.checked_mul(DOCUMENT).zip(pages.checked_mul(ENTRY));
        let end = length.and_then(|(a, b)| lists.checked_add(a)?.checked_add(b));
        if dim == 0 || end != Some(rest.len()) {
            return Err(SegmentError::NotOne);
        }
        let found = crc32c::crc32c_append(crc32c::crc32c(&rest[lists..]), &trailer[..28]);
        if found != crc {
            return Err(SegmentError::List);
        }
        let checked = std::iter::repeat_with(|| AtomicU8::new(0)).take(pages).collect();
        let this = Self { bytes: Box::new(bytes), dim, dropped, pages, lists, checked };
        let inside = |index| {
            let entry = this.entry(index);
            let end = entry.vectors.checked_mul(this.row_bytes() + size_of::<f32>());
            let end = end.and_then(|length| entry.start.checked_add(length));
            entry.vectors > 0 && end.is_some_and(|end| end.next_multiple_of(ALIGN) <= lists)
        };
        match (0..pages).all(inside) {
            true => Ok(this),
            false => Err(SegmentError::List),
        }
    }

    /// Row length.
    pub fn dim(&self) -> usize {
        self.dim
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
        if self.checked[index].load(Ordering::Relaxed) == 0 {
            if crc32c::crc32c(data) != entry.crc {
                return Err(SegmentError::Page(entry.id));
            }
            self.checked[index].store(1, Ordering::Relaxed);
        }
        let (codes, rest) = data.split_at(entry.vectors * self.row_bytes());
        let scales = &rest.as_chunks().0[..entry.vectors];
        let scales = scales.iter().map(|&four| f32::from_le_bytes(four)).collect();
        Ok(Int8View::new(self.dim, codes, scales, entry.error, entry.length))
    }

    fn row_bytes(&self) -> usize {
        self.dim.next_multiple_of(4)
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
        if let Some(other) = segments.iter().find(|other| other.dim != segments[0].dim) {
            return Err(DimMismatch { query: segments[0].dim, page: other.dim });
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

    /// The files.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Writes the living pages of the segments from `first` on as one segment that takes their
    /// place.
    ///
    /// # Errors
    /// As [`SegmentWriter::copy`].
    pub fn merge<W: Write>(&self, first: usize, out: W) -> io::Result<W> {
        let joined = &self.segments[first..];
        let mut writer = SegmentWriter::new(out, joined.first().map_or(1, |one| one.dim));
        let dropped: HashSet<DocumentId> = joined.iter().flat_map(Segment::dropped).collect();
        let mut dropped: Vec<DocumentId> = dropped.into_iter().collect();
        dropped.sort_unstable();
        dropped.into_iter().for_each(|document| writer.drop_document(document));
        for slot in self.living.iter().filter(|slot| slot.segment as usize >= first) {
            writer.copy(&self.segments[slot.segment as usize], slot.index as usize)?;
        }
        writer.finish()
    }
}

fn living(segments: &[Segment]) -> Vec<Slot> {
    let (mut dropped, mut seen) = (HashSet::new(), HashSet::new());
    let mut living = Vec::new();
    for (segment, content) in segments.iter().enumerate().rev() {
        for index in (0..content.len()).rev() {
            let id = content.id(index);
            if !dropped.contains(&id.document) && seen.insert(id) {
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
        let mut writer = SegmentWriter::new(Vec::new(), 3);
        dropped.iter().for_each(|&document| writer.drop_document(DocumentId([document; 32])));
        for &(id, seed) in pages {
            writer.push(id, &Int8Page::encode(&page(seed))).unwrap();
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
    fn later_segments_replace_and_drop() {
        let first = segment(&[], &[(id(1, 1), 0.1), (id(1, 2), 0.2), (id(2, 1), 0.3)]);
        let second = segment(&[2], &[(id(1, 2), 0.4), (id(3, 1), 0.5)]);
        // Dropped and added again in one step: the new pages stay.
        let third = segment(&[3], &[(id(3, 2), 0.6)]);
        assert_eq!(ids(&open(&[&first])), [id(1, 1), id(1, 2), id(2, 1)]);
        assert_eq!(ids(&open(&[&first, &second])), [id(1, 1), id(1, 2), id(3, 1)]);
        let all = open(&[&first, &second, &third]);
        let expected = [id(1, 1), id(1, 2), id(3, 2)];
        assert_eq!(ids(&all), expected);
        // Joining any tail changes nothing that a reader sees.
        for from in 0..3 {
            let joined = all.merge(from, Vec::new()).unwrap();
            let mut files = [&first, &second, &third][..from].to_vec();
            files.push(&joined);
            let again = open(&files);
            assert_eq!(ids(&again), expected, "{from}");
            for (a, b) in all.living().iter().zip(again.living()) {
                assert_eq!(all.page(a), again.page(b));
            }
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
            let damaged = |index| segment.page(index).is_err();
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
