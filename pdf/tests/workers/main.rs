//! Workers as processes. This binary is its own worker program, so it has a `main`: it is also
//! what tries to break out of the sandbox, and none of that is in the program that ships.

#[cfg(target_os = "linux")]
mod escape;
#[cfg(unix)]
mod hostile;
mod pixels;
mod replaced;

use std::path::{Path, PathBuf};

use pagesight_indexer::{Limits, Renderer, RendererError, Sandbox};

type Test = (&'static str, fn());

fn main() {
    pagesight_indexer::serve_worker_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    #[cfg(target_os = "linux")]
    escape::attempt_if_asked(&arguments);
    let mut tests: Vec<Test> = vec![
        ("pixels_do_not_depend_on_the_machine", pixels::do_not_depend_on_the_machine),
        ("fonts_that_are_not_embedded_are_drawn", pixels::fonts_that_are_not_embedded_are_drawn),
        ("workers_are_replaced_in_time", replaced::in_time),
    ];
    #[cfg(target_os = "linux")]
    tests.extend([
        ("the_sandbox_refuses_every_way_out", escape::every_way_out_is_refused as fn()),
        ("a_worker_that_serves_is_shut_in", escape::a_worker_that_serves_is_shut_in),
    ]);
    #[cfg(unix)]
    tests.extend([
        ("a_worker_that_talks_nonsense_is_stopped", hostile::nonsense_is_stopped as fn()),
        ("a_worker_that_is_silent_is_stopped", hostile::silence_is_stopped),
    ]);
    // As much of the usual harness as `cargo test NAME` and `-- --ignored` need.
    if arguments.iter().any(|argument| argument == "--list" || argument == "--ignored") {
        return;
    }
    let names: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    for (name, test) in tests {
        if names.is_empty() || names.iter().any(|part| name.contains(*part)) {
            test();
            println!("test {name} ... ok");
        }
    }
}

/// The libpdfium that `cargo xtask setup` fetched.
fn pdfium() -> PathBuf {
    let given = std::env::var_os("PAGESIGHT_PDFIUM").map(PathBuf::from);
    given.expect(".cargo/config.toml sets PAGESIGHT_PDFIUM; run the tests with cargo")
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("fixtures")
}

fn start(sandbox: Sandbox) -> Result<Renderer, RendererError> {
    let program = std::env::current_exe().unwrap();
    Renderer::start(&program, &pdfium(), &Limits::default(), sandbox)
}
