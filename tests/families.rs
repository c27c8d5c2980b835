//! Models of every family behind one index: each keeps to its own vectors, whatever their dim is and
//! however many a page has.

use std::fs;
use std::sync::Arc;

use pagesight::eval::{CODES, COMPACT};
use pagesight::index::{StoreError, SyncOptions};
use pagesight::model::{
    BoxError, EncodedPage, Model, ModelId, ModelRecord, PageEncoder, PageImage, PageSize,
    PageVectors, PatchLayout, PictureSize, QueryEncoder, QueryVectors,
};
use pagesight::search::{Channel, Code, Effort, maxsim_reference};
use pagesight::{Answer, Error, Index, upkeep};

use crate::library::index;
use crate::random::Random;
use crate::{Place, fixtures, of_type};

/// Small checkpoints, one a family. All but that of ColQwen3.5 have vectors of 128 numbers, so that
/// no length gives another's away.
const CHECKPOINTS: [&str; 7] = [
    "parity/hf",
    "parity-neomme/hf",
    "parity-colqwen2/hf",
    "parity-colqwen2.5/engine",
    "parity-colqwen3.5/engine",
    "parity-colmodernvbert/hf",
    "parity-colsmol/engine",
];

fn checkpoint(name: &str) -> String {
    fixtures().join(name).display().to_string()
}

/// Every file of an index and its bytes.
fn files(folder: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            all.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn an_index_of_one_family_refuses_the_model_of_every_other() {
    for (n, own) in CHECKPOINTS.iter().enumerate() {
        let place = Place::with(&["form.pdf"]);
        let made = ["index", "--json", "--no-ocr", "--model", &checkpoint(own), "."];
        let made = of_type(&place.json(0, &made), "summary")[0].clone();
        assert_eq!(made["pages"]["indexed"], 2, "{own}");
        // The next of the list, and for the first all.
        let others = CHECKPOINTS.iter().cycle().skip(n + 1).take(if n == 0 { 6 } else { 1 });
        for other in others {
            let other = checkpoint(other);
            let before = files(&place.path().join(".pagesight/codes"));
            for arguments in [
                &["query", "--channel", "visual", "--model", &other, "travel"][..],
                &["query", "--model", &other, "travel"],
                &["index", "--no-ocr", "--model", &other, "."],
            ] {
                let ran = place.run(arguments);
                assert_eq!(ran.code, 2, "{own}, {arguments:?}: {}", ran.out);
                let said = ran.err.contains("the index was made with model");
                assert!(said && ran.err.contains("vectors of two models"), "{own}: {}", ran.err);
                assert!(ran.out.is_empty(), "{own}: {}", ran.out);
            }
            assert_eq!(files(&place.path().join(".pagesight/codes")), before, "{own}");
        }
        // Its own still answers, and every vector is as it was written.
        let ask = ["query", "--json", "--all", "--channel", "visual", "travel"];
        let lines = place.json(0, &ask);
        assert_eq!(of_type(&lines, "summary")[0]["model_id"], made["model_id"]);
        assert_eq!(of_type(&lines, "hit").len(), 2, "{own}");
        assert_eq!(place.run(&["verify"]).code, 0, "{own}");
    }
}

/// The small ColQwen3.5 has vectors of 80 numbers, which is no multiple of what kernels take at
/// once.
#[test]
fn vectors_of_80_numbers_are_searched_tuned_and_made_compact() {
    let place = Place::with(&["papers/chart.pdf", "form.pdf", "slides.pdf"]);
    let model = checkpoint("parity-colqwen3.5/engine");
    place.json(0, &["index", "--json", "--no-ocr", "--model", &model, "."]);
    let ask = ["query", "--json", "-k", "3", "--channel", "visual", "travel expenses"];
    let summary = of_type(&place.json(0, &ask), "summary")[0].clone();
    assert_eq!((&summary["code"], &summary["exact_ranks"]), (&"int8".into(), &3.into()));
    place.json(0, &["tune", "--json", "--compare", "10"]);
    let summary = of_type(&place.json(0, &ask), "summary")[0].clone();
    assert_eq!((&summary["code"], &summary["pages_reranked"]), (&"sketch".into(), &10.into()));
    place.json(0, &["tune", "--reset", "--json"]);
    let done = place.json(0, &["compact", "--json", "--max-loss", "100%"]);
    assert_eq!(of_type(&done, "compact")[0]["done"], true);
    let summary = of_type(&place.json(0, &ask), "summary")[0].clone();
    assert_eq!(summary["code"], "residual");
    assert_eq!(place.run(&["verify"]).code, 0);
}

/// A model of any dim: it gives a page 20 to 139 vectors that depend on its picture, and a question
/// one a word.
struct Wide {
    id: ModelId,
    dim: usize,
}

impl Wide {
    fn new(dim: usize) -> Arc<Self> {
        Arc::new(Self { id: ModelId(format!("wide-{dim}")), dim })
    }

    fn rows(&self, seed: &[u8], count: usize) -> Vec<f32> {
        let hash = blake3::hash(seed);
        let mut random = Random::new(u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()));
        let mut rows = Vec::with_capacity(count * self.dim);
        for _ in 0..count {
            let row: Vec<f32> =
                (0..self.dim).map(|_| random.below(1 << 20) as f32 - (1 << 19) as f32).collect();
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            rows.extend(row.iter().map(|v| v / length));
        }
        rows
    }
}

