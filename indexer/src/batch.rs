//! When a run commits.

use std::time::Duration;

/// A batch is committed at the first of these. An interrupted run repeats at most one.
#[derive(Debug, Clone)]
pub struct BatchSize {
    /// Pages, or documents without any.
    pub pages: usize,
    /// Vectors and text, bytes.
    pub bytes: usize,
    /// Since the last commit.
    pub time: Duration,
}

impl Default for BatchSize {
    fn default() -> Self {
        Self { pages: 256, bytes: 64 << 20, time: Duration::from_secs(20) }
    }
}
