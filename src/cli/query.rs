//! `pagesight query`.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use pagesight::{
    Answer, Channel, ChannelScore, Code, Index, LoadOptions, PageHit, PatchMatch, Snippet,
};
use serde_json::{Value, json};

use super::args::{ModelChoice, Place};
use super::terminal::{Terminal, printable};
use super::{Outcome, hinted, locate, model, renderer};

/// Which channels answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChannelChoice {
    /// The picture: late interaction (MaxSim).
    Visual,
    /// The words: BM25.
    Text,
    /// Both, fused.
    Both,
}

/// Rank pages for a question.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight query \"operating margin by segment\"\n  \
    pagesight query -k 3 --path 'reports/2024/**' --json \"goodwill impairment\"\n  \
    pagesight query -k 1 --explain \"operating margin by segment\"")]
pub struct QueryVerb {
    /// The question.
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// How many pages.
    #[arg(short, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub k: u32,
    /// Which channels answer.
    #[arg(long, value_enum, default_value_t = ChannelChoice::Both)]
    pub channel: ChannelChoice,
    /// Only documents whose path matches; may be given several times.
    #[arg(long, value_name = "GLOB")]
    pub path: Vec<String>,
    /// Say how the answer was found: pages seen and scored again, time by stage, and for each
    /// word of the question the patch of the page that answers it best.
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub model: ModelChoice,
    /// A line of JSON a hit and a summary line.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &QueryVerb, terminal: &Terminal) -> Result<Outcome> {
    let index = open(place, &verb.model)?;
    let channel = channel(verb.channel, &verb.model)?;
    let mut search = index.search(&verb.text).k(verb.k as usize).channel(channel);
    search = search.explain(verb.explain);
    for glob in &verb.path {
        search = search.path(glob);
    }
    let answer = search.run().map_err(model::new_index).context("searching")?;
    if let Some(notice) = &answer.notice {
        eprintln!("{notice}");
    }
    let mut out = io::stdout().lock();
    if verb.json {
        print_json(&mut out, &verb.text, &answer)?;
    } else {
        for hit in &answer.hits {
            print_hit(&mut out, &verb.text, hit, terminal)?;
            print_matches(&mut out, &hit.matches)?;
        }
        if verb.explain {
            print_work(&mut out, &answer)?;
        }
    }
    Ok(match answer.hits.is_empty() {
        true => {
            eprintln!("nothing found");
            Outcome::NothingFound
        }
        false => Outcome::Done,
    })
}

/// Opens the index that a verb reads, with the model that it asks for.
pub fn open(place: &Place, choice: &ModelChoice) -> Result<Index> {
    let folder = locate::existing(place)?;
    let mut index =
        Index::open(&folder).with_context(|| format!("opening {}", folder.display()))?;
    index.set_renderer(renderer(place, &[]));
    let options = LoadOptions { query_only: true, ..model::options(&choice.loading)? };
    index.set_loading(options.clone());
    if let Some(name) = choice.model.as_ref().filter(|name| !model::is_none(name)) {
        let folder = model::find(name)?;
        let loaded = index.load_model(&folder, &options);
        loaded.map_err(model::new_index).with_context(|| model::loading(&folder))?;
    }
    Ok(index)
}

/// The channels that are asked for; with `--model none` words alone.
pub fn channel(choice: ChannelChoice, model: &ModelChoice) -> Result<Channel> {
    let words_alone = model.model.as_deref().is_some_and(model::is_none);
    Ok(match choice {
        ChannelChoice::Visual if words_alone => {
            return Err(hinted("the visual channel needs a model", "leave out --model none"));
        }
        ChannelChoice::Visual => Channel::Visual,
        ChannelChoice::Both if !words_alone => Channel::Both,
        ChannelChoice::Text | ChannelChoice::Both => Channel::Text,
    })
}

fn print_hit(
    out: &mut impl Write,
    query: &str,
    hit: &PageHit<'_>,
    terminal: &Terminal,
) -> io::Result<()> {
    let score = |name: &str, score: Option<ChannelScore>, how: &str| {
        score.map(|s| format!("{name} {:.3} (rank {}{how})", s.score, s.rank))
    };
    let snippet = hit.page.snippet(query);
    let how = if hit.is_by_name(&snippet) { ", by its name" } else { "" };
    let reasons = [score("visual", hit.visual, ""), score("text", hit.text, how)];
    let reasons: Vec<String> = reasons.into_iter().flatten().collect();
    let place = format!("{}#{}", printable(hit.page.path()), hit.page.number());
    let why = terminal.dim(&format!("{:.4}  {}", hit.score, reasons.join(", ")));
    writeln!(out, "{:>3}. {place}  {why}", hit.rank)?;
    match snippet.text.is_empty() {
        true => writeln!(out, "     {}", terminal.dim("(no words on this page)")),
        false => writeln!(out, "     {}", marked(&snippet, terminal)),
    }
}

