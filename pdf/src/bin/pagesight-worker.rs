//! The worker for hosts whose own program cannot serve as one, such as a Python interpreter. Its
//! parent starts it; a person has no use for it.

use std::process::ExitCode;

fn main() -> ExitCode {
    pagesight_pdf::serve_worker_if_asked();
    eprintln!("pagesight-worker reads PDFs for the program that starts it, and nothing else");
    ExitCode::from(2)
}
