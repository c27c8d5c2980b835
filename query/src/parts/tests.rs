//! Several parts beside one machine that has all of it.

use std::sync::Arc;

use fastrand::Rng;
use pagesight_core::seam::{BoxError, DocumentFilter, QueryEncoder};
use pagesight_core::testing::FakeStore;
use pagesight_core::{
    DocumentId, FoundWords, Frequencies, NeutralQuestions, PageId, QueryVectors, WordFacts,
};
use pagesight_maxsim::{
    Bits, Int8Page, Neutral, ResidualCoder, Segment, SegmentWriter, Segments, SketchCoder,
};
use proptest::prelude::*;

use super::*;
use crate::effort::Effort;
use crate::testing::{DIM, measured, noise, query};
use crate::visual::background::{Backgrounds, Correction};
use crate::visual::{Depth, Visual};

/// Words that nobody asks.
struct Silent;

impl pagesight_core::seam::WordsPart for Silent {
    fn facts(&self) -> WordFacts {
        WordFacts::default()
    }

    fn frequencies(&self, _: &str, _: &WordFacts) -> Result<Frequencies, BoxError> {
        Ok(Frequencies::default())
    }

    fn search_words(
        &self,
        _: &str,
        _: usize,
        _: DocumentFilter<'_>,
        _: (&WordFacts, &Frequencies),
    ) -> Result<FoundWords, BoxError> {
        Ok(FoundWords::default())
    }
}

/// Parts in one process. What is asked and answered goes through its written form, as between machines.
struct InOneProcess {
    store: FakeStore,
    parts: Vec<(Segments, Part)>,
    /// Which parts they say to be.
    said: Vec<[usize; 2]>,
    /// The one that does not answer.
    down: Option<usize>,
}

impl InOneProcess {
    fn new(store: FakeStore, parts: Vec<Segments>) -> Self {
        let part = |codes: Segments| {
            let part = Part::of(Some(&codes));
            (codes, part)
        };
        let said = (0..parts.len()).map(|at| [at, parts.len()]).collect();
        Self { store, parts: parts.into_iter().map(part).collect(), said, down: None }
    }
}

impl Parts for InOneProcess {
    fn ask(&self, ask: &Ask) -> Result<Vec<Reply>, QueryError> {
        let ask = serde_json::to_vec(ask).unwrap();
        let ask: Ask = serde_json::from_slice(&ask).unwrap();
        let answer = |(at, (codes, part)): (usize, &(Segments, Part))| {
            if self.down == Some(at) {
                let source = "connection refused".into();
                return Err(QueryError::Part { part: format!("part {at}"), source });
            }
            let (store, codes) = (&self.store, Some(codes));
            let part_said = self.said[at];
            let sources =
                PartSources { part: part_said, vectors: store, text: store, words: &Silent, codes };
            let reply = serde_json::to_vec(&part.answer(&sources, &ask)?).unwrap();
            Ok(serde_json::from_slice(&reply).unwrap())
        };
        self.parts.iter().enumerate().map(answer).collect()
    }
}

/// `pages` in files of so many pages each, some of them twice, and with a document that a later file
/// drops and adds again.
struct Files {
    store: FakeStore,
    files: Vec<Vec<u8>>,
}