/// A line a query token: what it adds to the visual score, and the patch that does.
fn print_matches(out: &mut impl Write, matches: &[PatchMatch]) -> io::Result<()> {
    for found in matches {
        let place = match found.rect {
            Some(r) => format!("x {:.0}-{:.0}  y {:.0}-{:.0} pt", r.x0, r.x1, r.y0, r.y1),
            None => "the prompt, no place on the page".into(),
        };
        let token = printable(&found.token);
        writeln!(out, "     {:>7.4}  {token:<16}  {place}", found.similarity)?;
    }
    Ok(())
}

/// How the answer was found.
fn print_work(out: &mut impl Write, answer: &Answer<'_>) -> io::Result<()> {
    let (work, timings) = (answer.work, answer.timings);
    let model = answer.model.as_ref().map_or("none".into(), ToString::to_string);
    writeln!(out, "snapshot {}, model {model}", answer.snapshot)?;
    writeln!(
        out,
        "pages seen {} in {}, {} scored again in {}",
        work.seen,
        work.code.as_str(),
        work.reranked,
        work.again.as_str()
    )?;
    if work.certain > 0 {
        writeln!(out, "the first {} ranks by pictures are those of exact MaxSim", work.certain)?;
    }
    writeln!(
        out,
        "ms: total {}, encode {}, scan {}, rerank {}, text {}",
        ms(answer.total),
        ms(timings.encode),
        ms(work.scan),
        ms(work.rerank),
        ms(timings.text)
    )
}

/// The snippet with its words marked; nothing in it reaches the terminal as a command.
fn marked(snippet: &Snippet, terminal: &Terminal) -> String {
    let mut line = String::new();
    let mut at = 0;
    for mark in &snippet.marks {
        line.push_str(&printable(&snippet.text[at..mark.start]));
        line.push_str(&terminal.mark(&printable(&snippet.text[mark.clone()])));
        at = mark.end;
    }
    line.push_str(&printable(&snippet.text[at..]));
    line
}

fn print_json(out: &mut impl Write, query: &str, answer: &Answer<'_>) -> io::Result<()> {
    for hit in &answer.hits {
        let snippet = hit.page.snippet(query);
        // Characters, not bytes: what most readers of JSON count.
        let characters = |byte: usize| snippet.text[..byte].chars().count();
        let marks: Vec<[usize; 2]> =
            snippet.marks.iter().map(|m| [characters(m.start), characters(m.end)]).collect();
        let size = hit.page.size();
        writeln!(
            out,
            "{}",
            json!({
                "v": 1,
                "type": "hit",
                "rank": hit.rank,
                "path": hit.page.path(),
                "page": hit.page.number(),
                "score": hit.score,
                "visual": channel_json(hit.visual),
                "text": channel_json(hit.text),
                "by_name": hit.is_by_name(&snippet),
                "snippet": snippet.text,
                "marks": marks,
                "document": hit.page.document().to_string(),
                "size_pt": [size.width_pt, size.height_pt],
                "text_source": hit.page.text_source(),
                "matches": hit.matches.iter().map(match_json).collect::<Vec<_>>(),
            })
        )?;
    }
    let timings = answer.timings;
    writeln!(
        out,
        "{}",
        json!({
            "v": 1,
            "type": "summary",
            "hits": answer.hits.len(),
            "snapshot": answer.snapshot,
            "model_id": answer.model,
            "pages_scored": answer.work.seen,
            "pages_reranked": answer.work.reranked,
            "code": answer.work.code.as_str(),
            "reranked_in": answer.work.again.as_str(),
            "exact": !matches!(answer.work.code, Code::Sketch | Code::Residual),
            "exact_ranks": answer.work.certain,
            "recall": answer.recall.as_ref().map(|recall| json!({
                "overlap@10": recall.overlap10, "ndcg_ratio": recall.ndcg_ratio,
                "questions": recall.questions, "snapshot": recall.snapshot,
            })),
            "compact": answer.compact.as_ref().map(|cost| json!({
                "overlap@10": cost.overlap10, "ndcg_ratio": cost.ndcg_ratio,
                "questions": cost.questions, "snapshot": cost.snapshot,
            })),
            "ms": {
                "total": ms(answer.total),
                "encode": ms(timings.encode),
                "visual": ms(timings.visual),
                "scan": ms(answer.work.scan),
                "rerank": ms(answer.work.rerank),
                "text": ms(timings.text),
            },
            "notice": answer.notice,
        })
    )
}

fn match_json(found: &PatchMatch) -> Value {
    let rect = found.rect.map(|r| [r.x0, r.y0, r.x1, r.y1]);
    json!({"token": found.token, "similarity": found.similarity, "rect_pt": rect})
}

fn channel_json(score: Option<ChannelScore>) -> Value {
    score.map_or(Value::Null, |s| json!({"score": s.score, "rank": s.rank}))
}
