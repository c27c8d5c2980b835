//! Why there is no OCR, and why it failed on a page.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::places::WeightPlace;

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
    #[error("OCR took longer than {seconds} s")]
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
    /// No reader was wanted.
    #[error("no OCR was wanted")]
    Off,
    /// This library was built without the embedded reader.
    #[error("this program was built without a reader of its own")]
    NotBuilt,
    /// The weights of the embedded reader are in none of the places where they may be.
    #[error("the weights of the embedded reader are nowhere: looked in {}", folders(looked))]
    NoWeights {
        /// The folders that were looked at.
        looked: Vec<WeightPlace>,
    },
    /// A file of weights cannot be read.
    #[error("the weights {} cannot be read", path.display())]
    ReadWeights {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of weights is not the published one.
    #[error("{} has SHA-256 {got}, expected {expected}", path.display())]
    WrongWeights {
        /// The file.
        path: PathBuf,
        /// The SHA-256 of the published file.
        expected: &'static str,
        /// The SHA-256 of this file.
        got: String,
    },
    /// A network of the embedded reader cannot be loaded or run.
    #[error("{network} of the embedded reader: {reason}")]
    Network {
        /// Which network.
        network: &'static str,
        /// What the runtime says.
        reason: String,
    },
}

fn folders(places: &[WeightPlace]) -> String {
    let folders: Vec<String> = places.iter().map(|p| p.folder.display().to_string()).collect();
    folders.join(", ")
}
