//! The `pagesight` program: parse, run, exit code.

mod cli;
#[cfg(feature = "serve")]
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    pagesight::pdf::serve_worker_if_asked();
    cli::run()
}
