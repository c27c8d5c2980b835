//! The `pagesight` program: parse, run, exit code.

use std::process::ExitCode;

use pagesight::machine::Machine;

fn main() -> ExitCode {
    pagesight::pdf::serve_worker_if_asked();
    ExitCode::from(pagesight::program::run(std::env::args_os(), Machine::default()))
}
