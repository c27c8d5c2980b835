//! `pagesight get`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use pagesight::model::PageImage;
use pagesight::pdf::RenderOptions;
use pagesight::search::Page;
use pagesight::{Error, Index};

use super::args::{Place, SandboxChoice};
use super::{Outcome, hinted, locate, renderer, sandbox};

/// The words of a page, or its picture.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight get reports/q3.pdf#12\n  \
    pagesight get reports/q3.pdf#12 --image page.png --width 1200")]
pub struct GetVerb {
    /// A document of the index and a page number.
    #[arg(value_name = "PATH#PAGE")]
    pub page: String,
    /// Draw the page into a PNG or WebP file (by its ending); `-` writes PNG to stdout.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub image: Option<PathBuf>,
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

pub fn run(place: &Place, verb: &GetVerb) -> Result<Outcome> {
    let wrong = || {
        hinted(
            format!("{:?} does not name a page", verb.page),
            "write PATH#PAGE, e.g. reports/q3.pdf#12",
        )
    };
    let (path, number) = verb.page.rsplit_once('#').ok_or_else(wrong)?;
    let number: u32 = number.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
    let folder = locate::existing(place)?;
    let index =
        Index::open(&folder).with_context(|| format!("opening {}", folder.display()))?;
    let renderer = renderer(place, &verb.password);
    index.set_renderer(RenderOptions { sandbox: sandbox(verb.sandbox), ..renderer });
    let page = page(&index, path, number).map_err(|error| match error {
        Error::NoSuchDocument { .. } => {
            hinted(error.to_string(), "`pagesight status --all` lists the documents")
        }
        error => error.into(),
    })?;
    match &verb.image {
        None => {
            let mut out = io::stdout().lock();
            out.write_all(page.text().as_bytes())?;
            if !page.text().ends_with('\n') {
                writeln!(out)?;
            }
        }
        Some(file) => {
            let image = page.image(verb.width)?;
            match file == Path::new("-") {
                true => write_png(&image, BufWriter::new(io::stdout().lock()))?,
                false => save(&image, file)?,
            }
        }
    }
    Ok(Outcome::Done)
}

/// Page `number` of the document that `path` names: as the ledger has it, or as a file relative to
/// the current folder.
fn page(index: &Index, path: &str, number: u32) -> Result<Page, Error> {
    match index.page(&index.ledger_path(Path::new(path)), number) {
        Err(Error::NoSuchDocument { .. }) => index.page(path, number),
        found => found,
    }
}

/// Writes beside the file and renames, so that a failure leaves nothing half done.
fn save(image: &PageImage, file: &Path) -> Result<()> {
    let ending = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if !["png", "webp"].contains(&ending.as_str()) {
        return Err(hinted(
            format!("cannot write {}", file.display()),
            "end the name in .png or .webp",
        ));
    }
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
