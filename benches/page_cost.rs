//! What do a page and a query cost with a model of any family, in seconds and in seconds of a core?
//!
//! The checkpoint is a folder, e.g. one that `random_checkpoint` wrote: the real shapes, random
//! weights. The page is an A4 page in the size that the model asks for, filled from a formula; the
//! query is of a few words. Each is encoded ROUNDS times after one that is not counted; the median
//! and the least are printed, with the share of the peak of products that is measured in the same
//! run. Seconds of a core (user time of all threads) are what a busy machine leaves nearly unchanged.
//!
//! With `--batch`, so many pages are then given at once, each another one: what a GPU is for. It gets
//! as many of them together, or those of `--at-once`. A page gives the same vectors alone and beside
//! others, as near as is printed.
//!
//! With `--peer`, the reference in PyTorch encodes the same picture and the same question in turns
//! with us, on as many threads. Its time is from pixels in numbers to vectors, ours from the bytes
//! of a picture.
//!
//! ```text
//! cargo run --release -p pagesight-model --example page_cost -- FOLDER|nano PRECISION ROUNDS \
//!     [RECIPE] [--device cpu|cuda|metal] [--batch N,N] [--at-once N] [--whole-numbers] \
//!     [--peer PYTHON f32|bf16]
//! ```
//!
//! PAGESIGHT_INSTRUCTIONS=avx2, avx2-vnni, avx512, avx512-vnni and so on measures what an older CPU
//! does; `--whole-numbers` lets whole numbers of 16 bits take the place of bf16 for any checkpoint,
//! as they do for nano.

mod peer;

use std::fs;
use std::time::Instant;

use pagesight_core::{ModelSource, PageImage, PageSize, PictureSize};
use pagesight_model::{Device, LoadOptions, Precision, RecipeChoice, inspect_checkpoint, peak};
use pagesight_simd::Limit;

use crate::peer::Peer;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const QUESTION: &str = "net sales by region";

