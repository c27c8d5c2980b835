//! Reading a segment, in memory or mapped into it.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

use half::f16;
use pagesight_core::{DocumentId, PageId, PageVectors};
use zerocopy::FromBytes;
use zerocopy::little_endian::F32;

use super::entry::{ALIGN, DOCUMENT, Entry, MAGIC_INT8, MAGIC_RESIDUAL, Trailer};
use crate::background::Background;
use crate::codes::{Bits, Int8View, ResidualCoder, ResidualView, Sketches, sketch_row_bytes};
use crate::error::DimMismatch;
use crate::kernel::CENTRES;

/// What of a page has been compared with its checksum.
const DATA: u8 = 1;
const SKETCH: u8 = 2;

/// A file that is not a whole segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({} pages, dim {})", self.pages, self.dim())
    }
}

impl Segment {
    /// Reads the lists at the end of `bytes`. The codes themselves are compared with their
    /// checksums when they are first used.
    ///
    /// # Errors
    /// [`SegmentError::NotOne`] and [`SegmentError::List`].
    pub fn open(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self, SegmentError> {
        let all = bytes.as_ref();
        let (rest, trailer) = Trailer::read_from_suffix(all).map_err(|_| SegmentError::NotOne)?;
        let has_residual = trailer.magic == MAGIC_RESIDUAL;
        if !has_residual && trailer.magic != MAGIC_INT8 {
            return Err(SegmentError::NotOne);
        }
        let [lists, dropped, pages] =
            [trailer.lists, trailer.dropped, trailer.pages].map(|number| number.get() as usize);
        let dim = trailer.dim.get() as usize;
        // The bits of residual codes, and their centres.
        let (bits, centres) = if has_residual { (1, CENTRES) } else { (0, 0) };
        let row = dim.saturating_mul(size_of::<f32>());
        let lengths = [
            (dropped, DOCUMENT),
            (pages, size_of::<Entry>()),
            (1 + centres, row),
            (bits, size_of::<u32>()),
        ];
        let end = lengths
            .iter()
            .try_fold(lists, |end, (n, bytes)| end.checked_add(n.checked_mul(*bytes)?));
        if dim == 0 || end != Some(rest.len()) {
            return Err(SegmentError::NotOne);
        }
        let found = crc32c::crc32c_append(crc32c::crc32c(&rest[lists..]), trailer.summed());
        if found != trailer.crc.get() {
            return Err(SegmentError::List);
        }
        let after = lists + dropped * DOCUMENT + pages * size_of::<Entry>();
        let (mean, rest) = rest[after..].split_at(row);
        let residual = if has_residual {
            let (bits, centres) = rest.split_first_chunk().ok_or(SegmentError::List)?;
            let bits = Bits::named(u32::from_le_bytes(*bits)).ok_or(SegmentError::List)?;
            Some(ResidualCoder::around(bits, dim, &floats(centres)))
        } else {
            None
        };
        let mean = floats(mean);
        let checked = std::iter::repeat_with(|| AtomicU8::new(0)).take(pages).collect();
        let this = Self { bytes: Box::new(bytes), mean, residual, dropped, pages, lists, checked };
        if this.is_inside() { Ok(this) } else { Err(SegmentError::List) }
    }

    /// Whether all pages lie inside the file.
    fn is_inside(&self) -> bool {
        let row = sketch_row_bytes(self.dim());
        let fits = |start: usize, count: usize, bytes: usize| {
            let end = count.checked_mul(bytes).and_then(|length| start.checked_add(length));
            count > 0 && end.is_some_and(|end| end.next_multiple_of(ALIGN) <= self.lists)
        };
        self.entries().iter().all(|entry| {
            fits(entry.start(), entry.vectors(), self.vector_bytes(entry))
                && fits(entry.rows_start(), entry.rows(), row)
                && fits(entry.scales_start(), entry.rows(), size_of::<f16>())
        })
    }

    /// What page `index` gives to neutral questions; `None` where it was not measured.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn background(&self, index: usize) -> Option<Background> {
        let entry = self.entry(index);
        let (per_token, of) = (entry.background.get(), entry.neutral.get());
        (of != 0).then_some(Background { per_token, of })
    }

    /// Row length.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// What the sketches are taken around, `[dim]`. Segments can only be merged when they have it
    /// in common.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Number of pages, those that later segments replace or drop included.
    pub fn len(&self) -> usize {
        self.pages
    }

