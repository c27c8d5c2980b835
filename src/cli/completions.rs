//! `pagesight completions`.

use std::io::Write;

use anyhow::Result;
use clap::{ArgAction, Args, CommandFactory};

use super::{Arguments, Outcome};

/// A completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    pagesight completions bash > ~/.local/share/bash-completion/completions/pagesight")]
pub struct CompletionsVerb {
    /// The shell.
    #[arg(value_enum, action = ArgAction::Set)]
    pub shell: clap_complete::Shell,
}

pub fn run(verb: &CompletionsVerb) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(verb.shell, &mut Arguments::command(), "pagesight", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Outcome::Done)
}
