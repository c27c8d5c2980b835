//! Bring a model of your own: here one that sees colours, with sixteen vectors a page.
//!
//! ```text
//! cargo run --example own_encoder -- fixtures/pdf "red"
//! ```
//!
//! A model says which picture it wants of a page, turns pictures into vectors of length 1, and says
//! where on the page each vector stands. It turns questions into vectors of the same kind. The rest,
//! from the store to late interaction and `explain`, is the same as for the models inside.

use std::path::Path;
use std::sync::Arc;

use pagesight::Index;
use pagesight::index::SyncOptions;
use pagesight::model::{
    BoxError, EncodedPage, Model, ModelId, ModelRecord, PageEncoder, PageImage, PageSize,
    PageVectors, PatchLayout, PictureSize, QueryEncoder, QueryToken, QueryVectors,
};
use pagesight::search::Channel;

/// A page is seen as 4 x 4 cells, each by its mean colour.
const CELLS: u32 = 4;
const CELL_PX: u32 = 16;
/// Red, green, blue, and grey.
const DIM: usize = 4;

struct Colours {
    id: ModelId,
}

impl Colours {
    fn new() -> Self {
        // Vectors of different ids are never compared: change it when the arithmetic changes.
        Self { id: ModelId("colours-1".into()) }
    }
}

impl PageEncoder for Colours {
    fn model_id(&self) -> &ModelId {
        &self.id
    }

    fn dim(&self) -> usize {
        DIM
    }

    fn picture(&self, _: PageSize) -> PictureSize {
        PictureSize { width_px: CELLS * CELL_PX, height_px: CELLS * CELL_PX }
    }

    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError> {
        pages.iter().map(encode).collect()
    }
}

fn encode(page: &PageImage) -> Result<EncodedPage, BoxError> {
    if (page.width_px(), page.height_px()) != (CELLS * CELL_PX, CELLS * CELL_PX) {
        return Err(format!("a picture of {} px", page.width_px()).into());
    }
    let mut rows = Vec::new();
    for (row, col) in (0..CELLS).flat_map(|row| (0..CELLS).map(move |col| (row, col))) {
        let cell = page.crop(col * CELL_PX, row * CELL_PX, CELL_PX, CELL_PX);
        let mean = |channel: usize| {
            let values = cell.rgb().iter().skip(channel).step_by(3);
            values.map(|&value| f32::from(value) / 255.0).sum::<f32>() / (CELL_PX * CELL_PX) as f32
        };
        rows.extend(colour(mean(0), mean(1), mean(2)));
    }
    let vectors = PageVectors::from_f32(DIM, &rows)?;
    Ok(EncodedPage::new(vectors, PatchLayout::grid(CELLS, CELLS))?)
}

/// What of a colour is not grey, and the grey; of length 1.
fn colour(red: f32, green: f32, blue: f32) -> [f32; DIM] {
    let grey = red.min(green).min(blue);
    let row = [red - grey, green - grey, blue - grey, 0.1];
    let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
    row.map(|value| value / length)
}

impl QueryEncoder for Colours {
    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        queries.iter().map(|query| encode_query(query)).collect()
    }
}

fn encode_query(query: &str) -> Result<QueryVectors, BoxError> {
    let (mut rows, mut tokens) = (Vec::new(), Vec::new());
    for word in query.split_whitespace() {
        let start = word.as_ptr().addr() - query.as_ptr().addr();
        let mut token = QueryToken::of(word, start..start + word.len());
        let row = match word {
            "red" => colour(1.0, 0.0, 0.0),
            "green" => colour(0.0, 1.0, 0.0),
            "blue" => colour(0.0, 0.0, 1.0),
            _ => {
                // A word that the model does not know: it says so, and words decide.
                token.spelled = false;
                colour(0.0, 0.0, 0.0)
            }
        };
        rows.extend(row);
        tokens.push(token);
    }
    if tokens.is_empty() {
        tokens.push(QueryToken::special("(nothing)"));
        rows.extend(colour(0.0, 0.0, 0.0));
    }
    Ok(QueryVectors::new(DIM, rows, tokens)?)
}

impl Model for Colours {
    fn record(&self) -> ModelRecord {
        ModelRecord::new(self.id.clone(), DIM)
    }
}

#[allow(dead_code, reason = "the tests call `run`")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    pagesight::pdf::serve_worker_if_asked();
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(question)) = (arguments.next(), arguments.next()) else {
        return Err("say a folder of PDFs and a colour".into());
    };
    let index = Index::open_or_create(Path::new(&folder).join(".colours"))?;
    run(index, Path::new(&folder), &question)?;
    Ok(())
}

/// Indexes `folder` by colours and prints the pages that have most of the one asked for.
pub fn run(index: Index, folder: &Path, question: &str) -> Result<Vec<String>, pagesight::Error> {
    let index = index.with_model(Arc::new(Colours::new()))?;
    index.sync(folder, &SyncOptions::default())?;
    let answer = index.search(question).k(3).channels([Channel::Patches]).explain(true).run()?;
    let mut found = Vec::new();
    for hit in &answer.hits {
        let place = format!("{}#{}", hit.page.path(), hit.page.number());
        println!("{:.3}  {place}  at {:?}", hit.score, hit.matches[0].rect);
        found.push(place);
    }
    Ok(found)
}
