//! Writing a segment, page by page.

use std::io::{self, Write};

use pagesight_core::{DocumentId, PageId};
use zerocopy::{FromZeros, IntoBytes};

use super::entry::{ALIGN, DOCUMENT, Entry, MAGIC_INT8, MAGIC_RESIDUAL, Trailer};
use super::read::Segment;
use crate::background::Background;
use crate::codes::{Int8Page, ResidualCoder, ResidualPage, Sketch, SketchCoder, Sketches};

/// Sketches held in memory while a segment is written, bytes.
const BLOCK: usize = 16 << 20;

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
    /// A segment of pages in int8 whose sketches `coder` makes.
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
        let coder = SketchCoder::around(other.mean().to_vec());
        Self { residual: other.residual_coder().cloned(), ..Self::new(out, &coder) }
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
            vectors: (code.scales().len() as u32).into(),
            error: code.error().into(),
            length: code.length().into(),
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
        let entry = Entry {
            vectors: (page.scales.len() as u32).into(),
            places: u32::from(places.is_some()).into(),
            ..Entry::of(id)
        };
        self.push_data(entry, data, sketch)
    }

    /// Says what the page that was added last gives to neutral questions.
    ///
    /// # Panics
    /// When there is no page.
    pub fn set_background(&mut self, background: Background) {
        let last = self.pages.last_mut().expect("a page was added");
        (last.background, last.neutral) = (background.per_token.into(), background.of.into());
    }

    fn push_data(&mut self, entry: Entry, mut data: Vec<u8>, sketch: &Sketch) -> io::Result<()> {
        data.resize(data.len().next_multiple_of(ALIGN), 0);
        let scales: Vec<[u8; 2]> = sketch.scales().iter().map(|s| s.to_le_bytes()).collect();
        let sketch = Sketches { codes: sketch.codes(), scales: &scales };
        let entry = Entry {
            crc: crc32c::crc32c(&data).into(),
            rows: (scales.len() as u32).into(),
            sketch_crc: sketch.crc().into(),
            ..entry
        };
        self.append(entry, &data, sketch)
    }

    /// Copies page `index` of another segment.
    ///
    /// # Errors
    /// What the file says; of kind `InvalidData` when the codes of the page are damaged, or those
    /// of the two segments are of different kinds or around different means or centres.
    pub fn copy(&mut self, from: &Segment, index: usize) -> io::Result<()> {
        let invalid = |error: Box<dyn std::error::Error + Send + Sync>| {
            io::Error::new(io::ErrorKind::InvalidData, error)
        };
        if from.mean() != self.mean {
            return Err(invalid("sketches around different means".into()));
        }
        if from.residual_coder() != self.residual.as_ref() {
            return Err(invalid("codes of different kinds, or around different centres".into()));
        }
        let (entry, data) = from.checked_data(index).map_err(|error| invalid(error.into()))?;
        let (sketch, _) = from.sketches(index..index + 1).map_err(|error| invalid(error.into()))?;
        self.append(*entry, data, sketch)
    }

    /// Adds a page at the end.
    fn append(&mut self, entry: Entry, data: &[u8], sketch: Sketches<'_>) -> io::Result<()> {
        let start = self.at as u64;
        self.write(data)?;
        // Within the block until it is written.
        let (rows_start, scales_start) = (self.codes.len() as u64, self.scales.len() as u64);
        self.pages.push(Entry {
            start: start.into(),
            rows_start: rows_start.into(),
            scales_start: scales_start.into(),
            ..entry
        });
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
            entry.rows_start += rows as u64;
            entry.scales_start += after as u64;
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

    /// Writes the lists and the trailer, and gives the file back. The caller makes it durable.
    ///
    /// # Errors
    /// What the file says.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_sketches()?;
        let mut lists = std::mem::take(&mut self.dropped);
        let dropped = lists.len() / DOCUMENT;
        lists.extend_from_slice(self.pages.as_bytes());
        lists.extend(self.mean.iter().flat_map(|x| x.to_le_bytes()));
        if let Some(residual) = &self.residual {
            lists.extend_from_slice(&(residual.bits() as u32).to_le_bytes());
            lists.extend(residual.centres().iter().flat_map(|x| x.to_le_bytes()));
        }
        let mut trailer = Trailer {
            lists: (self.at as u64).into(),
            dropped: (dropped as u64).into(),
            pages: (self.pages.len() as u64).into(),
            dim: (self.mean.len() as u32).into(),
            magic: if self.residual.is_some() { MAGIC_RESIDUAL } else { MAGIC_INT8 },
            ..Trailer::new_zeroed()
        };
        trailer.crc = crc32c::crc32c_append(crc32c::crc32c(&lists), trailer.summed()).into();
        self.out.write_all(&lists)?;
        self.out.write_all(trailer.as_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }
}