impl PageEncoder for Wide {
    fn model_id(&self) -> &ModelId {
        &self.id
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn picture(&self, _: PageSize) -> PictureSize {
        PictureSize { width_px: 60, height_px: 80 }
    }

    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError> {
        let encode = |page: &PageImage| {
            let count = 20 + usize::from(blake3::hash(page.rgb()).as_bytes()[31]) % 120;
            let vectors = PageVectors::from_f32(self.dim, &self.rows(page.rgb(), count))?;
            Ok(EncodedPage::new(vectors, PatchLayout::grid(count as u32, 1))?)
        };
        pages.iter().map(encode).collect()
    }
}

impl QueryEncoder for Wide {
    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        let encode = |query: &&str| {
            let words = query.split_whitespace();
            let rows = words.flat_map(|word| self.rows(word.as_bytes(), 1)).collect();
            QueryVectors::of_rows(self.dim, rows)
        };
        Ok(queries.iter().map(encode).collect::<Result<_, _>>()?)
    }
}

impl Model for Wide {
    fn record(&self) -> ModelRecord {
        ModelRecord::new(self.id.clone(), self.dim)
    }
}

const QUESTIONS: [&str; 4] = ["travel expenses", "a", "net sales by region", "page of slides"];

fn ask(index: &Index, question: &str, effort: Effort) -> Answer {
    let search = index.search(question).channels([Channel::Patches]).effort(effort);
    search.background(false).all(true).k(5).run().unwrap()
}

