//! `pagesight query`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use pagesight::model::LoadOptions;
use pagesight::search::{
    Answer, Channel, ChannelScore, Notice, PageHit, PatchMatch, Snippet, Verdict,
};
use pagesight::{Index, wire};

use super::args::{ModelChoice, Place};
use super::output::line;
use super::terminal::{Terminal, printable};
use super::{Outcome, checkpoint, hinted, locate, renderer};

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
    /// The question. What stands in "quotation marks" must be on the page, word after word; where one
    /// begins with a dash and has no space, put -- before it.
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
    /// Show the best pages even where nothing speaks for an answer.
    #[arg(long)]
    pub all: bool,
    /// Rank pictures by bare MaxSim, without taking off what a page gives to any question.
    #[arg(long)]
    pub no_background: bool,
    #[command(flatten)]
    pub model: ModelChoice,
    /// A line of JSON a hit and a summary line.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &QueryVerb, terminal: &Terminal) -> Result<Outcome> {
    let index = open(place, &verb.model)?;
    let channels = channels(verb.channel, &verb.model)?;
    let mut search = index.search(verb.text.as_str()).k(verb.k as usize).channels(channels);
    search = search.explain(verb.explain).background(!verb.no_background).all(verb.all);
    for glob in &verb.path {
        search = search.path(glob);
    }
    let answer = search.run().context("searching")?;
    if let Some(notice) = answer.notice() {
        eprintln!("{notice}");
    }
    let unmeasured = |notice: &Notice| matches!(notice, Notice::Compared { quality: None, .. });
    if answer.notices.iter().any(unmeasured) {
        eprintln!("hint: `pagesight tune` measures what the shortcut loses on these pages");
    }
    let mut out = io::stdout().lock();
    if verb.json {
        for hit in &answer.hits {
            writeln!(out, "{}", line("hit", hit)?)?;
        }
        writeln!(out, "{}", line("summary", &wire::Summary::of(&answer))?)?;
    } else {
        for hit in &answer.hits {
            print_hit(&mut out, hit, terminal)?;
            if verb.explain {
                print_parts(&mut out, hit)?;
            }
            print_matches(&mut out, &hit.matches)?;
        }
        if verb.explain {
            print_work(&mut out, &answer)?;
        }
    }
    Ok(match answer.verdict() {
        Verdict::None => {
            eprintln!("{}", nothing(&answer));
            Outcome::NothingFound
        }
        Verdict::Weak => {
            if let Some(likelihood) = answer.likelihood {
                let percent = likelihood.probability * 100.0;
                eprintln!("weak: that one of these pages answers is {percent:.0} % likely");
            }
            Outcome::Done
        }
        Verdict::Good => Outcome::Done,
    })
}

/// What to say where nothing speaks for an answer.
fn nothing(answer: &Answer) -> String {
    match (answer.held_back, answer.hits.len()) {
        (0, 0) => "nothing found".into(),
        (0, _) => "nothing found: no page is likely to answer".into(),
        (held_back, _) => {
            format!("nothing found: no page is likely to answer; --all shows the best {held_back}")
        }
    }
}

/// Opens the index that a verb reads, with the model that it asks for.
pub fn open(place: &Place, choice: &ModelChoice) -> Result<Index> {
    let folder = locate::existing(place)?;
    let index = Index::open(&folder).with_context(|| format!("opening {}", folder.display()))?;
    index.set_renderer(renderer(place, &[]));
    let options = LoadOptions { query_only: true, ..checkpoint::options(&choice.loading)? };
    index.set_loading(options.clone());
    if let Some(name) = choice.model.as_ref().filter(|name| !checkpoint::is_none(name)) {
        let source = checkpoint::find(name)?;
        let loaded = index.load_model(&source, &options);
        loaded.with_context(|| checkpoint::loading(&source))?;
    }
    Ok(index)
}

/// The channels that are asked for; with `--model none` words alone.
pub fn channels(choice: ChannelChoice, model: &ModelChoice) -> Result<Vec<Channel>> {
    let words_alone = model.model.as_deref().is_some_and(checkpoint::is_none);
    Ok(match choice {
        ChannelChoice::Visual if words_alone => {
            return Err(hinted("the visual channel needs a model", "leave out --model none"));
        }
        ChannelChoice::Visual => vec![Channel::Patches],
        ChannelChoice::Both if !words_alone => vec![Channel::Patches, Channel::Words],
        ChannelChoice::Text | ChannelChoice::Both => vec![Channel::Words],
    })
}

fn print_hit(out: &mut impl Write, hit: &PageHit, terminal: &Terminal) -> io::Result<()> {
    let reasons: Vec<String> = hit
        .channels
        .iter()
        .map(|said| {
            let by_name = said.channel == Channel::Words && hit.is_by_name();
            let how = if by_name { ", by its name" } else { "" };
            format!("{} {:.3} (rank {}{how})", said.channel, said.score, said.rank)
        })
        .chain(hit.likelihood.map(|of| format!("{} {:.2}", of.verdict, of.probability)))
        .collect();
    let place = format!("{}#{}", printable(hit.page.path()), hit.page.number());
    let why = terminal.dim(&format!("{:.4}  {}", hit.score, reasons.join(", ")));
    writeln!(out, "{:>3}. {place}  {why}", hit.rank)?;
    if hit.snippet.text.is_empty() {
        writeln!(out, "     {}", terminal.dim("(no words on this page)"))
    } else {
        writeln!(out, "     {}", marked(&hit.snippet, terminal))
    }
}

/// A line a channel: what its score is beside those of all pages, and what it gave to the hit's.
fn print_parts(out: &mut impl Write, hit: &PageHit) -> io::Result<()> {
    for said in &hit.channels {
        let ChannelScore { channel, score, z, part, background, .. } = said;
        write!(out, "     {channel}: {score:.3}")?;
        if *background != 0.0 {
            let bare = score + background;
            write!(
                out,
                " = MaxSim {bare:.3} - {background:.3} that the page gives to any question"
            )?;
        }
        writeln!(out, ", {z:.2} deviations above the mean of all pages, gives {part:.3}")?;
    }
    Ok(())
}

/// A line a query token: what it adds to the visual score, and the patch that does.
fn print_matches(out: &mut impl Write, matches: &[PatchMatch]) -> io::Result<()> {
    for found in matches {
        let place = match found.rect {
            Some(r) => format!("x {:.0}-{:.0}  y {:.0}-{:.0} pt", r.x0, r.x1, r.y0, r.y1),
            None => "no place on the page".into(),
        };
        let token = printable(&found.token);
        writeln!(out, "     {:>7.4}  {token:<16}  {place}", found.similarity)?;
    }
    Ok(())
}

/// How the answer was found.
fn print_work(out: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let (work, timings) = (&answer.work, &answer.timings);
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
        wire::ms(answer.total),
        wire::ms(timings.encode),
        wire::ms(work.scan),
        wire::ms(work.rerank),
        wire::ms(answer.time_of(Channel::Words))
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
