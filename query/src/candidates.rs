//! The visual ranking: late interaction over codes first, and over the f16 masters only where the
//! codes leave a doubt.
//!
//! The int8 code of a page comes with a bound on its error. A page whose score and bound together
//! do not reach the exact score of the last of the best `certain` cannot be among these; all others
//! are scored again in full, the most promising first, so that the last of the best is soon known.
//! These ranks are the exact ones, to the last bit, at a fraction of the reading. (Candidates with
//! certificates are known from top-k joins; cf. Fagin, Lotem & Naor 2003, "Optimal aggregation
//! algorithms for middleware".) What follows them, for fusion with another channel, is ordered by
//! code.
//!
//! Where that would take too long, sketches of the pages choose those whose int8 codes are
//! compared: the ranking is then an approximation, and [`Work`] says so. So it is where an index
//! has residual codes in place of masters: they rank, and nothing can be compared again.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use pagesight_core::seam::{DocumentFilter, VectorSource};
use pagesight_core::{PageId, QueryVectors};
use pagesight_maxsim::{
    DimMismatch, Int8Query, PreparedQuery, Segment, SegmentError, Segments, Slot,
};
use rayon::prelude::*;

use crate::QueryError;

/// Masters held in memory at a time, pages: 68 MB at 1,030 vectors of dim 128.
const MASTERS: usize = 256;

/// Masters read at a time while the best so far may still rule the next ones out, pages: as many
/// as cost about as much to read as to ask for.
const AT_ONCE: usize = 16;

/// Sketches that a thread scans at a time: a megabyte.
const SKETCHES: usize = 256;

/// How pages were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Code {
    /// All masters were read.
    #[default]
    F16,
    /// int8 codes were scanned; masters decided wherever the error of the codes might matter.
    Int8,
    /// Residual codes were scanned, and rank: there are no masters.
    Residual,
    /// Sketches were scanned, pooled vectors in 2 bits; int8 or residual codes ranked the best of
    /// them.
    Sketch,
}

impl Code {
    /// The word used in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Residual => "residual",
            Self::Sketch => "sketch",
        }
    }
}

/// Whether sketches may choose the pages that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shortcut {
    /// When the int8 codes of all pages have more than [`EXACT_BYTES`], or residual codes half of
    /// that; a 128th of the pages is
    /// compared then, 1,024 to 8,192.
    #[default]
    Auto,
    /// Never: the ranking is exact.
    Never,
    /// Always, and that many pages are compared.
    Best(usize),
}

/// int8 codes that are scanned as a whole, bytes: 16,000 pages of 1,030 vectors, a tenth of a
/// second on two cores with AMX (see benches/results).
pub const EXACT_BYTES: usize = 2 << 30;

impl Shortcut {
    /// How many of `pages` to compare when they have `bytes` of codes; `None` for an exact scan.
    fn pages(self, pages: usize, bytes: usize) -> Option<usize> {
        let count = match self {
            Self::Never => None,
            Self::Auto if bytes <= EXACT_BYTES => None,
            Self::Auto => Some((pages / 128).clamp(1024, 8192)),
            Self::Best(count) => Some(count),
        };
        count.filter(|&count| count < pages)
    }
}

/// What the visual channel did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// The code that was scanned.
    pub code: Code,
    /// Pages scored in that code.
    pub seen: usize,
    /// Pages scored again.
    pub reranked: usize,
    /// The code of that.
    pub again: Code,
    /// First ranks that are those of exact MaxSim for certain; what follows is ordered by code.
    pub certain: usize,
    /// Scanning, with reading.
    pub scan: Duration,
    /// Scoring again, with reading.
    pub rerank: Duration,
}

/// Why the codes did not answer.
pub(crate) enum CodesError {
    /// A page of the codes is damaged, or the masters lack one.
    Damaged(String),
    Failed(QueryError),
}

impl From<QueryError> for CodesError {
    fn from(error: QueryError) -> Self {
        Self::Failed(error)
    }
}

impl From<DimMismatch> for CodesError {
    fn from(error: DimMismatch) -> Self {
        Self::Failed(error.into())
    }
}

impl From<CodeError> for CodesError {
    fn from(error: CodeError) -> Self {
        match error {
            CodeError::Damaged(error) => Self::Damaged(error.to_string()),
            CodeError::Dim(error) => error.into(),
        }
    }
}

