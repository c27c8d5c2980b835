//! `pagesight tune`.

use std::fs;
use std::io::{self, Write};

use anyhow::{Context, Result};
use pagesight::ladder::{DEPTH, Rung, cheapest};
use pagesight::metrics::parse_queries;
use pagesight::{Index, PageId, Question, Receipt};
use serde_json::json;

use super::args::{Place, TuneVerb};
use super::eval::Labels;
use super::query::{ms, open};
use super::terminal::Terminal;
use super::{Outcome, hinted};

pub fn run(place: &Place, verb: &TuneVerb, terminal: &Terminal) -> Result<Outcome> {
    let index = open(place, &verb.model)?;
    if index.snapshot().model.is_none() {
        return Err(hinted(
            "this index has no vectors: it was made without a model",
            "index again with --model DIR",
        ));
    }
    let questions = questions(&index, verb)?;
    if questions.is_empty() {
        return Err(hinted(
            "no page has words to make questions of",
            "give labelled questions with --queries FILE",
        ));
    }
    let mut out = io::stdout().lock();
    if verb.recall {
        let bar = terminal.bar(questions.len() as u64, "asking");
        let receipt = index.receipt(&questions, &mut || bar.inc(1)).context("comparing")?;
        bar.finish_and_clear();
        print_receipt(&mut out, &receipt, verb.json)?;
        return Ok(Outcome::Done);
    }
    let bar = terminal.bar(6, "measuring");
    let rungs = index.climb(&questions, verb.pages as usize, &mut |_| bar.inc(1));
    let rungs = rungs.context("measuring")?;
    bar.finish_and_clear();
    let best = cheapest(&rungs, verb.max_loss);
    if !verb.json {
        writeln!(out, "{} questions, exact MaxSim is the measure", questions.len())?;
        writeln!(out, "code  rerank  bytes/page  overlap@{DEPTH}  nDCG ratio  p50 ms")?;
    }
    for rung in &rungs {
        print_rung(&mut out, rung, Some(rung) == best, verb.json)?;
    }
    match (best, verb.json) {
        (Some(best), false) => writeln!(
            out,
            "cheapest within {}%: {} with {} pages scored again",
            verb.max_loss * 100.0,
            best.code,
            best.rerank
        )?,
        (None, false) => writeln!(out, "nothing was measured: the index has no vectors")?,
        _ => {}
    }
    Ok(Outcome::Done)
}

fn questions(index: &Index, verb: &TuneVerb) -> Result<Vec<Question>> {
    let Some(file) = &verb.queries else {
        return index.questions_from_pages(verb.questions as usize).context("making questions");
    };
    let reading = || format!("reading {}", file.display());
    let queries = parse_queries(&fs::read_to_string(file).with_context(reading)?);
    let queries = queries.with_context(reading)?;
    let labels = Labels::new(index, &queries)?;
    let question = |query: pagesight::metrics::LabelledQuery| {
        let document = labels.documents.get(&query.doc);
        let page = |&number| document.map(|&document| PageId { document, number });
        Question { answers: query.pages.iter().filter_map(page).collect(), text: query.query }
    };
    Ok(queries.into_iter().map(question).collect())
}

fn print_rung(out: &mut impl Write, rung: &Rung, best: bool, as_json: bool) -> io::Result<()> {
    let (bytes, p50) = (rung.bytes_per_page.round(), ms(rung.p50));
    if as_json {
        let rung = json!({
            "v": 1, "type": "rung", "code": rung.code, "rerank": rung.rerank,
            "bytes_per_page": bytes, "overlap@10": rung.overlap10, "ndcg_ratio": rung.ndcg_ratio,
            "loss": rung.loss(), "p50_ms": p50, "cheapest_within_max_loss": best,
        });
        return writeln!(out, "{rung}");
    }
    let Rung { code, rerank, overlap10, ndcg_ratio, .. } = rung;
    let mark = if best { "  <-" } else { "" };
    writeln!(
        out,
        "{code:5} {rerank:>6}  {bytes:>10}  {overlap10:>10.4}  {ndcg_ratio:>10.4}  {p50:>6.1}{mark}"
    )
}

fn print_receipt(out: &mut impl Write, receipt: &Receipt, as_json: bool) -> io::Result<()> {
    let (p50, p50_exact) = (ms(receipt.p50), ms(receipt.p50_exact));
    let Receipt { questions, pages, overlap10, ndcg_ratio, reranked, .. } = receipt;
    if as_json {
        let receipt = json!({
            "v": 1, "type": "recall", "questions": questions, "pages": pages,
            "overlap@10": overlap10, "ndcg_ratio": ndcg_ratio, "reranked_share": reranked,
            "p50_ms": p50, "p50_exact_ms": p50_exact,
        });
        return writeln!(out, "{receipt}");
    }
    writeln!(
        out,
        "{questions} questions over {pages} pages, against exact MaxSim over all vectors"
    )?;
    writeln!(out, "overlap@{DEPTH} {overlap10:.4}   nDCG ratio {ndcg_ratio:.4}")?;
    writeln!(
        out,
        "p50 {p50} ms, exact {p50_exact} ms; vectors read of {:.1}% of the pages",
        reranked * 100.0
    )
}
