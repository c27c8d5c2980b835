//! `pagesight ask`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use pagesight::ask::{Budget, Evidence, Said, Support};
use pagesight::endpoint::{Endpoint, EndpointError};
use pagesight::search::{Page, Rect};
use pagesight::{Index, model::PaliGemma};
use serde_json::{Value, json};

use super::args::{ModelChoice, Place};
use super::interrupt::Interrupt;
use super::output::object;
use super::terminal::printable;
use super::{Outcome, get, hinted, query, read};

/// Where the key of an endpoint is read from, and nowhere else.
const KEY: &str = "PAGESIGHT_ENDPOINT_KEY";

/// Answer a question, with the pages that say so.
///
/// Without a model the answer is the best passage of the best page. With --endpoint a chat model that
/// you name is given the pages that the search finds; every sentence of its answer is compared with
/// the words of the pages that it cites. The endpoint's key is read from PAGESIGHT_ENDPOINT_KEY.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pagesight ask \"What was the goodwill impairment in 2023?\"\n  \
    pagesight ask --endpoint http://127.0.0.1:8080/v1 --answer-model qwen3-vl-4b \"...\"\n  \
    pagesight ask --dry-run --endpoint http://127.0.0.1:8080/v1 \"...\"   what would be sent")]
pub struct AskVerb {
    /// The question; where it begins with a dash and has no space, put -- before it.
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// Pages to lean on [default: 4 for an endpoint, else 1].
    #[arg(short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
    pub k: Option<u32>,
    /// Only documents whose path matches; may be given several times.
    #[arg(long, value_name = "GLOB")]
    pub path: Vec<String>,
    /// These pages instead of a search, PATH#PAGE or `ref`, with commas between them.
    #[arg(long, value_name = "PAGES", value_delimiter = ',', conflicts_with = "path")]
    pub pages: Vec<String>,
    /// A chat model: the address of anything that speaks OpenAI's /chat/completions, up to /v1.
    #[arg(long, env = "PAGESIGHT_ENDPOINT", value_name = "URL", value_hint = ValueHint::Url)]
    pub endpoint: Option<String>,
    /// The model that the endpoint runs; without an endpoint a PaliGemma of this machine, a folder or
    /// a name that is in the cache of a hub.
    #[arg(long, env = "PAGESIGHT_ANSWER_MODEL", value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub answer_model: Option<PathBuf>,
    /// Send pages to another machine without encryption.
    #[arg(long)]
    pub insecure_endpoint: bool,
    /// Send words alone.
    #[arg(long)]
    pub no_images: bool,
    /// Tokens that are sent at most, words and pictures together.
    #[arg(long, value_name = "N", default_value_t = 16_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(500..=2_000_000))]
    pub context_tokens: u32,
    /// Tokens that a picture is counted as.
    #[arg(long, value_name = "N", default_value_t = 1_300)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub image_tokens: u32,
    /// Longest side of a picture that is sent, px.
    #[arg(long, value_name = "PX", default_value_t = 1_280)]
    #[arg(value_parser = clap::value_parser!(u32).range(64..=4096))]
    pub image_px: u32,
    /// Print what would be sent, and where; send nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub model: ModelChoice,
    /// JSON Lines: the sources, the text piece by piece, and the answer.
    #[arg(long)]
    pub json: bool,
}

/// Who answers.
enum Answerer {
    Passage,
    Model(Box<PaliGemma>),
    Endpoint(Endpoint),
}