/// A page scored by its code, and between which two scores its exact one lies.
struct Scored {
    slot: Slot,
    score: f32,
    least: f32,
    most: f32,
}

impl Scored {
    fn new(slot: Slot, score: f32, bound: f32) -> Self {
        Self { slot, score, least: (score - bound).next_down(), most: (score + bound).next_up() }
    }
}

/// How much of a ranking is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Pages.
    pub pages: usize,
    /// The first of them, whose ranks and scores are to be exact.
    pub certain: usize,
}

/// The best pages, ties by [`PageId`]: as far as they are to be certain the same as
/// [`rank_by_masters`] gives, unless `shortcut` takes one.
pub(crate) fn rank_by_codes(
    codes: &Segments,
    source: &dyn VectorSource,
    query: &QueryVectors,
    depth: Depth,
    documents: DocumentFilter<'_>,
    shortcut: Shortcut,
) -> Result<(Vec<(PageId, f32)>, Work), CodesError> {
    let slots = match documents {
        None => Cow::Borrowed(codes.living()),
        Some(within) => {
            let passes = |slot: &&Slot| within.contains(&slot.id.document);
            Cow::Owned(codes.living().iter().filter(passes).copied().collect())
        }
    };
    let all: usize = codes.segments().iter().map(Segment::len).sum();
    let bytes: usize = codes.segments().iter().map(Segment::bytes).sum();
    // A page of residual codes takes as long as one of int8, in half of the bytes.
    let bytes = bytes / all.max(1) * slots.len() * if codes.are_residual() { 2 } else { 1 };
    match shortcut.pages(slots.len(), bytes) {
        Some(count) => {
            let count = count.max(depth.pages);
            Ok(rank_by_sketches(codes, &slots, query, depth.pages, count)?)
        }
        None if codes.are_residual() => {
            let start = Instant::now();
            let mut best = Vec::new();
            keep_best(&mut best, by_code(codes, query, &slots)?, depth.pages);
            let (code, seen, scan) = (Code::Residual, slots.len(), start.elapsed());
            Ok((best, Work { code, again: code, seen, scan, ..Work::default() }))
        }
        None => rank_for_certain(codes, &slots, source, query, depth),
    }
}

/// The scores of `slots` by their codes, int8 or residual.
fn by_code(
    codes: &Segments,
    query: &QueryVectors,
    slots: &[Slot],
) -> Result<Vec<(PageId, f32)>, CodeError> {
    if codes.are_residual() {
        let queries = codes.residual_queries(query)?;
        let score = |slot: &Slot| Ok((slot.id, codes.score_residual(&queries, slot)?));
        return slots.par_iter().map(score).collect();
    }
    let coded = Int8Query::new(query);
    let score = |slot: &Slot| Ok((slot.id, coded.score_view(&codes.page(slot)?)?));
    slots.par_iter().map(score).collect()
}

/// The `depth` best by code of the `count` best by sketch.
fn rank_by_sketches(
    codes: &Segments,
    slots: &[Slot],
    query: &QueryVectors,
    depth: usize,
    count: usize,
) -> Result<(Vec<(PageId, f32)>, Work), CodeError> {
    let start = Instant::now();
    let queries = codes.sketch_queries(query)?;
    let mut scores = vec![0.0; slots.len()];
    let parts = scores.par_chunks_mut(SKETCHES).zip(slots.par_chunks(SKETCHES));
    parts.try_for_each(|(scores, slots)| -> Result<(), CodeError> {
        scores.copy_from_slice(&codes.score_sketches(&queries, slots)?);
        Ok(())
    })?;
    let mut chosen = chosen(slots, &scores, count);
    let again = if codes.are_residual() { Code::Residual } else { Code::Int8 };
    let mut work = Work { code: Code::Sketch, again, seen: slots.len(), ..Work::default() };
    (work.reranked, work.scan) = (chosen.len(), start.elapsed());
    let start = Instant::now();
    // In the order of the files.
    chosen.sort_unstable_by_key(|slot| (slot.segment, slot.index));
    let mut best = Vec::new();
    keep_best(&mut best, by_code(codes, query, &chosen)?, depth);
    work.rerank = start.elapsed();
    Ok((best, work))
}

