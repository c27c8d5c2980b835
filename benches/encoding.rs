//! How long do a page and a query take, in each precision, beside PyTorch; how much memory; and
//! how far are the vectors from the reference's?
//!
//! The checkpoint is one that `random_checkpoint` wrote: the real shapes, random weights. Both
//! programs make the same picture from a formula and the same ids from the checkpoint's
//! tokenizer, and take turns.
//!
//! ```text
//! cargo run -p pagesight-model --example encoding -- FOLDER PRECISION page|query|both ROUNDS \
//!     [--device cpu|cuda|metal] [--batch N[,N...]] [--peer PYTHON f32|bf16]
//! ```
//!
//! A batch is of N different pages. On a GPU the time is from bytes of pixels in the program's
//! memory to vectors in it; the peer's pixels are on the GPU already.
//!
//! `peak` as FOLDER measures the limits of the CPU: sums of products in registers.
//! `devices` says where models can run here.

mod peer;

use std::time::Instant;

use pagesight_core::seam::{PageEncoder, QueryEncoder};
use pagesight_core::{ModelSource, PageImage};
use pagesight_model::{ColPali, Device, LoadOptions, Precision, peak};
use pagesight_simd::Limit;

use crate::peer::Peer;

const QUESTION: &str = "net sales by region";

/// Multiplications and additions of a page of 1030 tokens, by the shapes of the published model.
const PAGE_STAGES: [(&str, f64); 3] = [("vision", 0.978e12), ("language", 4.239e12), ("head", 5e8)];

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    // As of the program: kernels keep to the instructions of such a CPU.
    if let Ok(name) = std::env::var("PAGESIGHT_INSTRUCTIONS") {
        name.parse::<Limit>()?.set()?;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().map(String::as_str) == Some("peak") {
        for (name, rate) in peak() {
            println!("{name:12} {:7.0} GFLOP/s on all cores", rate / 1e9);
        }
        return Ok(());
    }
    if arguments.first().map(String::as_str) == Some("devices") {
        devices();
        return Ok(());
    }
    let [folder, precision, what, rounds, options @ ..] = arguments.as_slice() else {
        return Err("usage: encoding FOLDER PRECISION page|query|both ROUNDS [--device D] \
                    [--batch N,N] [--at-once N] [--peer PYTHON f32|bf16]"
            .into());
    };
    let option = |name: &str| {
        let at = options.iter().position(|option| option == name);
        at.map(|at| &options[at + 1..])
    };
    let first = |name: &str| option(name).and_then(|values| values.first());
    let precision: Precision = precision.parse()?;
    let rounds: usize = rounds.parse()?;
    let device: Device = first("--device").map_or(Ok(Device::Cpu), |device| device.parse())?;
    let batches: Vec<usize> = match first("--batch") {
        Some(batches) => batches.split(',').map(str::parse).collect::<Result<_, _>>()?,
        None => vec![1],
    };
    let at_once = first("--at-once").map(|at_once| at_once.parse()).transpose()?;
    let (pages, queries) = (what != "query", what != "page");
    let options = LoadOptions {
        precision: Some(precision),
        query_only: !pages,
        device,
        gpu_slices: at_once.or(batches.iter().copied().max()),
        ..LoadOptions::default()
    };
    let start = Instant::now();
    let model = ColPali::load(&ModelSource::Folder(folder.into()), &options)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{precision} loaded on {} in {seconds:.1} s{}", model.device(), memory());
    let mut peer = match option("--peer") {
        Some([python, precision, ..]) => {
            let device = device.to_string();
            Some(Peer::start(python, "encoding_peer.py", &[folder, precision, &device])?)
        }
        Some(_) => return Err("--peer PYTHON f32|bf16".into()),
        None => None,
    };
    let edge = model.input_px();
    let images: Vec<PageImage> = (0..batches.iter().copied().max().unwrap_or(1) as u32)
        .map(|seed| picture(edge, seed))
        .collect();
    for &batch in batches.iter().filter(|_| pages) {
        time_pages(&model, &images[..batch], rounds, peer.as_mut())?;
    }
    if queries {
        time_queries(&model, rounds, peer.as_mut())?;
    }
    if pages && device == Device::Cpu {
        let mut best: Vec<f64> = vec![f64::INFINITY; 3];
        for _ in 0..rounds.max(1) {
            let took = model.time_page(&images[0])?.unwrap_or_default();
            for (best, took) in best.iter_mut().zip(took) {
                *best = best.min(took.as_secs_f64());
            }
        }
        for ((stage, work), seconds) in PAGE_STAGES.iter().zip(&best) {
            println!("  {stage:9} {seconds:7.3} s  {:6.0} GFLOP/s", work / seconds / 1e9);
        }
    }
    println!("memory{}", memory());
    if let Some(mut peer) = peer {
        println!("PyTorch's largest {} MB", peer.ask("memory")?);
        if device != Device::Cpu {
            println!("PyTorch's product of 8192 x 8192 x 8192: {} TFLOP/s", peer.ask("peak")?);
        }
    }
    Ok(())
}

