use fastrand::Rng;
use pagesight_core::seam::{Batch, BoxError, PageSink, PassageEncoder, QueryEncoder};
use pagesight_core::testing::{
    FakeEncoder, FakePassageEncoder, FakeStore, document_record, page_record,
};
use pagesight_core::{DocumentId, Fusion, QueryToken, Slices};
use pagesight_maxsim::DimMismatch;
use proptest::prelude::*;

use super::*;
use crate::passages::{PassageSource, PassageWeights};
use crate::question_vectors::{VECTORS_OF_A_PAGE, vectors_of_page};
use crate::testing::{DIM, coded, noise, number, query};

fn store() -> (FakeStore, DocumentId) {
    let mut store = FakeStore::default();
    let id = DocumentId::of(b"doc");
    let row = |seed: f32| [seed, 1.0 - seed, 0.3, 0.2];
    let pages = (1..=7)
        .map(|n| {
            let vectors = row(n as f32 / 7.0);
            page_record(id, n, &format!("page number{n} words"), Some((4, &vectors)))
        })
        .collect();
    let documents = vec![document_record("doc.pdf", id, 7)];
    store.commit(Batch { documents, pages, ..Batch::default() }).unwrap();
    (store, id)
}

const BOTH: [Channel; 2] = [Channel::Patches, Channel::Words];

fn encoder() -> FakeEncoder {
    FakeEncoder::new(8, Slices::default())
}