pub fn run(place: &Place, verb: &AskVerb) -> Result<Outcome> {
    let answerer = answerer(verb)?;
    let index = query::open(place, &verb.model)?;
    // Beside the search: what a page hides is seen by drawing it.
    let drawing = index.clone();
    thread::spawn(move || drawing.start_renderer());
    let interrupt = Interrupt::listen()?;
    let stop = interrupt.flag();
    let evidence = evidence(&index, verb, &answerer, &stop)?;
    let mut out = io::stdout().lock();
    if verb.dry_run {
        return dry_run(&mut out, verb, &answerer, &evidence);
    }
    if verb.json {
        let retrieved = json!({ "sources": evidence.sources_json() });
        writeln!(out, "{}", object("retrieved", retrieved))?;
    }
    if let Answerer::Endpoint(endpoint) = &answerer {
        let (pages, documents) = (evidence.context.sources.len(), evidence.documents());
        let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let (pages, documents) = (many(pages, "page"), many(documents, "document"));
        eprintln!("sends {pages} of {documents} to {}", endpoint.host());
    }
    let mut is_begun = false;
    let mut reader = |piece: &str| {
        is_begun = true;
        let written = if verb.json {
            writeln!(out, "{}", object("delta", json!({ "text": piece })))
        } else {
            write!(out, "{}", read::shown(piece))
        };
        // Whoever closed the pipe is told when the answer is written.
        let _ = written.and_then(|()| out.flush());
    };
    let nothing = evidence.context.sources.is_empty();
    let said = match &answerer {
        _ if nothing => Ok(evidence.passage()),
        Answerer::Passage => Ok(evidence.passage()),
        Answerer::Model(model) => evidence.ask_model(model, &stop, &mut reader),
        Answerer::Endpoint(endpoint) => {
            evidence.ask(endpoint, &stop, &mut reader).map_err(Into::into)
        }
    };
    let said = match said {
        Err(pagesight::Error::Endpoint(EndpointError::Stopped)) => {
            return Ok(Outcome::Interrupted);
        }
        said => said?,
    };
    if verb.json {
        writeln!(out, "{}", object("answer", evidence.said_json(&said)))?;
    } else {
        print(&mut out, &evidence, &said, is_begun)?;
    }
    Ok(if said.answered { Outcome::Done } else { Outcome::NothingFound })
}

fn answerer(verb: &AskVerb) -> Result<Answerer> {
    let Some(url) = &verb.endpoint else {
        return Ok(match &verb.answer_model {
            Some(name) => Answerer::Model(Box::new(read::load(name)?)),
            None => Answerer::Passage,
        });
    };
    let model = verb.answer_model.as_deref();
    Ok(Answerer::Endpoint(endpoint(url, model, verb.insecure_endpoint)?))
}

/// The chat model at `url`, with the key that the environment has for it.
pub fn endpoint(url: &str, model: Option<&Path>, insecure: bool) -> Result<Endpoint> {
    // The command line and configuration files are seen by others; the environment is not.
    let key = std::env::var(KEY).ok();
    let model = model.and_then(Path::to_str).unwrap_or("default");
    Endpoint::new(url, model, key, insecure).map_err(|error| match error {
        EndpointError::Insecure { .. } => hinted(
            error.to_string(),
            "name it with https://, or --insecure-endpoint sends pages without encryption",
        ),
        error => error.into(),
    })
}

fn evidence(
    index: &Index,
    verb: &AskVerb,
    answerer: &Answerer,
    stop: &Arc<AtomicBool>,
) -> Result<Evidence> {
    let is_sent = matches!(answerer, Answerer::Endpoint(_));
    let budget = is_sent.then(|| Budget {
        tokens: verb.context_tokens as usize,
        tokens_of_picture: verb.image_tokens as usize,
        pictures: if verb.no_images { 0 } else { Budget::default().pictures },
        picture_px: verb.image_px,
    });
    if !verb.pages.is_empty() {
        let pages: Vec<Page> =
            verb.pages.iter().map(|name| get::named(index, name)).collect::<Result<_>>()?;
        return Ok(Evidence::of_pages(&verb.text, pages, budget, stop)?);
    }
    let k = verb.k.unwrap_or(if is_sent { 4 } else { 1 });
    let mut search = index.search(verb.text.as_str()).k(k as usize);
    for glob in &verb.path {
        search = search.path(glob);
    }
    let answer = search.run().context("searching")?;
    if let Some(notice) = answer.notice() {
        eprintln!("{notice}");
    }
    Ok(Evidence::of(&verb.text, &answer, budget, stop)?)
}

