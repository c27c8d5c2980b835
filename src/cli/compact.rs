//! `pagesight compact`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Args;
use pagesight::eval::{COMPACT, Tally};
use serde_json::json;

use super::args::{Measuring, Place, share};
use super::query::open;
use super::terminal::Terminal;
use super::{Outcome, hinted, questions};

/// How deep rankings are compared.
const DEPTH: usize = Tally::DEPTH;

/// Keep the vectors in 4 bits a number, a fifth of the disk, and measure what that loses before.
///
/// Of each vector the nearest of 256 centres is kept, and 4 bits for each number of what is left. The
/// whole vectors are removed, and what is indexed later is kept the same way. Before, questions made
/// from the words of your pages (or `--queries`) are asked both ways: when more is lost than allowed,
/// nothing changes and the exit code is 2. Every answer says from then on what was measured.
///
/// There is no way back but to index the PDFs again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight compact --dry-run\n  \
    pagesight compact --max-loss 5% --queries q.jsonl")]
pub struct CompactVerb {
    /// What may be lost of nDCG@10 and of the ten best, e.g. 5% or 0.05.
    #[arg(long, value_name = "LOSS", default_value = "10%", value_parser = share)]
    pub max_loss: f64,
    #[command(flatten)]
    pub measuring: Measuring,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &CompactVerb, terminal: &Terminal) -> Result<Outcome> {
    let index = open(place, &verb.measuring.model)?;
    if index.is_in_bucket() && !verb.measuring.dry_run {
        // Before it is measured for nothing.
        index.check_writable()?;
    }
    let mut out = io::stdout().lock();
    if index.snapshot().compact().is_some() {
        if verb.json {
            writeln!(out, "{}", json!({"v": 1, "type": "compact", "done": false}))?
        } else {
            writeln!(out, "the index is compact already")?
        }
        return Ok(Outcome::Done);
    }
    let questions = questions::make(&index, &verb.measuring.questions)?;
    let bar = terminal.bar(2, "measuring");
    let costs =
        index.measure_codes(&questions, verb.measuring.pages as usize, &[COMPACT], &mut |_| {
            bar.inc(1)
        });
    let costs = costs.context("measuring")?;
    bar.finish_and_clear();
    let Some(cost) = costs.iter().find(|cost| cost.code == COMPACT && cost.rerank == 0) else {
        return Err(hinted(
            format!("{} has no vectors, or no words to ask for", index.folder().display()),
            "index PDFs with a model first; `--queries FILE` asks questions of your own",
        ));
    };
    let quality = cost.quality;
    let within = quality.loss() <= verb.max_loss;
    let before = index.snapshot().bytes();
    let done = within && !verb.measuring.dry_run && {
        // Nothing to count: the pages are read twice and written once.
        let bar = terminal.bar(0, "writing");
        let done = index.compact(quality).context("writing the codes")?;
        bar.finish_and_clear();
        done
    };
    let after = index.snapshot().bytes();
    if verb.json {
        let line = json!({
            "v": 1, "type": "compact", "questions": questions.len(), "overlap@10": quality.overlap10,
            "ndcg_ratio": quality.ndcg_ratio, "loss": quality.loss(), "done": done,
            "bytes_before": before, "bytes_after": after,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "{} questions, whole vectors are the measure: overlap@{DEPTH} {:.4}, nDCG ratio {:.4}",
            questions.len(),
            quality.overlap10,
            quality.ndcg_ratio
        )?;
        let mb = |bytes: u64| bytes as f64 / 1e6;
        if done {
            writeln!(out, "{:.1} MB -> {:.1} MB", mb(before), mb(after))?
        } else {
            writeln!(out, "nothing was changed")?
        }
    }
    if !within {
        let (loss, most) = (quality.loss() * 100.0, verb.max_loss * 100.0);
        eprintln!("error: {loss:.1}% would be lost, {most:.1}% is allowed");
        eprintln!("hint: `--max-loss` allows more; `pagesight tune` shows what other codes lose");
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::Done)
}