#[test]
fn vectors_of_any_dim_are_kept_coded_and_found_exactly() {
    for dim in [128, 320, 1024, 2048] {
        let place = Place::with(&["papers/chart.pdf", "form.pdf", "scan.pdf", "slides.pdf"]);
        let model = Wide::new(dim);
        let first = index(&place).with_model(model.clone()).unwrap();
        let pages = first.sync(place.path(), &SyncOptions::default()).unwrap().pages_indexed;
        assert!(pages > 10, "{pages} pages are too few");
        drop(first);

        // What another process finds on the disk.
        let index = index(&place).with_model(model.clone()).unwrap();
        let mut stored = Vec::new();
        for document in index.documents().unwrap() {
            for number in 1..=document.pages_indexed {
                let id = index.page(&document.path, number).unwrap().id();
                let page = index.vectors(id).unwrap().unwrap();
                assert_eq!(page.vectors().dim(), dim);
                let rows: Vec<f32> = page.vectors().values().iter().map(|v| v.to_f32()).collect();
                stored.push((id, rows));
            }
        }
        assert_eq!(stored.len(), pages as usize);
        for question in QUESTIONS {
            let asked = &model.encode_queries(&[question]).unwrap()[0];
            let mut expected: Vec<(f64, _)> = stored
                .iter()
                .map(|(id, rows)| (maxsim_reference(dim, asked.values(), rows), *id))
                .collect();
            expected.sort_by(|a, b| b.0.total_cmp(&a.0));
            let exact = ask(&index, question, Effort::Exact);
            let certified = ask(&index, question, Effort::Certified);
            assert_eq!((exact.work.code, certified.work.code), (Code::F16, Code::Int8));
            assert_eq!((certified.work.certain, certified.hits.len()), (5, 5), "dim {dim}");
            for answer in [&exact, &certified] {
                for (hit, (score, page)) in answer.hits.iter().zip(&expected) {
                    let got = hit.channel(Channel::Patches).unwrap().score;
                    let near = (f64::from(got) - score).abs() < 1e-3;
                    assert!(near && hit.page.id() == *page, "dim {dim}: {got} for {score}");
                }
            }
        }

        // Every code of this dim, beside exact MaxSim.
        let questions = index.questions_from_pages(8).unwrap();
        assert!(questions.len() > 4);
        let costs = index.measure_codes(&questions, 100, &CODES, &mut |_| ()).unwrap();
        let overlap = |code: &str| {
            let cost = costs.iter().find(|cost| cost.code == code && cost.rerank == 0);
            cost.unwrap_or_else(|| panic!("dim {dim}: no {code}")).quality
        };
        assert_eq!(overlap("f16").overlap10, 1.0, "dim {dim}");
        let int8 = overlap("int8").overlap10;
        assert!(int8 >= 0.95, "dim {dim}: {int8}");
        for code in CODES {
            let quality = overlap(code);
            assert!(quality.overlap10 > 0.3, "dim {dim}, {code}: {}", quality.overlap10);
        }
        let verified = upkeep::verify(index.folder()).unwrap();
        assert_eq!((verified.damage.len(), verified.pages), (0, pages));

        // Residual codes alone, and what comes after.
        assert!(index.compact(overlap(COMPACT)).unwrap());
        let compact = ask(&index, QUESTIONS[0], Effort::Auto);
        assert_eq!(compact.work.code, Code::Residual);
        place.add("rotated.pdf", "more.pdf");
        index.sync(place.path(), &SyncOptions::default()).unwrap();
        assert!(upkeep::verify(index.folder()).unwrap().damage.is_empty(), "dim {dim}");
        assert_eq!(ask(&index, QUESTIONS[0], Effort::Auto).work.code, Code::Residual);
    }
}

#[test]
fn an_index_refuses_vectors_of_another_model_and_of_another_dim() {
    let place = Place::with(&["form.pdf"]);
    let own = index(&place).with_model(Wide::new(320)).unwrap();
    own.sync(place.path(), &SyncOptions::default()).unwrap();
    for dim in [128, 1024] {
        let error = index(&place).with_model(Wide::new(dim)).map(drop).unwrap_err();
        assert!(matches!(error, Error::ModelChanged { .. }), "{error}");
        // Vectors that say no model are held to the dim.
        let asked = Wide::new(dim).encode_queries(&["travel"]).unwrap().remove(0);
        let error = own.search(asked).channels([Channel::Patches]).run().map(drop).unwrap_err();
        let told = pagesight_core::chain(&error);
        assert!(told.contains("320") && told.contains(&dim.to_string()), "{told}");
    }
    // The same name and another dim: the store itself refuses it.
    let mut liar = pagesight_store::Writer::open(own.folder()).unwrap();
    let record = ModelRecord::new(ModelId("wide-320".into()), 128);
    let error = liar.set_model(record).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::OtherDim { expected: 320, got: 128, .. }), "{error}");
}
