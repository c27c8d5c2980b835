//! `pagesight commit`.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::args::Place;
use super::{Outcome, locate};

/// Make one snapshot of a plan whose shards are read: all of it or nothing.
///
/// Readers see it with their next look. It waits for nobody: where another commit came first it begins
/// again on that one. Said again, it says the same.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  pagesight --index s3://archive/index commit --plan 429fd5581ff903f9"
)]
pub struct CommitVerb {
    /// The plan, as `plan` printed it.
    #[arg(long, value_name = "PLAN")]
    pub plan: String,
    /// Take whole documents of what is there, and leave the plan open.
    #[arg(long)]
    pub partial: bool,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &CommitVerb) -> Result<Outcome> {
    let address = locate::only_bucket(place, "commit")?;
    let start = Instant::now();
    let committed = locate::fleet(place, &address)?
        .commit(&verb.plan, verb.partial)
        .with_context(|| format!("committing into {address}"))?;
    let mut out = io::stdout().lock();
    if verb.json {
        let seconds = (start.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        let line = json!({
            "v": 1, "type": "commit", "plan": verb.plan, "snapshot": committed.snapshot,
            "already": committed.already, "documents": committed.documents,
            "pages": committed.pages, "parts": committed.parts, "retries": committed.retries,
            "seconds": seconds,
        });
        writeln!(out, "{line}")?;
    } else if committed.already {
        writeln!(out, "plan {} is in snapshot {} already", verb.plan, committed.snapshot)?;
    } else {
        writeln!(
            out,
            "snapshot {}: {} documents, {} pages of {} parts",
            committed.snapshot, committed.documents, committed.pages, committed.parts
        )?;
    }
    if !committed.open.is_empty() {
        eprintln!("{} shards are open: the plan stays open", committed.open.len());
    }
    if committed.failed > 0 {
        eprintln!(
            "{} documents failed or have pages that failed: `pagesight status` names them",
            committed.failed
        );
        return Ok(Outcome::SomeFailed);
    }
    Ok(Outcome::Done)
}
