//! `pagesight verify`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Args;
use pagesight::eval::{Quality, Receipt, Tally};
use pagesight::upkeep::Damage;
use pagesight::wire::ms;
use serde_json::json;

use super::args::{ModelChoice, Place, QuestionChoice};
use super::query::open;
use super::terminal::{Terminal, printable};
use super::{Outcome, locate, questions};

/// How deep rankings are compared.
const DEPTH: usize = Tally::DEPTH;

/// Damages that a person is shown; `--json` has all.
const SHOWN: usize = 50;

/// Check every file, page and word of the index, and name what is damaged.
///
/// Every file is compared with its BLAKE3 hash, every page with its CRC32C, and the ledger, the
/// pages and the text index with each other. Exit code 2 when something is damaged. Runs of
/// `index` may go on meanwhile.
///
/// With `--recall`, what searches find is compared with exact MaxSim over all vectors instead.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pagesight verify --json\n  pagesight verify --recall")]
pub struct VerifyVerb {
    /// Compare the searches of this index with exact MaxSim: overlap@10 and nDCG ratio.
    #[arg(long)]
    pub recall: bool,
    #[command(flatten)]
    pub questions: QuestionChoice,
    #[command(flatten)]
    pub model: ModelChoice,
    /// A line of JSON a damage and a summary line, or one for the recall.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &VerifyVerb, terminal: &Terminal) -> Result<Outcome> {
    if verb.recall {
        return recall(place, verb, terminal);
    }
    let folder = locate::existing(place)?;
    let verified = match locate::address(&folder)? {
        Some(address) => pagesight::upkeep::verify_bucket(&address, &locate::local(place)),
        None => pagesight::upkeep::verify(&folder),
    };
    let verified = verified.with_context(|| format!("verifying {}", folder.display()))?;
    let mut out = io::stdout().lock();
    if verb.json {
        for damage in &verified.damage {
            let line = json!({
                "v": 1, "type": "damage", "file": damage.file, "path": damage.path,
                "page": damage.page.map(|page| page.number), "what": damage.what,
            });
            writeln!(out, "{line}")?;
        }
        let line = json!({
            "v": 1, "type": "summary", "index": folder.display().to_string(),
            "snapshot": verified.snapshot, "files": verified.files, "bytes": verified.bytes,
            "documents": verified.documents, "pages": verified.pages,
            "leftovers": verified.leftovers, "damage": verified.damage.len(),
        });
        writeln!(out, "{line}")?;
    } else {
        for damage in verified.damage.iter().take(SHOWN) {
            writeln!(out, "damaged: {}", line_of(damage))?;
        }
        if verified.damage.len() > SHOWN {
            writeln!(out, "and {} more; --json lists them", verified.damage.len() - SHOWN)?;
        }
        let mb = verified.bytes as f64 / 1e6;
        writeln!(
            out,
            "{} files ({mb:.1} MB), {} documents, {} pages checked: {}",
            verified.files,
            verified.documents,
            verified.pages,
            match verified.damage.len() {
                0 => "all as written".to_string(),
                n => format!("{n} damages"),
            }
        )?;
    }
    if !verified.damage.is_empty() {
        eprintln!("hint: `pagesight repair` mends it");
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::Done)
}

/// What searches find, against exact MaxSim.
fn recall(place: &Place, verb: &VerifyVerb, terminal: &Terminal) -> Result<Outcome> {
    let index = open(place, &verb.model)?;
    let questions = questions::make(&index, &verb.questions)?;
    let bar = terminal.bar(questions.len() as u64, "asking");
    let receipt = index.measure_receipt(&questions, &mut || bar.inc(1)).context("comparing")?;
    bar.finish_and_clear();
    let mut out = io::stdout().lock();
    let snapshot = index.snapshot();
    let compact = snapshot.compact();
    print_receipt(&mut out, &receipt, compact.is_some(), verb.json)?;
    if let Some(cost) = compact.filter(|_| !verb.json) {
        let Quality { overlap10, ndcg_ratio, questions } = cost.quality;
        writeln!(
            out,
            "the vectors are in 4 bits: against full-precision ones they had overlap@{DEPTH} \
             {overlap10:.4}, nDCG ratio {ndcg_ratio:.4} ({questions} questions)"
        )?;
    }
    Ok(Outcome::Done)
}

fn print_receipt(
    out: &mut impl Write,
    receipt: &Receipt,
    compact: bool,
    as_json: bool,
) -> io::Result<()> {
    let (p50, p50_exact) = (ms(receipt.p50), ms(receipt.p50_exact));
    let Receipt { quality, pages, reranked, compared, .. } = receipt;
    let Quality { overlap10, ndcg_ratio, questions } = quality;
    if as_json {
        let receipt = json!({
            "v": 1, "type": "recall", "questions": questions, "pages": pages,
            "overlap@10": overlap10, "ndcg_ratio": ndcg_ratio, "compared": compared,
            "against": if compact { "residual" } else { "f16" }, "reranked_share": reranked,
            "p50_ms": p50, "p50_exact_ms": p50_exact,
        });
        return writeln!(out, "{receipt}");
    }
    let all = if compact { "a scan of all codes" } else { "exact MaxSim over all vectors" };
    writeln!(out, "{questions} questions over {pages} pages, against {all}")?;
    writeln!(out, "overlap@{DEPTH} {overlap10:.4}   nDCG ratio {ndcg_ratio:.4}")?;
    let read = if compared.is_some() { "codes compared" } else { "vectors read" };
    let share = reranked * 100.0;
    writeln!(out, "p50 {p50} ms, exact {p50_exact} ms; {read} of {share:.1}% of the pages")
}

fn line_of(damage: &Damage) -> String {
    let page = damage.page.map(|page| match &damage.path {
        Some(path) => format!(" {}#{}", printable(path), page.number),
        None => format!(" {page}"),
    });
    format!("{}{}: {}", damage.file, page.unwrap_or_default(), printable(&damage.what))
}
