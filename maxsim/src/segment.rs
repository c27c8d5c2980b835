//! The codes of some pages as one file, to be mapped into memory: what a search scans.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | data | from 0 | for each page `[n, dim]` int8 codes (dim in whole fours), `[n]` f32 scales, filled up to 64 |
//! | sketches | among the data | for some thousand pages, the rows of their [`Sketch`]es one after another, then the f16 scales of these, filled up to 64 |
//! | dropped | 32 each | documents whose pages in earlier segments are gone |
//! | pages | 96 each | document 32, number u32, vectors u32, start u64, error f32, length f32, CRC32C of the data u32, rows of the sketch u32, start of its rows u64, start of its scales u64, CRC32C of the sketch u32, whether residual codes have places u32, 8 of zeros |
//! | mean | 4 dim | what the sketches are taken around, f32 |
//! | centres | 4 and 1024 dim | of residual codes only: their bits, u32, and the 256 centres, f32 |
//! | trailer | 64 | start of dropped u64, dropped u64, pages u64, dim u32, CRC32C of all from dropped to here u32, zeros, `PSCODE-2`, or `PSCODE-3` with residual codes |
//!
//! Residual codes of a page are `[n]` rows of codes, `[n]` f16 scales, `[n]` centres (a byte each) and,
//! if its entry says so, `[n]` u32 places, filled up to 64.
//!
//! All little-endian. A segment never changes; later segments add to it and take away from it.
//! int8 codes and sketches can be derived again from the f16 masters; residual codes may be all that is
//! left of these. Sketches lie side by side, so that a scan of very many pages reads nothing else.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

use half::f16;
use pagesight_core::{DocumentId, PageId, PageVectors};

use crate::int8::Int8View;
use crate::kernel::CENTRES;
use crate::residual::ResidualView;
use crate::sketch::{Sketches, row_bytes};
use crate::{Bits, DimMismatch, Int8Page, ResidualCoder, ResidualPage, Sketch, SketchCoder};

const MAGIC: &[u8; 8] = b"PSCODE-2";
const MAGIC_RESIDUAL: &[u8; 8] = b"PSCODE-3";
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
    /// Segments of one index that differ in dim.
    #[error(transparent)]
    Dim(#[from] DimMismatch),
    /// Segments of one index, some of int8 codes and some of residual ones.
    #[error("segments of int8 and of residual codes side by side")]
    Kinds,
    /// The codes of a page are damaged.
    #[error("the codes of page {0} are damaged")]
    Page(PageId),
}