/// Prints what would be sent, pictures as their sizes.
fn dry_run(
    out: &mut impl Write,
    verb: &AskVerb,
    answerer: &Answerer,
    evidence: &Evidence,
) -> Result<Outcome> {
    let endpoint = match answerer {
        Answerer::Endpoint(endpoint) => Some(endpoint),
        _ => None,
    };
    let messages = endpoint.map(|_| without_pictures(evidence.messages()));
    let request = json!({
        "endpoint": endpoint.map(Endpoint::host),
        "model": endpoint.map(Endpoint::model),
        "sent": endpoint.map(|_| evidence.sent_json()),
        "sources": evidence.sources_json(),
        "omitted": evidence.omitted,
        "messages": messages,
    });
    if verb.json {
        writeln!(out, "{}", object("request", request))?;
    } else {
        match endpoint {
            None => writeln!(out, "nothing would be sent: no endpoint is named")?,
            Some(endpoint) => writeln!(out, "would be sent to {}:", endpoint.host())?,
        }
        if endpoint.is_some() {
            let messages = &request["messages"];
            writeln!(out, "{}\n", shown_text(&messages[0]["content"]))?;
            for part in messages[1]["content"].as_array().into_iter().flatten() {
                let text = part.get("text").unwrap_or(&part["image_url"]["url"]);
                writeln!(out, "{}", shown_text(text))?;
            }
        }
        print_left_out(out, evidence)?;
    }
    Ok(Outcome::Done)
}

fn shown_text(text: &Value) -> String {
    read::shown(text.as_str().unwrap_or_default())
}

/// The messages with each picture replaced by its length.
fn without_pictures(mut messages: Value) -> Value {
    let parts = messages[1]["content"].as_array_mut();
    for part in parts.into_iter().flatten() {
        if let Some(url) = part["image_url"]["url"].as_str() {
            let (kind, bytes) = (url.split(';').next().unwrap_or_default(), url.len());
            part["image_url"]["url"] = json!(format!("({kind}, {bytes} characters)"));
        }
    }
    messages
}

fn print(out: &mut impl Write, evidence: &Evidence, said: &Said, is_begun: bool) -> Result<()> {
    if said.sentences.is_empty() {
        eprintln!("no answer found");
    } else if !said.answered && said.answerer == "passage" {
        eprintln!("no page is likely to answer; this is the best passage that was found");
    }
    if is_begun {
        writeln!(out)?;
    } else if !said.text.is_empty() {
        writeln!(out, "{}", read::shown(&said.text))?;
    }
    if said.answered {
        for sentence in &said.sentences {
            let mark = match sentence.support {
                Support::Verbatim => continue,
                Support::Partial => "in part",
                Support::None => "unverified",
                Support::Unreadable => "not checked: the page has no words",
            };
            writeln!(out, "[{mark}] {}", printable(&sentence.text))?;
        }
    }
    let mut numbers: Vec<usize> = Vec::new();
    for sentence in &said.sentences {
        numbers.extend(sentence.cites.iter().map(|cite| cite.number));
    }
    numbers.sort_unstable();
    numbers.dedup();
    for number in numbers {
        let Some(source) = evidence.context.sources.get(number - 1) else { continue };
        let places = said.sentences.iter().flat_map(|sentence| &sentence.cites);
        let place = places.filter(|cite| cite.number == number).find_map(|cite| cite.rect);
        let place = place.map_or(String::new(), |Rect { x0, y0, x1, y1 }| {
            format!("  at {x0:.0},{y0:.0},{x1:.0},{y1:.0} pt")
        });
        writeln!(out, "  [{number}] {}{place}", printable(&source.citation()))?;
    }
    print_left_out(out, evidence)
}

/// What no model was given: hidden words, and what there was no room for.
fn print_left_out(out: &mut impl Write, evidence: &Evidence) -> Result<()> {
    for source in &evidence.context.sources {
        let hidden = source.seen.as_ref().map_or(0, |words| words.hidden.len());
        if hidden > 0 {
            let citation = printable(&source.citation());
            writeln!(out, "  left out: {hidden} words that {citation} has and does not show")?;
        }
    }
    for omitted in &evidence.omitted {
        writeln!(out, "  left out: {}", printable(omitted))?;
    }
    Ok(())
}
