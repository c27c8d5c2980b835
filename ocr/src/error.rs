//! Why there is no OCR, and why it failed on a page.

use std::io;
use std::process::ExitStatus;

/// An error of OCR.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OcrError {
    /// The program is not there, or cannot say which languages it reads.
    #[error("tesseract is not installed")]
    NotInstalled,
    /// The program is there, and reads none of the languages asked for.
    #[error("tesseract is installed, but not for {languages}")]
    NoLanguage {
        /// As asked for, `+` between them.
        languages: String,
    },
    /// The program could not be started or asked how it is.
    #[error("tesseract cannot be run")]
    Run(#[source] io::Error),
    /// It took longer than a page may.
    #[error("tesseract took longer than {seconds} s")]
    Timeout {
        /// The limit, s.
        seconds: u64,
    },
    /// It was stopped because its words are not wanted any more.
    #[error("stopped before it was done")]
    Stopped,
    /// It ended with an error.
    #[error("tesseract failed ({status})")]
    Failed {
        /// How it ended.
        status: ExitStatus,
    },
}
