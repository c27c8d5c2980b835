//! `pagesight completions`.

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory;

use super::Outcome;
use super::args::{Arguments, CompletionsVerb};

pub fn run(verb: &CompletionsVerb) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(verb.shell, &mut Arguments::command(), "pagesight", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Outcome::Done)
}
