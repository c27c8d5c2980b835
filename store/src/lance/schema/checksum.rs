//! The checksums of a page: one of what a search shows of it, one of its vectors.

use half::f16;
use pagesight_core::{PageId, PageRecord, PageVectors};

/// Of what a search shows: `layout` is the text of its column.
pub(super) fn page_checksum(page: &PageRecord, layout: Option<&str>) -> u32 {
    let mut crc = of_id(page.id);
    for bytes in [
        &page.size.width_pt.to_le_bytes()[..],
        &page.size.height_pt.to_le_bytes(),
        page.text_source.as_str().as_bytes(),
        page.text.as_bytes(),
    ] {
        crc = crc32c::crc32c_append(crc, bytes);
    }
    // A row of an earlier format has no layout, and keeps its checksum. No text has this byte, so
    // text and layout cannot stand in for each other.
    layout.map_or(crc, |layout| {
        let crc = crc32c::crc32c_append(crc, &[0xFF]);
        crc32c::crc32c_append(crc, layout.as_bytes())
    })
}

/// Of the vectors of a page and their places.
pub(super) fn vectors_checksum(id: PageId, vectors: Option<&PageVectors>) -> u32 {
    let places = vectors.and_then(PageVectors::places);
    checksum(id, vectors.map_or(&[], PageVectors::values), places.unwrap_or_default())
}

/// As [`vectors_checksum`], of vectors that are not checked yet.
pub(super) fn checksum(id: PageId, values: &[f16], places: &[u32]) -> u32 {
    // In pieces, so that a page of vectors is not copied whole.
    let crc = values.chunks(4096).fold(of_id(id), |crc, piece| {
        let mut bytes = [0u8; 8192];
        for (value, bytes) in piece.iter().zip(bytes.chunks_exact_mut(2)) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        crc32c::crc32c_append(crc, &bytes[..piece.len() * 2])
    });
    places.iter().fold(crc, |crc, place| crc32c::crc32c_append(crc, &place.to_le_bytes()))
}

fn of_id(id: PageId) -> u32 {
    let crc = crc32c::crc32c(id.document.to_string().as_bytes());
    crc32c::crc32c_append(crc, &id.number.to_le_bytes())
}
