//! `pagesight query`.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use pagesight::{Answer, Channel, ChannelScore, Index, LoadOptions, PageHit, Snippet};
use serde_json::{Value, json};

use super::args::{ChannelChoice, ModelChoice, Place, QueryVerb};
use super::terminal::{Terminal, printable};
use super::{Outcome, locate, model, renderer};

pub fn run(place: &Place, verb: &QueryVerb, terminal: &Terminal) -> Result<Outcome> {
    let index = open(place, &verb.model)?;
    let mut search = index.search(&verb.text).k(verb.k as usize).channel(channel(verb.channel));
    for glob in &verb.path {
        search = search.path(glob);
    }
    let answer = search.run().context("searching")?;
    if let Some(notice) = &answer.notice {
        eprintln!("{notice}");
    }
    let mut out = io::stdout().lock();
    if verb.json {
        print_json(&mut out, &verb.text, &answer)?;
    } else {
        for hit in &answer.hits {
            print_hit(&mut out, &verb.text, hit, terminal)?;
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
    if let Some(name) = &choice.model {
        let folder = model::find(name)?;
        let loaded = index.load_model(&folder, &options);
        loaded.with_context(|| format!("loading the model in {}", folder.display()))?;
    }
    Ok(index)
}

pub fn channel(choice: ChannelChoice) -> Channel {
    match choice {
        ChannelChoice::Visual => Channel::Visual,
        ChannelChoice::Text => Channel::Text,
        ChannelChoice::Both => Channel::Both,
    }
}

fn print_hit(
    out: &mut impl Write,
    query: &str,
    hit: &PageHit<'_>,
    terminal: &Terminal,
) -> io::Result<()> {
    let score = |name: &str, score: Option<ChannelScore>| {
        score.map(|s| format!("{name} {:.3} (rank {})", s.score, s.rank))
    };
    let reasons: Vec<String> =
        [score("visual", hit.visual), score("text", hit.text)].into_iter().flatten().collect();
    let place = format!("{}#{}", printable(hit.page.path()), hit.page.number());
    let why = terminal.dim(&format!("{:.4}  {}", hit.score, reasons.join(", ")));
    writeln!(out, "{:>3}. {place}  {why}", hit.rank)?;
    let snippet = hit.page.snippet(query);
    match snippet.text.is_empty() {
        true => writeln!(out, "     {}", terminal.dim("(no words on this page)")),
        false => writeln!(out, "     {}", marked(&snippet, terminal)),
    }
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
                "snippet": snippet.text,
                "marks": marks,
                "document": hit.page.document().to_string(),
                "size_pt": [size.width_pt, size.height_pt],
                "text_source": hit.page.text_source(),
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
            "pages_scored": answer.pages_scored,
            "ms": {
                "total": ms(answer.total),
                "encode": ms(timings.encode),
                "visual": ms(timings.visual),
                "text": ms(timings.text),
            },
            "notice": answer.notice,
        })
    )
}

fn channel_json(score: Option<ChannelScore>) -> Value {
    score.map_or(Value::Null, |s| json!({"score": s.score, "rank": s.rank}))
}

/// Milliseconds with three decimals.
pub fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
