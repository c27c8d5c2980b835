//! The parts of a segment that describe the others, byte for byte as they lie in the file.

use pagesight_core::{DocumentId, PageId};
use zerocopy::little_endian::{F32, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where parts of the data start: at whole lines of the cache.
pub(super) const ALIGN: usize = 64;

/// Bytes of a document's id.
pub(super) const DOCUMENT: usize = size_of::<DocumentId>();

/// What a segment of int8 codes ends with, and one of residual codes.
pub(super) const MAGIC_INT8: [u8; 8] = *b"PSCODE-2";
pub(super) const MAGIC_RESIDUAL: [u8; 8] = *b"PSCODE-3";

/// A page of a segment.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Entry {
    pub document: [u8; 32],
    pub number: U32,
    pub vectors: U32,
    pub start: U64,
    pub error: F32,
    pub length: F32,
    pub crc: U32,
    pub rows: U32,
    pub rows_start: U64,
    pub scales_start: U64,
    pub sketch_crc: U32,
    pub places: U32,
    pub background: F32,
    pub neutral: U32,
}

const _: () = assert!(size_of::<Entry>() == 96, "the layout that the table describes");

impl Entry {
    /// A page of which nothing is known yet.
    pub fn of(id: PageId) -> Self {
        let mut entry = Self::new_zeroed();
        (entry.document, entry.number) = (id.document.0, id.number.into());
        entry
    }

    pub fn id(&self) -> PageId {
        PageId { document: DocumentId(self.document), number: self.number.get() }
    }

    pub fn vectors(&self) -> usize {
        self.vectors.get() as usize
    }

    pub fn start(&self) -> usize {
        self.start.get() as usize
    }

    pub fn rows(&self) -> usize {
        self.rows.get() as usize
    }

    pub fn rows_start(&self) -> usize {
        self.rows_start.get() as usize
    }

    pub fn scales_start(&self) -> usize {
        self.scales_start.get() as usize
    }

    pub fn has_places(&self) -> bool {
        self.places.get() != 0
    }
}

/// The end of a segment.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Trailer {
    pub lists: U64,
    pub dropped: U64,
    pub pages: U64,
    pub dim: U32,
    pub crc: U32,
    pub zeros: [u8; 24],
    pub magic: [u8; 8],
}

const _: () = assert!(size_of::<Trailer>() == 64, "the layout that the table describes");

impl Trailer {
    /// What its checksum covers after the lists: all that stands before it.
    pub fn summed(&self) -> &[u8] {
        &self.as_bytes()[..size_of::<[U64; 3]>() + size_of::<U32>()]
    }
}