/// The `count` best of `slots` by `scores`, ties by [`PageId`], in any order.
fn chosen(slots: &[Slot], scores: &[f32], count: usize) -> Vec<Slot> {
    let last = at_rank(scores.to_vec(), count);
    let reaches = |(_, score): &(&Slot, &f32)| last.total_cmp(score).is_le();
    let mut best: Vec<(&Slot, &f32)> = slots.iter().zip(scores).filter(reaches).collect();
    best.sort_unstable_by(|a, b| b.1.total_cmp(a.1).then(a.0.id.cmp(&b.0.id)));
    best.into_iter().take(count).map(|(slot, _)| *slot).collect()
}

/// The score of the page at rank `count` from 1; below all where there are fewer, or none is asked
/// for.
fn at_rank(mut scores: Vec<f32>, count: usize) -> f32 {
    match count.checked_sub(1).filter(|&last| last < scores.len()) {
        Some(last) => *scores.select_nth_unstable_by(last, |a, b| b.total_cmp(a)).1,
        None => f32::NEG_INFINITY,
    }
}

/// The best pages: int8 codes say which might be among the certain ones, masters which are.
///
/// Masters are read in the order of what the pages have at most, the best by code first, until no
/// page that is left can reach the last of the best. Pages in doubt are first compared with the
/// query as it is, not rounded: that halves the bound and reads nothing.
fn rank_for_certain(
    codes: &Segments,
    slots: &[Slot],
    source: &dyn VectorSource,
    query: &QueryVectors,
    depth: Depth,
) -> Result<(Vec<(PageId, f32)>, Work), CodesError> {
    let start = Instant::now();
    let coded = Int8Query::new(query);
    let score = |slot: &Slot| -> Result<Scored, CodeError> {
        let page = codes.page(slot)?;
        Ok(Scored::new(*slot, coded.score_view(&page)?, coded.bound_view(&page)))
    };
    let scored: Result<Vec<Scored>, CodeError> = slots.par_iter().map(score).collect();
    let mut scored = scored?;
    let certain = depth.certain.min(scored.len());
    let mut work = Work { code: Code::Int8, seen: scored.len(), certain, ..Work::default() };
    let last = at_rank(scored.iter().map(|page| page.least).collect(), certain);
    // All that may be certain or follow.
    let next = at_rank(scored.iter().map(|page| page.score).collect(), depth.pages);
    scored.retain(|page| page.most >= last || page.score >= next);
    scored.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.slot.id.cmp(&b.slot.id)));
    work.scan = start.elapsed();

    let start = Instant::now();
    let exact = PreparedQuery::new(query);
    let mut best = Vec::new();
    let mut compare = |pages: &[Scored], best: &mut Vec<(PageId, f32)>| {
        work.reranked += pages.len();
        let pages: Vec<PageId> = pages.iter().map(|page| page.slot.id).collect();
        for pages in pages.chunks(MASTERS) {
            keep_best(best, score_all(&exact, &masters(source, pages)?)?, certain);
        }
        Ok::<(), CodesError>(())
    };
    compare(&scored[..certain], &mut best)?;
    let closer = |page: &Scored| -> Result<Scored, CodeError> {
        let view = codes.page(&page.slot)?;
        Ok(Scored::new(page.slot, exact.score_code(&view)?, exact.bound_code(&view)))
    };
    let in_doubt = scored[certain..].par_iter().filter(|page| reaches(page, &best, certain));
    let in_doubt: Result<Vec<Scored>, CodeError> = in_doubt.map(closer).collect();
    let mut in_doubt = in_doubt?;
    in_doubt.sort_unstable_by(|a, b| b.most.total_cmp(&a.most).then(a.slot.id.cmp(&b.slot.id)));
    let mut rest = &in_doubt[..];
    loop {
        let few = &rest[..rest.len().min(AT_ONCE)];
        let few = &few[..few.partition_point(|page| reaches(page, &best, certain))];
        if few.is_empty() {
            break;
        }
        compare(few, &mut best)?;
        rest = &rest[few.len()..];
    }
    let ranked: HashSet<PageId> = best.iter().map(|(page, _)| *page).collect();
    let others = scored.iter().filter(|page| !ranked.contains(&page.slot.id));
    // What is known of them exactly is that they have no more than the last certain one.
    let last = best.last().map_or(f32::INFINITY, |last| last.1);
    let others = others.map(|page| (page.slot.id, page.score.min(last)));
    best.extend(others.take(depth.pages.saturating_sub(certain)));
    work.rerank = start.elapsed();
    Ok((best, work))
}

