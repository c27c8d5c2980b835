//! `pagesight model fetch`. The environment of Hugging Face's programs is read here, the library
//! does not.

use std::env;
use std::io::{self, Write};

use anyhow::{Context, Result};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pagesight::machine::hub_cache;
use pagesight::model::{FetchError, FetchEvent, FetchOptions, Fetched, fetch};
use serde_json::{Value, json};

use super::args::FetchModel;
use super::output::object;
use super::terminal::{Terminal, printable};
use super::{Outcome, chain_of, hinted};

pub fn run(wanted: &FetchModel, terminal: &Terminal) -> Result<Outcome> {
    let (name, revision) = match wanted.name.split_once('@') {
        Some((name, revision)) => (name, Some(revision.to_string())),
        None => (wanted.name.as_str(), None),
    };
    let cache = hub_cache().context("there is no home folder for the Hugging Face cache")?;
    let text = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let offline = text("HF_HUB_OFFLINE")
        .is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str()));
    let mut options = FetchOptions::new(cache);
    options.revision = wanted.revision.clone().or(revision);
    options.token = text("HF_TOKEN");
    options.offline = offline || wanted.offline;
    if let Some(endpoint) = text("HF_ENDPOINT") {
        options.endpoint = endpoint.trim_end_matches('/').into();
    }
    let mut progress = Progress::new(terminal, wanted.quiet);
    let fetched = fetch(name, &options, &mut |event| progress.tell(event));
    progress.bar.finish_and_clear();
    let fetched = fetched.map_err(fetch_hint).with_context(|| format!("fetching {name}"))?;
    if let Some(error) = &fetched.unreachable {
        eprintln!("{}: the copy in the cache is used", chain_of(error));
    }
    let mut out = io::stdout().lock();
    if wanted.json {
        writeln!(out, "{}", object("fetched", fetched_json(&fetched)))?
    } else {
        let of = |f: &Fetched| format!("{}@{}", f.name, f.revision);
        writeln!(out, "{} is in {}", of(&fetched), fetched.folder.display())?;
        if let Some(base) = &fetched.base {
            writeln!(out, "its base {} is in {}", of(base), base.folder.display())?;
        }
        writeln!(out, "use it: pagesight index --model {name} FOLDER")?;
    }
    Ok(Outcome::Done)
}

fn fetched_json(fetched: &Fetched) -> Value {
    json!({
        "name": fetched.name,
        "revision": fetched.revision,
        "folder": fetched.folder.display().to_string(),
        "files_fetched": fetched.files,
        "offline": fetched.unreachable.is_some(),
        "base": fetched.base.as_deref().map(fetched_json),
    })
}

/// A bar a file on a terminal, a line a file elsewhere.
struct Progress {
    bar: ProgressBar,
    lines: bool,
}

impl Progress {
    fn new(terminal: &Terminal, quiet: bool) -> Self {
        let shown = terminal.progress && !quiet;
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = "{msg:28} {bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is ours"));
        Self { bar, lines: !shown && !quiet }
    }

    fn tell(&mut self, event: FetchEvent<'_>) {
        match event {
            FetchEvent::File { name, bytes } => {
                let name = printable(name);
                if self.lines && self.bar.message() != name {
                    eprintln!("fetching {name}, {}", HumanBytes(bytes));
                }
                self.bar.reset();
                self.bar.set_length(bytes);
                self.bar.set_message(name);
            }
            FetchEvent::Bytes(bytes) => self.bar.inc(bytes),
        }
    }
}

fn fetch_hint(error: FetchError) -> anyhow::Error {
    let hint = match &error {
        FetchError::Offline { .. } => "leave out --offline and HF_HUB_OFFLINE to download it",
        FetchError::Hub { .. } => {
            "check the name and the connection; HF_TOKEN opens models with restricted access; \
             run the same command again to go on"
        }
        FetchError::Hash { .. } | FetchError::Length { .. } => {
            "run the same command again to fetch the file anew"
        }
        _ => return error.into(),
    };
    hinted(chain_of(&error), hint)
}
