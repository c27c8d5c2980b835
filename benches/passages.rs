//! Times a model of meaning: milliseconds a full passage, passages a second of a core, and
//! milliseconds a question, in each precision, and how near its vectors are to those of the first.
//!
//! ```text
//! cargo run -p pagesight-model --example passages -- MODEL_FOLDER [PRECISION...]
//! ```
//!
//! Times are those of the CPU, on all threads of the process together, so that they mean the same
//! on a machine that does other work; `RAYON_NUM_THREADS` says how many threads there are.

use std::{env, fs};

use pagesight_core::ModelSource;
use pagesight_core::seam::{BoxError, PassageEncoder};
use pagesight_model::{Embedder, EmbedderOptions, Precision};

/// Words that are one piece each, so that 126 of them are a passage.
const WORDS: [&str; 9] = ["the", "house", "of", "water", "and", "light", "in", "small", "cities"];

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, precisions @ ..] = arguments.as_slice() else {
        return Err("MODEL_FOLDER [PRECISION...]".into());
    };
    let passage: Vec<&str> = WORDS.iter().copied().cycle().take(126).collect();
    let passage = passage.join(" ");
    let page: Vec<&str> = vec![&passage; 16];
    let question = "how much did the small cities spend on water and light?";
    let mut choices: Vec<Option<Precision>> = vec![None];
    choices.extend(
        precisions.iter().map(|name| name.parse().map(Some)).collect::<Result<Vec<_>, _>>()?,
    );
    println!("precision  ms a passage  passages/s a core  ms a question  cosine");
    let mut first: Option<Vec<f32>> = None;
    for precision in choices {
        let options = EmbedderOptions { precision, ..EmbedderOptions::default() };
        let embedder = Embedder::load(&ModelSource::Folder(folder.into()), &options)?;
        let encoded = embedder.encode_texts(&page)?;
        let pooled: Vec<f32> =
            encoded[0].iter().flat_map(|page| page.pooled.values()).map(|v| v.to_f32()).collect();
        let cosine = first.get_or_insert_with(|| pooled.clone());
        let cosine: f32 = cosine.iter().zip(&pooled).map(|(a, b)| a * b).sum();
        let mut cpu = f64::INFINITY;
        for _ in 0..5 {
            let before = cpu_seconds()?;
            embedder.encode_texts(&page)?;
            cpu = cpu.min((cpu_seconds()? - before) / page.len() as f64);
        }
        let mut asked = f64::INFINITY;
        for _ in 0..10 {
            let before = cpu_seconds()?;
            for _ in 0..10 {
                embedder.encode_question(question)?;
            }
            asked = asked.min((cpu_seconds()? - before) / 10.0);
        }
        let name = precision.map_or("stored".into(), |precision| precision.to_string());
        println!(
            "{name:9}  {:12.1}  {:17.0}  {:13.1}  {cosine:.4}",
            cpu * 1e3,
            1.0 / cpu,
            asked * 1e3
        );
    }
    Ok(())
}

/// Seconds of CPU that all threads of this process have used.
fn cpu_seconds() -> Result<f64, BoxError> {
    // The sum over the threads, in nanoseconds, which /proc/self/stat has in hundredths alone.
    let mut all = 0.0;
    for task in fs::read_dir("/proc/self/task")? {
        let said = fs::read_to_string(task?.path().join("schedstat"))?;
        let run: f64 = said.split_whitespace().next().unwrap_or("0").parse()?;
        all += run;
    }
    Ok(all / 1e9)
}
