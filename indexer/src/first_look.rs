//! Whether a page that OCR should read waits until all documents have been looked at.

use std::time::{Duration, Instant};

/// When a run begins to leave the reading of pages for later.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstLook {
    began: Instant,
    after: Option<Duration>,
}

impl FirstLook {
    /// Of a run that begins now, and leaves nothing for later before it has gone on for `after`. What
    /// it reads until its first commit nobody could find sooner.
    pub fn new(after: Option<Duration>) -> Self {
        Self { began: Instant::now(), after }
    }

    pub fn is_due(self) -> bool {
        self.after.is_some_and(|after| self.began.elapsed() >= after)
    }
}
