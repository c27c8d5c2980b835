//! `pagesight tune`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Args;
use pagesight::eval::{CODES, CodeCost, FAST_ENOUGH, Quality, Setting, Tally, cheapest, choose};
use pagesight::wire::ms;
use serde_json::json;

use super::args::{Measuring, Place, share};
use super::query::open;
use super::terminal::Terminal;
use super::{Outcome, locate, questions};

/// How deep rankings are compared.
const DEPTH: usize = Tally::DEPTH;

/// Make searches as fast as your pages allow within a loss, and measure it.
///
/// Searches are exact until there are very many pages; then sketches choose those whose codes are
/// compared. Questions made from the words of your pages (or `--queries`) are asked exactly and
/// with shortcuts of all depths, and the cheapest within the loss holds for all searches from now
/// on, with what it was measured to lose. An exact search that takes 50 ms or less stays exact.
///
/// Beside that, every code of the vectors, from f16 down to 1 bit, is compared on a sample of pages.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight tune --max-loss 1%\n  \
    pagesight tune --queries q.jsonl --json\n  \
    pagesight tune --reset")]
pub struct TuneVerb {
    /// What may be lost of nDCG@10 and of the ten best, e.g. 1% or 0.01.
    #[arg(long, value_name = "LOSS", default_value = "1%", value_parser = share)]
    pub max_loss: f64,
    /// Compare this many pages in each search, whatever it loses, instead of choosing.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10..))]
    pub compare: Option<u32>,
    /// Leave it to searches again: exact, unless there are very many pages.
    #[arg(long, conflicts_with_all = ["compare", "dry_run"])]
    pub reset: bool,
    #[command(flatten)]
    pub measuring: Measuring,
    /// A line of JSON a code and depth, and one a setting of searches.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &TuneVerb, terminal: &Terminal) -> Result<Outcome> {
    let index = open(place, &verb.measuring.model)?;
    let apply_to = |setting: Option<&Setting>| -> Result<()> {
        match locate::bucket(place)? {
            Some(address) => locate::fleet(place, &address)?.apply(setting)?,
            None => index.apply(setting)?,
        }
        Ok(())
    };
    let mut out = io::stdout().lock();
    if verb.reset {
        apply_to(None).context("writing the setting")?;
        if verb.json {
            writeln!(out, "{}", json!({"v": 1, "type": "reset"}))?
        } else {
            writeln!(out, "searches are left to themselves again")?
        }
        return Ok(Outcome::Done);
    }
    let questions = questions::make(&index, &verb.measuring.questions)?;
    let bar = terminal.bar(questions.len() as u64, "asking");
    let compared = verb.compare.map(|count| count as usize);
    let settings =
        index.measure_settings(&questions, compared, &mut || bar.inc(1)).context("asking")?;
    bar.finish_and_clear();
    let best = match compared {
        None => choose(&settings, verb.max_loss),
        // More than there are is all of them.
        Some(count) => settings.iter().find(|s| s.compared == Some(count)).or(settings.first()),
    };
    let bar = terminal.bar(CODES.len() as u64, "measuring codes");
    let costs =
        index.measure_codes(&questions, verb.measuring.pages as usize, &CODES, &mut |_| bar.inc(1));
    let costs = costs.context("measuring codes")?;
    bar.finish_and_clear();
    if !verb.json {
        writeln!(out, "{} questions, exact MaxSim is the measure", questions.len())?;
        if index.snapshot().compact().is_some() {
            writeln!(out, "over vectors in 4 bits: the index is compact, codes are not measured")?;
        }
    }
    if !verb.json && !costs.is_empty() {
        writeln!(out, "code       rerank  bytes/page  overlap@{DEPTH}  nDCG ratio  p50 ms")?;
    }
    let cheapest = cheapest(&costs, verb.max_loss);
    for cost in &costs {
        print_cost(&mut out, cost, Some(cost) == cheapest, verb.json)?;
    }
    if !verb.json {
        writeln!(out, "\ncompared pages  overlap@{DEPTH}  nDCG ratio  p50 ms")?;
    }
    let apply = !verb.measuring.dry_run;
    for setting in &settings {
        print_setting(&mut out, setting, Some(setting) == best, apply, verb.json)?;
    }
    if let Some(best) = best.filter(|_| apply) {
        apply_to(Some(best)).context("writing the setting")?;
        if !verb.json {
            writeln!(out, "searches {}", chosen(best, compared.is_some()))?;
        }
    }
    Ok(Outcome::Done)
}

/// What holds from now on, and why.
fn chosen(setting: &Setting, asked_for: bool) -> String {
    let quick = setting.p50 <= FAST_ENOUGH;
    match setting.compared {
        Some(count) => format!("compare {count} pages from now on; tune --reset undoes it"),
        None if asked_for => "stay exact: there are not so many pages".into(),
        None if quick => format!("stay exact: they take {} ms", ms(setting.p50)),
        None => "stay exact: every shortcut loses more".into(),
    }
}

fn print_setting(
    out: &mut impl Write,
    setting: &Setting,
    best: bool,
    apply: bool,
    as_json: bool,
) -> io::Result<()> {
    let Setting { compared, quality, .. } = setting;
    let Quality { overlap10, ndcg_ratio, .. } = quality;
    let p50 = ms(setting.p50);
    if as_json {
        let line = json!({
            "v": 1, "type": "setting", "compared": compared, "overlap@10": overlap10,
            "ndcg_ratio": ndcg_ratio, "loss": setting.quality.loss(), "p50_ms": p50, "chosen": best,
            "applied": best && apply,
        });
        return writeln!(out, "{line}");
    }
    let compared = compared.map_or("all, exact".into(), |count| count.to_string());
    let mark = if best { "  <-" } else { "" };
    writeln!(out, "{compared:>14}  {overlap10:>10.4}  {ndcg_ratio:>10.4}  {p50:>6.1}{mark}")
}

fn print_cost(out: &mut impl Write, cost: &CodeCost, best: bool, as_json: bool) -> io::Result<()> {
    let (bytes, p50) = (cost.bytes_per_page.round(), ms(cost.p50));
    if as_json {
        let cost = json!({
            "v": 1, "type": "rung", "code": cost.code, "rerank": cost.rerank,
            "bytes_per_page": bytes, "overlap@10": cost.quality.overlap10,
            "ndcg_ratio": cost.quality.ndcg_ratio,
            "loss": cost.quality.loss(), "p50_ms": p50, "cheapest_within_max_loss": best,
        });
        return writeln!(out, "{cost}");
    }
    let CodeCost { code, rerank, quality, .. } = cost;
    let Quality { overlap10, ndcg_ratio, .. } = quality;
    let mark = if best { "  <-" } else { "" };
    writeln!(
        out,
        "{code:9}  {rerank:>6}  {bytes:>10}  {overlap10:>10.4}  {ndcg_ratio:>10.4}  {p50:>6.1}{mark}"
    )
}
