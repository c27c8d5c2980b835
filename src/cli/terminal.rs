//! What the terminal can show.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Read once in `run`; verbs ask it instead of the environment.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// stderr can redraw a progress bar.
    pub progress: bool,
    /// stdout may be coloured.
    pub colour: bool,
}

impl Terminal {
    /// Asks the streams and the environment (NO_COLOR, TERM).
    pub fn detect() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        Self {
            progress: std::io::stderr().is_terminal() && !dumb,
            colour: std::io::stdout().is_terminal() && !dumb && !set("NO_COLOR"),
        }
    }

    /// A bar over `length` steps, where stderr can show one.
    pub fn bar(&self, length: u64, what: &'static str) -> ProgressBar {
        let target =
            if self.progress { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        let style = ProgressStyle::with_template("{msg:8} {bar:30} {pos}/{len}  {eta} left");
        bar.with_style(style.expect("the template is ours")).with_message(what)
    }

    /// `text` in bold where stdout may be coloured, else between asterisks.
    pub fn mark(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { format!("*{text}*") }
    }

    /// `text` in grey where stdout may be coloured.
    pub fn dim(&self, text: &str) -> String {
        if self.colour { format!("\x1b[2m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Document text may hold anything; a terminal must not obey it.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