impl Files {
    fn new(pages: &[Vec<f32>], each: usize, neutral: Option<&Neutral>, bits: Option<Bits>) -> Self {
        let (store, codes) = measured(pages, None);
        let ids: Vec<PageId> = codes.ids().collect();
        let vectors: Vec<_> = {
            use pagesight_core::seam::VectorSource;
            let mut found = store.vectors_of(&ids).unwrap();
            found.sort_by_key(|(id, _)| ids.iter().position(|other| other == id));
            found
        };
        let coder = SketchCoder::fit(vectors.iter().map(|(_, page)| page)).unwrap();
        let residual = bits.map(|bits| {
            let sample: Vec<_> = vectors.iter().map(|(_, page)| page.clone()).collect();
            ResidualCoder::fit(bits, &sample).unwrap()
        });
        let write = |pages: &[(PageId, pagesight_core::PageVectors)], drops: &[DocumentId]| {
            let mut writer = match &residual {
                None => SegmentWriter::new(Vec::new(), &coder),
                Some(residual) => SegmentWriter::residual(Vec::new(), &coder, residual.clone()),
            };
            drops.iter().for_each(|document| writer.drop_document(*document));
            for (id, page) in pages {
                let sketch = coder.encode(page).unwrap();
                match &residual {
                    None => writer.push(*id, &Int8Page::encode(page), &sketch).unwrap(),
                    Some(residual) => {
                        let code = residual.encode(page).unwrap();
                        writer.push_residual(*id, &code, None, &sketch).unwrap();
                    }
                }
                if let Some(neutral) = neutral {
                    writer.set_background(neutral.measure(page).unwrap());
                }
            }
            writer.finish().unwrap()
        };
        // The first pages lie twice, and a document is dropped and comes again.
        let again = ids[0].document;
        let of_again: Vec<_> =
            vectors.iter().filter(|(id, _)| id.document == again).cloned().collect();
        let mut files = vec![write(&vectors[..vectors.len().min(3)], &[])];
        files.extend(vectors.chunks(each).map(|pages| write(pages, &[])));
        files.push(write(&[], &[again]));
        files.push(write(&of_again, &[]));
        Self { store, files }
    }

    fn open(&self) -> Segments {
        let open = |file: &Vec<u8>| Segment::open(file.clone()).unwrap();
        Segments::new(self.files.iter().map(open).collect()).unwrap()
    }

    /// Shared out over `count` parts.
    fn parts(&self, count: usize, seed: u64) -> Vec<Segments> {
        let mut random = Rng::with_seed(seed);
        let of: Vec<usize> = self.files.iter().map(|_| random.usize(..count)).collect();
        (0..count).map(|part| self.open().part(|file| of[file] == part)).collect()
    }
}

/// An encoder that knows the vectors of one question.
struct Known(QueryVectors);

