//! `pagesight get`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum, ValueHint};
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use pagesight::model::{LoadOptions, PageImage};
use pagesight::pdf::RenderOptions;
use pagesight::region::{HeatScale, MapOf};
use pagesight::search::{Page, Rect};
use pagesight::{EncodedQuestion, Error, Index, PageRef};

use super::args::{Place, SandboxChoice};
use super::output::line;
use super::{Outcome, hinted, locate, meaning, renderer, sandbox};

/// The words of a page, its picture, or where on it a question is answered.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight get reports/q3.pdf#12\n  \
    pagesight get reports/q3.pdf#12 --image page.png --width 1200\n  \
    pagesight get 3f9a1c2b4d5e6f70-12 --heatmap \"net sales\" --image heat.png\n  \
    pagesight get 3f9a1c2b4d5e6f70-12 --regions \"net sales\"\n  \
    pagesight get 3f9a1c2b4d5e6f70-12 --regions \"what was earned\" --channel meaning")]
pub struct GetVerb {
    /// A document of the index and a page number, or the `ref` of a hit.
    #[arg(value_name = "PATH#PAGE|REF")]
    pub page: String,
    /// Draw the page into a PNG or WebP file (by its ending); `-` writes PNG to stdout.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub image: Option<PathBuf>,
    /// Lay over the picture where the page answers this question, from the stored vectors.
    #[arg(long, value_name = "QUERY", requires = "image", conflicts_with = "region")]
    pub heatmap: Option<String>,
    /// What answers in --heatmap and --regions: the patches of the page's picture, or what the words
    /// of the page mean.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = MapChannel::Visual)]
    pub channel: MapChannel,
    /// Of --heatmap or --regions only this word of the question, counted from 0.
    #[arg(long, value_name = "N")]
    pub word: Option<usize>,
    /// Print the parts of the page that answer this question best, a line of JSON each.
    #[arg(long, value_name = "QUERY", conflicts_with_all = ["image", "heatmap"])]
    pub regions: Option<String>,
    /// Draw only this part of the page, in points from its top left; --width is the part's.
    #[arg(long, value_name = "x0,y0,x1,y1", requires = "image", value_parser = rectangle)]
    pub region: Option<Rect>,
    /// Width of the picture, px.
    #[arg(long, value_name = "PX", default_value_t = 1200, requires = "image")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub width: u32,
    /// Password to try on an encrypted document; may be given several times.
    #[arg(long, value_name = "PASSWORD")]
    pub password: Vec<String>,
    /// Shut the PDF reader in: no files, no network, no processes (landlock and seccomp).
    #[arg(long, value_enum, value_name = "HOW", default_value_t = SandboxChoice::BestEffort)]
    pub sandbox: SandboxChoice,
}

/// What a map is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MapChannel {
    /// The patches of the page's picture
    Visual,
    /// What the words of the page mean
    Meaning,
}

/// The question of a map or of regions.
fn asked(index: &Index, verb: &GetVerb, question: &str) -> Result<EncodedQuestion, Error> {
    match verb.channel {
        MapChannel::Visual => index.encode(question.trim()),
        MapChannel::Meaning => index.encode_meaning(question.trim()),
    }
}

pub fn run(place: &Place, verb: &GetVerb) -> Result<Outcome> {
    let index = locate::open(place)?;
    index.set_renderer(RenderOptions {
        sandbox: sandbox(verb.sandbox),
        ..renderer(place, &verb.password)
    });
    index.set_loading(LoadOptions { query_only: true, ..pagesight::machine::loading() });
    index.set_embedding(meaning::options(place));
    let page = named(&index, &verb.page)?;
    if let Some(question) = &verb.regions {
        let question = asked(&index, verb, question)?;
        let regions = page.regions(&question, map_of(verb.word), REGIONS)?;
        let mut out = io::stdout().lock();
        for region in &regions {
            writeln!(out, "{}", line("region", region)?)?;
        }
        return Ok(if regions.is_empty() { Outcome::NothingFound } else { Outcome::Done });
    }
    match &verb.image {
        None => {
            let mut out = io::stdout().lock();
            out.write_all(page.text().as_bytes())?;
            if !page.text().ends_with('\n') {
                writeln!(out)?;
            }
        }
        Some(file) => {
            let mut image = match verb.region {
                Some(region) => part(&page, region, verb.width)?,
                None => page.image(verb.width)?,
            };
            if let Some(question) = &verb.heatmap {
                let question = asked(&index, verb, question)?;
                let heat = page.heat(&question, map_of(verb.word), HeatScale::Page)?;
                image = heat.map.over(&image);
            }
            if file == Path::new("-") {
                write_png(&image, BufWriter::new(io::stdout().lock()))?
            } else {
                save(&image, file)?
            }
        }
    }
    Ok(Outcome::Done)
}

