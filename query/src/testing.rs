//! Pages with their codes, for the tests of this crate.

use fastrand::Rng;
use pagesight_core::seam::{Batch, PageSink};
use pagesight_core::testing::{FakeStore, document_record, page_record};
use pagesight_core::{DocumentId, PageId, PageVectors, QueryVectors};
use pagesight_maxsim::{Int8Page, Neutral, Segment, SegmentWriter, Segments, SketchCoder};

pub const DIM: usize = 16;

/// A number from -1 to 1.
pub fn number(random: &mut Rng) -> f32 {
    2.0 * random.f32() - 1.0
}

/// `rows` rows of such numbers.
pub fn noise(random: &mut Rng, rows: usize) -> Vec<f32> {
    (0..rows * DIM).map(|_| number(random)).collect()
}

/// `pages`, each `[n, DIM]`, by turns of two documents.
pub fn indexed(pages: &[Vec<f32>]) -> (FakeStore, Segments) {
    measured(pages, None)
}

/// The same, with what they give to `neutral` questions beside their codes.
pub fn measured(pages: &[Vec<f32>], neutral: Option<&Neutral>) -> (FakeStore, Segments) {
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
        if let Some(neutral) = neutral {
            writer.set_background(neutral.measure(vectors).unwrap());
        }
    }
    let records = documents.map(|id| document_record(&id.to_string(), id, 60)).to_vec();
    store.commit(Batch { documents: records, pages, ..Batch::default() }).unwrap();
    let segment = Segment::open(writer.finish().unwrap()).unwrap();
    (store, Segments::new(vec![segment]).unwrap())
}

/// A query of `values`, `[n, DIM]`.
pub fn query(values: Vec<f32>) -> QueryVectors {
    QueryVectors::of_rows(DIM, values).unwrap()
}

/// The int8 codes of `pages` in one file.
pub fn coded(pages: &[(PageId, &PageVectors)]) -> Segments {
    let coder = SketchCoder::around(vec![0.0; pages[0].1.dim()]);
    let mut writer = SegmentWriter::new(Vec::new(), &coder);
    for (id, page) in pages {
        writer.push(*id, &Int8Page::encode(page), &coder.encode(page).unwrap()).unwrap();
    }
    Segments::new(vec![Segment::open(writer.finish().unwrap()).unwrap()]).unwrap()
}

/// Texts of brackets, quotes, stops and parts of numbers in every order of three, each with one of its
/// parts: what reads answers must not panic on any.
pub fn odd_texts() -> impl Iterator<Item = (String, &'static str)> {
    const ODD: [&str; 14] = [
        "[",
        "]",
        "[1",
        "1]",
        "’",
        "«»",
        "é.",
        "1.",
        ".1",
        "1,",
        "\u{202f}1",
        "\"",
        "1 234 ",
        "。",
    ];
    let pairs = ODD.iter().flat_map(|first| ODD.iter().map(move |second| (first, second)));
    pairs.flat_map(|(first, second)| {
        ODD.iter().map(move |third| (format!("{first}{second} {third}{first}"), *second))
    })
}
