//! `pagesight read`.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use pagesight::model::{MaskDecoder, ModelSource, PageImage, PaliGemma, Task};
use pagesight::reading::{Found, Reading};
use pagesight::search::{Page, Rect};

use super::args::Place;
use super::get;
use super::interrupt::Interrupt;
use super::output::object;
use super::terminal::printable;
use super::{Outcome, checkpoint, hinted, locate, renderer};

/// Read a page or a part of it: its words, or what a model that sees says of it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight read reports/q3.pdf#12\n  \
    pagesight read reports/q3.pdf#12 --region 72,72,540,300 --json\n  \
    pagesight read reports/q3.pdf#12 --task \"detect table ; chart\" --answer-model MODEL\n  \
    pagesight read reports/q3.pdf#12 --task \"segment logo\" --mask-image logo.png --answer-model MODEL")]
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
    /// What turns the codes of `segment` into masks: vae-oid.npz of PaliGemma's makers, or the same
    /// as safetensors [default: vae-oid.npz or vae-oid.safetensors beside the model].
    #[arg(long, env = "PAGESIGHT_MASK_DECODER", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub mask_decoder: Option<PathBuf>,
    /// Write a picture (PNG, or WebP by its name) of what the masks cover: white on black, as wide as
    /// the model saw the page or its region. For one page.
    #[arg(long, value_name = "FILE", requires = "task", value_hint = ValueHint::FilePath)]
    pub mask_image: Option<PathBuf>,
    /// Only this part of the page, in points from its top left.
    #[arg(long, value_name = "x0,y0,x1,y1", value_parser = get::rectangle)]
    pub region: Option<Rect>,
    /// A line of JSON a page.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &ReadVerb) -> Result<Outcome> {
    if verb.mask_image.is_some() && verb.pages.len() > 1 {
        return Err(hinted("--mask-image writes one picture", "name one page"));
    }
    // Before the model works for a picture that cannot be written.
    verb.mask_image.as_deref().map(get::ending).transpose()?;
    let index = locate::open(place)?;
    index.set_renderer(renderer(place, &[]));
    let pages: Vec<Page> =
        verb.pages.iter().map(|name| get::named(&index, name)).collect::<Result<_>>()?;
    let interrupt = Interrupt::listen()?;
    let model = match (&verb.task, &verb.answer_model) {
        (Some(task), Some(name)) => Some((load(name)?, decoder(verb, name)?, task)),
        _ => None,
    };
    let stop = interrupt.flag();
    let mut out = io::stdout().lock();
    let mut has_any = false;
    for page in &pages {
        let reading = match &model {
            None => Reading::words(page, verb.region)?,
            Some((model, masks, task)) => {
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
                let masks = masks.as_ref();
                Reading::of_model(page, verb.region, model, task, masks, &stop, &mut reader)?
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
        if reading.undecoded > 0 {
            let (masks, pictures) = match reading.undecoded {
                1 => ("1 mask is a code alone".into(), "a picture of it"),
                count => (format!("{count} masks are codes alone"), "pictures of them"),
            };
            eprintln!(
                "{masks}: --mask-decoder FILE, vae-oid.npz of PaliGemma's makers, makes {pictures}"
            );
        }
        if let Some(file) = &verb.mask_image {
            match covered(&reading.objects) {
                Some(image) => get::save(&image, file)?,
                None => eprintln!("no mask was written, so {} is not either", file.display()),
            }
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Outcome::Interrupted);
        }
    }
    Ok(if has_any { Outcome::Done } else { Outcome::NothingFound })
}

/// Loads what decodes masks: the file that was named, else one beside the model.
fn decoder(verb: &ReadVerb, model: &Path) -> Result<Option<MaskDecoder>> {
    let beside = || match checkpoint::find(model) {
        Ok(ModelSource::Folder(folder)) => {
            let files = ["vae-oid.npz", "vae-oid.safetensors"].map(|name| folder.join(name));
            files.into_iter().find(|file| file.is_file())
        }
        _ => None,
    };
    let Some(file) = verb.mask_decoder.clone().or_else(beside) else { return Ok(None) };
    let decoder = MaskDecoder::load(&file);
    Ok(Some(decoder.with_context(|| format!("loading the masks' decoder {}", file.display()))?))
}

/// What the masks of all things cover, white on black; `None` when there are none.
fn covered(objects: &[Found]) -> Option<PageImage> {
    let masks: Vec<_> = objects.iter().filter_map(|found| found.mask.as_ref()).collect();
    let (width, height) = masks.first().map(|first| (first.mask.width_px, first.mask.height_px))?;
    let white = |x, y| masks.iter().any(|placed| placed.mask.has(x, y));
    let rgb = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let rgb = rgb.flat_map(|(x, y)| [if white(x, y) { 255 } else { 0 }; 3]).collect();
    PageImage::new(width, height, rgb).ok()
}

/// Loads the model that answers.
pub fn load(name: &Path) -> Result<PaliGemma> {
    let source = checkpoint::find(name)?;
    PaliGemma::load(&source, &pagesight::machine::loading())
        .with_context(|| format!("loading {}", name.display()))
}

/// A text in which a terminal obeys nothing; its lines stay.
pub fn shown(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    lines.join("\n")
}