/// Whether a page may be among the `count` best when these are the best so far; one that has just
/// the score of the last of them may have the smaller [`PageId`].
fn reaches(page: &Scored, best: &[(PageId, f32)], count: usize) -> bool {
    match count.checked_sub(1) {
        Some(last) => best.get(last).is_none_or(|last| page.most >= last.1),
        None => false,
    }
}

fn masters(source: &dyn VectorSource, pages: &[PageId]) -> Result<Vec<Page>, CodesError> {
    let masters = source.vectors_of(pages).map_err(QueryError::Vectors)?;
    match pages.len() - masters.len() {
        0 => Ok(masters),
        missing => {
            Err(CodesError::Damaged(format!("{missing} pages of the codes have no vectors")))
        }
    }
}

enum CodeError {
    Damaged(SegmentError),
    Dim(DimMismatch),
}

impl From<SegmentError> for CodeError {
    fn from(error: SegmentError) -> Self {
        Self::Damaged(error)
    }
}

impl From<DimMismatch> for CodeError {
    fn from(error: DimMismatch) -> Self {
        Self::Dim(error)
    }
}

/// The `depth` best pages by exact MaxSim over all masters, ties by [`PageId`].
pub(crate) fn rank_by_masters(
    source: &dyn VectorSource,
    query: &QueryVectors,
    depth: usize,
    documents: DocumentFilter<'_>,
) -> Result<(Vec<(PageId, f32)>, Work), QueryError> {
    let start = Instant::now();
    let prepared = PreparedQuery::new(query);
    let mut best: Vec<(PageId, f32)> = Vec::new();
    let mut seen = 0;
    let mut mismatch = None;
    source
        .scan(documents, &mut |pages| match score_all(&prepared, pages) {
            Ok(scores) => {
                seen += scores.len();
                keep_best(&mut best, scores, depth);
            }
            Err(error) => mismatch = Some(error),
        })
        .map_err(QueryError::Vectors)?;
    match mismatch {
        Some(error) => Err(error.into()),
        None => {
            let (certain, scan) = (best.len(), start.elapsed());
            Ok((best, Work { seen, certain, scan, ..Work::default() }))
        }
    }
}

type Page = (PageId, pagesight_core::PageVectors);

fn score_all(query: &PreparedQuery, pages: &[Page]) -> Result<Vec<(PageId, f32)>, DimMismatch> {
    pages.par_iter().map(|(id, page)| Ok((*id, query.score(page)?))).collect()
}

fn keep_best(best: &mut Vec<(PageId, f32)>, more: Vec<(PageId, f32)>, depth: usize) {
    best.extend(more);
    best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    best.truncate(depth);
}

#[cfg(test)]
mod tests {
    use pagesight_core::seam::{Batch, PageSink};
    use pagesight_core::testing::{FakeStore, document_record, page_record};
    use pagesight_core::{DocumentId, PageVectors};
    use pagesight_maxsim::{
        Bits, Instructions, Int8Page, ResidualCoder, Segment, SegmentWriter, SketchCoder,
    };
    use proptest::prelude::*;

    use super::*;

    const DIM: usize = 16;

    fn noise(state: &mut u64) -> f32 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn all(pages: usize) -> Depth {
        Depth { pages, certain: pages }
    }

    /// Pages of two documents, some of them copies: ties.
    fn filled() -> (FakeStore, Segments, QueryVectors) {
        let mut state = 7;
        let mut page = |n: usize| match n % 10 {
            9 => vec![0.25; DIM],
            _ => (0..(1 + n % 5) * DIM).map(|_| noise(&mut state)).collect(),
        };
        let pages: Vec<Vec<f32>> = (0..120).map(&mut page).collect();
        let (store, codes) = indexed(&pages);
        (store, codes, query((0..3 * DIM).map(|_| noise(&mut state)).collect()))
    }