/// Writes a segment, page by page.
pub struct SegmentWriter<W> {
    out: W,
    mean: Vec<f32>,
    /// What residual codes are made with; without it pages are in int8.
    residual: Option<ResidualCoder>,
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
        let (dropped, pages, residual) = (Vec::new(), Vec::new(), None);
        Self { out, mean, residual, at: 0, dropped, pages, codes, scales, waiting: 0 }
    }

    /// A segment of pages in residual codes of `residual`, whose sketches `coder` makes.
    ///
    /// # Panics
    /// When the two differ in dim.
    pub fn residual(out: W, coder: &SketchCoder, residual: ResidualCoder) -> Self {
        assert_eq!(residual.dim(), coder.mean().len(), "one dim in a segment");
        Self { residual: Some(residual), ..Self::new(out, coder) }
    }

    /// A segment of pages like those of `other`: its pages can be [copied](Self::copy).
    pub fn like(out: W, other: &Segment) -> Self {
        let coder = SketchCoder::around(other.mean.clone());
        Self { residual: other.residual.clone(), ..Self::new(out, &coder) }
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
    /// When the page has another dim, or the segment is of residual codes.
    pub fn push(&mut self, id: PageId, code: &Int8Page, sketch: &Sketch) -> io::Result<()> {
        assert!(self.residual.is_none(), "int8 among residual codes");
        assert_eq!(code.dim(), self.mean.len(), "one dim in a segment");
        let mut data = code.codes().to_vec();
        data.extend(code.scales().iter().flat_map(|scale| scale.to_le_bytes()));
        let entry = Entry {
            vectors: code.scales().len(),
            error: code.error(),
            length: code.length(),
            ..Entry::of(id)
        };
        self.push_data(entry, data, sketch)
    }

    /// Adds `page` in residual codes, with its places.
    ///
    /// # Errors
    /// What the file says.
    ///
    /// # Panics
    /// When the segment is not of residual codes, or the page has another dim.
    pub fn push_residual(
        &mut self,
        id: PageId,
        page: &ResidualPage,
        places: Option<&[u32]>,
        sketch: &Sketch,
    ) -> io::Result<()> {
        let (coder, page) = (self.residual.as_ref().expect("residual codes"), page.view());
        assert_eq!((page.dim, page.bits), (coder.dim(), coder.bits()), "a page of this coder");
        let mut data = page.codes.to_vec();
        data.extend_from_slice(page.scales.as_flattened());
        data.extend_from_slice(page.centres);
        data.extend(places.into_iter().flatten().flat_map(|place| place.to_le_bytes()));
        let (vectors, places) = (page.scales.len(), places.is_some());
        self.push_data(Entry { vectors, places, ..Entry::of(id) }, data, sketch)
    }

    fn push_data(&mut self, entry: Entry, mut data: Vec<u8>, sketch: &Sketch) -> io::Result<()> {
        data.resize(data.len().next_multiple_of(ALIGN), 0);
        let sketch = sketch.page();
        let scales: Vec<[u8; 2]> = sketch.scales().iter().map(|s| s.to_le_bytes()).collect();
        let sketch = Sketches { codes: sketch.codes(), scales: &scales };
        let (crc, sketch_crc) = (crc32c::crc32c(&data), sketch.crc());
        self.append(Entry { crc, rows: scales.len(), sketch_crc, ..entry }, &data, sketch)
    }

    /// Copies page `index` of another segment.
    ///
    /// # Errors
    /// What the file says; of kind `InvalidData` when the codes of the page are damaged, or those of
    /// the two segments are of different kinds or around different means or centres.
    pub fn copy(&mut self, from: &Segment, index: usize) -> io::Result<()> {
        let invalid = |error: Box<dyn std::error::Error + Send + Sync>| {
            io::Error::new(io::ErrorKind::InvalidData, error)
        };
        if from.mean() != self.mean {
            return Err(invalid("sketches around different means".into()));
        }
        if from.residual != self.residual {
            return Err(invalid("codes of different kinds, or around different centres".into()));
        }
        let entry = from.entry(index);
        from.checked_data(index).map_err(|error| invalid(error.into()))?;
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
        let mut centres = Vec::new();
        if let Some(residual) = &self.residual {
            centres.extend_from_slice(&(residual.bits() as u32).to_le_bytes());
            centres.extend(residual.centres().iter().flat_map(|x| x.to_le_bytes()));
        }
        let parts = [&self.dropped, &pages, &mean, &centres, &trailer];
        self.out.write_all(&[&self.dropped[..], &pages, &mean, &centres].concat())?;
        let crc = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        trailer.extend_from_slice(&crc.to_le_bytes());
        trailer.resize(TRAILER - MAGIC.len(), 0);
        trailer.extend_from_slice(self.residual.as_ref().map_or(MAGIC, |_| MAGIC_RESIDUAL));
        self.out.write_all(&trailer)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A segment, over bytes in memory or mapped into it.
pub struct Segment {
    bytes: Box<dyn AsRef<[u8]> + Send + Sync>,
    mean: Vec<f32>,
    residual: Option<ResidualCoder>,
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
    places: bool,
}

impl Entry {
    /// One of which nothing is known yet.
    fn of(id: PageId) -> Self {
        let (vectors, start, rows, rows_start, scales_start) = (0, 0, 0, 0, 0);
        let (error, length, crc, sketch_crc, places) = (0.0, 0.0, 0, 0, false);
        Self {
            id,
            vectors,
            start,
            error,
            length,
            crc,
            rows,
            rows_start,
            scales_start,
            sketch_crc,
            places,
        }
    }

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
        put(&u32::from(self.places).to_le_bytes());
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
        let has_residual = trailer.ends_with(MAGIC_RESIDUAL);
        if !has_residual && !trailer.ends_with(MAGIC) {
            return Err(SegmentError::NotOne);
        }
        let [lists, dropped, pages] = [0, 8, 16].map(|at| u64_at(trailer, at) as usize);
        let (dim, crc) = (u32_at(trailer, 24) as usize, u32_at(trailer, 28));
        // The bits of residual codes, and their centres.
        let (bits, centres) = if has_residual { (1, CENTRES) } else { (0, 0) };
        let row = dim.saturating_mul(size_of::<f32>());
        let lengths = [(dropped, DOCUMENT), (pages, ENTRY), (1 + centres, row), (bits, 4)];
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
        let floats = |bytes: &[u8]| -> Vec<f32> {
            bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
        };
        let (mean, rest) = rest[lists + dropped * DOCUMENT + pages * ENTRY..].split_at(row);
        let residual = match has_residual {
            false => None,
            true => {
                let bits = Bits::named(u32_at(rest, 0)).ok_or(SegmentError::List)?;
                Some(ResidualCoder::around(bits, dim, &floats(&rest[4..])))
            }
        };
        let mean = floats(mean);
        let checked = std::iter::repeat_with(|| AtomicU8::new(0)).take(pages).collect();
        let this = Self { bytes: Box::new(bytes), mean, residual, dropped, pages, lists, checked };
        match this.is_inside() {
            true => Ok(this),
            false => Err(SegmentError::List),
        }
    }

    /// Whether all pages lie inside the file.
    fn is_inside(&self) -> bool {
        let row = row_bytes(self.dim());
        let fits = |start: usize, count: usize, bytes: usize| {
            let end = count.checked_mul(bytes).and_then(|length| start.checked_add(length));
            count > 0 && end.is_some_and(|end| end.next_multiple_of(ALIGN) <= self.lists)
        };
        (0..self.pages).map(|index| self.entry(index)).all(|entry| {
            fits(entry.start, entry.vectors, self.vector_bytes(&entry))
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

    /// What its pages are in residual codes of; `None` when they are in int8.
    pub fn residual_coder(&self) -> Option<&ResidualCoder> {
        self.residual.as_ref()
    }

    /// The codes of page `index`. Their checksum is compared the first time.
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    ///
    /// # Panics
    /// When there is no such page, or pages are in residual codes.
    pub fn page(&self, index: usize) -> Result<Int8View<'_>, SegmentError> {
        assert!(self.residual.is_none(), "int8 codes");
        let (entry, data) = self.checked_data(index)?;
        let (codes, rest) = data.split_at(entry.vectors * self.dim().next_multiple_of(4));
        let scales = &rest.as_chunks().0[..entry.vectors];
        let scales = scales.iter().map(|&four| f32::from_le_bytes(four)).collect();
        Ok(Int8View::new(self.dim(), codes, scales, entry.error, entry.length))
    }

    /// The residual codes of page `index`. Their checksum is compared the first time.
    ///
    /// # Panics
    /// When there is no such page, or pages are in int8.
    pub(crate) fn residual_page(&self, index: usize) -> Result<ResidualView<'_>, SegmentError> {
        let bits = self.residual.as_ref().expect("residual codes").bits();
        let (entry, data) = self.checked_data(index)?;
        let (n, dim) = (entry.vectors, self.dim());
        let (codes, rest) = data.split_at(n * bits.row_bytes(dim));
        let (scales, rest) = rest.split_at(n * size_of::<f16>());
        Ok(ResidualView { bits, dim, centres: &rest[..n], codes, scales: scales.as_chunks().0 })
    }

    /// The vectors that the residual codes of page `index` stand for, with their places, rounded to
    /// f16.
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    ///
    /// # Panics
    /// When there is no such page, or pages are in int8.
    pub fn vectors(&self, index: usize) -> Result<PageVectors, SegmentError> {
        let coder = self.residual.as_ref().expect("residual codes");
        let damaged = |_| SegmentError::Page(self.id(index));
        let rows = coder.decode_view(&self.residual_page(index)?);
        let vectors = PageVectors::from_f32(self.dim(), &rows).map_err(damaged)?;
        let (entry, data) = self.checked_data(index)?;
        if !entry.places {
            return Ok(vectors);
        }
        let before = entry.vectors * (self.vector_bytes(&entry) - size_of::<u32>());
        let places = &data[before..][..entry.vectors * size_of::<u32>()];
        let places = places.as_chunks().0.iter().map(|&four| u32::from_le_bytes(four));
        vectors.with_places(places.collect()).map_err(damaged)
    }

    /// The entry of page `index` and its data, whose checksum is compared the first time.
    fn checked_data(&self, index: usize) -> Result<(Entry, &[u8]), SegmentError> {
        let entry = self.entry(index);
        let data = self.data(&entry);
        self.check(index, DATA, || crc32c::crc32c(data) == entry.crc)?;
        Ok((entry, data))
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

    /// What a vector of a page takes.
    fn vector_bytes(&self, entry: &Entry) -> usize {
        match &self.residual {
            None => self.dim().next_multiple_of(4) + size_of::<f32>(),
            Some(coder) => {
                let places = if entry.places { size_of::<u32>() } else { 0 };
                coder.bits().row_bytes(self.dim()) + size_of::<f16>() + 1 + places
            }
        }
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
            places: u32_at(entry, 84) != 0,
        }
    }

    /// Inside the file: `open` has checked it.
    fn data(&self, entry: &Entry) -> &[u8] {
        let length = entry.vectors * self.vector_bytes(entry);
        &(*self.bytes).as_ref()[entry.start..][..length.next_multiple_of(ALIGN)]
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("inside a checked part"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("inside a checked part"))
}

/// Segments of small pages.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub fn page(seed: f32) -> PageVectors {
        PageVectors::from_f32(3, &[seed, 0.5, -0.25, 0.125, seed, 0.75]).unwrap()
    }

    pub fn id(document: u8, number: u32) -> PageId {
        PageId { document: DocumentId([document; 32]), number }
    }

    pub fn segment(dropped: &[u8], pages: &[(PageId, f32)]) -> Vec<u8> {
        let coder = SketchCoder::around(vec![0.0, 0.25, 0.0]);
        let mut writer = SegmentWriter::new(Vec::new(), &coder);
        dropped.iter().for_each(|&document| writer.drop_document(DocumentId([document; 32])));
        for &(id, seed) in pages {
            let page = page(seed);
            writer.push(id, &Int8Page::encode(&page), &coder.encode(&page).unwrap()).unwrap();
        }
        writer.finish().unwrap()
    }

    /// The same in residual codes; pages of even numbers have places.
    pub fn residual(coder: &ResidualCoder, dropped: &[u8], pages: &[(PageId, f32)]) -> Vec<u8> {
        let sketches = SketchCoder::around(vec![0.0, 0.25, 0.0]);
        let mut writer = SegmentWriter::residual(Vec::new(), &sketches, coder.clone());
        dropped.iter().for_each(|&document| writer.drop_document(DocumentId([document; 32])));
        for &(id, seed) in pages {
            let page = page(seed);
            let places = [7, 1_000_000];
            let places = id.number.is_multiple_of(2).then_some(&places[..]);
            let code = coder.encode(&page).unwrap();
            let sketch = sketches.encode(&page).unwrap();
            writer.push_residual(id, &code, places, &sketch).unwrap();
        }
        writer.finish().unwrap()
    }

    pub fn coder(bits: Bits) -> ResidualCoder {
        ResidualCoder::fit(bits, &[page(0.3), page(0.7)]).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{coder, id, page, residual, segment};
    use super::*;

    #[test]
    fn damage_is_found() {
        let pages = [(id(1, 1), 0.1), (id(1, 2), 0.2)];
        let residual = residual(&coder(Bits::Two), &[7], &pages);
        for (good, step) in [(segment(&[7], &pages), 1), (residual, 1)] {
            for cut in (0..good.len()).step_by(step) {
                assert!(Segment::open(good[..cut].to_vec()).is_err(), "{cut}");
            }
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 0x10;
                let Ok(segment) = Segment::open(bad) else { continue };
                // What is not in the lists or the trailer is the codes.
                let zeros = (good.len() - TRAILER + 32..good.len() - MAGIC.len()).contains(&at);
                let damaged = |n: usize| {
                    let page = match segment.residual_coder() {
                        None => segment.page(n).is_err(),
                        Some(_) => segment.vectors(n).is_err(),
                    };
                    page || segment.sketches(n..n + 1).is_err()
                };
                assert!(zeros || (0..2).any(damaged), "{at}");
            }
        }
        assert_eq!(Segment::open(Vec::new()).unwrap_err(), SegmentError::NotOne);
    }

    #[test]
    fn residual_codes_come_back_as_they_went() {
        for bits in [Bits::One, Bits::Two, Bits::Four] {
            let coder = coder(bits);
            let file = residual(&coder, &[9], &[(id(1, 1), 0.1), (id(1, 2), 0.9)]);
            let segment = Segment::open(file).unwrap();
            assert_eq!(segment.residual_coder(), Some(&coder));
            assert_eq!(segment.dropped().collect::<Vec<_>>(), [DocumentId([9; 32])]);
            for (n, seed) in [0.1, 0.9].into_iter().enumerate() {
                let code = coder.encode(&page(seed)).unwrap();
                assert_eq!(segment.residual_page(n).unwrap(), code.view());
                let vectors = segment.vectors(n).unwrap();
                let expected = PageVectors::from_f32(3, &coder.decode(&code)).unwrap();
                assert_eq!(vectors.values(), expected.values());
                assert_eq!(vectors.places(), (n == 1).then_some(&[7, 1_000_000][..]));
            }
            // Copied where the centres are the same, and only there.
            let mut writer = SegmentWriter::like(Vec::new(), &segment);
            writer.copy(&segment, 1).unwrap();
            let copy = Segment::open(writer.finish().unwrap()).unwrap();
            assert_eq!(copy.vectors(0).unwrap(), segment.vectors(1).unwrap());
            let other = ResidualCoder::fit(bits, &[page(0.2)]).unwrap();
            let other = Segment::open(residual(&other, &[], &[(id(1, 1), 0.1)])).unwrap();
            let refused = SegmentWriter::like(Vec::new(), &other).copy(&segment, 1);
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
