//! Bring vectors that were made elsewhere, for pages and for questions.
//!
//! ```text
//! cargo run --example vectors_only
//! ```
//!
//! Another program, for example one in Python on a GPU, has made the vectors; pagesight keeps them,
//! reads the words of the PDF, and ranks. No model is loaded.

use std::path::Path;
use std::sync::Arc;

use pagesight::Index;
use pagesight::model::{
    BoxError, EncodedPage, Model, ModelId, ModelRecord, PageEncoder, PageImage, PageSize,
    PageVectors, PatchLayout, PictureSize, QueryEncoder, QueryVectors,
};
use pagesight::search::{Channel, PageId, Question};

/// Names whose vectors these are. It cannot encode: vectors come from elsewhere.
struct Elsewhere(ModelId);

const DIM: usize = 4;

impl PageEncoder for Elsewhere {
    fn model_id(&self) -> &ModelId {
        &self.0
    }

    fn dim(&self) -> usize {
        DIM
    }

    fn picture(&self, _: PageSize) -> PictureSize {
        PictureSize { width_px: 1, height_px: 1 }
    }

    fn encode_pages(&self, _: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError> {
        Err("vectors are made elsewhere".into())
    }
}

impl QueryEncoder for Elsewhere {
    fn encode_queries(&self, _: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        Err("vectors are made elsewhere: ask with Question::Vectors".into())
    }
}

impl Model for Elsewhere {
    fn record(&self) -> ModelRecord {
        ModelRecord::new(self.0.clone(), DIM)
    }
}

#[allow(dead_code, reason = "the tests call `run`")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    pagesight::pdf::serve_worker_if_asked();
    let folder = tempfile::tempdir()?;
    let index = Index::create(folder.path().join(".pagesight"))?;
    let pdf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pdf/form.pdf");
    run(index, &pdf)?;
    Ok(())
}

/// Adds `pdf`, which has two pages, with two vectors a page; asks by vectors, and for pages like
/// one.
pub fn run(index: Index, pdf: &Path) -> Result<Vec<PageId>, Box<dyn std::error::Error>> {
    let index = index.with_model(Arc::new(Elsewhere(ModelId("elsewhere-1".into()))))?;
    // `[n_vectors, dim]` a page, rows of length 1. Here the upper and the lower half of each page.
    let made: [[f32; 2 * DIM]; 2] = [
        [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
    ];
    let pages = made.iter().map(|rows| {
        EncodedPage::new(PageVectors::from_f32(DIM, rows)?, PatchLayout::grid(1, 2))
    });
    index.add(pdf, pages.collect::<Result<_, _>>()?)?;

    // `[n_tokens, dim]`, from the same model as the pages.
    let question = QueryVectors::of_rows(DIM, vec![0.0, 0.0, 0.6, 0.8])?;
    let answer = index.search(question).channels([Channel::Patches]).run()?;
    for hit in &answer.hits {
        println!("{:.3}  page {}", hit.score, hit.page.number());
    }
    // What is stored can be read back, and a page can be the question.
    let first = answer.hits[0].page.id();
    let stored = index.vectors(first)?.expect("it was added with vectors");
    println!("{} vectors of {} numbers", stored.vectors().len(), stored.vectors().dim());
    let alike = index.search(Question::Page(first)).run()?;
    Ok(answer.hits.iter().chain(&alike.hits).map(|hit| hit.page.id()).collect())
}
