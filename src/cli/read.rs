//! `pagesight read`.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use pagesight::model::{PaliGemma, Task};
use pagesight::reading::Reading;
use pagesight::search::{Page, Rect};

use super::args::Place;
use super::get;
use super::interrupt::Interrupt;
use super::output::object;
use super::terminal::printable;
use super::{Outcome, checkpoint, locate, renderer};

/// Read a page or a part of it: its words, or what a model that sees says of it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight read reports/q3.pdf#12\n  \
    pagesight read reports/q3.pdf#12 --region 72,72,540,300 --json\n  \
    pagesight read reports/q3.pdf#12 --task \"detect table ; chart\" --answer-model MODEL")]
pub struct ReadVerb {
    /// A document of the index and a page number, or the `ref` of a hit.
    #[arg(value_name = "PATH#PAGE|REF", required = true, num_args = 1..)]
    pub pages: Vec<String>,
    /// What a model is to say: caption, describe, ocr, detect NAME ; NAME, segment NAME, or answer
    /// LANGUAGE QUESTION [default: the words that the page has].
    #[arg(long, value_name = "TASK", requires = "answer_model")]
    pub task: Option<Task>,
    /// A PaliGemma 1 or 2: a folder, or a name that is in the cache of a hub.
    #[arg(long, env = "PAGESIGHT_ANSWER_MODEL", value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub answer_model: Option<PathBuf>,
    /// Only this part of the page, in points from its top left.
    #[arg(long, value_name = "x0,y0,x1,y1", value_parser = get::rectangle)]
    pub region: Option<Rect>,
    /// A line of JSON a page.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &ReadVerb) -> Result<Outcome> {
    let index = locate::open(place)?;
    index.set_renderer(renderer(place, &[]));
    let pages: Vec<Page> =
        verb.pages.iter().map(|name| get::named(&index, name)).collect::<Result<_>>()?;
    let interrupt = Interrupt::listen()?;
    let model = match (&verb.task, &verb.answer_model) {
        (Some(task), Some(name)) => Some((load(name)?, task)),
        _ => None,
    };
    let stop = interrupt.flag();
    let mut out = io::stdout().lock();
    let mut has_any = false;
    for page in &pages {
        let reading = match &model {
            None => Reading::words(page, verb.region)?,
            Some((model, task)) => {
                let mut reader = |piece: &str| {
                    // Text is shown as it comes; JSON when it is whole.
                    if !verb.json {
                        let _ = write!(out, "{}", shown(piece)).and_then(|()| out.flush());
                    }
                    if stop.load(Ordering::Relaxed) {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                };
                Reading::of_model(page, verb.region, model, task, &stop, &mut reader)?
            }
        };
        has_any |= !reading.text.trim().is_empty();
        if verb.json {
            writeln!(out, "{}", object("read", reading.json(page)))?;
        } else {
            if model.is_none() {
                write!(out, "{}", shown(&reading.text))?;
            }
            writeln!(out)?;
            for found in &reading.objects {
                let Rect { x0, y0, x1, y1 } = found.rect;
                let (name, words) = (printable(&found.name), printable(&found.words));
                writeln!(out, "{name} at {x0:.0},{y0:.0},{x1:.0},{y1:.0}: {words}")?;
            }
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Outcome::Interrupted);
        }
    }
    Ok(if has_any { Outcome::Done } else { Outcome::NothingFound })
}

/// Loads the model that answers.
pub fn load(name: &std::path::Path) -> Result<PaliGemma> {
    let source = checkpoint::find(name)?;
    PaliGemma::load(&source, &pagesight::machine::loading())
        .with_context(|| format!("loading {}", name.display()))
}

/// A text in which a terminal obeys nothing; its lines stay.
pub fn shown(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    lines.join("\n")
}
