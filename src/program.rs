//! The `pagesight` program, for whatever starts it: its own executable, or another program that has
//! it inside, such as a Python interpreter.

use std::ffi::OsString;
use std::io::{self, Write};

use crate::cli;
use crate::machine::Machine;

/// Runs the program with `arguments`, of which the first is its name, and returns its exit code: 0
/// found or done, 1 nothing found, 2 error, 3 done but some files failed, 130 interrupted. It writes
/// to the standard output and the standard error of the process.
///
/// `host` says what the process brings that a program of its own would look for.
pub fn run(arguments: impl IntoIterator<Item = OsString>, host: Machine) -> u8 {
    let code = cli::run(arguments, host);
    // Where the main function is not Rust's, nobody else does.
    let _ = io::stdout().flush();
    code
}
