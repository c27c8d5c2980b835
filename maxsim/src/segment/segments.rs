//! The segments of one snapshot as a search sees them: their pages, without those that later
//! segments replaced or dropped.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use pagesight_core::{DocumentId, PageId, PageVectors, QueryVectors};

use pagesight_simd::Instructions;

use super::elsewhere::Elsewhere;
use super::read::{Segment, SegmentError};
use crate::background::Background;
use crate::codes::{Int8View, ResidualQuery, SketchCoder, SketchQuery};
use crate::error::DimMismatch;

/// Where a page lies: in which segment, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Index of the segment.
    pub segment: u32,
    /// Index in the segment.
    pub index: u32,
}

/// The segments of one snapshot, the oldest first, and the pages that are left of them.
#[derive(Default)]
pub struct Segments {
    segments: Vec<Segment>,
    living: Vec<Slot>,
    /// Which segments are searched here; `None` for all.
    mine: Option<Vec<bool>>,
    pub(super) elsewhere: Option<Arc<dyn Elsewhere>>,
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segments({:?}, {} living pages)", self.segments, self.living.len())
    }
}

impl Segments {
    /// Joins `segments`, the oldest first. Of a page that is in several the latest copy counts, and
    /// a document that a segment drops has no pages in earlier ones.
    ///
    /// # Errors
    /// [`SegmentError::Dim`] when the segments differ in dim, [`SegmentError::Kinds`] when only
    /// some are in residual codes.
    pub fn new(segments: Vec<Segment>) -> Result<Self, SegmentError> {
        if let Some(other) = segments.iter().find(|other| other.dim() != segments[0].dim()) {
            return Err(DimMismatch { query: segments[0].dim(), page: other.dim() }.into());
        }
        let residual = segments.iter().filter(|s| s.residual_coder().is_some()).count();
        if residual > 0 && residual < segments.len() {
            return Err(SegmentError::Kinds);
        }
        let living = living(&segments);
        Ok(Self { segments, living, mine: None, elsewhere: None })
    }

    /// Says where codes come from that the files here have no copy of; see [`here`](Self::here).
    #[must_use]
    pub fn with_elsewhere(self, elsewhere: Arc<dyn Elsewhere>) -> Self {
        Self { elsewhere: Some(elsewhere), ..self }
    }

    /// Leaves the pages of those segments for which `is_mine` is true: the part of one machine, where
    /// several have the segments of an index. The lists of the others say which pages later segments
    /// replaced or dropped.
    #[must_use]
    pub fn part(mut self, is_mine: impl Fn(usize) -> bool) -> Self {
        let mine: Vec<bool> = (0..self.segments.len()).map(is_mine).collect();
        self.living.retain(|slot| mine[slot.segment as usize]);
        self.mine = Some(mine);
        self
    }

    /// Pages and bytes of the files that are searched here, replaced and dropped pages included.
    pub fn extent(&self) -> (usize, usize) {
        let is_mine = |at: usize| self.mine.as_ref().is_none_or(|mine| mine[at]);
        let mine = self.segments.iter().enumerate().filter(|&(at, _)| is_mine(at));
        mine.fold((0, 0), |(pages, bytes), (_, one)| (pages + one.len(), bytes + one.bytes()))
    }

    /// Whether all codes are in the files, for all that is known here.
    pub fn are_whole(&self) -> bool {
        self.elsewhere.is_none()
    }

    /// The living pages, in the order in which they lie in the files.
    pub fn living(&self) -> &[Slot] {
        &self.living
    }

    /// Which page lies there.
    pub fn id(&self, slot: &Slot) -> PageId {
        self.segments[slot.segment as usize].id(slot.index as usize)
    }

