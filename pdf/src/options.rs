//! How PDFs are read: which library, which worker program, and what workers may cost.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::StartError;
use crate::find::{PdfiumPlace, find_pdfium};
use crate::limits::WorkerLimits;
use crate::sandbox::Sandbox;

/// How PDFs are read.
///
/// The default finds libpdfium by itself and uses this program as its own worker; such a program
/// calls [`serve_worker_if_asked`](crate::serve_worker_if_asked) first in `main`.
#[derive(Debug, Clone)]
pub struct RenderOptions {
    /// libpdfium, or its folder; looked up when `None`, see [`find_pdfium`].
    pub pdfium: Option<PathBuf>,
    /// The user's data folder, where libpdfium may lie.
    pub data_folder: Option<PathBuf>,
    /// A Python environment, where the pypdfium2 wheel may be.
    pub python: Option<PathBuf>,
    /// The program that serves as worker; this program when `None`.
    pub worker_program: Option<PathBuf>,
    /// Given to the worker program before the arguments of a worker, for hosts that need some, e.g.
    /// an interpreter that is told what to run.
    pub worker_arguments: Vec<OsString>,
    /// Tried in turn on encrypted documents.
    pub passwords: Vec<String>,
    /// Whether workers must be shut in.
    pub sandbox: Sandbox,
    /// What a worker may cost.
    pub limits: WorkerLimits,
    /// Workers that a pool keeps while they have nothing to do; one a core by default. More may
    /// work at a time: as many as documents are read at once.
    pub warm_workers: usize,
    /// An idle worker ends after this time.
    pub idle_time: Duration,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            pdfium: None,
            data_folder: None,
            python: None,
            worker_program: None,
            worker_arguments: Vec::new(),
            passwords: Vec::new(),
            sandbox: Sandbox::default(),
            limits: WorkerLimits::default(),
            warm_workers: std::thread::available_parallelism().map_or(1, usize::from),
            idle_time: Duration::from_secs(10),
        }
    }
}

impl RenderOptions {
    /// Where libpdfium is looked for, in order; the first that is found counts.
    pub fn pdfium_places(&self) -> Vec<PdfiumPlace> {
        let program = std::env::current_exe().ok();
        find_pdfium(
            self.pdfium.as_deref(),
            program.as_deref(),
            self.data_folder.as_deref(),
            self.python.as_deref(),
        )
    }

    /// The libpdfium that is used, absolute.
    ///
    /// # Errors
    /// [`StartError::NoPdfium`] names every place that was looked at.
    pub fn found_pdfium(&self) -> Result<PathBuf, StartError> {
        let looked = self.pdfium_places();
        match looked.iter().find(|place| place.found) {
            // A worker's current folder may be another one.
            Some(place) => std::path::absolute(&place.path)
                .map_err(|source| StartError::Find { path: place.path.clone(), source }),
            None => Err(StartError::NoPdfium { looked }),
        }
    }

    /// The program that serves as worker.
    ///
    /// # Errors
    /// [`StartError::Find`] when this program does not know where it is.
    pub fn program(&self) -> Result<PathBuf, StartError> {
        match &self.worker_program {
            Some(program) => Ok(program.clone()),
            // What runs, by no name: a run goes on with its own workers when the file of the
            // program is replaced meanwhile.
            None if cfg!(target_os = "linux") => Ok("/proc/self/exe".into()),
            None => std::env::current_exe()
                .map_err(|source| StartError::Find { path: "this program".into(), source }),
        }
    }
}
