//! Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::SIGINT;
use signal_hook::flag;

use super::Outcome;

/// Until something asks for the flag, Ctrl-C ends the program at once, with exit code 130: nothing
/// has been written. Afterwards the first one sets the flag, and a second one ends the program.
#[derive(Debug)]
pub struct Interrupt {
    at_once: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Interrupt {
    /// Starts to listen.
    pub fn listen() -> Result<Self> {
        let (at_once, stop) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let code = Outcome::Interrupted as i32;
        // In this order: a signal that sets `at_once` does not end the program itself.
        flag::register_conditional_shutdown(SIGINT, code, Arc::clone(&at_once))
            .and_then(|_| flag::register(SIGINT, Arc::clone(&at_once)))
            .and_then(|_| flag::register(SIGINT, Arc::clone(&stop)))
            .context("listening for Ctrl-C")?;
        Ok(Self { at_once, stop })
    }

    /// The flag that Ctrl-C sets from now on.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.at_once.store(false, Ordering::Relaxed);
        Arc::clone(&self.stop)
    }
}
