//! Why a worker cannot be started, and what can go wrong with one that runs.

use std::io;
use std::path::PathBuf;

use pagesight_core::{Failure, FailureKind};

use crate::find::PdfiumPlace;
use crate::limits::{MAX_PIXELS, MAX_SIDE_PX};
use crate::sandbox::Confinement;

/// Why no worker could be started. It concerns every document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// libpdfium is in none of the places where it is looked for.
    #[error("libpdfium is not found; looked at {}", places(looked))]
    NoPdfium {
        /// Where it was looked for.
        looked: Vec<PdfiumPlace>,
    },
    /// The path of libpdfium or of this program cannot be made out.
    #[error("finding {path}")]
    Find {
        /// What was looked for.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The worker program could not be started.
    #[error("starting the PDF worker {program}")]
    Program {
        /// The worker program.
        program: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The worker could not load libpdfium.
    #[error("the PDF worker {program} cannot load libpdfium: {reason}")]
    Library {
        /// The worker program.
        program: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// A part of the sandbox is missing on this system, and all of it was required.
    #[error("the sandbox of the PDF worker is not whole: {confinement}")]
    Sandbox {
        /// What there is of it.
        confinement: Confinement,
    },
    /// The program started, but does not answer as a worker does.
    #[error("the PDF worker {program} does not work")]
    Worker {
        /// The worker program.
        program: PathBuf,
        /// What it did.
        #[source]
        source: RendererError,
    },
}

fn places(looked: &[PdfiumPlace]) -> String {
    let paths: Vec<String> = looked.iter().map(|place| place.path.display().to_string()).collect();
    paths.join(", ")
}

/// What went wrong with a worker that was asked for something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RendererError {
    /// The document cannot be opened; the worker goes on.
    #[error("{0}")]
    Document(Failure),
    /// The page cannot be read or drawn; the worker goes on.
    #[error("{0}")]
    Page(Failure),
    /// A picture of an exact size was asked for that is larger than any that is drawn.
    #[error(
        "a picture of {width_px} x {height_px} px was asked for; no side may be 0 or more than \
         {MAX_SIDE_PX} px, and the whole no more than {} million pixels", MAX_PIXELS / 1_000_000
    )]
    Picture {
        /// Width asked for, px.
        width_px: u32,
        /// Height asked for, px.
        height_px: u32,
    },
    /// The worker took longer than it may and was stopped.
    #[error("took longer than {seconds} s and was stopped")]
    Timeout {
        /// The limit, s.
        seconds: u64,
    },
    /// The worker was stopped because what it did is not wanted any more.
    #[error("stopped before it was done")]
    Stopped,
    /// The worker sent what no worker of ours sends, and was stopped.
    #[error("the PDF worker broke protocol and was killed: {what}")]
    Nonsense {
        /// What it sent.
        what: String,
    },
    /// The worker died: pdfium crashed, or reached the limit on memory.
    #[error("crashed the PDF reader or needed more than {megabytes} MB ({status})")]
    Died {
        /// How it ended.
        status: String,
        /// Its memory limit, MB.
        megabytes: u64,
    },
}

impl RendererError {
    /// Whether the worker has ended, so that a new one must take its place.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Document(_) | Self::Page(_) | Self::Picture { .. })
    }

    /// The failure as the ledger keeps it.
    pub fn into_failure(self) -> Failure {
        let kind = match self {
            Self::Document(failure) | Self::Page(failure) => return failure,
            Self::Picture { .. } => FailureKind::TooLarge,
            Self::Timeout { .. } => FailureKind::Timeout,
            Self::Nonsense { .. } | Self::Died { .. } => FailureKind::Crashed,
            Self::Stopped => FailureKind::Other,
        };
        Failure::new(kind, self.to_string())
    }
}
