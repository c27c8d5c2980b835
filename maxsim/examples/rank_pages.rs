//! Ranks pages by late interaction: all of them by int8 codes, and then exactly the few that the
//! error of the codes leaves in question. The answer is that of exact MaxSim.
//!
//! ```text
//! cargo run -p pagesight-maxsim --example rank_pages
//! ```

use std::error::Error;

use fastrand::Rng;
use pagesight_core::{PageVectors, QueryVectors};
use pagesight_maxsim::{ExactQuery, Int8Page, Int8Query};

const DIM: usize = 128;

/// Pages in the answer.
const K: usize = 5;

/// Codes pages, ranks them, and compares the answer with an exact scan.
pub fn main() -> Result<(), Box<dyn Error>> {
    // A model would give these: 400 pages of 300 unit vectors each, and a question of 20 vectors,
    // each like one of the pages 120 to 124.
    let mut random = Rng::with_seed(7);
    let rows: Vec<Vec<f32>> = (0..400).map(|_| unit_rows(300, |_, _| noise(&mut random))).collect();
    let near = unit_rows(20, |row, d| {
        let page = &rows[120 + row % K];
        page[row * 10 * DIM + d] + 0.02 * noise(&mut random)
    });
    let pages: Vec<PageVectors> =
        rows.iter().map(|rows| PageVectors::from_f32(DIM, rows)).collect::<Result<_, _>>()?;
    let query = QueryVectors::of_rows(DIM, near)?;

    // Half the bytes of the vectors, and scored several times faster.
    let codes: Vec<Int8Page> = pages.iter().map(Int8Page::encode).collect();
    let coded = Int8Query::new(&query);
    let mut estimates = Vec::new();
    for (page, code) in codes.iter().enumerate() {
        estimates.push((page, coded.score(code)?, coded.bound(code)));
    }
    // At least K pages score this much, so a page that cannot reach it is not among the best K.
    let mut least: Vec<f32> = estimates.iter().map(|(_, score, bound)| score - bound).collect();
    least.sort_by(|a, b| b.total_cmp(a));
    let in_question = estimates.iter().filter(|(_, score, bound)| score + bound >= least[K - 1]);

    let exact = ExactQuery::new(&query);
    let mut best: Vec<(usize, f32)> = in_question
        .map(|&(page, ..)| Ok((page, exact.score(&pages[page])?)))
        .collect::<Result<_, Box<dyn Error>>>()?;
    println!("{} of {} pages were scored exactly", best.len(), pages.len());
    best.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (rank, (page, score)) in best.iter().take(K).enumerate() {
        println!("{}. page {page}: {score:.3}", rank + 1);
    }

    // What a scan of all full-precision vectors would have found.
    let mut all = Vec::new();
    for (page, vectors) in pages.iter().enumerate() {
        all.push((page, exact.score(vectors)?));
    }
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    assert_eq!(best[..K], all[..K]);
    assert!(best.len() < pages.len() / 10, "the bound leaves few pages in question");
    Ok(())
}

/// A number from -1 to 1.
fn noise(random: &mut Rng) -> f32 {
    2.0 * random.f32() - 1.0
}

/// `[count, DIM]`, each row scaled to length 1.
fn unit_rows(count: usize, mut value: impl FnMut(usize, usize) -> f32) -> Vec<f32> {
    let mut rows = Vec::with_capacity(count * DIM);
    for row in 0..count {
        let values: Vec<f32> = (0..DIM).map(|d| value(row, d)).collect();
        let length = values.iter().map(|x| x * x).sum::<f32>().sqrt();
        rows.extend(values.iter().map(|x| x / length));
    }
    rows
}