    /// `pages`, each `[n, DIM]`, by turns of two documents.
    fn indexed(pages: &[Vec<f32>]) -> (FakeStore, Segments) {
        let mut store = FakeStore::default();
        let documents = [DocumentId::of(b"a"), DocumentId::of(b"b")];
        let record = |(n, rows): (usize, &Vec<f32>)| {
            page_record(documents[n % 2], n as u32 / 2 + 1, "words", Some((DIM, rows)))
        };
        let pages: Vec<_> = pages.iter().enumerate().map(record).collect();
        let vectors = || pages.iter().map(|page| page.vectors.as_ref().unwrap());
        let coder = SketchCoder::fit(vectors()).unwrap();
        let mut writer = SegmentWriter::new(Vec::new(), &coder);
        for (page, vectors) in pages.iter().zip(vectors()) {
            let sketch = coder.encode(vectors).unwrap();
            writer.push(page.id, &Int8Page::encode(vectors), &sketch).unwrap();
        }
        let records = documents.map(|id| document_record(&id.to_string(), id, 60)).to_vec();
        store.commit(Batch { documents: records, pages, ..Batch::default() }).unwrap();
        let segment = Segment::open(writer.finish().unwrap()).unwrap();
        (store, Segments::new(vec![segment]).unwrap())
    }

    fn query(values: Vec<f32>) -> QueryVectors {
        let tokens = vec![String::new(); values.len() / DIM];
        QueryVectors::new(DIM, values, tokens).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Pages that differ by less than the error of their codes, and copies of one another.
        #[test]
        fn codes_give_the_exact_ranking_of_pages_that_hardly_differ(
            seed in any::<u64>(), count in 1usize..90, kinds in 1usize..60, depth in 0usize..100,
            apart in prop::sample::select(vec![1e-3f32, 1e-2, 0.1, 1.0]),
        ) {
            let mut state = seed;
            let common: Vec<f32> = (0..2 * DIM).map(|_| noise(&mut state)).collect();
            let mut near = |_| common.iter().map(|x| x + apart * noise(&mut state)).collect();
            let kinds: Vec<Vec<f32>> = (0..kinds).map(&mut near).collect();
            let pages: Vec<Vec<f32>> = kinds.iter().cycle().take(count).cloned().collect();
            let (store, codes) = indexed(&pages);
            let query = query((0..3 * DIM).map(|_| noise(&mut state)).collect());
            let (expected, _) = rank_by_masters(&store, &query, depth, None).unwrap();
            let rank = |depth| {
                rank_by_codes(&codes, &store, &query, depth, None, Shortcut::Auto).ok().unwrap()
            };
            let (got, work) = rank(all(depth));
            prop_assert_eq!(&got, &expected);
            prop_assert!(work.reranked >= depth.min(count) && work.reranked <= count);
            // The first of more are the same.
            let (got, work) = rank(Depth { pages: depth + 30, certain: depth });
            prop_assert_eq!(work.certain, depth.min(count));
            prop_assert_eq!(&got[..work.certain], &expected[..]);
            prop_assert_eq!(got.len(), count.min(depth + 30));
            prop_assert!(got.is_sorted_by(|a, b| a.1 >= b.1));
            let pages: HashSet<PageId> = got.iter().map(|(page, _)| *page).collect();
            prop_assert_eq!(pages.len(), got.len());
        }
    }

    /// The query points where a code is off, so that errors reach their bounds, and the order by
    /// code says little.
    #[test]
    fn codes_give_the_exact_ranking_where_their_errors_are_the_largest() {
        for seed in 0..200 {
            let mut state = seed;
            let row: Vec<f32> = (0..DIM).map(|_| noise(&mut state)).collect();
            let code = Int8Page::encode(&PageVectors::from_f32(DIM, &row).unwrap()).decode();
            let off: Vec<f32> = row.iter().zip(&code).map(|(x, code)| x - code).collect();
            let largest = code.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let bound: f32 = off.iter().map(|off| off * off).sum();
            let mut page = |_| -> Vec<f32> {
                // To codes beside it, unless that would change the scale, and as far back.
                let mut step = |code: &f32| match code.abs() < largest {
                    true => noise(&mut state).round() * largest / 127.0,
                    false => 0.0,
                };
                let steps: Vec<f32> = code.iter().map(&mut step).collect();
                let gain: f32 = steps.iter().zip(&off).map(|(step, off)| step * off).sum();
                let along = (-gain / bound).clamp(-1.0, 1.0) + 0.1 * noise(&mut state);
                let codes = code.iter().zip(&steps).map(|(code, step)| code + step);
                codes.zip(&off).map(|(code, off)| code + along * off).collect()
            };
            let pages: Vec<Vec<f32>> = (0..60).map(&mut page).collect();
            let (store, codes) = indexed(&pages);
            let query = query(off.iter().map(|x| x * 200.0).collect());
            for depth in [1, 3, 10] {
                let (expected, _) = rank_by_masters(&store, &query, depth, None).unwrap();
                let ranked =
                    rank_by_codes(&codes, &store, &query, all(depth), None, Shortcut::Auto);
                assert_eq!(ranked.ok().unwrap().0, expected, "{seed} {depth}");
            }
        }
    }

