//! The command line: one file a verb. Data goes to stdout, everything else to stderr.

mod args;
#[cfg(feature = "ask")]
mod ask;
mod checkpoint;
mod commit;
mod compact;
mod completions;
mod dash;
mod doctor;
#[cfg(test)]
mod documented;
mod eval;
mod export;
#[cfg(feature = "hub")]
mod fetch;
mod gc;
mod get;
mod hints;
mod import;
mod index;
mod interrupt;
mod locate;
mod manual;
mod meaning;
mod model;
mod output;
mod paths;
mod plan;
mod query;
mod questions;
mod read;
mod repair;
pub mod report;
#[cfg(feature = "serve")]
mod serve;
mod shard;
mod status;
mod terminal;
mod thumbnail;
mod tune;
mod verify;
mod viewer;
mod watch;

use std::ffi::OsString;
use std::sync::OnceLock;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use pagesight::machine::Machine;
use pagesight::model::EmbedderPlace;
use pagesight::pdf::{RenderOptions, Sandbox, WeightSearch};

use args::{Place, SandboxChoice};
use terminal::Terminal;

/// Search PDFs by how their pages look.
#[derive(Debug, Parser)]
#[command(name = "pagesight", version, about, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    pagesight index ~/reports                 index a folder of PDFs\n  \
    pagesight query \"net sales by region\"     ranked pages\n  \
    pagesight get reports/q3.pdf#12           the words of a page\n\n\
    Exit codes: 0 found or done, 1 nothing found, 2 error, 3 done but some files failed, \
    130 interrupted.")]
struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Index(index::IndexVerb),
    Plan(plan::PlanVerb),
    Commit(commit::CommitVerb),
    #[command(visible_alias = "search")]
    Query(query::QueryVerb),
    Get(get::GetVerb),
    Read(read::ReadVerb),
    #[cfg(feature = "ask")]
    Ask(ask::AskVerb),
    Eval(eval::EvalVerb),
    Tune(tune::TuneVerb),
    Compact(compact::CompactVerb),
    Status(status::StatusVerb),
    Verify(verify::VerifyVerb),
    Repair(repair::RepairVerb),
    Gc(gc::GcVerb),
    Export(export::ExportVerb),
    Import(import::ImportVerb),
    Doctor(doctor::DoctorVerb),
    Model(model::ModelVerb),
    Paths(paths::PathsVerb),
    #[cfg(feature = "serve")]
    Serve(serve::ServeVerb),
    #[cfg(feature = "serve")]
    Mcp(serve::McpVerb),
    Completions(completions::CompletionsVerb),
    Manual(manual::ManualVerb),
}

/// What a run came to; the numbers are the exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done = 0,
    NothingFound = 1,
    /// A check that was asked for did not pass.
    Failed = 2,
    SomeFailed = 3,
    Interrupted = 130,
}

/// Parses `arguments`, of which the first is the name of the program, runs the verb, and turns the
/// outcome into an exit code. `host` says what the process brings that the program runs in.
pub fn run(arguments: impl IntoIterator<Item = OsString>, host: Machine) -> u8 {
    // A second run in one process has the same host.
    let _ = HOST.set(host);
    let arguments = match parse(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers (0); a wrong call is an error (2).
            let code = u8::from(error.use_stderr()) * 2;
            let _ = error.print();
            return code;
        }
    };
    if let Some(limit) = arguments.place.instructions
        && let Err(error) = limit.set()
    {
        eprintln!("error: {error}");
        return 2;
    }
    let terminal = Terminal::detect();
    let outcome = match &arguments.verb {
        Verb::Index(verb) => write(&arguments.place, verb, &terminal),
        Verb::Plan(verb) => plan::run(&arguments.place, verb),
        Verb::Commit(verb) => commit::run(&arguments.place, verb),
        Verb::Query(verb) => query::run(&arguments.place, verb, &terminal),
        Verb::Get(verb) => get::run(&arguments.place, verb),
        Verb::Read(verb) => read::run(&arguments.place, verb),
        #[cfg(feature = "ask")]
        Verb::Ask(verb) => ask::run(&arguments.place, verb),
        Verb::Eval(verb) => eval::run(&arguments.place, verb, &terminal),
        Verb::Tune(verb) => tune::run(&arguments.place, verb, &terminal),
        Verb::Compact(verb) => compact::run(&arguments.place, verb, &terminal),
        Verb::Status(verb) => status::run(&arguments.place, verb),
        Verb::Verify(verb) => verify::run(&arguments.place, verb, &terminal),
        Verb::Repair(verb) => repair::run(&arguments.place, verb),
        Verb::Gc(verb) => gc::run(&arguments.place, verb),
        Verb::Export(verb) => export::run(&arguments.place, verb),
        Verb::Import(verb) => import::run(&arguments.place, verb),
        Verb::Doctor(verb) => doctor::run(&arguments.place, verb),
        Verb::Model(verb) => model::run(&arguments.place, verb, &terminal),
        Verb::Paths(verb) => paths::run(&arguments.place, verb),
        #[cfg(feature = "serve")]
        Verb::Serve(verb) => serve::run(&arguments.place, verb),
        #[cfg(feature = "serve")]
        Verb::Mcp(verb) => serve::run_mcp(&arguments.place, verb),
        Verb::Completions(verb) => completions::run(verb),
        Verb::Manual(verb) => manual::run(verb),
    };
    match outcome {
        Ok(outcome) => outcome as u8,
        Err(error) if is_closed_pipe(&error) => 0,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            if let Some(hint) = hint(&error).or_else(|| hints::of(&error)) {
                eprintln!("hint: {hint}");
            }
            2
        }
    }
}

