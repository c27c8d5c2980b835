//! What stands on a page or a part of it: its words, or what a model that sees reads there.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use pagesight_core::{Rect, TextSource};
use pagesight_model::{Decoding, PaliGemma, Task};
use serde_json::{Value, json};

use crate::error::Error;
use crate::page::Page;
use crate::region::{PlacedText, text_of};
use crate::wire::{ms, rect_pt};

/// A thing that a model found on a page.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Found {
    /// What it is.
    pub name: String,
    /// Where it is, points.
    pub rect: Rect,
    /// The words of the page in it.
    pub words: String,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Reading {
    /// The task: `words`, or the words of the model's prompt.
    pub task: String,
    /// Where the text comes from: `text-layer`, `ocr` or `paligemma`.
    pub source: &'static str,
    /// The text.
    pub text: String,
    /// Things with their places, for a task that looks for some.
    pub objects: Vec<Found>,
    /// How sure the model was, 0 to 1; `None` for words that no model gave.
    pub probability: Option<f32>,
    /// How long it took.
    pub time: Duration,
}

impl Reading {
    /// The words that `page` shows, of all of it or of what stands in `region`, points.
    ///
    /// # Errors
    /// What opening and drawing the page says.
    pub fn words(page: &Page, region: Option<Rect>) -> Result<Self, Error> {
        let start = Instant::now();
        let source = match page.text_source() {
            TextSource::Ocr => "ocr",
            _ => "text-layer",
        };
        let text = match region {
            None => page.text().trim_end().into(),
            Some(region) => joined(&page.words()?, region),
        };
        let (task, objects, time) = ("words".into(), Vec::new(), start.elapsed());
        Ok(Self { task, source, text, objects, probability: None, time })
    }

    /// What `model` reads on `page`, or in `region` of it, points. Each piece of the text is given to
    /// `reader` as it comes, which may end it.
    ///
    /// # Errors
    /// What drawing the page says, and [`Error::Model`].
    pub fn of_model(
        page: &Page,
        region: Option<Rect>,
        model: &PaliGemma,
        task: &Task,
        stop: &Arc<AtomicBool>,
        reader: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Self, Error> {
        let start = Instant::now();
        let size = page.size();
        let whole = Rect { x0: 0.0, y0: 0.0, x1: size.width_pt, y1: size.height_pt };
        let seen = region.unwrap_or(whole);
        // Twice as fine as what it is squeezed into.
        let width = 2 * model.input_px();
        let picture = match region {
            None => page.image_until(width, stop)?,
            Some(region) => page
                .image_of(region, width, stop)?
                .ok_or(Error::OutsidePage { path: page.path().into(), page: page.number() })?,
        };
        let written = model.write_to(&picture, task, Decoding::GREEDY, reader)?;
        let found = written.objects();
        let words = if found.objects.is_empty() { Vec::new() } else { page.words()? };
        let objects = found.objects.iter().map(|object| {
            let [x0, y0, x1, y1] = object.location.parts().map(|part| part as f32);
            let (wide, high) = (seen.x1 - seen.x0, seen.y1 - seen.y0);
            let rect = Rect {
                x0: seen.x0 + x0 * wide,
                y0: seen.y0 + y0 * high,
                x1: seen.x0 + x1 * wide,
                y1: seen.y0 + y1 * high,
            };
            Found { name: object.name.clone(), rect, words: joined(&words, rect) }
        });
        Ok(Self {
            task: task.to_string(),
            source: "paligemma",
            objects: objects.collect(),
            probability: Some(written.mean_probability()),
            text: written.text,
            time: start.elapsed(),
        })
    }

    /// It as one object, with the page that was read.
    pub fn json(&self, page: &Page) -> Value {
        let objects: Vec<Value> = self
            .objects
            .iter()
            .map(|found| {
                json!({ "name": found.name, "rect_pt": rect_pt(found.rect), "words": found.words })
            })
            .collect();
        json!({
            "path": page.path(),
            "page": page.number(),
            "ref": page.reference().to_string(),
            "task": self.task,
            "source": self.source,
            "text": self.text,
            "objects": objects,
            "probability": self.probability,
            "ms": ms(self.time),
        })
    }
}

/// The words whose middle is in `region`, a line of the page a line.
fn joined(words: &[PlacedText], region: Rect) -> String {
    let is_inside = |word: &&PlacedText| {
        let Rect { x0, y0, x1, y1 } = word.rect;
        let (x, y) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
        (region.x0..=region.x1).contains(&x) && (region.y0..=region.y1).contains(&y)
    };
    text_of(words.iter().filter(is_inside))
}