    #[test]
    fn codes_give_the_exact_ranking_at_every_depth() {
        let (store, codes, query) = filled();
        for depth in [1, 2, 10, 25, 119, 120, 500] {
            let (expected, masters) = rank_by_masters(&store, &query, depth, None).unwrap();
            let Ok((got, work)) =
                rank_by_codes(&codes, &store, &query, all(depth), None, Shortcut::Auto)
            else {
                panic!("codes failed")
            };
            assert_eq!(got, expected, "{depth}");
            assert_eq!((masters.seen, work.seen, work.code), (120, 120, Code::Int8));
            assert!(work.reranked >= depth.min(120));
        }
        let (_, work) =
            rank_by_codes(&codes, &store, &query, all(1), None, Shortcut::Auto).ok().unwrap();
        assert!(work.reranked < 30, "{} of 120 were scored again", work.reranked);
    }

    #[test]
    fn what_follows_the_certain_ranks_is_near_and_reads_no_masters() {
        let (store, codes, query) = filled();
        let (exact, _) = rank_by_masters(&store, &query, 120, None).unwrap();
        let score = |page| exact.iter().find(|(other, _)| *other == page).unwrap().1;
        let rank = |pages, certain| {
            let depth = Depth { pages, certain };
            rank_by_codes(&codes, &store, &query, depth, None, Shortcut::Auto).ok().unwrap()
        };
        let (few, read) = rank(5, 5);
        let (many, work) = rank(60, 5);
        assert_eq!((&many[..5], work.reranked, work.certain), (&few[..], read.reranked, 5));
        assert_eq!(&few[..], &exact[..5]);
        let last = exact[59].1;
        for &(page, near) in &many[5..] {
            let error = (near - score(page)).abs();
            assert!(error < 0.03 * score(page).abs(), "{near} {}", score(page));
            assert!(score(page) > last - 0.06 * last.abs(), "{} {last}", score(page));
        }
        let (none, work) = rank(60, 0);
        assert_eq!((none.len(), work.reranked, work.certain), (60, 0, 0));
    }

