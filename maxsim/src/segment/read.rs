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
        assert!(self.residual.is_none(), "int8 codes");
        let (entry, data) = self.checked_data(index)?;
        let (codes, rest) = data.split_at(entry.vectors() * self.dim().next_multiple_of(4));
        let scales = floats(&rest[..entry.vectors() * size_of::<f32>()]).into();
        Ok(Int8View::new(self.dim(), codes, scales, entry.error.get(), entry.length.get()))
    }

    /// The residual codes of page `index`. Their checksum is compared the first time.
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    ///
    /// # Panics
    /// When there is no such page, or pages are in int8.
    pub fn residual_page(&self, index: usize) -> Result<ResidualView<'_>, SegmentError> {
        let bits = self.residual.as_ref().expect("residual codes").bits();
        let (entry, data) = self.checked_data(index)?;
        let (n, dim) = (entry.vectors(), self.dim());
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
        if !entry.has_places() {
            return Ok(vectors);
        }
        let before = entry.vectors() * (self.vector_bytes(entry) - size_of::<u32>());
        let places = &data[before..][..entry.vectors() * size_of::<u32>()];
        let places = places.as_chunks().0.iter().map(|&four| u32::from_le_bytes(four));
        vectors.with_places(places.collect()).map_err(damaged)
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

/// Numbers at any address.
fn floats(bytes: &[u8]) -> Vec<f32> {
    let numbers = <[F32]>::ref_from_bytes(bytes).expect("whole numbers");
    numbers.iter().map(|number| number.get()).collect()
}
