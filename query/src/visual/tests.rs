//! The three ways to rank, held to the exact one.

use std::collections::HashSet;

use fastrand::Rng;
use pagesight_core::seam::{BoxError, QueryEncoder};
use pagesight_core::testing::FakeStore;
use pagesight_core::{DocumentId, NeutralQuestions, PageId, PageVectors};
use pagesight_maxsim::{
    Bits, ExactQuery, Instructions, Int8Page, Neutral, ResidualCoder, Segment, SegmentWriter,
    SketchCoder,
};
use proptest::prelude::*;

use super::sketched::chosen;
use super::*;
use crate::testing::{DIM, indexed, measured, noise, number, query};

/// The ranking by everything, with nothing taken off.
fn exact(
    store: &FakeStore,
    query: &QueryVectors,
    depth: usize,
    documents: DocumentFilter<'_>,
) -> Result<(Vec<(PageId, f32)>, Work), QueryError> {
    scan::rank(store, query, depth, documents, None).map(|(found, work)| (found.pages, work))
}

/// The ranking by codes, with nothing taken off.
fn by_codes(
    codes: &Segments,
    store: &FakeStore,
    query: &QueryVectors,
    depth: Depth,
    documents: DocumentFilter<'_>,
    effort: Effort,
) -> Result<(Vec<(PageId, f32)>, Work), CodesError> {
    let correction = None;
    let codes = Some(codes);
    let visual =
        Visual { source: store, codes, parts: None, query, depth, documents, effort, correction };
    let codes = visual.codes.expect("given above");
    let (found, work) = match visual.by_codes(codes)? {
        (_, Some(coded)) => coded.settle(&certified::Here::new(codes, store, query))?,
        (ranked, None) => ranked,
    };
    Ok((found.pages, work))
}

fn all(pages: usize) -> Depth {
    Depth { pages, certain: pages }
}