    /// Whether it has no pages; it may still drop some.
    pub fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> usize {
        self.all().len()
    }

    fn all(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    /// Documents whose pages in earlier segments are gone.
    pub fn dropped(&self) -> impl Iterator<Item = DocumentId> + '_ {
        let list = &self.all()[self.lists..][..self.dropped * DOCUMENT];
        list.as_chunks().0.iter().map(|&id| DocumentId(id))
    }

    /// Which page `index` is.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn id(&self, index: usize) -> PageId {
        self.entry(index).id()
    }

    /// The coder of its pages' residual codes; `None` when they are in int8.
    pub fn residual_coder(&self) -> Option<&ResidualCoder> {
        self.residual.as_ref()
    }

    /// The int8 codes of page `index`. Their checksum is compared the first time.
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    ///
    /// # Panics
    /// When there is no such page, or pages are in residual codes.
    pub fn page(&self, index: usize) -> Result<Int8View<'_>, SegmentError> {
        Ok(self.page_of(index, self.checked_data(index)?.1))
    }

    /// As [`page`](Self::page), of its `data`.
    pub(super) fn page_of<'a>(&self, index: usize, data: &'a [u8]) -> Int8View<'a> {
        assert!(self.residual.is_none(), "int8 codes");
        let entry = self.entry(index);
        let (codes, rest) = data.split_at(entry.vectors() * self.dim().next_multiple_of(4));
        let scales = floats(&rest[..entry.vectors() * size_of::<f32>()]).into();
        Int8View::new(self.dim(), codes, scales, entry.error.get(), entry.length.get())
    }

    /// The residual codes of page `index`. Their checksum is compared the first time.
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    ///
    /// # Panics
    /// When there is no such page, or pages are in int8.
    pub fn residual_page(&self, index: usize) -> Result<ResidualView<'_>, SegmentError> {
        Ok(self.residual_page_of(index, self.checked_data(index)?.1))
    }

    /// As [`residual_page`](Self::residual_page), of its `data`.
    pub(super) fn residual_page_of<'a>(&self, index: usize, data: &'a [u8]) -> ResidualView<'a> {
        let bits = self.residual.as_ref().expect("residual codes").bits();
        let (n, dim) = (self.entry(index).vectors(), self.dim());
        let (codes, rest) = data.split_at(n * bits.row_bytes(dim));
        let (scales, rest) = rest.split_at(n * size_of::<f16>());
        ResidualView { bits, dim, centres: &rest[..n], codes, scales: scales.as_chunks().0 }
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
        self.vectors_in(index, self.checked_data(index)?.1)
    }

    /// As [`vectors`](Self::vectors), of its `data`.
    pub(super) fn vectors_in(
        &self,
        index: usize,
        data: &[u8],
    ) -> Result<PageVectors, SegmentError> {
        let coder = self.residual.as_ref().expect("residual codes");
        let damaged = |_| SegmentError::Page(self.id(index));
        let rows = coder.decode_view(&self.residual_page_of(index, data));
        let vectors = PageVectors::from_f32(self.dim(), &rows).map_err(damaged)?;
        let entry = self.entry(index);
        if !entry.has_places() {
            return Ok(vectors);
        }
        let before = entry.vectors() * (self.vector_bytes(entry) - size_of::<u32>());
        let places = &data[before..][..entry.vectors() * size_of::<u32>()];
        let places = places.as_chunks().0.iter().map(|&four| u32::from_le_bytes(four));
        vectors.with_places(places.collect()).map_err(damaged)
    }

    /// Where the lists begin in a file that ends with `end`: all from there on is what
    /// [`open`](Self::open) reads.
    ///
    /// # Errors
    /// [`SegmentError::NotOne`].
    pub fn lists_start(end: &[u8]) -> Result<u64, SegmentError> {
        let (_, trailer) = Trailer::read_from_suffix(end).map_err(|_| SegmentError::NotOne)?;
        if [MAGIC_INT8, MAGIC_RESIDUAL].contains(&trailer.magic) {
            Ok(trailer.lists.get())
        } else {
            Err(SegmentError::NotOne)
        }
    }

    /// Where the lists and all that follows lie in the file: to its end.
    pub fn lists(&self) -> Range<u64> {
        self.lists as u64..self.all().len() as u64
    }

    /// Where the codes of page `index` lie in the file.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn data_range(&self, index: usize) -> Range<u64> {
        let entry = self.entry(index);
        let length = entry.vectors() * self.vector_bytes(entry);
        entry.start() as u64..(entry.start() + length.next_multiple_of(ALIGN)) as u64
    }

    /// Where the sketches lie in the file, in order: a few ranges, whatever the number of pages.
    pub fn sketch_ranges(&self) -> Vec<Range<u64>> {
        let row = sketch_row_bytes(self.dim());
        let of_page = |entry: &Entry| {
            let (rows, scales) = (entry.rows_start(), entry.scales_start());
            let (rows_end, scales_end) =
                (rows + entry.rows() * row, scales + entry.rows() * size_of::<f16>());
            [rows as u64..rows_end as u64, scales as u64..scales_end as u64]
        };
        let mut ranges: Vec<_> = self.entries().iter().flat_map(of_page).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        joined(ranges)
    }

    /// Whether the sketches of all pages are as they were written.
    pub fn are_sketches_sound(&self) -> bool {
        let mut first = 0;
        while first < self.pages {
            match self.sketches(first..self.pages) {
                Ok((_, rows)) => first += rows.len(),
                Err(_) => return false,
            }
        }
        true
    }

    /// Whether the codes of page `index` are in the file as they were written. A file that has a part
    /// of a segment has zeros in place of the others, which are not.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn has(&self, index: usize) -> bool {
        self.checked_data(index).is_ok()
    }

    /// Whether `data` are the codes of page `index`.
    pub(super) fn is_data_of(&self, index: usize, data: &[u8]) -> bool {
        crc32c::crc32c(data) == self.entry(index).crc.get()
    }

    /// The entry of page `index` and its data, whose checksum is compared the first time.
    pub(super) fn checked_data(&self, index: usize) -> Result<(&Entry, &[u8]), SegmentError> {
        let entry = self.entry(index);
        let length = entry.vectors() * self.vector_bytes(entry);
        // Inside the file: `open` has checked it.
        let data = &self.all()[entry.start()..][..length.next_multiple_of(ALIGN)];
        self.check(index, DATA, || crc32c::crc32c(data) == entry.crc.get())?;
        Ok((entry, data))
    }

    /// The sketches of `pages` as far as they lie side by side, one at least, and the rows of each.
    /// Their checksums are compared the first time.
    pub(super) fn sketches(
        &self,
        pages: Range<usize>,
    ) -> Result<(Sketches<'_>, Vec<usize>), SegmentError> {
        let row = sketch_row_bytes(self.dim());
        let all = self.all();
        let first = self.entry(pages.start);
        let within = |before: usize, rows: usize| Sketches {
            codes: &all[first.rows_start() + before * row..][..rows * row],
            scales: &all[first.scales_start()..].as_chunks().0[before..before + rows],
        };
        let (mut lengths, mut rows) = (Vec::with_capacity(pages.len()), 0);
        for index in pages {
            let entry = self.entry(index);
            let follows = entry.rows_start() == first.rows_start() + rows * row
                && entry.scales_start() == first.scales_start() + rows * size_of::<f16>();
            if !follows {
                break;
            }
            let crc = entry.sketch_crc.get();
            self.check(index, SKETCH, || within(rows, entry.rows()).crc() == crc)?;
            lengths.push(entry.rows());
            rows += entry.rows();
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
                let places = if entry.has_places() { size_of::<u32>() } else { 0 };
                coder.bits().row_bytes(self.dim()) + size_of::<f16>() + 1 + places
            }
        }
    }

    fn entries(&self) -> &[Entry] {
        let start = self.lists + self.dropped * DOCUMENT;
        let bytes = &self.all()[start..][..self.pages * size_of::<Entry>()];
        <[Entry]>::ref_from_bytes(bytes).expect("whole entries")
    }

    fn entry(&self, index: usize) -> &Entry {
        assert!(index < self.pages, "page {index} of a segment of {}", self.pages);
        &self.entries()[index]
    }
}

/// `ranges`, which are in order, with neighbours made one.
pub(super) fn joined(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Numbers at any address.
fn floats(bytes: &[u8]) -> Vec<f32> {
    let numbers = <[F32]>::ref_from_bytes(bytes).expect("whole numbers");
    numbers.iter().map(|number| number.get()).collect()
}