/// Pages together, in turns with the peer.
fn time_pages(
    model: &ColPali,
    images: &[PageImage],
    rounds: usize,
    mut peer: Option<&mut Peer>,
) -> Result<(), Failure> {
    let batch = images.len();
    let mut times: [Vec<f64>; 2] = Default::default();
    for round in 0..=rounds {
        let start = Instant::now();
        let vectors = model.encode_pages(images)?;
        keep(&mut times[0], round, start.elapsed().as_secs_f64());
        if round == 0 && batch > 1 {
            let alone = model.encode_pages(&images[batch - 1..])?;
            let both = [&vectors[batch - 1], &alone[0]];
            let [together, alone] = both.map(|page| page.vectors().values());
            let apart = together.iter().zip(alone).map(|(a, b)| (a.to_f32() - b.to_f32()).abs());
            println!("  beside others and alone: at most {:.1e} apart", apart.fold(0.0, f32::max));
        }
        if let Some(peer) = &mut peer {
            keep(&mut times[1], round, peer.ask(&format!("page {batch}"))?.parse()?);
            if round == 0 {
                let ours = vectors.iter().flat_map(|page| page.vectors().values());
                peer.compare(ours.map(|value| value.to_f32()), model.dim())?;
            }
        }
    }
    if let Some(seconds) = tell("page", model, batch, times) {
        let work: f64 = PAGE_STAGES.iter().map(|(_, work)| work).sum();
        println!("  {:.1} TFLOP/s of products", batch as f64 * work / seconds / 1e12);
    }
    Ok(())
}

/// One query at a time, in turns with the peer.
fn time_queries(
    model: &ColPali,
    rounds: usize,
    mut peer: Option<&mut Peer>,
) -> Result<(), Failure> {
    let mut times: [Vec<f64>; 2] = Default::default();
    for round in 0..=rounds {
        let start = Instant::now();
        let vectors = model.encode_queries(&[QUESTION])?;
        keep(&mut times[0], round, start.elapsed().as_secs_f64());
        if let Some(peer) = &mut peer {
            keep(&mut times[1], round, peer.ask(&format!("query {QUESTION}"))?.parse()?);
            if round == 0 {
                println!("  query of {} tokens", vectors[0].len());
                peer.compare(vectors[0].values().iter().copied(), model.dim())?;
            }
        }
    }
    tell("query", model, 1, times);
    Ok(())
}

/// The first round warms up: weights come into memory.
fn keep(times: &mut Vec<f64>, round: usize, seconds: f64) {
    match round {
        0 => println!("  first {seconds:.2} s"),
        _ => times.push(seconds),
    }
}

/// Our median, after it is printed beside the peer's.
fn tell(name: &str, model: &ColPali, count: usize, times: [Vec<f64>; 2]) -> Option<f64> {
    let [ours, theirs] = times.map(median);
    let (ours, precision) = (ours?, model.precision());
    print!("{name:5} {precision:4} {ours:8.4} s for {count} ({:.2}/s)", count as f64 / ours);
    match theirs {
        Some(theirs) => println!("   PyTorch {theirs:8.4} s   {:.2} times as fast", theirs / ours),
        None => println!(),
    }
    Some(ours)
}

/// What each device says when the parity fixture is loaded on it.
fn devices() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity/hf");
    for device in Device::ALL {
        let source = ModelSource::Folder(folder.into());
        let model = ColPali::load(&source, &LoadOptions { device, ..LoadOptions::default() });
        match model {
            Ok(model) => println!("{device:5} runs on {}", model.device()),
            Err(error) => println!("{device:5} {error}"),
        }
    }
}

fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}

/// The picture that `encoding_peer.py` makes for this seed.
fn picture(edge: u32, seed: u32) -> PageImage {
    let value = |x: u32, y: u32, c: u32| {
        ((x * (3 + c + seed) + y * (7 + 2 * c)) ^ (x * y / (16 + seed))) as u8
    };
    let pixels = (0..edge).flat_map(|y| (0..edge).map(move |x| (x, y)));
    let rgb = pixels.flat_map(|(x, y)| (0..3).map(move |c| value(x, y, c))).collect();
    PageImage::new(edge, edge, rgb).expect("three bytes a pixel")
}

/// What the system says of this process: the most that was ever there, and of what is there now
/// the part that no file backs.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let megabytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("0 kB");
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0)
            / 1024
    };
    format!(
        "; VmHWM {} MB, now {} MB of which {} MB are no file's",
        megabytes("VmHWM"),
        megabytes("VmRSS"),
        megabytes("RssAnon")
    )
}
