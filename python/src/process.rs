//! What a process must be for the engine to work in it: not a fork of one that used it; and the runs
//! that must end before the interpreter does.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::errors::unavailable;

/// The process that used the engine first; 0 before.
static USED_BY: AtomicU32 = AtomicU32::new(0);

/// The flags that stop the runs of indexing that are under way.
static RUNNING: Mutex<Vec<Arc<AtomicBool>>> = Mutex::new(Vec::new());
static ENDED: Condvar = Condvar::new();

/// The interpreter waits for so long for runs that were told to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes note that this process uses the engine.
///
/// # Errors
/// When this process was forked from one that used it: a fork has none of the engine's threads, so
/// that it would wait for them forever.
pub fn enter(py: Python<'_>) -> PyResult<()> {
    let this = std::process::id();
    match USED_BY.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Ok(()),
        Err(first) if first == this => Ok(()),
        Err(first) => Err(unavailable(
            py,
            &format!(
                "process {first} used pagesight before it forked this one, and the threads of an \
                 engine do not survive a fork: start processes by `spawn` or `forkserver`, e.g. \
                 multiprocessing.get_context(\"spawn\"), or import and use pagesight after the fork \
                 alone"
            ),
        )),
    }
}

/// Whether this process was forked from one that used the engine.
#[pyfunction]
pub fn forked() -> bool {
    let first = USED_BY.load(Ordering::Relaxed);
    first != 0 && first != std::process::id()
}

/// A run of indexing; it counts as under way until it is dropped.
pub struct Run(Arc<AtomicBool>);

impl Run {
    /// Begins a run that `stop` ends.
    pub fn begin(stop: &Arc<AtomicBool>) -> Self {
        running().push(Arc::clone(stop));
        Self(Arc::clone(stop))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        running().retain(|stop| !Arc::ptr_eq(stop, &self.0));
        ENDED.notify_all();
    }
}

/// Stops the runs of indexing that are under way and waits until each has committed its batch. The
/// package calls it when the interpreter ends.
#[pyfunction]
pub fn stop_all(py: Python<'_>) {
    if forked() {
        return;
    }
    py.detach(|| {
        let deadline = Instant::now() + PATIENCE;
        let mut runs = running();
        loop {
            runs.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
            let left = deadline.saturating_duration_since(Instant::now());
            if runs.is_empty() || left.is_zero() {
                return;
            }
            let waited = ENDED.wait_timeout(runs, left);
            runs = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    });
}

fn running() -> MutexGuard<'static, Vec<Arc<AtomicBool>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