/// Regions that are printed.
const REGIONS: usize = 3;

fn map_of(word: Option<usize>) -> MapOf {
    word.map_or(MapOf::Question, MapOf::Word)
}

/// `x0,y0,x1,y1`.
pub fn rectangle(text: &str) -> Result<Rect, String> {
    let numbers: Option<Vec<f32>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[x0, y0, x1, y1]) if x0 < x1 && y0 < y1 && x1.is_finite() && y1.is_finite() => {
            Ok(Rect { x0, y0, x1, y1 })
        }
        _ => Err(format!("a box x0,y0,x1,y1 in points, left and top first, not {text:?}")),
    }
}

/// A part of a page, `width` px wide.
fn part(page: &Page, region: Rect, width: u32) -> Result<PageImage> {
    page.image_of(region, width, &Arc::default())?.ok_or_else(|| {
        let size = page.size();
        hinted(
            "nothing of the region is on the page",
            format!("the page is {} x {} points", size.width_pt, size.height_pt),
        )
    })
}

/// The page that a reference, or a path and a number, names.
pub fn named(index: &Index, name: &str) -> Result<Page> {
    if let Ok(reference) = name.parse::<PageRef>() {
        return Ok(index.page_by_ref(&reference)?);
    }
    let wrong = || {
        hinted(
            format!("{name:?} does not name a page"),
            "write PATH#PAGE, e.g. reports/q3.pdf#12, or the `ref` of a hit",
        )
    };
    let (path, number) = name.rsplit_once('#').ok_or_else(wrong)?;
    let number: u32 = number.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
    Ok(page(index, path, number)?)
}

/// Page `number` of the document that `path` names: as the ledger has it, or as a file relative to
/// the current folder.
fn page(index: &Index, path: &str, number: u32) -> Result<Page, Error> {
    match index.page(&index.ledger_path(Path::new(path)), number) {
        Err(Error::NoSuchDocument { .. }) => index.page(path, number),
        found => found,
    }
}

/// How the name of a picture that can be written ends.
pub fn ending(file: &Path) -> Result<String> {
    let ending = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if !["png", "webp"].contains(&ending.as_str()) {
        return Err(hinted(
            format!("cannot write {}", file.display()),
            "end the name in .png or .webp",
        ));
    }
    Ok(ending)
}

/// Writes beside the file and renames, so that a failure leaves nothing half done.
pub fn save(image: &PageImage, file: &Path) -> Result<()> {
    let ending = ending(file)?;
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let part = file.with_file_name(name);
    let write = || -> Result<()> {
        let out = BufWriter::new(File::create(&part)?);
        match ending.as_str() {
            "webp" => write_webp(image, out)?,
            _ => write_png(image, out)?,
        }
        Ok(fs::rename(&part, file)?)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written.with_context(|| format!("writing {}", file.display()))
}

fn write_png(image: &PageImage, mut out: impl Write) -> Result<()> {
    let (width, height) = (image.width_px(), image.height_px());
    PngEncoder::new(&mut out).write_image(image.rgb(), width, height, ExtendedColorType::Rgb8)?;
    Ok(out.flush()?)
}

fn write_webp(image: &PageImage, mut out: impl Write) -> Result<()> {
    let (width, height) = (image.width_px(), image.height_px());
    WebPEncoder::new_lossless(&mut out).encode(
        image.rgb(),
        width,
        height,
        ExtendedColorType::Rgb8,
    )?;
    Ok(out.flush()?)
}
