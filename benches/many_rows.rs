//! Fills an index with made-up pages, to see how long a process takes to its first answer in a large
//! one. Words are drawn as often as those of a language are, vectors at random. A page has 200 words and
//! eight vectors, since how many there are is not what opening reads, unless WORDS and VECTORS say others.
//!
//!     pagesight --index DIR/.pagesight index --model nano --meaning off fixtures/pdf/form.pdf
//!     cargo run --release --example many_rows -- DIR/.pagesight 100000
//!     pagesight --index DIR/.pagesight index --meaning off fixtures/pdf/form.pdf   # measures and joins
//!     python3 benches/first_answer.py pagesight DIR/.pagesight
//!
//! With an address in the place of the index, as a fleet fills it, a part each 2,048 pages, with the model of
//! the index in DIR:
//!
//!     VECTORS=64 cargo run --release --example many_rows -- DIR/.pagesight 100000 file:///DIR/buckets/bucket/index
//!     python3 benches/cold_replica.py pagesight DIR/buckets bucket/index

use std::path::{Path, PathBuf};

use pagesight_core::seam::{Batch, PageSink, QueryEncoder};
use pagesight_core::testing::document_record;
use pagesight_core::{
    DocumentId, DocumentRecord, ModelRecord, PageId, PageRecord, PageSize, PageVectors,
    PatchLayout, TextSource,
};
use pagesight_maxsim::Neutral;
use pagesight_model::ColPali;
use pagesight_store::{Address, Fleet, LazyNeutral, PlannedDocument, PlannedFile, Work, Writer};

const PAGES_A_DOCUMENT: u32 = 20;
const DOCUMENTS_A_BATCH: usize = 500;
/// 2,040 pages, of the 2,048 that a part may have.
const DOCUMENTS_A_PART: usize = 102;
const VECTORS: usize = 8;
const WORDS: usize = 200;
const VOCABULARY: f64 = 50_000.0;

/// Numbers that look random and are the same in each run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A word: the n-th of the vocabulary comes about 1/n as often as the first.
    fn word(&mut self) -> String {
        let mut rank = VOCABULARY.powf(self.share()) as u64;
        let mut word = String::from("w");
        while rank > 0 {
            word.push(char::from(b'a' + (rank % 26) as u8));
            rank /= 26;
        }
        word
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Makes pages up.
struct Maker {
    random: Random,
    model: ModelRecord,
    words: usize,
    vectors: usize,
}

impl Maker {
    fn path(number: u32) -> String {
        format!("made/{:03}/{number:06}.pdf", number / 1000)
    }

    /// The documents `numbers`, with as many pages together as there are of `pages`.
    fn batch(&mut self, numbers: &[u32], pages: u32) -> Result<Batch, Failure> {
        let mut batch = Batch::default();
        for &number in numbers {
            let path = Self::path(number);
            let document = DocumentId::of(path.as_bytes());
            let count = PAGES_A_DOCUMENT.min(pages - number * PAGES_A_DOCUMENT);
            for page in 1..=count {
                let words: Vec<String> = (0..self.words).map(|_| self.random.word()).collect();
                batch.pages.push(PageRecord {
                    id: PageId { document, number: page },
                    size: PageSize { width_pt: 595.0, height_pt: 842.0 },
                    text: words.join(" "),
                    text_source: TextSource::Layer,
                    vectors: Some(self.vectors()?),
                    layout: Some(PatchLayout::grid(self.vectors as u32, 1)),
                });
            }
            let record = document_record(&path, document, count);
            batch.documents.push(DocumentRecord { model: Some(self.model.id.clone()), ..record });
        }
        Ok(batch)
    }

    fn vectors(&mut self) -> Result<PageVectors, Failure> {
        let mut rows = Vec::with_capacity(self.vectors * self.model.dim);
        for _ in 0..self.vectors {
            let row: Vec<f32> =
                (0..self.model.dim).map(|_| self.random.share() as f32 - 0.5).collect();
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            rows.extend(row.into_iter().map(|value| value / length));
        }
        Ok(PageVectors::from_f32(self.model.dim, &rows)?)
    }
}

/// Plans, lays down and commits as the machines of a fleet do, one after another.
fn fill_bucket(
    address: &Address,
    local: &Path,
    documents: &[u32],
    pages: u32,
    mut maker: Maker,
) -> Result<(), Failure> {
    let fleet = Fleet::open(address, local)?;
    let model = maker.model.clone();
    let mut work = Work::default();
    work.base = fleet.begin(Some(&model))?.0.number();
    work.model = Some(model.clone());
    work.shards = Some(1);
    let planned = |&number: &u32| {
        let path = Maker::path(number);
        let document = Some(DocumentId::of(path.as_bytes()));
        PlannedDocument { document, files: vec![PlannedFile { path, bytes: 1, modified_ns: 0 }] }
    };
    work.documents = documents.iter().map(planned).collect();
    // Under the name that the program gives them, or the first to open the index would measure all pages.
    let questions = model.neutral.questions.clone();
    let name = format!("{} {}", model.id, questions.join(" "));
    let neutral = LazyNeutral::new(&name, move |name| {
        let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
        let encoded = ColPali::nano().ok()?.encode_queries(&questions).ok()?;
        Neutral::new(name, &encoded)
    });
    let plan = fleet.plan(work)?.ok_or("there is nothing to plan")?;
    let mut worker = fleet.worker(&plan.id, 0, 1, Some(&model.id))?.ok_or("it is committed")?;
    worker.set_neutral(Some(neutral));
    for some in documents.chunks(DOCUMENTS_A_PART) {
        worker.commit(maker.batch(some, pages)?)?;
        eprintln!("{} of {pages} pages", (some[some.len() - 1] + 1) * PAGES_A_DOCUMENT);
    }
    worker.finish()?;
    let committed = fleet.commit(&plan.id, false)?;
    eprintln!("{} pages in {} parts", committed.pages, committed.parts);
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(pages)) = (arguments.next(), arguments.next()) else {
        return Err("many_rows INDEX PAGES [ADDRESS]".into());
    };
    let (folder, pages): (PathBuf, u32) = (folder.into(), pages.parse()?);
    let mut writer = Writer::open(&folder)?;
    let model = writer.snapshot().model().ok_or("the index has no model")?.clone();
    let count = |name, otherwise| std::env::var(name).map_or(Ok(otherwise), |count| count.parse());
    let (words, vectors) = (count("WORDS", WORDS)?, count("VECTORS", VECTORS)?);
    let mut maker = Maker { random: Random(1), model, words, vectors };
    let documents: Vec<u32> = (0..pages.div_ceil(PAGES_A_DOCUMENT)).collect();
    if let Some(address) = arguments.next() {
        let address = Address::parse(&address)?.ok_or("no address")?;
        return fill_bucket(&address, &folder.with_extension("parts"), &documents, pages, maker);
    }
    for some in documents.chunks(DOCUMENTS_A_BATCH) {
        writer.commit(maker.batch(some, pages)?)?;
        eprintln!("{} of {pages} pages", (some[some.len() - 1] + 1) * PAGES_A_DOCUMENT);
    }
    Ok(())
}