fn ask(
    store: &FakeStore,
    encoder: Option<&dyn QueryEncoder>,
    question: impl Into<Question>,
    with: impl FnOnce(&mut Request<'_>),
) -> Result<Ranking, QueryError> {
    let question = question.into();
    let mut request = Request::new(&question);
    with(&mut request);
    search(&Sources { encoder, ..Sources::new(store, store) }, &request)
}

fn numbers(ranking: &Ranking) -> Vec<u32> {
    ranking.hits.iter().map(|hit| hit.page.number).collect()
}

/// Asks words and passages of pages with these texts.
fn meant(texts: &[&str], question: &str) -> (Ranking, Ranking) {
    let mut store = FakeStore::default();
    let id = DocumentId::of(b"doc");
    let pages: Vec<_> = (1..).zip(texts).map(|(n, text)| page_record(id, n, text, None)).collect();
    let ids: Vec<PageId> = pages.iter().map(|page| page.id).collect();
    let documents = vec![document_record("doc.pdf", id, texts.len() as u32)];
    store.commit(Batch { documents, pages, ..Batch::default() }).unwrap();
    let encoder = FakePassageEncoder::default();
    let encoded = encoder.encode_texts(texts).unwrap();
    let pages = ids.iter().zip(&encoded);
    let pages: Vec<_> = pages.filter_map(|(id, page)| Some((*id, page.as_ref()?))).collect();
    let pooled: Vec<_> = pages.iter().map(|(id, page)| (*id, &page.pooled)).collect();
    let tokens: Vec<_> = pages.iter().map(|(id, page)| (*id, &page.tokens)).collect();
    let (pooled, tokens) = (coded(&pooled), coded(&tokens));
    let passages = Some(PassageSource { encoder: &encoder, pooled: &pooled, tokens: &tokens });
    let sources = Sources { passages, ..Sources::new(&store, &store) };
    let question = Question::from(question);
    let ask = |channels: &[Channel]| {
        let channels = channels.to_vec();
        search(&sources, &Request { channels, ..Request::new(&question) }).unwrap()
    };
    (ask(&[Channel::Words, Channel::Passages]), ask(&[Channel::Words]))
}

#[test]
fn words_count_by_how_much_of_the_question_their_best_page_has() {
    let texts = ["red house\ngreen door", "blue sky", "grey sea", "white sand", "sun"];
    let shares =
        ["green door", "green door of an old barn by the river", "purple sun"].map(|question| {
            let (both, words) = meant(&texts, question);
            let said = |of: &Ranking| *of.hits[0].channel(Channel::Words).unwrap();
            let best = said(&words).share.unwrap();
            let weight = PassageWeights::default().of_words(best);
            for hit in &both.hits {
                let Some(said) = hit.channel(Channel::Words) else { continue };
                assert!((said.part - weight * said.z).abs() < 1e-5, "{question}: {said:?}");
            }
            // Alone they count as they are.
            assert_eq!(said(&words).part, said(&words).score);
            best
        });
    let enough = PassageWeights::default().enough;
    assert!(shares[0] > shares[1] && shares[1] < enough, "{shares:?}");
}

#[test]
fn passages_find_what_words_do_not_and_say_where() {
    let texts = ["red house\ngreen door", "blue sky", "", "a green door\nand a red house"];
    let (both, words) = meant(&texts, "green door");
    assert_eq!(both.channels, [Channel::Words, Channel::Passages]);
    assert!(both.notices.is_empty());
    // A page without a word of the question is found by the other channel alone.
    assert!(words.hits.len() < both.hits.len());
    let first = &both.hits[0];
    assert_eq!(first.page.number, 1);
    assert_eq!(both.passages[0].map(|found| found.passage), Some(1));
    let parts: f32 = first.channels.iter().map(|said| said.part).sum();
    assert!((first.score - parts).abs() < 1e-5, "{first:?}");
    assert!(both.hits.iter().all(|hit| hit.page.number != 3), "no words, no meaning");
}

#[test]
fn a_question_that_is_not_understood_is_answered_as_without_passages() {
    let texts = ["дом красный 12", "небо", "12 13"];
    for question in ["дом", "12", "", "\"12 13\""] {
        let (both, words) = meant(&texts, question);
        assert_eq!((both.channels, both.hits), (words.channels, words.hits), "{question}");
        assert!(both.notices.is_empty());
    }
}

#[test]
fn the_visual_ranking_is_the_brute_force_ranking() {
    let (store, _) = store();
    let encoder = encoder();
    let ranking = ask(&store, Some(&encoder), "number3 words", |request| {
        (request.channels, request.k) = (vec![Channel::Patches], 3);
    })
    .unwrap();
    let query = &encoder.encode_queries(&["number3 words"]).unwrap()[0];
    let mut expected: Vec<(PageId, f64)> = store
        .pages()
        .iter()
        .map(|page| {
            let rows: Vec<f32> =
                page.vectors.as_ref().unwrap().values().iter().map(|v| v.to_f32()).collect();
            (page.id, pagesight_maxsim::maxsim_reference(4, query.values(), &rows))
        })
        .collect();
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    let got: Vec<PageId> = ranking.hits.iter().map(|h| h.page).collect();
    let expected: Vec<PageId> = expected.iter().take(3).map(|e| e.0).collect();
    assert_eq!(got, expected);
    assert_eq!(ranking.work.seen, 7);
}

#[test]
fn both_channels_show_in_a_fused_hit() {
    let (store, _) = store();
    let ranking = ask(&store, Some(&encoder()), "number3 words", |_| ()).unwrap();
    assert_eq!((ranking.hits.len(), &ranking.channels[..]), (7, &BOTH[..]));
    assert!(ranking.hits.iter().all(|hit| BOTH.iter().all(|c| hit.channel(*c).is_some())));
    let third = ranking.hits.iter().find(|hit| hit.page.number == 3).unwrap();
    assert_eq!(third.channel(Channel::Words).unwrap().rank, 1);
    assert_eq!(ranking.notices, []);
    assert!(ranking.matches.is_empty());
    // Matches name the bytes of the question.
    let ranking = ask(&store, Some(&encoder()), "number3 words", |r| r.explain = true).unwrap();
    assert_eq!(ranking.matches.len(), 7);
    let spans: Vec<_> = ranking.matches[0].iter().map(|found| found.span.clone()).collect();
    assert_eq!(spans, [None, Some(0..7), Some(8..13)]);
}

#[test]
fn a_channel_that_cannot_answer_is_passed_over_while_another_can() {
    let (store, id) = store();
    let ranking = ask(&store, None, "number3 words", |request| request.k = 1).unwrap();
    assert_eq!((numbers(&ranking), ranking.asked(Channel::Patches)), (vec![3], false));
    assert_eq!(ranking.notices, [Notice::NoModel]);
    let ask = |channels: &[Channel], question: Question, encoder| {
        ask(&store, encoder, question, |request| request.channels = channels.to_vec())
    };
    let words = || Question::from("number3 words");
    let alone = ask(&[Channel::Patches], words(), None);
    assert!(matches!(alone, Err(QueryError::NoModel)));
    let vectors = || Question::from(QueryVectors::of_rows(4, vec![0.5; 4]).unwrap());
    let alone = ask(&[Channel::Words], vectors(), None);
    assert!(matches!(alone, Err(QueryError::NoWords)));
    assert!(matches!(ask(&[], words(), None), Err(QueryError::NothingAsked)));
    let passages = Channel::Passages;
    let model = encoder();
    let alone = ask(&[passages], words(), Some(&model));
    assert!(matches!(alone, Err(QueryError::NoChannel { channel }) if channel == passages));
    let ranking = ask(&[passages, Channel::Words], words(), None).unwrap();
    assert_eq!(ranking.notices, [Notice::NoChannel { channel: passages }]);
    let nowhere = PageId { document: id, number: 99 };
    let error = ask(&BOTH, nowhere.into(), None).unwrap_err();
    assert!(matches!(error, QueryError::NoVectors { page } if page == nowhere));
}

#[test]
fn vectors_made_elsewhere_find_what_the_model_would() {
    let (store, _) = store();
    let vectors = encoder().encode_queries(&["number3 words"]).unwrap().remove(0);
    for words in [None, Some("number3 words".to_string())] {
        let channels = if words.is_some() { BOTH.to_vec() } else { vec![Channel::Patches] };
        let expected = ask(&store, Some(&encoder()), "number3 words", |request| {
            request.channels = channels.clone();
        });
        let question = Question::Vectors { vectors: vectors.clone(), words };
        let got = ask(&store, None, question, |_| ()).unwrap();
        assert_eq!((&got.hits, got.channels), (&expected.unwrap().hits, channels));
    }
}

#[test]
fn more_like_a_page_finds_its_like_and_not_itself() {
    let (mut store, id) = store();
    // A large page, and its twin with a few other vectors.
    let row = |n: usize| {
        let row = [(n % 7) as f32 - 3.0, (n % 5) as f32 - 2.0, (n % 3) as f32, 1.0];
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.map(|x| x / length)
    };
    let large: Vec<f32> = (0..300).flat_map(row).collect();
    let twin: Vec<f32> = (5..305).flat_map(row).collect();
    let pages =
        vec![page_record(id, 8, "", Some((4, &large))), page_record(id, 9, "", Some((4, &twin)))];
    store.commit(Batch { pages, ..Batch::default() }).unwrap();
    let page = |number| PageId { document: id, number };
    for k in [1, 3, 20] {
        let like = ask(&store, None, page(8), |request| request.k = k).unwrap();
        assert_eq!((like.hits[0].page, like.hits.len()), (page(9), k.min(8)));
        assert!(like.hits.iter().all(|hit| hit.page != page(8)));
        assert_eq!(like.hits[0].channels[0].rank, 1);
        assert_eq!((&like.channels[..], like.work.certain), (&[Channel::Patches][..], k.min(8)));
    }
    // Few vectors are taken as they are, many are merged.
    let vectors = |number| vectors_of_page(&store, page(number)).unwrap();
    assert_eq!(vectors(3).len(), 1);
    assert!((32..=VECTORS_OF_A_PAGE).contains(&vectors(8).len()), "{}", vectors(8).len());
    let question = Question::Page { page: page(8), words: Some("number3".into()) };
    let like = ask(&store, None, question, |request| request.explain = true).unwrap();
    assert_eq!(like.channels, BOTH);
    assert_eq!(like.matches[0].len(), vectors(8).len());
    assert!(like.matches[0].iter().all(|found| found.token.parse::<usize>().unwrap() < 300));
}

#[test]
fn a_page_without_words_is_found_by_its_patches() {
    let (mut store, id) = store();
    let vectors = store.pages()[2].vectors.clone().unwrap();
    let mut scan = page_record(id, 8, "", None);
    scan.vectors = Some(vectors);
    store.commit(Batch { pages: vec![scan], ..Batch::default() }).unwrap();
    let ranking = ask(&store, Some(&encoder()), "number3 words", |request| {
        request.fusion = Fusion { visual_weight: 0.0, visual_margin: 0.0 };
    })
    .unwrap();
    let place = |number| ranking.hits.iter().position(|hit| hit.page.number == number).unwrap();
    // It looks as page 3 does, which the words put first.
    assert_eq!((place(3), ranking.hits.len()), (0, 8));
    let score = |hit: &Hit| hit.channel(Channel::Patches).unwrap().score;
    let better = |hit: &Hit| score(hit) >= score(&ranking.hits[place(8)]);
    let before = ranking.hits[..place(8)].iter().filter(|hit| better(hit)).count();
    assert_eq!(before, place(8));
    let words = ask(&store, Some(&encoder()), "number3 words", |request| {
        request.channels = vec![Channel::Words];
    });
    assert!(words.unwrap().hits.iter().all(|hit| hit.page.number != 8));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Pages that hardly differ, so that codes put them in another order than vectors do.
    #[test]
    fn patches_that_weigh_nothing_are_read_only_where_their_order_matters(
        seed in any::<u64>(),
        texts in prop::collection::vec((prop::sample::select(TEXTS.to_vec()), 0usize..60), 1..50),
        k in 1usize..15,
    ) {
        let mut random = Rng::with_seed(seed);
        let mut store = FakeStore::default();
        let id = DocumentId::of(b"doc");
        let common = noise(&mut random, 3);
        let pages: Vec<_> = (1..)
            .zip(&texts)
            .map(|(n, (text, more))| {
                // A few have no words at all.
                let more = if text.is_empty() && *more > 54 { 0 } else { more + 1 };
                let text = format!("{text}{}", " other".repeat(more));
                let rows: Vec<f32> =
                    common.iter().map(|x| x + 0.01 * number(&mut random)).collect();
                page_record(id, n, text.trim(), Some((DIM, &rows)))
            })
            .collect();
        let documents = vec![document_record("doc.pdf", id, texts.len() as u32)];
        store.commit(Batch { documents, pages, ..Batch::default() }).unwrap();
        let pages = store.pages();
        let vectors = pages.iter().map(|page| (page.id, page.vectors.as_ref().unwrap()));
        let vectors: Vec<_> = vectors.collect();
        let codes = coded(&vectors);
        let vectors = query(noise(&mut random, 4));
        let words = Some("apples pears plums".to_string());
        let question = Question::Vectors { vectors, words };
        let sources = Sources { codes: Some(&codes), ..Sources::new(&store, &store) };
        let ask = |effort, explain| {
            let fusion = Fusion { visual_weight: 0.0, visual_margin: 0.0 };
            let request = Request { k, effort, explain, fusion, ..Request::new(&question) };
            search(&sources, &request).unwrap()
        };
        let (quick, whole) = (ask(Effort::Auto, false), ask(Effort::Certified, false));
        let said = |ranking: &Ranking| -> Vec<(PageId, f32)> {
            ranking.hits.iter().map(|hit| (hit.page, hit.score)).collect()
        };
        prop_assert_eq!(said(&quick), said(&whole));
        prop_assert!(whole.work.certain >= k.min(texts.len()));
        if quick.work.certain == 0 {
            // Each was found by words of its own.
            prop_assert_eq!(quick.work.reranked, 0);
            let by_words = |hit: &Hit| hit.channel(Channel::Words).is_some();
            prop_assert!(quick.hits.iter().all(by_words));
        }
        // Who asks why gets the exact scores.
        prop_assert_eq!(&ask(Effort::Auto, true).hits, &whole.hits);
    }
}

/// What pages begin with.
const TEXTS: [&str; 7] = [
    "apples",
    "pears and apples",
    "plums, plums and more plums",
    "apples pears plums",
    "a long text of nothing that anybody asked for",
    "pears in a long text of other things",
    "",
];

#[test]
fn letters_that_the_model_has_no_pieces_for_leave_the_order_to_words() {
    struct Bytes(usize);
    impl QueryEncoder for Bytes {
        fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
            let token = |i| QueryToken { spelled: i >= self.0, ..QueryToken::special("re") };
            // Page 7 looks like it, page 3 reads like it.
            let values = [1.0, 0.0, 0.3, 0.2].repeat(4);
            let query = QueryVectors::new(4, values, (0..4).map(token).collect())?;
            Ok(vec![query; queries.len()])
        }
    }
    let (store, _) = store();
    for (bytes, first) in [(2, 7), (3, 3)] {
        let ranking = ask(&store, Some(&Bytes(bytes)), "number3 words", |request| {
            request.fusion = Fusion { visual_weight: 9.0, visual_margin: 0.0 };
        })
        .unwrap();
        assert_eq!((numbers(&ranking)[0], ranking.hits.len()), (first, 7));
        let expected = (first == 3).then_some(Notice::Unspelled { unspelled: 3, tokens: 4 });
        assert_eq!(ranking.notices, Vec::from_iter(expected));
    }
    // Page 8 has no words, and looks most like what cannot be read.
    let (mut more, id) = (store.clone(), store.pages()[0].id.document);
    let scan = page_record(id, 8, "", Some((4, &[1.0, 0.0, 0.3, 0.2])));
    more.commit(Batch { pages: vec![scan], ..Batch::default() }).unwrap();
    let ranking = ask(&more, Some(&Bytes(4)), "number3 words", |_| ()).unwrap();
    assert_eq!((numbers(&ranking)[0], ranking.hits.len()), (3, 7));
    let nowhere = ask(&more, Some(&Bytes(4)), "审计意见", |_| ()).unwrap();
    assert_eq!(nowhere.hits, []);
    // Alone, the patches are no less trusted.
    let ranking = ask(&store, Some(&Bytes(4)), "number3 words", |request| {
        request.channels = vec![Channel::Patches];
    });
    let ranking = ranking.unwrap();
    assert_eq!((numbers(&ranking)[0], &ranking.notices[..]), (7, &[][..]));
}