/// Indexes into a folder or into a bucket.
fn write(place: &Place, verb: &index::IndexVerb, terminal: &Terminal) -> anyhow::Result<Outcome> {
    match locate::bucket(place)? {
        Some(address) => shard::run(place, verb, &address, terminal),
        None => index::run(place, verb, terminal),
    }
}

/// Reads the command line, and notes which flags of `index` were typed.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let mut command = Arguments::command();
    let matches = command.try_get_matches_from_mut(dash::question_last(arguments))?;
    let mut parsed =
        Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    if let (Verb::Index(verb), Some((_, typed))) = (&mut parsed.verb, matches.subcommand()) {
        let is_typed =
            |id: &&str| typed.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
        verb.said = typed.ids().map(clap::Id::as_str).filter(is_typed).map(String::from).collect();
    }
    Ok(parsed)
}

/// What the host of the program brings; nothing where the program is its own host.
static HOST: OnceLock<Machine> = OnceLock::new();

/// Where this run finds what it works with: what was typed, else what the host brings.
fn machine(place: &Place) -> Machine {
    let host = HOST.get().cloned().unwrap_or_default();
    Machine {
        pdfium: place.pdfium.clone().or(host.pdfium),
        weights: place.weights.clone().or(host.weights),
        ocr_weights: place.ocr_weights.clone().or(host.ocr_weights),
        ..host
    }
}

/// Where the model of meaning is looked for that comes with the program, in order.
fn embedder_places(place: &Place) -> Vec<EmbedderPlace> {
    machine(place).embedder_places()
}

/// How this run draws pages.
fn renderer(place: &Place, passwords: &[String]) -> RenderOptions {
    machine(place).renderer(passwords)
}

fn weight_search(place: &Place) -> WeightSearch {
    machine(place).ocr_weights()
}

fn sandbox(choice: SandboxChoice) -> Sandbox {
    match choice {
        SandboxChoice::Require => Sandbox::Require,
        SandboxChoice::BestEffort => Sandbox::BestEffort,
        SandboxChoice::Off => Sandbox::Off,
    }
}

/// The error and its causes on one line, a cause that only repeats its effect left out.
fn chain(error: &anyhow::Error) -> String {
    one_line(error.chain().map(ToString::to_string))
}

fn one_line(causes: impl Iterator<Item = String>) -> String {
    let mut line = String::new();
    for cause in causes {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// As [`chain`], of an error of the library.
fn chain_of(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    one_line(causes.map(ToString::to_string))
}

/// `pagesight query ... | head -1` is not an error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The way out that a verb attached to an error.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Hinted {
    message: String,
    hint: String,
}

fn hint(error: &anyhow::Error) -> Option<&str> {
    let hinted = error.chain().find_map(|cause| cause.downcast_ref::<Hinted>());
    hinted.map(|hinted| hinted.hint.as_str())
}

fn hinted(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Hinted { message: message.into(), hint: hint.into() }.into()
}
