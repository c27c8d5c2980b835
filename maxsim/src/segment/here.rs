//! Segments of which a part is here: what a search scans, and of the codes of pages those that were
//! compared before. A file with holes has every byte where the whole file has it, so that it is mapped
//! and read as such; a hole reads as zeros, which no page's checksum fits.

use std::collections::HashMap;
use std::error::Error;
use std::ops::Range;

use pagesight_core::PageVectors;

use super::read::{SegmentError, joined};
use super::segments::{Segments, Slot};
use crate::codes::{Int8View, ResidualQuery};

/// Why codes cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HereError {
    /// They are damaged, here or where they come from.
    #[error(transparent)]
    Damaged(#[from] SegmentError),
    /// They are not here, and cannot be fetched.
    #[error("codes that are not on this machine cannot be fetched")]
    Elsewhere(#[source] Box<dyn Error + Send + Sync>),
}

/// The codes of some pages, all of which can be compared now: those that the files have, and what was
/// fetched of the others, in memory.
pub struct Here<'a> {
    segments: &'a Segments,
    /// In which of `buffers` a page is that was fetched, and where in it.
    fetched: HashMap<(u32, u32), (usize, Range<usize>)>,
    buffers: Vec<Vec<u8>>,
}

impl Segments {
    /// Makes sure that the codes of the pages `slots` can be compared: those that are not in the files
    /// are fetched, neighbours together, and are in memory while what is returned lives. With files that
    /// are whole it costs nothing.
    ///
    /// # Errors
    /// [`HereError`].
    pub fn here(&self, slots: &[Slot]) -> Result<Here<'_>, HereError> {
        let (mut fetched, mut buffers) = (HashMap::new(), Vec::new());
        let Some(elsewhere) = &self.elsewhere else {
            return Ok(Here { segments: self, fetched, buffers });
        };
        let place = |slot: &Slot| (slot.segment, slot.index);
        let mut missing: Vec<(u32, u32)> = slots
            .iter()
            .filter(|slot| !self.segments()[slot.segment as usize].has(slot.index as usize))
            .map(place)
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(Here { segments: self, fetched, buffers });
        }
        let range = |&(segment, index): &(u32, u32)| {
            self.segments()[segment as usize].data_range(index as usize)
        };
        let mut wanted: Vec<(usize, Range<u64>)> = Vec::new();
        for pages in missing.chunk_by(|a, b| a.0 == b.0) {
            let ranges = joined(pages.iter().map(range)).into_iter();
            wanted.extend(ranges.map(|range| (pages[0].0 as usize, range)));
        }
        buffers = elsewhere.fetch(&wanted).map_err(HereError::Elsewhere)?;
        let mut at = 0;
        for page in missing {
            let (number, range) = (page.0 as usize, range(&page));
            // Both are in order.
            while (wanted[at].0, wanted[at].1.end) < (number, range.end) {
                at += 1;
            }
            let start = (range.start - wanted[at].1.start) as usize;
            let within = start..start + (range.end - range.start) as usize;
            let segment = &self.segments()[number];
            let data = buffers.get(at).and_then(|bytes| bytes.get(within.clone()));
            if !data.is_some_and(|data| segment.is_data_of(page.1 as usize, data)) {
                return Err(SegmentError::Page(segment.id(page.1 as usize)).into());
            }
            fetched.insert(page, (at, within));
        }
        Ok(Here { segments: self, fetched, buffers })
    }
}