fn main() -> Result<(), Failure> {
    // As of the program: kernels keep to the instructions of such a CPU.
    if let Ok(name) = std::env::var("PAGESIGHT_INSTRUCTIONS") {
        name.parse::<Limit>()?.set()?;
    }
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let peer = arguments.iter().position(|argument| argument == "--peer");
    let peer = peer.map_or(Vec::new(), |at| arguments.split_off(at).split_off(1));
    let mut option = |name: &str| -> Result<Option<String>, Failure> {
        let Some(at) = arguments.iter().position(|argument| argument == name) else {
            return Ok(None);
        };
        let mut given = arguments.drain(at..arguments.len().min(at + 2));
        Ok(Some(given.nth(1).ok_or_else(|| format!("{name} needs a value"))?))
    };
    let device: Device = option("--device")?.map_or(Ok(Device::Cpu), |device| device.parse())?;
    let batches = option("--batch")?.unwrap_or_default();
    let batches = batches.split(',').filter(|batch| !batch.is_empty()).map(str::parse);
    let batches: Vec<usize> = batches.collect::<Result<_, _>>()?;
    let at_once = option("--at-once")?.map(|at_once| at_once.parse()).transpose()?;
    let (flags, arguments): (Vec<String>, Vec<String>) =
        arguments.into_iter().partition(|argument| argument.starts_with("--"));
    let [folder, precision, rounds, recipe @ ..] = arguments.as_slice() else {
        return Err("usage: page_cost FOLDER|nano PRECISION ROUNDS [RECIPE] [--whole-numbers] \
                    [--device cpu|cuda|metal] [--batch N,N] [--at-once N] \
                    [--peer PYTHON f32|bf16]"
            .into());
    };
    let precision: Precision = precision.parse()?;
    let rounds: usize = rounds.parse()?;
    let options = LoadOptions {
        precision: Some(precision),
        device,
        gpu_slices: at_once.or(batches.iter().copied().max()),
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
    let page = picture(size, 0)?;
    let work = info.page.operations as f64;
    let vectors = info.page.vectors;
    println!(
        "page: {} x {} px, {vectors} vectors, {:.3} TFLOP",
        size.width_px,
        size.height_px,
        work / 1e12
    );
    let mut peer = match peer.as_slice() {
        [] => None,
        [python, precision] => Some(Peer::start(
            python,
            "page_cost_peer.py",
            &[folder, precision, &device.to_string()],
        )?),
        _ => return Err("--peer PYTHON f32|bf16".into()),
    };
    let dim = model.record().dim;
    let encode = || {
        let page = model.encode_pages(std::slice::from_ref(&page))?.remove(0);
        Ok(page.vectors().values().iter().map(|value| value.to_f32()).collect())
    };
    let line = format!("page {} {}", size.width_px, size.height_px);
    let (ours, theirs) = measured(rounds, encode, peer.as_mut(), &line, dim)?;
    let core = told("page", &ours, theirs, Some(work));
    for &batch in &batches {
        let pages: Vec<PageImage> =
            (0..batch as u32).map(|seed| picture(size, seed)).collect::<Result<_, _>>()?;
        let numbers = |pages: &[PageImage]| -> Result<Vec<f32>, Failure> {
            let pages = model.encode_pages(pages)?;
            let values = pages.iter().flat_map(|page| page.vectors().values());
            Ok(values.map(|value| value.to_f32()).collect())
        };
        let line = format!("pages {} {} {batch}", size.width_px, size.height_px);
        let encode = || numbers(&pages);
        let (ours, theirs) = measured(rounds, encode, peer.as_mut(), &line, dim)?;
        told(&format!("{batch} pages"), &ours, theirs, None);
        let mut times: Vec<f64> = ours.iter().map(|(wall, _)| *wall).collect();
        times.sort_by(f64::total_cmp);
        let rate = batch as f64 / times[times.len() / 2];
        let (together, alone) = (encode()?, numbers(&pages[batch - 1..])?);
        let together = &together[together.len() - alone.len()..];
        let apart = together.iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!(
            "       {rate:.2} pages a second, {:.1} TFLOP/s; beside others and alone {apart:.1e} apart",
            rate * work / 1e12
        );
    }
    let ask = || Ok(model.encode_queries(&[QUESTION])?.remove(0).values().to_vec());
    let (ours, theirs) = measured(rounds, ask, peer.as_mut(), &format!("query {QUESTION}"), dim)?;
    told("query", &ours, theirs, None);
    // Whole precisions are multiplied as they are; the others become bf16 on their way.
    let products = if precision == Precision::F32 { "f32" } else { "bf16" };
    let threads = std::thread::available_parallelism()?.get() as f64;
    let peaks = if device == Device::Cpu { peak() } else { Vec::new() };
    for (name, rate) in peaks.into_iter().filter(|(name, _)| name.ends_with(products)) {
        let share = 100.0 * work / core / (rate / threads);
        println!("peak of {name} {:.0} GFLOP/s; the page has {share:.0} % of it", rate / 1e9);
    }
    if let Some(peer) = &mut peer {
        println!("PyTorch's largest {} MB", peer.ask("memory")?);
    }
    println!("memory {}", memory());
    Ok(())
}

/// A page of waves, another one for each seed.
fn picture(size: PictureSize, seed: u32) -> Result<PageImage, Failure> {
    let PictureSize { width_px, height_px } = size;
    let wave = |x: u32, y: u32, c: u32| {
        ((x * (3 + c + seed) + y * (7 + 2 * c)) ^ (x * y / (16 + seed))) as u8
    };
    let rgb = (0..height_px)
        .flat_map(|y| (0..width_px).flat_map(move |x| (0..3).map(move |c| wave(x, y, c))));
    Ok(PageImage::new(width_px, height_px, rgb.collect())?)
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

/// Seconds of the rounds: ours, each with seconds of a core, and the peer's.
type Rounds = (Vec<(f64, f64)>, Vec<f64>);

/// Seconds of each round, in turns with the peer: ours with seconds of a core, and the peer's. The
/// first round is not counted; its vectors are compared.
fn measured(
    rounds: usize,
    run: impl Fn() -> Result<Vec<f32>, Failure>,
    mut peer: Option<&mut Peer>,
    line: &str,
    dim: usize,
) -> Result<Rounds, Failure> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=rounds.max(1) {
        let start = Clock::now()?;
        let vectors = run()?;
        if round > 0 {
            ours.push(start.elapsed()?);
        }
        let Some(peer) = &mut peer else { continue };
        let seconds = peer.ask(line)?.parse()?;
        match round {
            0 => peer.compare(vectors.into_iter(), dim)?,
            _ => theirs.push(seconds),
        }
    }
    Ok((ours, theirs))
}

/// Prints the times, and returns the least of the seconds of a core.
fn told(what: &str, times: &[(f64, f64)], theirs: Vec<f64>, work: Option<f64>) -> f64 {
    let sorted = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (values[values.len() / 2], values[0])
    };
    let (wall, least_wall) = sorted(times.iter().map(|time| time.0).collect());
    let (core, least_core) = sorted(times.iter().map(|time| time.1).collect());
    let rate = work.map_or(String::new(), |work| {
        format!(", {:.0} GFLOP/s of a core", work / least_core / 1e9)
    });
    println!(
        "{what:6} {wall:.3} s (least {least_wall:.3}), {core:.2} s of a core (least \
         {least_core:.2}){rate}, {} rounds",
        times.len()
    );
    if !theirs.is_empty() {
        let (theirs, least) = sorted(theirs);
        let (ratio, of_least) = (theirs / wall, least / least_wall);
        println!(
            "       PyTorch {theirs:.3} s (least {least:.3}): we are {ratio:.2} times as fast ({of_least:.2})"
        );
    }
    least_core
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
