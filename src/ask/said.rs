//! An answer in words, each sentence with the pages that it cites and what these have of it.

use std::time::Duration;

use pagesight_core::Rect;
use pagesight_query::{Support, claimed, support};
use serde_json::{Value, json};

use crate::ask::evidence::Evidence;
use crate::context::Source;
use crate::wire::{ms, rect_pt};

/// A source that a sentence cites.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Cite {
    /// The number of the source.
    pub number: usize,
    /// Where on the page it says so, points; `None` where no word of the sentence was found.
    pub rect: Option<Rect>,
}

/// A sentence of an answer, checked.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Checked {
    /// Its text.
    pub text: String,
    /// The sources that it cites.
    pub cites: Vec<Cite>,
    /// What these have of it.
    pub support: Support,
}

/// An answer in words.
#[derive(Debug)]
#[non_exhaustive]
pub struct Said {
    /// As it was said.
    pub text: String,
    /// Its sentences.
    pub sentences: Vec<Checked>,
    /// Whether it answers the question, as far as can be told.
    pub answered: bool,
    /// Who said it: `passage`, `paligemma` or `endpoint`.
    pub answerer: &'static str,
    /// The model and host that were asked, for an endpoint.
    pub asked: Option<(String, String)>,
    /// What the endpoint says of tokens.
    pub usage: Option<Value>,
    /// From question to answer, without the search.
    pub time: Duration,
}

impl Evidence {
    /// `text` with the sources that it cites, compared with their words.
    pub(super) fn checked(&self, text: String, cites: &[usize]) -> Checked {
        let sources: Vec<&Source> = cites.iter().filter_map(|&n| self.source(n)).collect();
        let words: Vec<String> = sources.iter().map(|source| source.citable()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let support = support(&text, &words);
        let cites =
            sources.iter().map(|source| Cite { number: source.number, rect: place(source, &text) });
        Checked { cites: cites.collect(), support, text }
    }

    /// An answer as one object, in the form that every interface gives.
    pub fn said_json(&self, said: &Said) -> Value {
        let sentences: Vec<Value> = said
            .sentences
            .iter()
            .map(|sentence| {
                let cites: Vec<Value> = sentence
                    .cites
                    .iter()
                    .filter_map(|cite| {
                        let page = &self.source(cite.number)?.page;
                        Some(json!({
                            "n": cite.number,
                            "ref": page.reference().to_string(),
                            "path": page.path(),
                            "page": page.number(),
                            "rect_pt": cite.rect.map(rect_pt),
                        }))
                    })
                    .collect();
                json!({ "text": sentence.text, "cites": cites, "support": sentence.support })
            })
            .collect();
        json!({
            "text": said.text,
            "sentences": sentences,
            "answered": said.answered,
            "answerer": said.answerer,
            "model": said.asked.as_ref().map(|(model, _)| model),
            "endpoint": said.asked.as_ref().map(|(_, host)| host),
            "sent": said.asked.as_ref().map(|_| self.sent_json()),
            "omitted": self.omitted,
            "usage": said.usage,
            "ms": ms(said.time),
            "snapshot": self.context.snapshot,
            "model_id": self.context.model,
        })
    }
}

/// Where on the page of `source` the words of a sentence stand: around the line that has most of
/// them, with the lines beside it.
fn place(source: &Source, sentence: &str) -> Option<Rect> {
    let words = &source.seen.as_ref()?.seen;
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let found = claimed(sentence, &texts);
    let lines: Vec<usize> = found.iter().map(|&at| words[at].line).collect();
    let count = |line: usize| lines.iter().filter(|other| line.abs_diff(**other) <= 1).count();
    let best = lines.iter().copied().rev().max_by_key(|&line| count(line))?;
    let near = found.iter().map(|&at| &words[at]).filter(|word| word.line.abs_diff(best) <= 1);
    near.map(|word| word.rect).reduce(|a, b| Rect {
        x0: a.x0.min(b.x0),
        y0: a.y0.min(b.y0),
        x1: a.x1.max(b.x1),
        y1: a.y1.max(b.y1),
    })
}