impl Here<'_> {
    fn fetched(&self, slot: &Slot) -> Option<&[u8]> {
        let (buffer, within) = self.fetched.get(&(slot.segment, slot.index))?;
        Some(&self.buffers[*buffer][within.clone()])
    }

    /// The codes of a page.
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    ///
    /// # Panics
    /// When pages are in residual codes.
    pub fn page(&self, slot: &Slot) -> Result<Int8View<'_>, SegmentError> {
        let (segment, index) =
            (&self.segments.segments()[slot.segment as usize], slot.index as usize);
        match self.fetched(slot) {
            Some(data) => Ok(segment.page_of(index, data)),
            None => segment.page(index),
        }
    }

    /// An estimate of MaxSim for a page in residual codes; `queries` come from
    /// [`Segments::residual_queries`].
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    ///
    /// # Panics
    /// When pages are in int8.
    pub fn score_residual(
        &self,
        queries: &[ResidualQuery],
        slot: &Slot,
    ) -> Result<f32, SegmentError> {
        let (segment, index) =
            (&self.segments.segments()[slot.segment as usize], slot.index as usize);
        let page = match self.fetched(slot) {
            Some(data) => segment.residual_page_of(index, data),
            None => segment.residual_page(index)?,
        };
        Ok(queries[slot.segment as usize].score(page).expect("one dim in an index"))
    }

    /// The vectors that the residual codes of a page stand for, with their places.
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    ///
    /// # Panics
    /// When pages are in int8.
    pub fn vectors(&self, slot: &Slot) -> Result<PageVectors, SegmentError> {
        let (segment, index) =
            (&self.segments.segments()[slot.segment as usize], slot.index as usize);
        match self.fetched(slot) {
            Some(data) => segment.vectors_in(index, data),
            None => segment.vectors(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use pagesight_core::PageId;

    use super::*;
    use crate::segment::testing::{coder, id, residual, segment};
    use crate::segment::{Elsewhere, Segment};
    use crate::testing::query;
    use crate::{Bits, Int8Query};

    /// Whole files in memory; what was asked of them.
    struct Whole {
        files: Vec<Vec<u8>>,
        asked: Mutex<Vec<(usize, Range<u64>)>>,
    }

    impl Elsewhere for Whole {
        fn fetch(
            &self,
            wanted: &[(usize, Range<u64>)],
        ) -> Result<Vec<Vec<u8>>, Box<dyn Error + Send + Sync>> {
            self.asked.lock().unwrap().extend(wanted.to_vec());
            let bytes = |(segment, range): &(usize, Range<u64>)| {
                let file = self.files.get(*segment).ok_or("the bucket is out of reach")?;
                Ok(file[range.start as usize..range.end as usize].to_vec())
            };
            wanted.iter().map(bytes).collect()
        }
    }

    /// `file` as a machine has it first: the sketches and the lists.
    fn sparse(file: &[u8]) -> Vec<u8> {
        let whole = Segment::open(file.to_vec()).unwrap();
        let mut sparse = vec![0; file.len()];
        let lists = Segment::lists_start(&file[file.len() - 64..]).unwrap() as usize;
        sparse[lists..].copy_from_slice(&file[lists..]);
        for range in whole.sketch_ranges() {
            let range = range.start as usize..range.end as usize;
            sparse[range.clone()].copy_from_slice(&file[range]);
        }
        sparse
    }

    fn both(files: &[Vec<u8>]) -> (Segments, Segments, Arc<Whole>) {
        let open = |file: Vec<u8>| Segment::open(file).unwrap();
        let whole = Segments::new(files.iter().cloned().map(open).collect()).unwrap();
        let elsewhere = Arc::new(Whole { files: files.to_vec(), asked: Mutex::default() });
        let holes = files.iter().map(|file| open(sparse(file))).collect();
        let some = Segments::new(holes).unwrap().with_elsewhere(elsewhere.clone());
        (whole, some, elsewhere)
    }

    fn pages(count: u32) -> Vec<(PageId, f32)> {
        (0..count).map(|n| (id(1, n), n as f32 / 40.0)).collect()
    }

    #[test]
    fn a_file_with_holes_scans_and_compares_as_the_whole_one() {
        let files = [segment(&[], &pages(20)), segment(&[], &pages(40)[20..])];
        let (whole, some, elsewhere) = both(&files);
        assert!(whole.are_whole() && !some.are_whole());
        let q = query(3, vec![0.5, 0.25, 1.0]);
        let queries = whole.sketch_queries(&q).unwrap();
        assert!(some.segments().iter().all(Segment::are_sketches_sound));
        assert_eq!(
            some.score_sketches(&queries, some.living()).unwrap(),
            whole.score_sketches(&queries, whole.living()).unwrap()
        );
        assert!(elsewhere.asked.lock().unwrap().is_empty(), "a scan fetches nothing");
        // A hole is an error, and no answer.
        let slots: Vec<Slot> = [3, 4, 5, 9, 25].map(|n| some.living()[n]).to_vec();
        assert!(slots.iter().all(|slot| some.page(slot).is_err()));
        let here = some.here(&slots).unwrap();
        let int8 = Int8Query::new(&q);
        for slot in &slots {
            let expected = int8.score(whole.page(slot).unwrap()).unwrap();
            assert_eq!(int8.score(here.page(slot).unwrap()).unwrap().to_bits(), expected.to_bits());
        }
        // Neighbours come together.
        assert_eq!(elsewhere.asked.lock().unwrap().len(), 3);
        assert!(here.page(&some.living()[7]).is_err());
    }

    #[test]
    fn residual_codes_come_with_their_vectors() {
        for bits in [Bits::One, Bits::Two, Bits::Four] {
            let (whole, some, _) = both(&[residual(&coder(bits), &[], &pages(9))]);
            let q = query(3, vec![0.5, 0.25, 1.0]);
            let queries = whole.residual_queries(&q).unwrap();
            let here = some.here(some.living()).unwrap();
            for slot in whole.living() {
                let expected = whole.score_residual(&queries, slot).unwrap();
                assert_eq!(here.score_residual(&queries, slot), Ok(expected));
                assert_eq!(here.vectors(slot).unwrap(), whole.vectors(slot).unwrap());
            }
        }
    }

    #[test]
    fn what_cannot_be_fetched_or_is_damaged_there_is_said() {
        let files = [segment(&[], &pages(4))];
        let (_, some, _) = both(&files);
        let none = Whole { files: Vec::new(), asked: Mutex::default() };
        let out_of_reach = some.with_elsewhere(Arc::new(none));
        let error = out_of_reach.here(out_of_reach.living()).err().unwrap();
        assert!(matches!(error, HereError::Elsewhere(_)), "{error}");
        let mut bad = files[0].clone();
        let (whole, ..) = both(&files);
        bad[whole.segments()[0].data_range(2).start as usize] ^= 4;
        let damaged = Whole { files: vec![bad], asked: Mutex::default() };
        let some = out_of_reach.with_elsewhere(Arc::new(damaged));
        let error = some.here(some.living()).err().unwrap();
        assert!(matches!(error, HereError::Damaged(SegmentError::Page(_))), "{error}");
        assert!(some.here(&some.living()[..2]).is_ok());
    }

    #[test]
    fn a_file_that_is_whole_is_asked_for_nothing() {
        let file = segment(&[], &pages(4));
        let elsewhere = Arc::new(Whole { files: Vec::new(), asked: Mutex::default() });
        let segments = Segments::new(vec![Segment::open(file).unwrap()]).unwrap();
        let segments = segments.with_elsewhere(elsewhere);
        let here = segments.here(segments.living()).unwrap();
        assert!(segments.living().iter().all(|slot| here.page(slot).is_ok()));
        assert!(here.fetched.is_empty());
    }
}