#[test]
fn what_is_quoted_is_required_of_every_channel() {
    let (store, _) = store();
    let pages = |question: &str| numbers(&ask(&store, Some(&encoder()), question, |_| ()).unwrap());
    assert_eq!(pages("number3").len(), 7);
    // The fake index splits at spaces: this one word is on page 3 alone.
    assert_eq!(pages("\" number3 \""), [3]);
}

#[test]
fn a_filter_holds_in_every_channel() {
    let (store, _) = store();
    let none = HashSet::from([DocumentId::of(b"another")]);
    let question = Question::from("number3 words");
    let request = Request { documents: Some(&none), ..Request::new(&question) };
    let encoder = encoder();
    let sources = Sources { encoder: Some(&encoder), ..Sources::new(&store, &store) };
    assert!(search(&sources, &request).unwrap().hits.is_empty());
}

#[test]
fn vectors_of_another_dim_are_refused() {
    let (mut store, id) = store();
    let pages = vec![page_record(id, 8, "", Some((2, &[1.0, 0.0])))];
    store.commit(Batch { pages, ..Batch::default() }).unwrap();
    let error = ask(&store, Some(&encoder()), "number3 words", |_| ()).unwrap_err();
    assert!(matches!(error, QueryError::Dim(DimMismatch { query: 4, page: 2 })));
    assert_eq!(
        pagesight_core::chain(&error),
        "the query does not fit the stored vectors: query vectors have dim 4, page vectors 2"
    );
}
