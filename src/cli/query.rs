//! `pagesight query`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use pagesight::model::LoadOptions;
use pagesight::region::{HeatScale, MapOf, Region};
use pagesight::search::{
    Answer, Channel, ChannelScore, Notice, PageHit, Passage, PatchMatch, Rect, Snippet, Verdict,
};
use pagesight::{Index, wire};

#[cfg(feature = "serve")]
use serde_json::Value;

use super::args::{ModelChoice, Place};
use super::output::line;
use super::terminal::{Terminal, printable};
use super::thumbnail::{self, ImageChoice};
use super::{Outcome, checkpoint, hinted, locate, meaning, renderer, viewer};

/// Lines of a region that are printed.
const REGION_LINES: usize = 6;

/// Which channels answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChannelChoice {
    /// The picture: late interaction (MaxSim).
    Visual,
    /// The words: BM25.
    Text,
    /// What the words mean: late interaction over the passages of the text.
    Meaning,
    /// All of them that the index has, fused.
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
    /// Print the part of each page that answers best; with --json as `regions` of each hit.
    #[arg(long)]
    pub regions: bool,
    /// Draw a small picture of each page with the heat of the question: as the terminal can, or
    /// as you say; nothing where the output is not a terminal.
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "auto", default_value_t = ImageChoice::Off)]
    pub images: ImageChoice,
    /// Open the page of this hit in a PDF viewer, or its file where none takes a page number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub open: Option<u32>,
    /// Ask a running `pagesight serve` instead of loading the model; its token is taken from
    /// PAGESIGHT_TOKEN.
    #[cfg(feature = "serve")]
    #[arg(long, env = "PAGESIGHT_SERVER", value_name = "URL", conflicts_with_all = ["open"])]
    pub server: Option<String>,
    #[command(flatten)]
    pub model: ModelChoice,
    /// A line of JSON a hit and a summary line.
    #[arg(long)]
    pub json: bool,
}

pub fn run(place: &Place, verb: &QueryVerb, terminal: &Terminal) -> Result<Outcome> {
    #[cfg(feature = "serve")]
    if let Some(url) = &verb.server {
        return ask_server(url, verb, terminal);
    }
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
    let regions = regions(&index, verb, &answer)?;
    let mut out = io::stdout().lock();
    if verb.json {
        for (hit, regions) in answer.hits.iter().zip(&regions) {
            let mut line = line("hit", hit)?;
            if verb.regions {
                line["regions"] = serde_json::to_value(regions)?;
            }
            writeln!(out, "{line}")?;
        }
        writeln!(out, "{}", line("summary", &wire::Summary::of(&answer))?)?;
    } else {
        let images = verb.images.resolve(terminal);
        for (hit, regions) in answer.hits.iter().zip(&regions) {
            print_hit(&mut out, &index, hit, terminal)?;
            if let Some(images) = images {
                print_picture(&mut out, &index, verb, hit, images)?;
            }
            print_region(&mut out, regions.first())?;
            if verb.explain {
                print_parts(&mut out, hit)?;
            }
            print_matches(&mut out, &hit.matches)?;
            print_passage(&mut out, hit.passage.as_ref().filter(|_| verb.explain))?;
        }
        if verb.explain {
            print_work(&mut out, &answer)?;
        }
    }
    let outcome = match answer.verdict() {
        Verdict::None => {
            eprintln!("{}", nothing(answer.held_back, answer.hits.len()));
            Outcome::NothingFound
        }
        Verdict::Weak => {
            if let Some(likelihood) = answer.likelihood {
                eprintln!("{}", weak(f64::from(likelihood.probability)));
            }
            Outcome::Done
        }
        Verdict::Good => Outcome::Done,
    };
    if let Some(number) = verb.open.filter(|_| !answer.hits.is_empty()) {
        let hit = answer.hits.iter().find(|hit| hit.rank == number).ok_or_else(|| {
            hinted(format!("there is no hit {number}"), format!("there are {}", answer.hits.len()))
        })?;
        viewer::open(&index.file(hit.page.path()), hit.page.number())?;
    }
    Ok(outcome)
}