/// Pages of two documents, some of them copies: ties.
fn filled() -> (FakeStore, Segments, QueryVectors) {
    let mut random = Rng::with_seed(7);
    let mut page =
        |n: usize| if n % 10 == 9 { vec![0.25; DIM] } else { noise(&mut random, 1 + n % 5) };
    let pages: Vec<Vec<f32>> = (0..120).map(&mut page).collect();
    let (store, codes) = indexed(&pages);
    (store, codes, query(noise(&mut random, 3)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Pages that differ by less than the error of their codes, and copies of one another.
    #[test]
    fn codes_give_the_exact_ranking_of_pages_that_hardly_differ(
        seed in any::<u64>(), count in 1usize..90, kinds in 1usize..60, depth in 0usize..100,
        apart in prop::sample::select(vec![1e-3f32, 1e-2, 0.1, 1.0]),
    ) {
        let mut random = Rng::with_seed(seed);
        let common: Vec<f32> = noise(&mut random, 2);
        let mut near = |_| common.iter().map(|x| x + apart * number(&mut random)).collect();
        let kinds: Vec<Vec<f32>> = (0..kinds).map(&mut near).collect();
        let pages: Vec<Vec<f32>> = kinds.iter().cycle().take(count).cloned().collect();
        let (store, codes) = indexed(&pages);
        let query = query(noise(&mut random, 3));
        let (expected, _) = exact(&store, &query, depth, None).unwrap();
        let rank = |depth| {
            by_codes(&codes, &store, &query, depth, None, Effort::Auto).ok().unwrap()
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

/// An encoder that knows the neutral questions alone, one after another.
struct Known(Vec<QueryVectors>);

impl QueryEncoder for Known {
    fn encode_queries(&self, _: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        Ok(self.0.clone())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Pages that differ by less than the error of their codes, and in how many vectors they have,
    /// so that what is taken off decides between them.
    #[test]
    fn what_pages_give_to_any_question_is_taken_off_in_every_way(
        seed in any::<u64>(), count in 1usize..60, depth in 0usize..70,
        apart in prop::sample::select(vec![1e-3f32, 0.1, 1.0]),
        weight in prop::sample::select(vec![0.0f32, 0.3, 1.0, 1.5]),
        are_measured in any::<bool>(),
    ) {
        let mut random = Rng::with_seed(seed);
        let common: Vec<f32> = noise(&mut random, 6);
        let pages: Vec<Vec<f32>> = (0..count)
            .map(|_| {
                let rows = random.usize(1..=6);
                common[..rows * DIM].iter().map(|x| x + apart * number(&mut random)).collect()
            })
            .collect();
        let questions: Vec<QueryVectors> =
            (1..4).map(|tokens| query(noise(&mut random, tokens))).collect();
        let neutral = Neutral::new("ours", &questions).unwrap();
        let (store, codes) = measured(&pages, are_measured.then_some(&neutral));
        let query = query(noise(&mut random, 3));
        // Slowly and obviously, from the vectors alone.
        let bare = ExactQuery::new(&query);
        let mut expected: Vec<(PageId, f32)> = store
            .pages()
            .iter()
            .map(|page| {
                let page_vectors = page.vectors.as_ref().unwrap();
                let background = neutral.measure(page_vectors).unwrap().per_token;
                (page.id, bare.score(page_vectors).unwrap() - weight * 3.0 * background)
            })
            .collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        expected.truncate(depth);

        let record = NeutralQuestions { weight, questions: vec!["a".into()] };
        let encoder = Known(questions);
        let rank = |codes: Option<&Segments>, depth, effort| {
            let backgrounds = Backgrounds::new(record.clone());
            let correction = Correction::new(&backgrounds, Some(&encoder), &query);
            prop_assert_eq!(correction.is_some(), weight != 0.0);
            let ((found, work), notice) =
                Visual {
                    source: &store,
                    codes,
                    parts: None,
                    query: &query,
                    depth,
                    documents: None,
                    effort,
                    correction: correction.as_ref(),
                }
                .rank()
                .unwrap();
            prop_assert_eq!(notice, None);
            Ok((found, work))
        };
        let (without_codes, _) = rank(None, all(depth), Effort::Exact)?;
        prop_assert_eq!(&without_codes.pages, &expected);
        let (exact, _) = rank(Some(&codes), all(depth), Effort::Exact)?;
        let (certified, work) = rank(Some(&codes), all(depth), Effort::Auto)?;
        // What codes measured of an old index is another number, and the same in both.
        prop_assert_eq!(&certified.pages, &exact.pages);
        prop_assert_eq!(work.code, Code::Int8);
        if are_measured {
            prop_assert_eq!(&exact.pages, &expected);
        } else {
            let near = |a: &(PageId, f32), b: &(PageId, f32)| (a.1 - b.1).abs() < 0.2;
            prop_assert!(exact.pages.iter().zip(&expected).all(|(a, b)| near(a, b)));
        }
        // Of more than are certain the first are the same.
        let (more, _) = rank(Some(&codes), Depth { pages: depth + 9, certain: depth }, Effort::Auto)?;
        prop_assert_eq!(&more.pages[..exact.pages.len()], &exact.pages[..]);
        // The scale is that of all pages, whichever way they were scored.
        prop_assert_eq!((exact.scale.pages, certified.scale.pages), (count, count));
        prop_assert!((exact.scale.mean - certified.scale.mean).abs() < 0.1);
        // Sketches and codes alone lose what their errors lose, and no more.
        let (sketched, _) = rank(Some(&codes), all(depth), Effort::Best(count.div_ceil(2)))?;
        let own = |page| {
            let all = rank(None, all(count), Effort::Exact).unwrap().0.pages;
            all.iter().find(|(other, _)| *other == page).unwrap().1
        };
        for (page, score) in sketched.pages.iter().take(3) {
            prop_assert!((own(*page) - score).abs() < 0.3, "{} {score}", own(*page));
        }
    }
}

/// The query points where a code is off, so that errors reach their bounds, and the order by
/// code says little.
#[test]
fn codes_give_the_exact_ranking_where_their_errors_are_the_largest() {
    for seed in 0..200 {
        let mut random = Rng::with_seed(seed);
        let row: Vec<f32> = noise(&mut random, 1);
        let code = Int8Page::encode(&PageVectors::from_f32(DIM, &row).unwrap()).decode();
        let off: Vec<f32> = row.iter().zip(&code).map(|(x, code)| x - code).collect();
        let largest = code.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let bound: f32 = off.iter().map(|off| off * off).sum();
        let mut page = |_| -> Vec<f32> {
            // To codes beside it, unless that would change the scale, and as far back.
            let mut step = |code: &f32| {
                if code.abs() < largest {
                    number(&mut random).round() * largest / 127.0
                } else {
                    0.0
                }
            };
            let steps: Vec<f32> = code.iter().map(&mut step).collect();
            let gain: f32 = steps.iter().zip(&off).map(|(step, off)| step * off).sum();
            let along = (-gain / bound).clamp(-1.0, 1.0) + 0.1 * number(&mut random);
            let codes = code.iter().zip(&steps).map(|(code, step)| code + step);
            codes.zip(&off).map(|(code, off)| code + along * off).collect()
        };
        let pages: Vec<Vec<f32>> = (0..60).map(&mut page).collect();
        let (store, codes) = indexed(&pages);
        let query = query(off.iter().map(|x| x * 200.0).collect());
        for depth in [1, 3, 10] {
            let (expected, _) = exact(&store, &query, depth, None).unwrap();
            let ranked = by_codes(&codes, &store, &query, all(depth), None, Effort::Auto);
            assert_eq!(ranked.ok().unwrap().0, expected, "{seed} {depth}");
        }
    }
}

#[test]
fn codes_give_the_exact_ranking_at_every_depth() {
    let (store, codes, query) = filled();
    for depth in [1, 2, 10, 25, 119, 120, 500] {
        let (expected, read) = exact(&store, &query, depth, None).unwrap();
        let Ok((got, work)) = by_codes(&codes, &store, &query, all(depth), None, Effort::Auto)
        else {
            panic!("codes failed")
        };
        assert_eq!(got, expected, "{depth}");
        assert_eq!((read.seen, work.seen, work.code), (120, 120, Code::Int8));
        assert!(work.reranked >= depth.min(120));
    }
    let (_, work) = by_codes(&codes, &store, &query, all(1), None, Effort::Auto).ok().unwrap();
    assert!(work.reranked < 30, "{} of 120 were scored again", work.reranked);
}

#[test]
fn what_follows_the_certain_ranks_is_near_and_reads_no_vectors() {
    let (store, codes, query) = filled();
    let (exact, _) = exact(&store, &query, 120, None).unwrap();
    let score = |page| exact.iter().find(|(other, _)| *other == page).unwrap().1;
    let rank = |pages, certain| {
        let depth = Depth { pages, certain };
        by_codes(&codes, &store, &query, depth, None, Effort::Auto).ok().unwrap()
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
fn what_is_not_settled_is_in_the_order_of_codes_and_reads_no_vectors() {
    let (store, codes, query) = filled();
    let none = FakeStore::default();
    let rank = |source, effort, certain| {
        let (codes, depth) = (Some(&codes), Depth { pages: 30, certain });
        let (query, documents, correction) = (&query, None, None);
        let parts = None;
        let visual = Visual { source, codes, parts, query, depth, documents, effort, correction };
        let ((found, work), coded, notice) = visual.rank_by_code().unwrap();
        assert_eq!(notice, None);
        (found, work, coded.map(|coded| visual.settle(coded)))
    };
    // An empty store has no vectors to read.
    let (found, work, _) = rank(&none, Effort::Auto, 5);
    let (by_code, _) =
        by_codes(&codes, &none, &query, Depth { pages: 30, certain: 0 }, None, Effort::Auto)
            .ok()
            .unwrap();
    assert_eq!((found.pages, work.certain, work.reranked), (by_code, 0, 0));
    let (_, _, settled) = rank(&store, Effort::Auto, 5);
    let ((settled, work), notice) = settled.unwrap().unwrap();
    let expected = exact(&store, &query, 5, None).unwrap().0;
    assert_eq!((&settled.pages[..5], work.certain, notice), (&expected[..], 5, None));
    // Vectors that are missing are read no more than where they are asked for at once.
    let (_, _, settled) = rank(&none, Effort::Auto, 5);
    let (_, notice) = settled.unwrap().unwrap();
    assert!(matches!(notice, Some(Notice::CodesDamaged { .. })), "{notice:?}");
    // What was compared in another way has nothing to settle.
    for effort in [Effort::Exact, Effort::Best(40)] {
        assert!(rank(&store, effort, 5).2.is_none(), "{effort:?}");
    }
}

#[test]
fn any_number_of_threads_ranks_the_same() {
    let (store, codes, query) = filled();
    let ranking = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            by_codes(&codes, &store, &query, all(40), None, Effort::Auto).ok().unwrap().0
        })
    };
    assert_eq!(ranking(1), ranking(4));
}

#[test]
fn a_filter_holds_before_scoring() {
    let (store, codes, query) = filled();
    let within = HashSet::from([DocumentId::of(b"b")]);
    let (got, work) =
        by_codes(&codes, &store, &query, all(9), Some(&within), Effort::Auto).ok().unwrap();
    assert_eq!(got, exact(&store, &query, 9, Some(&within)).unwrap().0);
    assert_eq!(work.seen, 60);
}

#[test]
fn sketches_choose_and_int8_codes_rank() {
    let (store, codes, query) = filled();
    let rank = |depth, within, count| {
        let effort = Effort::Best(count);
        by_codes(&codes, &store, &query, all(depth), within, effort).ok().unwrap()
    };
    let (truth, _) = exact(&store, &query, 120, None).unwrap();
    let (best, work) = rank(3, None, 40);
    assert_eq!((work.code, work.seen, work.reranked), (Code::Sketch, 120, 40));
    assert_eq!(best[0].0, truth[0].0);
    for (page, score) in &best {
        let exact = truth.iter().find(|(other, _)| other == page).unwrap().1;
        assert!((score - exact).abs() < 0.05 * exact.abs(), "{score} {exact}");
    }
    // No fewer than are asked for, and all of them is the certified ranking.
    assert_eq!(rank(60, None, 5).1.reranked, 60);
    let (same, work) = rank(120, None, 120);
    assert_eq!((same, work.code), (truth, Code::Int8));
    let within = HashSet::from([DocumentId::of(b"b")]);
    let (best, work) = rank(9, Some(&within), 20);
    assert_eq!((work.seen, work.reranked, best.len()), (60, 20, 9));
    assert!(best.iter().all(|(page, _)| page.document == DocumentId::of(b"b")));
}

#[test]
fn residual_codes_rank_where_there_are_no_vectors() {
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
    // Nothing reads vectors: there are none in an empty store.
    let none = FakeStore::default();
    let rank = |depth, within, effort| {
        let depth = Depth { pages: depth, certain: depth };
        by_codes(&codes, &none, &query, depth, within, effort).ok().unwrap()
    };
    let (best, work) = rank(9, None, Effort::Auto);
    assert_eq!(best, expected[..9]);
    assert_eq!((work.code, work.seen, work.reranked), (Code::Residual, 120, 0));
    assert_eq!(work.certain, 0);
    let (best, work) = rank(3, None, Effort::Best(40));
    assert_eq!((work.code, work.again, work.reranked), (Code::Sketch, Code::Residual, 40));
    assert_eq!(best[0], expected[0]);
    let within = HashSet::from([DocumentId::of(b"b")]);
    let (best, work) = rank(9, Some(&within), Effort::Auto);
    assert_eq!((best.len(), work.seen), (9, 60));
    assert!(best.iter().all(|(page, _)| page.document == DocumentId::of(b"b")));
}

#[test]
fn the_pages_of_the_best_scores_are_chosen() {
    let (_, codes, _) = filled();
    let slots = codes.living();
    let scores: Vec<f32> = (0..slots.len()).map(|n| (n * 7 % 5) as f32).collect();
    let mut expected: Vec<usize> = (0..slots.len()).collect();
    expected.sort_by(|&a, &b| {
        scores[b].total_cmp(&scores[a]).then(codes.id(&slots[a]).cmp(&codes.id(&slots[b])))
    });
    for count in [0, 1, 7, 30, 119, 120, 999] {
        let mut got: Vec<PageId> =
            chosen(&codes, slots, &scores, count).iter().map(|(slot, _)| codes.id(slot)).collect();
        let mut best: Vec<PageId> =
            expected.iter().take(count).map(|&n| codes.id(&slots[n])).collect();
        got.sort_unstable();
        best.sort_unstable();
        assert_eq!(got, best, "{count}");
    }
}

#[test]
fn nothing_is_found_in_nothing() {
    let (_, _, query) = filled();
    let codes = Segments::default();
    let (got, _) =
        by_codes(&codes, &FakeStore::default(), &query, all(9), None, Effort::Auto).ok().unwrap();
    assert!(got.is_empty());
}
