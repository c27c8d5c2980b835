//! What stands on a page or a part of it: its words, or what a model that sees reads there.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use pagesight_core::{Rect, TextSource};
use pagesight_model::{Decoding, MaskDecoder, ObjectMask, PaliGemma, Task};
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
    /// What of the rectangle it covers; `None` where no mask was written or decoded.
    pub mask: Option<PlacedMask>,
}

/// Which pixels of a drawn part of a page belong to a thing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlacedMask {
    /// Where the box of the mask is, points. It is that of the thing, up to a pixel.
    pub rect: Rect,
    /// The pixels of the picture that the model saw.
    pub mask: ObjectMask,
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
    /// Things whose mask was written, and for which no decoder was at hand.
    pub undecoded: usize,
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
        Ok(Self { task, source, text, objects, undecoded: 0, probability: None, time })
    }

    /// What `model` reads on `page`, or in `region` of it, points. Each piece of the text is given to
    /// `reader` as it comes, which may end it. With `masks` what is cut out of the page is decoded.
    ///
    /// # Errors
    /// What drawing the page says, and [`Error::Model`].
    pub fn of_model(
        page: &Page,
        region: Option<Rect>,
        model: &PaliGemma,
        task: &Task,
        masks: Option<&MaskDecoder>,
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
        let (wide, high) = (seen.x1 - seen.x0, seen.y1 - seen.y0);
        let placed = |[x0, y0, x1, y1]: [f32; 4]| Rect {
            x0: seen.x0 + x0 * wide,
            y0: seen.y0 + y0 * high,
            x1: seen.x0 + x1 * wide,
            y1: seen.y0 + y1 * high,
        };
        let (across, down) = (picture.width_px(), picture.height_px());
        let on_page = |mask: ObjectMask| {
            let (w, h) = (across as f32, down as f32);
            let [left, top, right, bottom] = mask.box_px.map(|px| px as f32);
            PlacedMask { rect: placed([left / w, top / h, right / w, bottom / h]), mask }
        };
        let mut objects = Vec::with_capacity(found.objects.len());
        for object in &found.objects {
            let rect = placed(object.location.parts().map(|part| part as f32));
            let mask = masks.map(|decoder| decoder.mask(object, across, down)).transpose()?;
            objects.push(Found {
                name: object.name.clone(),
                rect,
                words: joined(&words, rect),
                mask: mask.flatten().map(on_page),
            });
        }
        let has_codes = found.objects.iter().filter(|object| object.codes.is_some());
        let undecoded = if masks.is_some() { 0 } else { has_codes.count() };
        Ok(Self {
            task: task.to_string(),
            source: "paligemma",
            objects,
            undecoded,
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
                json!({
                    "name": found.name,
                    "rect_pt": rect_pt(found.rect),
                    "words": found.words,
                    "mask": found.mask.as_ref().map(PlacedMask::json),
                })
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

impl PlacedMask {
    fn json(&self) -> Value {
        let [left, top, right, bottom] = self.mask.box_px;
        json!({
            "rect_pt": rect_pt(self.rect),
            "size_px": [right - left, bottom - top],
            "runs": self.mask.runs(),
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
