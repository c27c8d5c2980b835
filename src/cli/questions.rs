//! Questions that searches are measured with.

use std::fs;

use anyhow::{Context, Result};
use pagesight::Index;
use pagesight::eval::{Labelled, LabelledQuery, parse_queries};
use pagesight::search::PageId;

use super::args::QuestionChoice;
use super::eval::Labels;
use super::hinted;

/// The questions that `choice` asks for; at least one, of an index with vectors.
pub fn make(index: &Index, choice: &QuestionChoice) -> Result<Vec<Labelled>> {
    if index.snapshot().model().is_none() {
        return Err(hinted(
            "this index has no vectors: it was made without a model",
            "index again with --model DIR",
        ));
    }
    let questions = match &choice.queries {
        None => {
            index.questions_from_pages(choice.questions as usize).context("making questions")?
        }
        Some(file) => {
            let reading = || format!("reading {}", file.display());
            let queries = parse_queries(&fs::read_to_string(file).with_context(reading)?);
            let queries = queries.with_context(reading)?;
            let labels = Labels::new(index, &queries)?;
            let question = |query: LabelledQuery| {
                let document = labels.documents.get(&query.doc);
                let page = |&number| document.map(|&document| PageId { document, number });
                let answers = query.pages.iter().filter_map(page).collect();
                Labelled { answers, text: query.query }
            };
            queries.into_iter().map(question).collect()
        }
    };
    if questions.is_empty() {
        return Err(hinted(
            "no page has words to make questions of",
            "give labelled questions with --queries FILE",
        ));
    }
    Ok(questions)
}