/// What to say where nothing speaks for an answer.
fn nothing(held_back: usize, hits: usize) -> String {
    match (held_back, hits) {
        (0, 0) => "nothing found".into(),
        (0, _) => "nothing found: no page is likely to answer".into(),
        (held_back, _) => {
            format!("nothing found: no page is likely to answer; --all shows the best {held_back}")
        }
    }
}

/// What to say where little speaks for one.
fn weak(probability: f64) -> String {
    format!("weak: that one of these pages answers is {:.0} % likely", probability * 100.0)
}

/// The regions of each hit that were asked for: none where no model looked.
fn regions(index: &Index, verb: &QueryVerb, answer: &Answer) -> Result<Vec<Vec<Region>>> {
    let mut regions = vec![Vec::new(); answer.hits.len()];
    if verb.regions && answer.model.is_some() {
        let question = index.encode(verb.text.as_str())?;
        for (hit, regions) in answer.hits.iter().zip(&mut regions) {
            if hit.page.layout().is_some() {
                *regions = hit.page.regions_or_patches(&question, MapOf::Question, 1)?;
            }
        }
    }
    Ok(regions)
}

/// A small picture of the page with the heat of the question; nothing where it cannot be drawn.
fn print_picture(
    out: &mut impl Write,
    index: &Index,
    verb: &QueryVerb,
    hit: &PageHit,
    images: ImageChoice,
) -> Result<()> {
    let Ok(mut picture) = hit.page.image(thumbnail::WIDTH_PX) else { return Ok(()) };
    if hit.page.layout().is_some()
        && let Ok(question) = index.encode(verb.text.as_str())
        && let Ok(heat) = hit.page.heat(&question, MapOf::Question, HeatScale::Page)
    {
        picture = heat.map.over(&picture);
    }
    images.write(&picture, out)
}

/// The words of the best region, as they stand on the page.
fn print_region(out: &mut impl Write, region: Option<&Region>) -> io::Result<()> {
    let Some(region) = region else { return Ok(()) };
    if region.text.is_empty() {
        let Rect { x0, y0, x1, y1 } = region.rect;
        return writeln!(out, "     | a picture at x {x0:.0}-{x1:.0}  y {y0:.0}-{y1:.0} pt");
    }
    for line in region.text.lines().take(REGION_LINES) {
        writeln!(out, "     | {}", printable(line))?;
    }
    Ok(())
}

/// Asks a running server, and prints its answer as that of an index.
#[cfg(feature = "serve")]
fn ask_server(url: &str, verb: &QueryVerb, terminal: &Terminal) -> Result<Outcome> {
    let channel = match verb.channel {
        ChannelChoice::Both => "both",
        ChannelChoice::Visual => "visual",
        ChannelChoice::Text => "text",
        ChannelChoice::Meaning => "meaning",
    };
    let asked = serde_json::json!({
        "query": verb.text,
        "k": verb.k,
        "channel": channel,
        "paths": verb.path,
        "explain": verb.explain,
        "regions": u32::from(verb.regions),
        "all": verb.all,
    });
    let token = std::env::var("PAGESIGHT_TOKEN").ok().filter(|token| !token.is_empty());
    let mut answer = crate::serve::client::post(url, "/v1/search", &asked, token.as_deref())?;
    if let Some(notice) = answer["notice"].as_str() {
        eprintln!("{}", printable(notice));
    }
    let hits = answer["hits"].take();
    let hits: Vec<Value> = serde_json::from_value(hits).context("reading the server's answer")?;
    let mut out = io::stdout().lock();
    for hit in &hits {
        if verb.json {
            writeln!(out, "{}", line("hit", hit)?)?;
            continue;
        }
        let said = |field: &str| printable(hit[field].as_str().unwrap_or_default());
        let why: Vec<String> = hit["channels"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|said| {
                let channel = printable(said["channel"].as_str().unwrap_or_default());
                let score = said["score"].as_f64().unwrap_or_default();
                format!("{channel} {score:.3} (rank {})", said["rank"])
            })
            .collect();
        let score = hit["score"].as_f64().unwrap_or_default();
        let why = terminal.dim(&format!("{score:.4}  {}", why.join(", ")));
        writeln!(out, "{:>3}. {}#{}  {why}", hit["rank"], said("path"), hit["page"])?;
        writeln!(out, "     {}", said("snippet"))?;
        for text in
            hit["regions"][0]["text"].as_str().unwrap_or_default().lines().take(REGION_LINES)
        {
            writeln!(out, "     | {}", printable(text))?;
        }
    }
    if verb.json {
        answer["hits"] = Value::from(hits.len());
        writeln!(out, "{}", line("summary", &answer)?)?;
    }
    if answer["verdict"] == "none" {
        let held_back = answer["held_back"].as_u64().unwrap_or_default() as usize;
        eprintln!("{}", nothing(held_back, hits.len()));
        return Ok(Outcome::NothingFound);
    }
    if answer["verdict"] == "weak"
        && let Some(probability) = answer["probability"].as_f64()
    {
        eprintln!("{}", weak(probability));
    }
    Ok(Outcome::Done)
}