impl QueryEncoder for Known {
    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        Ok(queries.iter().map(|_| self.0.clone()).collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Exact, by sketches, by residual codes; with a filter, and with what pages give to any question.
    #[test]
    fn parts_rank_as_one_machine_does_to_the_last_bit(
        seed in any::<u64>(), count in 1usize..120, each in 1usize..40, shared in 1usize..5,
        depth in 1usize..60, certain in 0usize..20, effort in 0usize..3,
        bits in prop::sample::select(vec![None, None, Some(Bits::Four)]),
        stored in any::<bool>(), weight in prop::sample::select(vec![0.0f32, 0.7]),
        filtered in any::<bool>(),
    ) {
        let mut random = Rng::with_seed(seed);
        let page = |n: usize, random: &mut Rng| {
            if n % 7 == 6 { vec![0.25; DIM] } else { noise(random, 1 + n % 4) }
        };
        let pages: Vec<Vec<f32>> = (0..count).map(|n| page(n, &mut random)).collect();
        let neutral_question = query(noise(&mut random, 4));
        let neutral = Neutral::new("measured here", std::slice::from_ref(&neutral_question));
        let files = Files::new(&pages, each, neutral.as_ref().filter(|_| stored), bits);
        let query = query(noise(&mut random, 3));
        let effort = [Effort::Auto, Effort::Certified, Effort::Best(1 + count / 3)][effort];
        let documents = [DocumentId::of(b"a")].into_iter().collect();
        let documents = Some(&documents).filter(|_| filtered);
        let (depth, encoder) = (Depth { pages: depth, certain }, Known(neutral_question));
        let record = NeutralQuestions { weight, questions: vec!["a".into()] };

        let whole = files.open();
        let asked = InOneProcess::new(files.store.clone(), files.parts(shared, seed));
        let joined = Joined::open(Arc::new(asked)).unwrap();
        let rank = |codes, parts| {
            let backgrounds = Backgrounds::new(record.clone());
            let correction = Correction::new(&backgrounds, Some(&encoder), &query);
            let visual = Visual {
                source: &files.store, codes, parts, query: &query, depth, documents, effort,
                correction: correction.as_ref(),
            };
            let ((by_code, _), _, _) = visual.rank_by_code().unwrap();
            let ((found, work), notice) = visual.rank().unwrap();
            assert_eq!(notice, None);
            let bits = |found: pagesight_core::Found| {
                let pages: Vec<(PageId, u32)> =
                    found.pages.iter().map(|(page, score)| (*page, score.to_bits())).collect();
                let scale = found.scale;
                (pages, scale.pages, [scale.mean, scale.deviation, scale.most].map(f32::to_bits))
            };
            let work = (work.code, work.again, work.seen, work.reranked, work.certain);
            (bits(by_code), bits(found), work)
        };
        prop_assert_eq!(rank(Some(&whole), None), rank(None, Some(&joined)));
    }
}

#[test]
fn a_part_that_does_not_answer_is_an_error_and_no_shorter_answer() {
    let mut random = Rng::with_seed(3);
    let pages: Vec<Vec<f32>> = (0..40).map(|_| noise(&mut random, 2)).collect();
    let files = Files::new(&pages, 10, None, None);
    let mut asked = InOneProcess::new(files.store.clone(), files.parts(3, 1));
    asked.down = Some(2);
    let error = Joined::open(Arc::new(asked)).err().unwrap();
    assert!(matches!(&error, QueryError::Part { part, .. } if part == "part 2"), "{error}");
    let text = QueryError::Text(Box::new(error));
    assert!(text.of_part().is_some());
}

#[test]
fn parts_that_are_not_all_or_stand_twice_are_refused() {
    let mut random = Rng::with_seed(4);
    let pages: Vec<Vec<f32>> = (0..40).map(|_| noise(&mut random, 2)).collect();
    let files = Files::new(&pages, 10, None, None);
    for (said, is_whole) in [
        ([[0, 3], [1, 3], [2, 3]], true),
        ([[2, 3], [0, 3], [1, 3]], true),
        ([[0, 4], [1, 4], [2, 4]], false),
        ([[0, 3], [1, 3], [1, 3]], false),
        ([[0, 1], [0, 1], [0, 1]], false),
    ] {
        let mut asked = InOneProcess::new(files.store.clone(), files.parts(3, 1));
        asked.said = said.to_vec();
        match Joined::open(Arc::new(asked)) {
            Ok(_) => assert!(is_whole, "{said:?}"),
            Err(error) => {
                assert!(!is_whole, "{said:?}: {error}");
                assert!(error.to_string().contains(&format!("{}/{}", said[1][0], said[1][1])));
            }
        }
    }
}

#[test]
fn a_damaged_page_of_a_part_is_said_and_all_vectors_are_read() {
    let mut random = Rng::with_seed(5);
    let pages: Vec<Vec<f32>> = (0..30).map(|_| noise(&mut random, 2)).collect();
    let mut files = Files::new(&pages, 10, None, None);
    let last = files.files.len() - 1;
    files.files[last][0] ^= 1;
    let asked = InOneProcess::new(files.store.clone(), files.parts(3, 1));
    let joined = Joined::open(Arc::new(asked)).unwrap();
    let query = query(noise(&mut random, 3));
    let visual = |codes, parts| Visual {
        source: &files.store,
        codes,
        parts,
        query: &query,
        depth: Depth { pages: 10, certain: 5 },
        documents: None,
        effort: Effort::Auto,
        correction: None,
    };
    let ((found, _), notice) = visual(None, Some(&joined)).rank().unwrap();
    assert!(matches!(notice, Some(crate::Notice::CodesDamaged { .. })), "{notice:?}");
    let ((expected, _), _) = visual(None, None).rank().unwrap();
    assert_eq!(found, expected);
}
