//! What do a page and each token cost when a PaliGemma writes about it, and what does PyTorch take?
//!
//! The checkpoint is a folder, e.g. one of `random_checkpoint FOLDER --family paligemma`: the real
//! shapes, random weights. The page has the model's own size and is filled from a formula; the prompt
//! is a question. When the first token is there the page has been read; from then to the last one is
//! what tokens cost, so that neither is a difference of two runs. ROUNDS are timed after one that is
//! not, in turns with the peer; medians are printed, with the share of what memory gives: for each
//! token all weights of the language model are read once.
//!
//! The peer is `PaliGemmaForConditionalGeneration.generate` of transformers with its cache and
//! PyTorch's attention, on the same device and on as many threads, from pixels in numbers.
//!
//! ```text
//! cargo run --release -p pagesight-model --example answering -- FOLDER PRECISION ROUNDS \
//!     [--device cpu|cuda|metal] [--whole-numbers] [--peer PYTHON f32|bf16]
//! ```
//!
//! `--whole-numbers` is what a CPU without bf16 does where the checkpoint was found to allow it.

#[allow(dead_code, reason = "only those that encode compare vectors")]
mod peer;

use std::fs;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use pagesight_core::{ModelSource, PageImage};
use pagesight_model::{Decoding, Device, LoadOptions, PaliGemma, Precision, Task};
use rayon::prelude::*;
use serde_json::Value;

use crate::peer::Peer;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const QUESTION: &str = "What is the total revenue in 2024?";

/// Tokens of the text.
const TOKENS: usize = 25;

fn main() -> Result<(), Failure> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let device: Device = match arguments.iter().position(|argument| argument == "--device") {
        Some(at) => {
            let given: Vec<String> = arguments.drain(at..arguments.len().min(at + 2)).collect();
            given.get(1).ok_or("--device cpu|cuda|metal")?.parse()?
        }
        None => Device::Cpu,
    };
    let flag = arguments.iter().position(|argument| argument == "--whole-numbers");
    let whole_numbers = flag.map(|at| arguments.remove(at) == "--whole-numbers");
    let (folder, precision, rounds, peer) = match arguments.as_slice() {
        [folder, precision, rounds] => (folder, precision, rounds, None),
        [folder, precision, rounds, flag, python, theirs] if flag == "--peer" => {
            (folder, precision, rounds, Some((python, theirs)))
        }
        _ => {
            return Err("usage: answering FOLDER PRECISION ROUNDS [--device cpu|cuda|metal] \
                        [--whole-numbers] [--peer PYTHON f32|bf16]"
                .into());
        }
    };
    let (precision, rounds): (Precision, usize) = (precision.parse()?, rounds.parse()?);
    let options =
        LoadOptions { precision: Some(precision), device, whole_numbers, ..LoadOptions::default() };
    let start = Instant::now();
    let model = PaliGemma::load(&ModelSource::Folder(folder.into()), &options)?;
    let loaded = start.elapsed().as_secs_f64();
    println!("{folder} in {precision} on {}: loaded in {loaded:.2} s", model.device());
    let edge = model.input_px();
    let wave = |x: u32, y: u32, c: u32| ((x * (3 + c) + y * (7 + 2 * c)) ^ (x * y / 16)) as u8;
    let rgb =
        (0..edge).flat_map(|y| (0..edge).flat_map(move |x| (0..3).map(move |c| wave(x, y, c))));
    let page = PageImage::new(edge, edge, rgb.collect())?;
    let mut peer = match peer {
        Some((python, theirs)) => {
            let device = device.to_string();
            Some(Peer::start(python, "answering_peer.py", &[folder, theirs, &device])?)
        }
        None => None,
    };
    let task = Task::answer(QUESTION);
    let decoding = Decoding::GREEDY.with_most_tokens(TOKENS);
    let (mut ours, mut theirs) = (vec![], vec![]);
    for round in 0..=rounds {
        let mut times = Vec::with_capacity(TOKENS);
        let start = Instant::now();
        let text = model.write_to(&page, &task, decoding, &mut |_| {
            times.push(start.elapsed().as_secs_f64());
            ControlFlow::Continue(())
        })?;
        // Each token is a piece, unless some have no text or are the beginning of a letter.
        let [first, .., last] = times[..] else { return Err("no tokens with text".into()) };
        if times.len() != TOKENS {
            return Err(format!("of {} tokens {} have text", text.ids.len(), times.len()).into());
        }
        if round > 0 {
            ours.push([first, last - first]);
        }
        let Some(peer) = &mut peer else { continue };
        let said = peer.ask(&format!("write {TOKENS} {task}"))?;
        let mut said = said.split(' ');
        let mut seconds = || said.next().ok_or("no time")?.parse::<f64>().map_err(Failure::from);
        let (first, last) = (seconds()?, seconds()?);
        if round > 0 {
            theirs.push([first, last - first]);
        } else {
            let ids: Vec<u32> = said.map(str::parse).collect::<Result<_, _>>()?;
            let same = ids.iter().zip(&text.ids).take_while(|(a, b)| a == b).count();
            println!("of {TOKENS} tokens the peer writes the first {same} too");
        }
    }
    let (page_s, token_s) = costs(&ours);
    println!("page {page_s:.3} s, {:.2} tokens/s ({rounds} rounds)", 1.0 / token_s);
    if device == Device::Cpu {
        let (rate, bytes) = (memory_rate(), token_bytes(Path::new(folder), precision)?);
        println!(
            "a token reads {:.2} GB; memory gives {:.1} GB/s, so at most {:.2} tokens/s: {:.0} % of it",
            bytes / 1e9,
            rate / 1e9,
            rate / bytes,
            100.0 * bytes / token_s / rate
        );
    } else {
        // A GPU has no weights of fewer than 16 bits.
        let widened = if precision == Precision::F32 { precision } else { Precision::Bf16 };
        let bytes = token_bytes(Path::new(folder), widened)?;
        println!("a token reads {:.2} GB: {:.0} GB/s", bytes / 1e9, bytes / token_s / 1e9);
    }
    if peer.is_some() {
        let (their_page, their_token) = costs(&theirs);
        println!(
            "PyTorch: page {their_page:.3} s, {:.2} tokens/s: we are {:.2} and {:.2} times as fast",
            1.0 / their_token,
            their_page / page_s,
            their_token / token_s
        );
    }
    Ok(())
}

