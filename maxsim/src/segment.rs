//! Segments: the codes of many pages in one file, which a search maps into memory and scans.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | data | from 0 | for each page `[n, dim]` int8 codes (dim in whole fours), `[n]` f32 scales, filled up to 64 |
//! | sketches | among the data | for some thousand pages, the rows of their [`Sketch`](crate::Sketch)es one after another, then the f16 scales of these, filled up to 64 |
//! | dropped | 32 each | documents whose pages in earlier segments are gone |
//! | pages | 96 each | document 32, number u32, vectors u32, start u64, error f32, length f32, CRC32C of the data u32, rows of the sketch u32, start of its rows u64, start of its scales u64, CRC32C of the sketch u32, whether residual codes have places u32, [background](crate::Background) a token f32, its questions u32 or 0 where it was not measured |
//! | mean | 4 dim | what the sketches are taken around, f32 |
//! | centres | 4 and 1024 dim | of residual codes only: their bits, u32, and the 256 centres, f32 |
//! | trailer | 64 | start of dropped u64, dropped u64, pages u64, dim u32, CRC32C of all from dropped to here u32, zeros, `PSCODE-2`, or `PSCODE-3` with residual codes |
//!
//! Residual codes of a page are `[n]` rows of codes, `[n]` f16 scales, `[n]` centres (a byte each)
//! and, if its entry says so, `[n]` u32 places, filled up to 64.
//!
//! All numbers are little-endian. A segment never changes: later segments of the same index add
//! pages and drop documents. int8 codes and sketches can be derived again from the full-precision
//! vectors; residual codes may be all that is left of these. Sketches lie side by side, so that a
//! scan of very many pages reads nothing else.

mod elsewhere;
mod entry;
mod here;
mod read;
mod segments;
mod write;

pub use elsewhere::Elsewhere;
pub use here::{Here, HereError};
pub use read::{Segment, SegmentError};
pub use segments::{Segments, Slot};
pub use write::SegmentWriter;

/// Segments of small pages.
#[cfg(test)]
mod testing {
    use pagesight_core::{DocumentId, PageId, PageVectors};

    use super::*;
    use crate::{Int8Page, ResidualCoder, SketchCoder};

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

    pub fn coder(bits: crate::Bits) -> ResidualCoder {
        ResidualCoder::fit(bits, &[page(0.3), page(0.7)]).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use pagesight_core::{DocumentId, PageVectors};

    use super::entry::{MAGIC_INT8, Trailer};
    use super::testing::{coder, id, page, residual, segment};
    use super::*;
    use crate::{Bits, Int8Page, ResidualCoder, SketchCoder};

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
                let zeros = (good.len() - size_of::<Trailer>() + 32..good.len() - MAGIC_INT8.len())
                    .contains(&at);
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

    /// Files that the program wrote before this crate had `zerocopy`, of these pages: two
    /// documents, one page whose vectors are pooled for its sketch, and of residual codes two with
    /// places.
    #[test]
    fn files_of_earlier_versions_are_read_and_written_to_the_byte() {
        let page = |seed: u64, rows: usize| {
            let mut state = seed;
            let mut next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            };
            let values: Vec<f32> = (0..rows * 10).map(|_| next()).collect();
            PageVectors::from_f32(10, &values).unwrap()
        };
        let pages = [(id(1, 1), page(1, 3)), (id(1, 2), page(2, 70)), (id(2, 7), page(3, 1))];

        let file = include_bytes!("../tests/segments/int8.segment");
        let segment = Segment::open(file).unwrap();
        assert_eq!(segment.dropped().collect::<Vec<_>>(), [DocumentId([9; 32])]);
        let sketches = SketchCoder::around(segment.mean().to_vec());
        let mut writer = SegmentWriter::like(Vec::new(), &segment);
        writer.drop_document(DocumentId([9; 32]));
        for (n, (id, page)) in pages.iter().enumerate() {
            let code = Int8Page::encode(page);
            assert_eq!((segment.id(n), segment.page(n).unwrap()), (*id, (&code).into()));
            writer.push(*id, &code, &sketches.encode(page).unwrap()).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), file);

        let file = include_bytes!("../tests/segments/residual.segment");
        let segment = Segment::open(file).unwrap();
        assert_eq!(segment.dropped().collect::<Vec<_>>(), [DocumentId([8; 32])]);
        let coder = segment.residual_coder().unwrap().clone();
        let mut writer = SegmentWriter::like(Vec::new(), &segment);
        writer.drop_document(DocumentId([8; 32]));
        for (n, (id, page)) in pages.iter().enumerate() {
            let code = coder.encode(page).unwrap();
            assert_eq!((segment.id(n), segment.residual_page(n).unwrap()), (*id, code.view()));
            let places: Vec<u32> = (0..page.len() as u32).map(|row| row * 3 + 1).collect();
            let places = (n != 0).then_some(&places[..]);
            assert_eq!(segment.vectors(n).unwrap().places(), places);
            writer.push_residual(*id, &code, places, &sketches.encode(page).unwrap()).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), file);
    }
}