    #[test]
    fn any_number_of_threads_ranks_the_same() {
        let (store, codes, query) = filled();
        let ranking = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                rank_by_codes(&codes, &store, &query, all(40), None, Shortcut::Auto).ok().unwrap().0
            })
        };
        assert_eq!(ranking(1), ranking(4));
    }

    #[test]
    fn a_filter_holds_before_scoring() {
        let (store, codes, query) = filled();
        let within = std::collections::HashSet::from([DocumentId::of(b"b")]);
        let (got, work) =
            rank_by_codes(&codes, &store, &query, all(9), Some(&within), Shortcut::Auto)
                .ok()
                .unwrap();
        assert_eq!(got, rank_by_masters(&store, &query, 9, Some(&within)).unwrap().0);
        assert_eq!(work.seen, 60);
    }

    #[test]
    fn sketches_choose_and_int8_codes_rank() {
        let (store, codes, query) = filled();
        let rank = |depth, within, count| {
            let shortcut = Shortcut::Best(count);
            rank_by_codes(&codes, &store, &query, all(depth), within, shortcut).ok().unwrap()
        };
        let (truth, _) = rank_by_masters(&store, &query, 120, None).unwrap();
        let (best, work) = rank(3, None, 40);
        assert_eq!((work.code, work.seen, work.reranked), (Code::Sketch, 120, 40));
        assert_eq!(best[0].0, truth[0].0);
        for (page, score) in &best {
            let exact = truth.iter().find(|(other, _)| other == page).unwrap().1;
            assert!((score - exact).abs() < 0.05 * exact.abs(), "{score} {exact}");
        }
        // No fewer than are asked for, and all of them are no shortcut.
        assert_eq!(rank(60, None, 5).1.reranked, 60);
        let (same, work) = rank(120, None, 120);
        assert_eq!((same, work.code), (truth, Code::Int8));
        let within = std::collections::HashSet::from([DocumentId::of(b"b")]);
        let (best, work) = rank(9, Some(&within), 20);
        assert_eq!((work.seen, work.reranked, best.len()), (60, 20, 9));
        assert!(best.iter().all(|(page, _)| page.document == DocumentId::of(b"b")));
    }

    #[test]
    fn residual_codes_rank_where_there_are_no_masters() {
        let (store, _, query) = filled();
        let pages: Vec<(PageId, PageVectors)> =
            store.pages().iter().map(|page| (page.id, page.vectors.clone().unwrap())).collect();
        let all: Vec<PageVectors> = pages.iter().map(|(_, page)| page.clone()).collect();
        let (sketches, coder) =
            (SketchCoder::fit(&all).unwrap(), ResidualCoder::fit(Bits::Four, &all).unwrap());
        let mut writer = SegmentWriter::residual(Vec::new(), &sketches, coder.clone());
        for (id, page) in &pages {
            let code = coder.encode(page).unwrap();
            writer.push_residual(*id, &code, None, &sketches.encode(page).unwrap()).unwrap();
        }
        let segment = Segment::open(writer.finish().unwrap()).unwrap();
        let codes = Segments::new(vec![segment]).unwrap();
        let asked = coder.query(Instructions::best(), &[&query]).unwrap();
        let score = |page: &PageVectors| asked.score(&coder.encode(page).unwrap()).unwrap();
        let mut expected: Vec<(PageId, f32)> =
            pages.iter().map(|(id, page)| (*id, score(page))).collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        // Nothing reads masters: there are none in an empty store.
        let none = FakeStore::default();
        let rank = |depth, within, shortcut| {
            let depth = Depth { pages: depth, certain: depth };
            rank_by_codes(&codes, &none, &query, depth, within, shortcut).ok().unwrap()
        };
        let (best, work) = rank(9, None, Shortcut::Auto);
        assert_eq!(best, expected[..9]);
        assert_eq!((work.code, work.seen, work.reranked), (Code::Residual, 120, 0));
        assert_eq!(work.certain, 0);
        let (best, work) = rank(3, None, Shortcut::Best(40));
        assert_eq!((work.code, work.again, work.reranked), (Code::Sketch, Code::Residual, 40));
        assert_eq!(best[0], expected[0]);
        let within = std::collections::HashSet::from([DocumentId::of(b"b")]);
        let (best, work) = rank(9, Some(&within), Shortcut::Auto);
        assert_eq!((best.len(), work.seen), (9, 60));
        assert!(best.iter().all(|(page, _)| page.document == DocumentId::of(b"b")));
    }

    #[test]
    fn the_pages_of_the_best_scores_are_chosen() {
        let (_, codes, _) = filled();
        let slots = codes.living();
        let scores: Vec<f32> = (0..slots.len()).map(|n| (n * 7 % 5) as f32).collect();
        let mut expected: Vec<usize> = (0..slots.len()).collect();
        expected
            .sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(slots[a].id.cmp(&slots[b].id)));
        for count in [0, 1, 7, 30, 119, 120, 999] {
            let mut got: Vec<PageId> = chosen(slots, &scores, count).iter().map(|s| s.id).collect();
            let mut best: Vec<PageId> = expected.iter().take(count).map(|&n| slots[n].id).collect();
            got.sort_unstable();
            best.sort_unstable();
            assert_eq!(got, best, "{count}");
        }
    }

    #[test]
    fn a_shortcut_is_taken_where_a_scan_would_take_long() {
        let auto = |pages, bytes| Shortcut::Auto.pages(pages, bytes);
        assert_eq!(auto(20_000, EXACT_BYTES), None);
        assert_eq!(auto(20_000, EXACT_BYTES + 1), Some(1024));
        assert_eq!(auto(100_000, 100_000 * 138_000), Some(1024));
        assert_eq!(auto(1_000_000, 1_000_000 * 16_000), Some(7812));
        assert_eq!(auto(10_000_000, usize::MAX), Some(8192));
        assert_eq!(auto(1000, EXACT_BYTES + 1), None);
        assert_eq!(Shortcut::Never.pages(9, usize::MAX), None);
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        let (_, _, query) = filled();
        let codes = Segments::default();
        let (got, _) =
            rank_by_codes(&codes, &FakeStore::default(), &query, all(9), None, Shortcut::Auto)
                .ok()
                .unwrap();
        assert!(got.is_empty());
    }
}