    /// Which pages the living ones are, in the order in which they lie in the files.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = PageId> + ExactSizeIterator + '_ {
        self.living.iter().map(|slot| self.id(slot))
    }

    /// The codes of a page, which must be in the file: [`here`](Self::here) sees to that.
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    pub fn page(&self, slot: &Slot) -> Result<Int8View<'_>, SegmentError> {
        self.segments[slot.segment as usize].page(slot.index as usize)
    }

    /// What a page gives to neutral questions; `None` where it was not measured.
    pub fn background(&self, slot: &Slot) -> Option<Background> {
        self.segments[slot.segment as usize].background(slot.index as usize)
    }

    /// Whether pages are in residual codes.
    pub fn are_residual(&self) -> bool {
        self.segments.first().is_some_and(|segment| segment.residual_coder().is_some())
    }

    /// Lays `query` out for the residual codes of each file.
    ///
    /// # Errors
    /// [`DimMismatch`] when its dim is another one.
    pub fn residual_queries(
        &self,
        query: &QueryVectors,
    ) -> Result<Vec<ResidualQuery>, DimMismatch> {
        let coders = self.segments.iter().filter_map(Segment::residual_coder);
        coders.map(|coder| coder.query(Instructions::best(), &[query])).collect()
    }

    /// An estimate of MaxSim for a page in residual codes; `queries` come from
    /// [`residual_queries`](Self::residual_queries).
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    pub fn score_residual(
        &self,
        queries: &[ResidualQuery],
        slot: &Slot,
    ) -> Result<f32, SegmentError> {
        let page = self.segments[slot.segment as usize].residual_page(slot.index as usize)?;
        Ok(queries[slot.segment as usize].score(page).expect("one dim in an index"))
    }

    /// The vectors that the residual codes of a page stand for, with their places.
    ///
    /// # Errors
    /// [`SegmentError::Page`].
    pub fn vectors(&self, slot: &Slot) -> Result<PageVectors, SegmentError> {
        self.segments[slot.segment as usize].vectors(slot.index as usize)
    }

    /// Lays `query` out for the sketches of each file.
    ///
    /// # Errors
    /// [`DimMismatch`] when its dim is another one.
    pub fn sketch_queries(&self, query: &QueryVectors) -> Result<Vec<SketchQuery>, DimMismatch> {
        let lay_out = |segment: &Segment| SketchCoder::around(segment.mean().to_vec()).query(query);
        self.segments.iter().map(lay_out).collect()
    }

    /// Estimates of MaxSim for the pages `slots`; `queries` come from
    /// [`sketch_queries`](Self::sketch_queries). Fastest where the slots follow each other as in
    /// [`living`](Self::living).
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

/// The pages of `segments` that count.
///
/// Pages of a document lie side by side, and most documents are in one segment alone: whether a page is
/// replaced is asked for the documents that are in several.
fn living(segments: &[Segment]) -> Vec<Slot> {
    let in_several = in_several(segments);
    let (mut dropped, mut seen) = (HashSet::new(), HashSet::new());
    let mut living = Vec::with_capacity(segments.iter().map(Segment::len).sum());
    for (segment, content) in segments.iter().enumerate().rev() {
        for run in runs(content).into_iter().rev() {
            let document = content.id(run.start).document;
            if dropped.contains(&document) {
                continue;
            }
            let may_be_replaced = in_several.contains(&document);
            for index in run.rev() {
                if !may_be_replaced || seen.insert(content.id(index)) {
                    living.push(Slot { segment: segment as u32, index: index as u32 });
                }
            }
        }
        dropped.extend(content.dropped());
    }
    living.reverse();
    living
}

/// The documents that are in more than one of `segments`.
fn in_several(segments: &[Segment]) -> HashSet<DocumentId> {
    let (mut several, mut later) = (HashSet::new(), HashMap::new());
    if segments.len() < 2 {
        return several;
    }
    for (number, segment) in segments.iter().enumerate().rev() {
        for run in runs(segment) {
            let document = segment.id(run.start).document;
            // Nothing comes before the first: its documents need not be remembered.
            let other = if number == 0 {
                later.get(&document).copied()
            } else {
                Some(*later.entry(document).or_insert(number))
            };
            if other.is_some_and(|other| other != number) {
                several.insert(document);
            }
        }
    }
    several
}

