//! Opens a PDF at a page, in a viewer of this machine.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Viewers that take a page number, and how.
fn with_page(page: u32) -> Vec<(&'static str, Vec<String>)> {
    vec![
        ("evince", vec![format!("--page-index={page}")]),
        ("okular", vec!["--page".into(), page.to_string()]),
        ("zathura", vec!["--page".into(), page.to_string()]),
        ("xreader", vec![format!("--page-index={page}")]),
        ("atril", vec![format!("--page-index={page}")]),
        ("mupdf", Vec::new()),
    ]
}

/// Opens `file` at `page`; where no viewer takes a page number, the file.
///
/// # Errors
/// When nothing opens it.
pub fn open(file: &Path, page: u32) -> Result<()> {
    for (program, arguments) in with_page(page) {
        let mut arguments: Vec<OsString> = arguments.into_iter().map(OsString::from).collect();
        arguments.push(file.into());
        if program == "mupdf" {
            arguments.push(page.to_string().into());
        }
        if start(program, &arguments) {
            return Ok(());
        }
    }
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    if start(opener, &[file.into()]) {
        return Ok(());
    }
    bail!("no PDF viewer is found: {} is the file", file.display())
}

fn start(program: &str, arguments: &[OsString]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}
