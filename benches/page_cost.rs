//! What do a page and a query cost with a model of any family, in seconds and in seconds of a core?
//!
//! The checkpoint is a folder, e.g. one that `random_checkpoint` wrote: the real shapes, random
//! weights. The page is an A4 page in the size that the model asks for, filled from a formula; the
//! query is of a few words. Each is encoded ROUNDS times after one that is not counted; the median
//! and the least are printed, with the share of the products' peak that `encoding peak` measures.
//! Seconds of a core (user time of all threads) are what a busy machine leaves nearly unchanged.
//!
//! ```text
//! cargo run --release -p pagesight-model --example page_cost -- FOLDER|nano PRECISION ROUNDS \
//!     [RECIPE] [--whole-numbers]
//! ```
//!
//! PAGESIGHT_INSTRUCTIONS=avx2, avx2-vnni, avx512, avx512-vnni and so on measures what an older CPU
//! does; `--whole-numbers` lets whole numbers of 16 bits take the place of bf16 for any checkpoint,
//! as they do for nano.

use std::fs;
use std::time::Instant;

use pagesight_core::{ModelSource, PageImage, PageSize};
use pagesight_model::{Device, LoadOptions, RecipeChoice, inspect_checkpoint};
use pagesight_simd::Limit;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const QUESTION: &str = "net sales by region";

fn main() -> Result<(), Failure> {
    // As of the program: kernels keep to the instructions of such a CPU.
    if let Ok(name) = std::env::var("PAGESIGHT_INSTRUCTIONS") {
        name.parse::<Limit>()?.set()?;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (flags, arguments): (Vec<String>, Vec<String>) =
        arguments.into_iter().partition(|argument| argument.starts_with("--"));
    let [folder, precision, rounds, recipe @ ..] = arguments.as_slice() else {
        return Err(
            "usage: page_cost FOLDER|nano PRECISION ROUNDS [RECIPE] [--whole-numbers]".into()
        );
    };
    let rounds: usize = rounds.parse()?;
    let options = LoadOptions {
        precision: Some(precision.parse()?),
        device: Device::Cpu,
        whole_numbers: flags.iter().any(|flag| flag == "--whole-numbers").then_some(true),
        recipe: recipe.first().map(|name| RecipeChoice::Named(name.clone())),
        ..LoadOptions::default()
    };
    let source = match folder.as_str() {
        "nano" => ModelSource::Nano,
        folder => ModelSource::Folder(folder.into()),
    };
    let info = inspect_checkpoint(&source, &options)?;
    let start = Clock::now()?;
    let model = pagesight_model::load(&source, &options)?;
    let (wall, core) = start.elapsed()?;
    println!("{} {precision}: loaded in {wall:.2} s, {core:.2} s of a core", info.family);
    let size = model.picture(PageSize { width_pt: 595.276, height_pt: 841.89 });
    let wave = |x: u32, y: u32, c: u32| ((x * (3 + c) + y * (7 + 2 * c)) ^ (x * y / 16)) as u8;
    let rgb = (0..size.height_px)
        .flat_map(|y| (0..size.width_px).flat_map(move |x| (0..3).map(move |c| wave(x, y, c))));
    let page = PageImage::new(size.width_px, size.height_px, rgb.collect())?;
    let work = info.page.operations as f64;
    let vectors = info.page.vectors;
    println!(
        "page: {} x {} px, {vectors} vectors, {:.3} TFLOP",
        size.width_px,
        size.height_px,
        work / 1e12
    );
    let times = measured(rounds, || model.encode_pages(std::slice::from_ref(&page)).map(drop))?;
    told("page", &times, Some(work));
    told("query", &measured(rounds, || model.encode_queries(&[QUESTION]).map(drop))?, None);
    println!("memory {}", memory());
    Ok(())
}

/// Wall clock and user time of all threads.
struct Clock(Instant, f64);

impl Clock {
    fn now() -> Result<Self, Failure> {
        Ok(Self(Instant::now(), user_seconds()?))
    }

    fn elapsed(&self) -> Result<(f64, f64), Failure> {
        Ok((self.0.elapsed().as_secs_f64(), user_seconds()? - self.1))
    }
}

/// User time of this process, from the system's account of it in hundredths of a second.
fn user_seconds() -> Result<f64, Failure> {
    let account = fs::read_to_string("/proc/self/stat")?;
    // The name, in brackets, may have spaces; the fields after it have none.
    let (_, fields) = account.rsplit_once(')').ok_or("no account of this process")?;
    let ticks: f64 = fields.split_whitespace().nth(11).ok_or("no user time")?.parse()?;
    Ok(ticks / 100.0)
}

fn measured(
    rounds: usize,
    run: impl Fn() -> Result<(), Failure>,
) -> Result<Vec<(f64, f64)>, Failure> {
    run()?;
    let round = |_| {
        let start = Clock::now()?;
        run()?;
        start.elapsed()
    };
    (0..rounds.max(1)).map(round).collect()
}

fn told(what: &str, times: &[(f64, f64)], work: Option<f64>) {
    let sorted = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = times.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        (values[values.len() / 2], values[0])
    };
    let ((wall, least_wall), (core, least_core)) = (sorted(|time| time.0), sorted(|time| time.1));
    let rate = work.map_or(String::new(), |work| {
        format!(", {:.0} GFLOP/s of a core", work / least_core / 1e9)
    });
    println!(
        "{what:6} {wall:.3} s (least {least_wall:.3}), {core:.2} s of a core (least \
         {least_core:.2}){rate}, {} rounds",
        times.len()
    );
}

/// The most memory that this process had, and how much of it now is no file's.
fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_string()
    };
    format!("{} at most, {} no file's", field("VmHWM:"), field("RssAnon:"))
}
