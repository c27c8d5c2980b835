//! What an answer may lean on: numbered pages, their words within a budget, their pictures.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::context::{Context, Source};
use crate::error::Error;
use crate::page::Page;
use crate::picture::{Picture, jpeg_within};
use crate::search::Verdict;

/// The largest picture that is sent, bytes.
const PICTURE: usize = 2_000_000;

/// Characters of a token, as a rule.
const CHARS_OF_TOKEN: f64 = 3.5;

/// How much is given to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Tokens of all words and pictures together.
    pub tokens: usize,
    /// Tokens of a picture.
    pub tokens_of_picture: usize,
    /// Pictures at most.
    pub pictures: usize,
    /// Longest side of a picture, px.
    pub picture_px: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { tokens: 16_000, tokens_of_picture: 1_300, pictures: 4, picture_px: 1_280 }
    }
}

/// What an answer may lean on: numbered pages, their words within a budget, their pictures.
#[derive(Debug)]
#[non_exhaustive]
pub struct Evidence {
    /// What was asked.
    pub question: String,
    /// The pages and the words of them.
    pub context: Context,
    /// The picture of each page that has one, in the order of the sources.
    pub pictures: Vec<Option<Picture>>,
    /// What was left out for lack of room or since it cannot be read, each as a line.
    pub omitted: Vec<String>,
    /// The best passage that the search found; `None` where pages were named.
    pub(super) found: Option<(usize, String)>,
    /// Whether the best page answers more likely than not; true where pages were named.
    pub(super) is_likely: bool,
}

impl Evidence {
    /// The evidence of the hits of a search. Without `budget` there are no pictures, and the words
    /// are those of [`Budget::default`].
    ///
    /// # Errors
    /// What drawing pages says.
    pub fn of(
        question: &str,
        answer: &Answer,
        budget: Option<Budget>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        let pages = answer.hits.iter().map(|hit| (hit.page.clone(), hit.score)).collect();
        let mut this =
            Self::gathered(question, pages, budget, answer.snapshot, answer.model.clone(), stop)?;
        this.is_likely = answer.verdict() == Verdict::Good;
        this.found = answer.hits.first().map(|hit| {
            let passage = hit.passage.as_ref().map(|passage| passage.text.clone());
            (
                1,
                passage
                    .filter(|text| !text.trim().is_empty())
                    .unwrap_or_else(|| hit.snippet.text.clone()),
            )
        });
        Ok(this)
    }

    /// The evidence of pages that a user names.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_pages(
        question: &str,
        pages: Vec<Page>,
        budget: Option<Budget>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        let snapshot = pages.first().map_or(0, Page::snapshot);
        let pages = pages.into_iter().map(|page| (page, 0.0)).collect();
        Self::gathered(question, pages, budget, snapshot, None, stop)
    }

    fn gathered(
        question: &str,
        pages: Vec<(Page, f32)>,
        budget: Option<Budget>,
        snapshot: u64,
        model: Option<pagesight_core::ModelId>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        let sizes = budget.unwrap_or(Budget { pictures: 0, ..Budget::default() });
        let room = sizes.tokens / sizes.tokens_of_picture.max(1);
        // Words have at least half of the room.
        let pictures = sizes.pictures.min(pages.len()).min(room / 2);
        let tokens = sizes.tokens - pictures * sizes.tokens_of_picture;
        let chars = (tokens as f64 * CHARS_OF_TOKEN) as usize;
        let context = Context::seen(pages, chars, snapshot, model)?;
        let mut omitted = Vec::new();
        let mut drawn = Vec::with_capacity(context.sources.len());
        for (at, source) in context.sources.iter().enumerate() {
            let number = source.number;
            if source.truncated {
                omitted.push(format!("a part of the words of source {number}"));
            }
            if at >= pictures {
                if budget.is_some_and(|budget| budget.pictures > 0) {
                    omitted.push(format!("the picture of source {number}"));
                }
                drawn.push(None);
                continue;
            }
            let size = source.page.size();
            let longest = size.width_pt.max(size.height_pt);
            let width = sizes.picture_px as f32 * size.width_pt / longest;
            let width = (width.round() as u32).max(64);
            match jpeg_within(&source.page, width, None, PICTURE, stop) {
                Ok(picture) => drawn.push(Some(picture)),
                Err(error) => {
                    omitted.push(format!("the picture of source {number}: {error}"));
                    drawn.push(None);
                }
            }
        }
        Ok(Self {
            question: question.trim().into(),
            context,
            pictures: drawn,
            omitted,
            found: None,
            is_likely: true,
        })
    }

    /// Documents that the pages are of.
    pub fn documents(&self) -> usize {
        let sources = self.context.sources.iter();
        sources.map(|source| source.page.document()).collect::<HashSet<_>>().len()
    }

    pub(super) fn source(&self, number: usize) -> Option<&Source> {
        self.context.sources.get(number.checked_sub(1)?)
    }

    /// What is sent, and where, as one object.
    pub fn sent_json(&self) -> Value {
        let pictures = self.pictures.iter().flatten();
        let bytes: usize = pictures.clone().map(|picture| picture.bytes.len()).sum();
        json!({
            "pages": self.context.sources.len(),
            "documents": self.documents(),
            "images": pictures.count(),
            "bytes": self.context.chars + bytes,
        })
    }

    /// The sources, as JSON: without their words.
    pub fn sources_json(&self) -> Vec<Value> {
        let sources = self.context.sources.iter();
        let json = |source: &Source| {
            let hidden: Vec<&str> = source
                .seen
                .iter()
                .flat_map(|words| &words.hidden)
                .map(|word| word.text.as_str())
                .collect();
            json!({
                "n": source.number,
                "ref": source.page.reference().to_string(),
                "path": source.page.path(),
                "page": source.page.number(),
                "score": source.score,
                "text_truncated": source.truncated,
                "hidden_words": hidden,
            })
        };
        sources.map(json).collect()
    }
}
