//! Index a folder of PDFs and ask it a question: the whole of pagesight in one page.
//!
//! ```text
//! cargo run --example index_and_search -- fixtures/pdf "travel expenses in total"
//! ```
//!
//! Pages are found by their words and by their looks: nano, the model inside the library, sees what
//! is printed on pages that have no text.

use std::path::Path;

use pagesight::Index;
use pagesight::index::SyncOptions;
use pagesight::model::{LoadOptions, ModelSource};
use pagesight::search::Channel;

#[allow(dead_code, reason = "the tests call `run`")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Pages are drawn in worker processes, which are this program, started again.
    pagesight::pdf::serve_worker_if_asked();
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(question)) = (arguments.next(), arguments.next()) else {
        return Err("say a folder of PDFs and a question".into());
    };
    let index = Index::open_or_create(Path::new(&folder).join(".pagesight"))?;
    run(&index, Path::new(&folder), &question)?;
    Ok(())
}

/// Brings `index` in step with `folder`, asks, and prints what was found. Returns the best page.
pub fn run(
    index: &Index,
    folder: &Path,
    question: &str,
) -> Result<Option<String>, pagesight::Error> {
    index.load_model(&ModelSource::Nano, &LoadOptions::default())?;
    // A second run reads only what changed. A file that cannot be read costs that file alone.
    let summary = index.sync(folder, &SyncOptions::default())?;
    println!("{} pages read", summary.pages_indexed);
    for record in &summary.failures {
        println!("not whole: {}", record.path);
    }

    let answer = index.search(question).k(3).explain(true).run()?;
    for hit in &answer.hits {
        println!("{}. {}#{}", hit.rank, hit.page.path(), hit.page.number());
        // Each channel says what it made of the page.
        for said in &hit.channels {
            println!("   {}: rank {}, score {:.3}", said.channel, said.rank, said.score);
        }
        // Where on the page the question was met best, in points from the top left corner.
        let best = hit.matches.iter().max_by(|a, b| a.similarity.total_cmp(&b.similarity));
        if let Some(rect) = best.and_then(|found| found.rect) {
            println!("   met best at x {:.0} pt, y {:.0} pt", rect.x0, rect.y0);
        }
        if hit.channel(Channel::Words).is_some() {
            println!("   {}", hit.snippet.text);
        }
    }
    let best = answer.hits.first();
    Ok(best.map(|hit| format!("{}#{}", hit.page.path(), hit.page.number())))
}
