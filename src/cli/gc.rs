//! `pagesight gc`.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use pagesight::fleet::{Address, Keeping};
use serde_json::json;

use super::args::Place;
use super::interrupt::Interrupt;
use super::{Outcome, locate};

/// Join small files of the index and remove what nothing needs any more.
///
/// `index` does the same at the end of a run. Files of a snapshot that another process reads are
/// kept until it ends or moves on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pagesight gc")]
pub struct GcVerb {
    /// Of an index in a bucket: keep snapshots that are younger, e.g. 1h, 30m or 0s.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "1h")]
    pub keep: Duration,
    /// Of an index in a bucket: count readers as gone that have not been heard of for so long.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10m")]
    pub lease: Duration,
    /// Of an index in a bucket: give up a plan that is not committed.
    #[arg(long, value_name = "PLAN")]
    pub abandon: Option<String>,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `90`, `90s`, `10m`, `2h` or `3d`.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(24 * 3600),
        _ => None,
    };
    let seconds = digits.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    let seconds = seconds.filter(|seconds| *seconds <= 10 * 365 * 24 * 3600);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("a time such as 1h, 30m or 0s, not {text:?}"))
}

fn sweep(place: &Place, verb: &GcVerb, address: &Address) -> Result<Outcome> {
    let mut keeping = Keeping::default();
    (keeping.keep, keeping.lease) = (verb.keep, verb.lease);
    keeping.abandon.clone_from(&verb.abandon);
    let swept = locate::fleet(place, address)?
        .collect_garbage(&keeping)
        .with_context(|| format!("collecting garbage in {address}"))?;
    let mut out = io::stdout().lock();
    if verb.json {
        let line = json!({
            "v": 1, "type": "summary", "index": address.to_string(),
            "files_removed": swept.files, "bytes_removed": swept.bytes,
            "snapshots_held": swept.held, "plans_open": swept.open_plans,
            "joined": swept.joined,
        });
        writeln!(out, "{line}")?;
        return Ok(Outcome::Done);
    }
    if swept.joined {
        writeln!(out, "joined small files")?;
    }
    writeln!(out, "removed {} objects, {:.1} MB", swept.files, swept.bytes as f64 / 1e6)?;
    if swept.held > 0 {
        writeln!(out, "{} older snapshots are being read: run again later", swept.held)?;
    }
    if swept.open_plans > 0 {
        writeln!(out, "{} plans are open: `pagesight status` names them", swept.open_plans)?;
    }
    Ok(Outcome::Done)
}

pub fn run(place: &Place, verb: &GcVerb) -> Result<Outcome> {
    if let Some(address) = locate::bucket(place)? {
        return sweep(place, verb, &address);
    }
    if verb.abandon.is_some() {
        locate::only_bucket(place, "gc --abandon")?;
    }
    let interrupt = Interrupt::listen()?;
    let folder = locate::existing(place)?;
    let swept = match pagesight::upkeep::collect_garbage(&folder, &interrupt.flag()) {
        Err(pagesight::Error::Store(pagesight::index::StoreError::Interrupted { .. })) => {
            return Ok(Outcome::Interrupted);
        }
        swept => swept.with_context(|| format!("collecting garbage in {}", folder.display()))?,
    };
    let mut out = io::stdout().lock();
    if verb.json {
        let line = json!({
            "v": 1, "type": "summary", "index": folder.display().to_string(),
            "files_removed": swept.files, "bytes_removed": swept.bytes,
            "snapshots_held": swept.held,
        });
        writeln!(out, "{line}")?;
        return Ok(Outcome::Done);
    }
    let mb = swept.bytes as f64 / 1e6;
    writeln!(out, "removed {} files, {mb:.1} MB", swept.files)?;
    if swept.held > 0 {
        writeln!(out, "{} older snapshots are being read: run again later", swept.held)?;
    }
    Ok(Outcome::Done)
}
