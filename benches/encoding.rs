//! How long do a page and a query take, in each precision, beside PyTorch; how much memory; and
//! how far are the vectors from the reference's?
//!
//! The checkpoint is one that `random_checkpoint` wrote: the real shapes, random weights. Both
//! programs make the same picture from a formula and the same ids from the checkpoint's
//! tokenizer, and take turns.
//!
//! ```text
//! cargo run -p pagesight-model --example encoding -- FOLDER PRECISION page|query|both ROUNDS \
//!     [PYTHON f32|bf16]
//! ```
//!
//! `peak` as FOLDER measures the limits of the processor: sums of products in registers.
//! `devices` tells where models can run here.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use pagesight_core::PageImage;
use pagesight_core::seam::{PageEncoder, QueryEncoder};
use pagesight_model::{ColPali, Device, LoadOptions, Precision, peak};

const QUESTION: &str = "net sales by region";

/// Multiplications and additions of a page of 1030 tokens, as `shared/model.md` counts them.
const PAGE_STAGES: [(&str, f64); 3] = [("vision", 0.978e12), ("language", 4.239e12), ("head", 5e8)];

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
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
    let [folder, precision, what, rounds, peer @ ..] = arguments.as_slice() else {
        return Err(
            "usage: encoding FOLDER PRECISION page|query|both ROUNDS [PYTHON f32|bf16]".into()
        );
    };
    let precision: Precision = precision.parse()?;
    let rounds: usize = rounds.parse()?;
    let (pages, queries) = (what != "query", what != "page");
    let options =
        LoadOptions { precision: Some(precision), query_only: !pages, ..LoadOptions::default() };
    let start = Instant::now();
    let model = ColPali::load(folder.as_ref(), &options)?;
    println!("{precision} loaded in {:.1} s{}", start.elapsed().as_secs_f64(), memory());
    let mut peer = match peer {
        [python, peer_precision] => Some(Peer::start(python, folder, peer_precision)?),
        _ => None,
    };
    let edge = model.input().edge_px;
    let image = picture(edge, 0);
    let mut times: [Vec<f64>; 4] = Default::default();
    for round in 0..=rounds {
        // The first round warms up: weights come into memory.
        let keep = |times: &mut Vec<f64>, seconds: f64| match round {
            0 => println!("  first {seconds:.2} s"),
            _ => times.push(seconds),
        };
        if pages {
            let start = Instant::now();
            let vectors = model.encode_pages(std::slice::from_ref(&image))?;
            keep(&mut times[0], start.elapsed().as_secs_f64());
            if let Some(peer) = &mut peer {
                keep(&mut times[1], peer.ask("page 0")?.parse()?);
                if round == 0 {
                    peer.compare(vectors[0].values().iter().map(|v| v.to_f32()), model.dim())?;
                }
            }
        }
        if queries {
            let start = Instant::now();
            let vectors = model.encode_queries(&[QUESTION])?;
            keep(&mut times[2], start.elapsed().as_secs_f64());
            if let Some(peer) = &mut peer {
                keep(&mut times[3], peer.ask(&format!("query {QUESTION}"))?.parse()?);
                if round == 0 {
                    println!("  query of {} tokens", vectors[0].len());
                    peer.compare(vectors[0].values().iter().copied(), model.dim())?;
                }
            }
        }
    }
    let [page, peer_page, query, peer_query] = times.map(median);
    for (name, ours, theirs) in [("page", page, peer_page), ("query", query, peer_query)] {
        let Some(ours) = ours else { continue };
        print!("{name:5} {precision:4} {ours:8.3} s");
        match theirs {
            Some(theirs) => {
                println!("   PyTorch {theirs:8.3} s   {:.2} times as fast", theirs / ours)
            }
            None => println!(),
        }
    }
    if pages {
        let mut best: Vec<f64> = vec![f64::INFINITY; 3];
        for _ in 0..rounds.max(1) {
            let took = model.time_page(&image)?.unwrap_or_default();
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
    }
    Ok(())
}

/// What each device says when the parity fixture is loaded on it.
fn devices() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity/hf");
    for device in Device::ALL {
        let model =
            ColPali::load(folder.as_ref(), &LoadOptions { device, ..LoadOptions::default() });
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

/// The reference, in a process of its own.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(python: &str, folder: &str, precision: &str) -> std::io::Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/encoding_peer.py");
        let threads = std::thread::available_parallelism()?.to_string();
        let mut child = Command::new(python)
            .args([script, folder, precision, &threads])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut ready = String::new();
        while ready.trim() != "ready" {
            ready.clear();
            if output.read_line(&mut ready)? == 0 {
                return Err(std::io::Error::other("the peer did not start"));
            }
        }
        Ok(Self { child, input, output })
    }

    fn ask(&mut self, line: &str) -> std::io::Result<String> {
        writeln!(self.input, "{line}")?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        Ok(answer.trim().into())
    }

    /// Prints how near the peer's last vectors are to ours.
    fn compare(
        &mut self,
        ours: impl Iterator<Item = f32>,
        dim: usize,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let path = std::env::temp_dir().join(format!("encoding-{}.bin", std::process::id()));
        self.ask(&format!("save {}", path.display()))?;
        let bytes = std::fs::read(&path)?;
        std::fs::remove_file(&path)?;
        let theirs: Vec<f32> =
            bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let ours: Vec<f32> = ours.collect();
        if ours.len() != theirs.len() {
            return Err(format!("{} numbers, the peer has {}", ours.len(), theirs.len()).into());
        }
        let cosines: Vec<f64> = ours
            .chunks(dim)
            .zip(theirs.chunks(dim))
            .map(|(a, b)| {
                let dot = |a: &[f32], b: &[f32]| -> f64 {
                    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
                };
                dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
            })
            .collect();
        let least = cosines.iter().copied().fold(f64::INFINITY, f64::min);
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
        println!(
            "  cosine to the peer: least {least:.6}, mean {mean:.6}; largest difference {worst:.1e}"
        );
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
