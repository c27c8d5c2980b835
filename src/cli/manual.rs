//! `pagesight manual`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Command, CommandFactory, ValueHint};

use super::{Arguments, Outcome};

/// Write the manual pages of the program and of each verb into a folder, for packagers.
#[derive(Debug, Args)]
#[command(hide = true)]
#[command(after_help = "Example:\n  pagesight manual ~/.local/share/man/man1")]
pub struct ManualVerb {
    /// The folder; it must exist.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

pub fn run(verb: &ManualVerb) -> Result<Outcome> {
    let mut program = Arguments::command();
    program.build();
    write(&program, "pagesight", &verb.folder)?;
    Ok(Outcome::Done)
}

/// The page of `command`, called `name`, and those of what it can be asked for.
fn write(command: &Command, name: &str, folder: &Path) -> Result<()> {
    let path = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().name(name.to_string())).render(&mut page)?;
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    let visible = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    for verb in visible.filter(|verb| verb.get_name() != "help") {
        write(verb, &format!("{name}-{}", verb.get_name()), folder)?;
    }
    Ok(())
}
