//! What a worker may cost, and the bounds that hold whatever is set.

use std::time::Duration;

pub(crate) use pagesight_core::{MAX_PIXELS, MAX_SIDE_PX};

/// What a worker process may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Time for each thing that a worker is asked: to open a document, to read the text of a page,
    /// to draw it.
    pub page_time: Duration,
    /// Address space of a worker, bytes.
    pub worker_bytes: u64,
    /// Pixels of a drawing, at most 64 million; a larger page is drawn smaller.
    pub pixels: u64,
    /// Documents that a worker opens before a new one takes its place.
    pub worker_documents: u32,
    /// Memory that a worker may keep after a document, bytes; with more, a new one takes its
    /// place. Seen on Linux only.
    pub worker_kept_bytes: u64,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self {
            page_time: Duration::from_secs(30),
            worker_bytes: 1 << 30,
            pixels: MAX_PIXELS,
            worker_documents: 500,
            worker_kept_bytes: 256 << 20,
        }
    }
}