/// Opens the index that a verb reads, with the model that it asks for.
pub fn open(place: &Place, choice: &ModelChoice) -> Result<Index> {
    let index = locate::open(place)?;
    index.set_renderer(renderer(place, &[]));
    let options = LoadOptions { query_only: true, ..checkpoint::options(&choice.loading)? };
    index.set_loading(options.clone());
    index.set_embedding(meaning::options(place));
    if let Some(name) = choice.model.as_ref().filter(|name| !checkpoint::is_none(name)) {
        let source = checkpoint::find(name)?;
        let loaded = index.load_model(&source, &options);
        loaded.with_context(|| checkpoint::loading(&source))?;
    }
    Ok(index)
}

/// The channels that are asked for; with `--model none` those of text alone.
pub fn channels(choice: ChannelChoice, model: &ModelChoice) -> Result<Vec<Channel>> {
    let words_alone = model.model.as_deref().is_some_and(checkpoint::is_none);
    Ok(match choice {
        ChannelChoice::Visual if words_alone => {
            return Err(hinted("the visual channel needs a model", "leave out --model none"));
        }
        ChannelChoice::Visual => vec![Channel::Patches],
        ChannelChoice::Text => vec![Channel::Words],
        ChannelChoice::Meaning => vec![Channel::Passages],
        ChannelChoice::Both if words_alone => vec![Channel::Words, Channel::Passages],
        ChannelChoice::Both => vec![Channel::Patches, Channel::Words, Channel::Passages],
    })
}

fn print_hit(
    out: &mut impl Write,
    index: &Index,
    hit: &PageHit,
    terminal: &Terminal,
) -> io::Result<()> {
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
    let place = terminal.link(&place, &index.file(hit.page.path()), hit.page.number());
    let why = terminal.dim(&format!("{:.4}  {}", hit.score, reasons.join(", ")));
    writeln!(out, "{:>3}. {place}  {why}", hit.rank)?;
    if hit.snippet.text.is_empty() {
        writeln!(out, "     {}", terminal.dim("(no words on this page)"))
    } else {
        writeln!(out, "     {}", marked(&hit.snippet, terminal))
    }
}

/// A part that differs by less than this share was not weighed.
const ROUNDING: f32 = 1e-4;

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
        write!(out, ", {z:.2} deviations above the mean of all pages")?;
        // Alone, a channel gives its own score.
        if part != score && *z != 0.0 && (part - z).abs() > ROUNDING * z.abs() {
            write!(out, " at {:.2} each", part / z)?;
        }
        writeln!(out, ", gives {part:.3}")?;
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

/// The passage that is most like the question, on one line.
fn print_passage(out: &mut impl Write, passage: Option<&Passage>) -> io::Result<()> {
    let Some(passage) = passage else { return Ok(()) };
    let words: Vec<&str> = passage.text.split_whitespace().collect();
    let text = printable(&words.join(" "));
    let shown: String = text.chars().take(PASSAGE_CHARS).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    writeln!(out, "     {:>7.4}  passage: {shown}{more}", passage.similarity)
}

/// Characters of a passage that are shown.
const PASSAGE_CHARS: usize = 240;

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
        "ms: total {}, encode {}, scan {}, rerank {}, text {}, meaning {}",
        wire::ms(answer.total),
        wire::ms(timings.encode),
        wire::ms(work.scan),
        wire::ms(work.rerank),
        wire::ms(answer.time_of(Channel::Words)),
        wire::ms(answer.time_of(Channel::Passages))
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
