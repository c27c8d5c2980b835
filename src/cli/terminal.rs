//! What the terminal can show.

use std::io::IsTerminal;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Read once in `run`; verbs ask it instead of the environment.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// stderr can redraw a progress bar.
    pub progress: bool,
    /// stdout may be coloured.
    pub colour: bool,
    /// stdout shows links (OSC 8).
    pub links: bool,
}

impl Terminal {
    /// Asks the streams and the environment (NO_COLOR, TERM).
    pub fn detect() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        Self {
            progress: std::io::stderr().is_terminal() && !dumb,
            colour: std::io::stdout().is_terminal() && !dumb && !set("NO_COLOR"),
            links: std::io::stdout().is_terminal() && !dumb && has_links(),
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

    /// `text` as a link to a page of a file, where stdout shows links.
    pub fn link(&self, text: &str, file: &Path, page: u32) -> String {
        if !self.links {
            return text.to_string();
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        let mut path = String::new();
        for byte in file.as_os_str().as_encoded_bytes() {
            if plain(*byte) {
                path.push(char::from(*byte))
            } else {
                path.push_str(&format!("%{byte:02X}"))
            }
        }
        let target = format!("file://{}{path}#page={page}", host.trim());
        format!("\x1b]8;;{target}\x1b\\{text}\x1b]8;;\x1b\\")
    }

    /// `text` in grey where stdout may be coloured.
    pub fn dim(&self, text: &str) -> String {
        if self.colour { format!("\x1b[2m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Whether the terminal is one of those that show links: the others would print them.
fn has_links() -> bool {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let is_one_of = |name, known: &[&str]| known.contains(&variable(name).as_str());
    let vte = variable("VTE_VERSION").parse::<u32>().is_ok_and(|version| version >= 5000);
    vte || is_one_of("TERM_PROGRAM", &["iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper"])
        || is_one_of("TERM", &["xterm-kitty", "alacritty", "foot", "xterm-ghostty"])
        || std::env::var_os("WT_SESSION").is_some()
        || std::env::var_os("KONSOLE_VERSION").is_some()
}

/// Document text may hold anything; a terminal must not obey it.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
