//! Fills an index with made-up pages, to see how long a process takes to its first answer in a large
//! one. Words are drawn as often as those of a language are, vectors at random; a page has eight unless
//! said otherwise, since how many there are is not what opening reads.
//!
//!     pagesight --index DIR/.pagesight index --model nano --meaning off fixtures/pdf/form.pdf
//!     cargo run --release --example many_rows -- DIR/.pagesight 100000 [WORDS A PAGE] [VECTORS A PAGE]
//!     pagesight --index DIR/.pagesight index --meaning off fixtures/pdf/form.pdf   # measures and joins
//!     python3 benches/first_answer.py pagesight DIR/.pagesight

use std::path::PathBuf;

use pagesight_core::seam::{Batch, PageSink};
use pagesight_core::testing::document_record;
use pagesight_core::{
    DocumentId, DocumentRecord, PageId, PageRecord, PageSize, PageVectors, PatchLayout, TextSource,
};
use pagesight_store::Writer;

const PAGES_A_DOCUMENT: u32 = 20;
const DOCUMENTS_A_BATCH: usize = 500;
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

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(pages)) = (arguments.next(), arguments.next()) else {
        return Err("many_rows INDEX PAGES [WORDS A PAGE] [VECTORS A PAGE]".into());
    };
    let mut number = |otherwise: usize| arguments.next().map_or(Ok(otherwise), |n| n.parse());
    let (words_a_page, vectors_a_page) = (number(200)?, number(8)?);
    let (folder, pages): (PathBuf, u32) = (folder.into(), pages.parse()?);
    let mut writer = Writer::open(&folder)?;
    let model = writer.snapshot().model().ok_or("the index has no model")?.clone();
    let mut random = Random(1);
    let documents: Vec<u32> = (0..pages.div_ceil(PAGES_A_DOCUMENT)).collect();
    for some in documents.chunks(DOCUMENTS_A_BATCH) {
        let mut batch = Batch::default();
        for &number in some {
            let path = format!("made/{:03}/{number:06}.pdf", number / 1000);
            let document = DocumentId::of(path.as_bytes());
            let count = PAGES_A_DOCUMENT.min(pages - number * PAGES_A_DOCUMENT);
            for page in 1..=count {
                let words: Vec<String> = (0..words_a_page).map(|_| random.word()).collect();
                let rows: Vec<f32> = (0..vectors_a_page)
                    .flat_map(|_| {
                        let row: Vec<f32> =
                            (0..model.dim).map(|_| random.share() as f32 - 0.5).collect();
                        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
                        row.into_iter().map(move |value| value / length)
                    })
                    .collect();
                batch.pages.push(PageRecord {
                    id: PageId { document, number: page },
                    size: PageSize { width_pt: 595.0, height_pt: 842.0 },
                    text: words.join(" "),
                    text_source: TextSource::Layer,
                    vectors: Some(PageVectors::from_f32(model.dim, &rows)?),
                    layout: Some(PatchLayout::grid(vectors_a_page as u32, 1)),
                });
            }
            let record = document_record(&path, document, count);
            batch.documents.push(DocumentRecord { model: Some(model.id.clone()), ..record });
        }
        writer.commit(batch)?;
        eprintln!("{} of {pages} pages", (some[some.len() - 1] + 1) * PAGES_A_DOCUMENT);
    }
    Ok(())
}