/// Where the pages of a document lie side by side in a segment.
fn runs(segment: &Segment) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut last = None;
    for index in 0..segment.len() {
        let document = segment.id(index).document;
        match runs.last_mut() {
            Some(run) if last == Some(document) => run.end = index + 1,
            _ => runs.push(index..index + 1),
        }
        last = Some(document);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::testing::{coder, id, page, residual, segment};
    use crate::testing::query;
    use crate::{Bits, Int8Page, Int8Query, ResidualCoder, SegmentWriter};

    fn open(files: &[&Vec<u8>]) -> Segments {
        let segments = files.iter().map(|&file| Segment::open(file.clone()).unwrap());
        Segments::new(segments.collect()).unwrap()
    }

    fn ids(segments: &Segments) -> Vec<PageId> {
        segments.ids().collect()
    }

    #[test]
    fn a_page_scores_as_its_code_does() {
        let query = Int8Query::new(&query(3, vec![0.5, 0.25, 1.0]));
        let segments = open(&[&segment(&[], &[(id(1, 1), 0.1), (id(1, 2), 0.9)])]);
        for (slot, seed) in segments.living().iter().zip([0.1, 0.9]) {
            let (view, code) = (segments.page(slot).unwrap(), Int8Page::encode(&page(seed)));
            assert_eq!(query.score(&view), query.score(&code));
            assert_eq!(query.bound(&view), query.bound(&code));
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
            let seed = first.iter().find(|(id, _)| *id == segments.id(slot)).unwrap().1;
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

    /// The documents that a segment drops, and its pages with their seeds.
    type Written = (Vec<u8>, Vec<(PageId, f32)>);

    /// What counts, page by page: the latest copy of each, if no later segment drops its document.
    fn slowly(files: &[Written]) -> Vec<PageId> {
        let counts = |number: usize, page: &PageId| {
            files[number + 1..].iter().all(|(dropped, pages)| {
                !dropped.contains(&page.document.0[0]) && pages.iter().all(|(id, _)| id != page)
            })
        };
        let pages = |number: usize| files[number].1.iter().map(|(page, _)| *page);
        (0..files.len())
            .flat_map(|number| pages(number).filter(move |page| counts(number, page)))
            .collect()
    }

    #[test]
    fn what_lives_is_what_a_look_at_every_page_finds() {
        let mut state = 5u64;
        let mut below = |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % most
        };
        for _ in 0..200 {
            let mut files = Vec::new();
            for _ in 0..below(5) {
                let dropped: Vec<u8> = (0..below(3)).map(|_| below(6) as u8).collect();
                let mut pages: Vec<(PageId, f32)> = Vec::new();
                for _ in 0..below(12) {
                    // Neighbours are mostly of one document, and a page is in a segment once.
                    let same = pages.last().filter(|_| below(3) > 0);
                    let document = same.map_or(below(6) as u8, |(page, _)| page.document.0[0]);
                    let page = id(document, below(5) as u32);
                    if pages.iter().all(|(other, _)| *other != page) {
                        pages.push((page, 0.1));
                    }
                }
                files.push((dropped, pages));
            }
            let written: Vec<Vec<u8>> =
                files.iter().map(|(dropped, pages)| segment(dropped, pages)).collect();
            let segments = open(&written.iter().collect::<Vec<_>>());
            assert_eq!(ids(&segments), slowly(&files), "{files:?}");
        }
    }

    #[test]
    fn parts_have_every_living_page_once() {
        let first = segment(&[], &[(id(1, 1), 0.1), (id(1, 2), 0.2), (id(2, 1), 0.3)]);
        let second = segment(&[2], &[(id(1, 2), 0.4), (id(3, 1), 0.5)]);
        let third = segment(&[3], &[(id(3, 2), 0.6)]);
        let whole = open(&[&first, &second, &third]);
        let parts = [0, 1].map(|part| open(&[&first, &second, &third]).part(|at| at % 2 == part));
        assert_eq!(ids(&parts[0]), [id(1, 1), id(3, 2)]);
        // Its copy of the first segment is replaced by one that the other part has.
        assert_eq!(ids(&parts[1]), [id(1, 2)]);
        let extents = parts.each_ref().map(Segments::extent);
        assert_eq!(whole.extent(), (extents[0].0 + extents[1].0, extents[0].1 + extents[1].1));
    }

    #[test]
    fn residual_codes_score_as_each_page_alone() {
        let coder = coder(Bits::Four);
        let first = residual(&coder, &[], &[(id(1, 1), 0.1), (id(1, 2), 0.9)]);
        // Other centres: each file is asked with its own.
        let other = ResidualCoder::fit(Bits::Four, &[page(0.5)]).unwrap();
        let segments = open(&[&first, &residual(&other, &[], &[(id(2, 1), 0.4)])]);
        assert!(segments.are_residual());
        let q = query(3, vec![0.5, 0.25, 1.0]);
        let queries = segments.residual_queries(&q).unwrap();
        for (slot, (coder, seed)) in
            segments.living().iter().zip([(&coder, 0.1), (&coder, 0.9), (&other, 0.4)])
        {
            let code = coder.encode(&page(seed)).unwrap();
            let expected = coder.query(Instructions::best(), &[&q]).unwrap().score(&code);
            assert_eq!(segments.score_residual(&queries, slot), Ok(expected.unwrap()));
            assert_eq!(segments.vectors(slot).unwrap().len(), 2);
        }
    }

    #[test]
    fn segments_of_two_kinds_do_not_go_together() {
        let int8 = segment(&[], &[(id(1, 1), 0.1)]);
        let files = [int8, residual(&coder(Bits::Two), &[], &[(id(1, 2), 0.1)])];
        let segments = files.map(|file| Segment::open(file).unwrap());
        assert_eq!(Segments::new(segments.into()).unwrap_err(), SegmentError::Kinds);
    }

    #[test]
    fn an_empty_segment_is_one() {
        let empty = open(&[&segment(&[], &[])]);
        assert!(empty.living().is_empty() && empty.segments()[0].is_empty());
        assert!(open(&[]).living().is_empty());
    }
}