/// Seconds of a page with the first token, and of each token after it, by medians.
fn costs(rounds: &[[f64; 2]]) -> (f64, f64) {
    let median = |of: usize| {
        let mut seconds: Vec<f64> = rounds.iter().map(|round| round[of]).collect();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
    };
    (median(0), median(1) / (TOKENS - 1) as f64)
}

/// Bytes a second that all threads together read from memory: the best of five passes over 2 GB.
fn memory_rate() -> f64 {
    let numbers: Vec<u64> = (0..1 << 28).collect();
    let pass = |_| {
        let start = Instant::now();
        let sum = |part: &[u64]| part.iter().fold(0u64, |sum, number| sum.wrapping_add(*number));
        black_box(numbers.par_chunks(1 << 20).map(sum).reduce(|| 0, u64::wrapping_add));
        (numbers.len() * size_of::<u64>()) as f64 / start.elapsed().as_secs_f64()
    };
    (0..5).map(pass).fold(0.0, f64::max)
}

/// Bytes of the matrices that each token reads: those of the layers, and the table as output layer.
fn token_bytes(folder: &Path, precision: Precision) -> Result<f64, Failure> {
    let config: Value = serde_json::from_slice(&fs::read(folder.join("config.json"))?)?;
    let text = &config["text_config"];
    let number = |key: &str| text[key].as_f64().ok_or_else(|| format!("config.json has no {key}"));
    let (hidden, inner) = (number("hidden_size")?, number("intermediate_size")?);
    let head = text["head_dim"].as_f64().unwrap_or(256.0);
    let (heads, shared) = (number("num_attention_heads")?, number("num_key_value_heads")?);
    let (looks, inside) = (hidden * head * 2.0 * (heads + shared), 3.0 * hidden * inner);
    let table = number("vocab_size")? * hidden;
    let (least, most) = match precision {
        Precision::F32 => (4.0, 4.0),
        // What is inside layers has half a byte a number and a scale of 16 bits for 32 of them; all
        // else has 8 bits.
        Precision::Q4 => (0.5 + 2.0 / 32.0, 1.0),
        Precision::Q8 => (1.0, 1.0),
        _ => (2.0, 2.0),
    };
    Ok(number("num_hidden_layers")? * (looks * most + inside * least) + table * most)
}
